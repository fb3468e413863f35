"""torchrun starts all ranks again when one has ended: they go on from the last checkpoint."""
import os
import random
import signal
import time

import pytest
from driver import (
    SMALL,
    batch,
    free_port,
    losses,
    mesh,
    step_records,
    torchrun,
    wait_for,
    wait_for_step,
    workers,
)

JOB = (*SMALL, "--debug.seed", 1, "--metrics.no_enable_tensorboard", "--training.global_batch_size", 12,
       "--optimizer.lr", 1e-3)  # fmt: skip


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.long)])
def test_killed_at_any_moment(titan_train, tmp_path, kills):
    """Each attempt goes on from a complete checkpoint, with the losses of a run that nothing befell."""
    chance = random.Random(kills)
    options = (*JOB, *batch(2), "--lr_scheduler.total_steps", 1000)
    killed = (*options, "--training.steps", 1000, "--checkpoint.interval", 2, "--job.dump_folder", tmp_path / "killed")
    with titan_train.running(*killed, launcher=torchrun(3, "--max-restarts", kills)) as process:
        for _ in range(kills):
            saved = int(wait_for(process, r"Saved checkpoint step-(\d+)")[1])
            time.sleep(chance.uniform(0, 0.3))
            os.kill(workers(process)[chance.randrange(3)], signal.SIGKILL)
            resumed = int(wait_for(process, r"Training starts at step (\d+)")[1]) - 1
            assert resumed % 2 == 0 and resumed >= saved
        wait_for_step(process, resumed + 3)
        os.kill(workers(process)[0], signal.SIGTERM)
        _, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors

    records = step_records(tmp_path / "killed")
    last = records[-1]["step"]
    titan_train(*options, "--training.steps", last, "--checkpoint.no_enable", "--job.dump_folder", tmp_path / "whole",
                launcher=torchrun(3))  # fmt: skip
    whole = losses(tmp_path / "whole")
    assert {record["step"] for record in records} == set(whole) == set(range(1, last + 1))
    for record in records:
        assert record["global_avg_loss"] == whole[record["step"]]


def test_two_agents_start_again(titan_train, tmp_path):
    """The torchruns of two hosts count restarts one by one: only the one whose worker has ended counts one."""
    launcher = torchrun(
        2, "--nnodes", 2, "--max-restarts", 1, "--rdzv-id", "two", "--rdzv-endpoint", f"localhost:{free_port()}"
    )
    options = (*JOB, *mesh(replicate=2, shard=2), *batch(3), "--checkpoint.interval", 2,
               "--training.steps", 10, "--job.dump_folder", tmp_path)  # fmt: skip
    with titan_train.running(*options, launcher=launcher) as one, titan_train.running(*options, launcher=launcher) as two:
        first, second = (one, two) if 0 in workers(one) else (two, one)
        wait_for(first, "Saved checkpoint step-4")
        os.kill(workers(second)[3], signal.SIGKILL)
        assert int(wait_for(first, r"Training starts at step (\d+)")[1]) in (5, 7, 9)
        ends = [process.communicate(timeout=90) for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], ends
    assert list(losses(tmp_path)) == list(range(1, 11))
