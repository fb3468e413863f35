"""configs/debug.toml as a user runs it first."""
import re

import pytest
from driver import DEBUG_JOB, step_records, tensors


@pytest.fixture(scope="module")
def run(titan_train, tmp_path_factory):
    dump = tmp_path_factory.mktemp("debug")
    done = titan_train(DEBUG_JOB, "--job.dump_folder", dump, "--debug.seed", 1, timeout=300)
    done.dump = dump
    return done


def test_loss_falls_by_one_within_40_steps(run):
    records = step_records(run.dump)
    assert [record["step"] for record in records] == list(range(1, 41))
    assert records[-1]["global_avg_loss"] <= records[0]["global_avg_loss"] - 1
    tokens = records[-1]["n_tokens_seen"]
    assert tokens >= 40 * 512


def test_step_line_has_torchtitans_fields_in_order(run):
    line = re.compile(
        r"step: +\d+  loss: +\d+\.\d{5}  grad_norm: +\d+\.\d{4}  memory: +\d+\.\d\dGiB\(\d+\.\d\d%\)  "
        r"tps: [\d,]+  tflops: [\d,]+\.\d\d  mfu: \d+\.\d\d%"
    )
    assert len(line.findall(run.output)) == 40


def test_step_line_and_metrics_file_agree(run):
    printed = [float(loss) for loss in re.findall(r"step: +\d+  loss: +(\d+\.\d+)", run.output)]
    written = [record["global_avg_loss"] for record in step_records(run.dump)]
    assert printed == pytest.approx(written, abs=1e-5)


def test_tensorboard_reads_the_events(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = [path for path in (run.dump / "tb").iterdir()]
    events = EventAccumulator(str(folder))
    events.Reload()
    points = events.Scalars("loss_metrics/global_avg_loss")
    assert [point.step for point in points] == list(range(1, 41))
    written = [record["global_avg_loss"] for record in step_records(run.dump)]
    assert [point.value for point in points] == pytest.approx(written, rel=1e-6)


def test_leaves_complete_checkpoints(run):
    steps = sorted(path.name for path in (run.dump / "checkpoint").glob("step-*"))
    assert steps == ["step-20", "step-40"]
    for step in steps:
        assert (run.dump / "checkpoint" / step / "titan.json").exists()
    names = {name for part, name in tensors(run.dump / "checkpoint" / "step-40") if part == "model"}
    assert {"tok_embeddings.weight", "layers.0.attention.wq.weight", "norm.weight", "output.weight"} <= names
    moments = {name for part, name in tensors(run.dump / "checkpoint" / "step-40") if part == "optim"}
    assert moments == {f"{name}.{moment}" for name in names for moment in ("exp_avg", "exp_avg_sq")}
