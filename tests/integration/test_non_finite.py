"""Steps with a non-finite loss or gradient norm."""
import re

import numpy
from driver import SMALL, step_records, tensors


def test_ten_in_a_row_end_the_run(titan_train, tmp_path):
    done = titan_train(
        *SMALL, "--training.steps", 40, "--job.dump_folder", tmp_path, "--checkpoint.interval", 3,
        "--optimizer.lr", "1e30", "--lr_scheduler.warmup_steps", 0, expect=1,
    )  # fmt: skip
    assert re.search(r"10 steps in a row", done.stderr)
    assert re.search(r"step \d+: loss .* is not finite", done.output)
    records = step_records(tmp_path)
    assert len(records) < 40
    # What went wrong was never written into the weights.
    saved = list((tmp_path / "checkpoint").glob("step-*"))
    assert saved
    for folder in saved:
        for name, tensor in tensors(folder).items():
            assert numpy.isfinite(tensor).all(), (folder.name, name)
