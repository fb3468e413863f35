"""Under the real torchrun: what one mesh saves another resumes from, also when a rank was killed while it saved."""
import os
import random
import re
import signal
import time

import pytest
from driver import SMALL, batch, losses, mesh, torchrun, wait_for_step, workers

SAVED, STEPS = 3, 8
JOB = (*SMALL, "--debug.seed", 1, "--metrics.no_enable_tensorboard", "--lr_scheduler.total_steps", STEPS,
       "--training.global_batch_size", 8)  # fmt: skip
ONE_RANK = (1, batch(8))
FSDP2 = (2, (*mesh(shard=2), *batch(4)))
TP2 = (2, (*mesh(tensor=2), *batch(8)))
HSDP = (4, (*mesh(replicate=2, shard=2), *batch(2)))
FSDP_TP = (4, (*mesh(shard=2, tensor=2), *batch(4)))


def train(titan_train, dump_folder, layout, steps, *options):
    ranks, arguments = layout
    launcher = torchrun(ranks) if ranks > 1 else ()
    return titan_train(*JOB, *arguments, "--training.steps", steps, "--job.dump_folder", dump_folder, *options,
                       launcher=launcher, timeout=300)  # fmt: skip


@pytest.fixture(scope="module")
def straight(titan_train, tmp_path_factory):
    """The losses of one process that was never stopped."""
    folder = tmp_path_factory.mktemp("straight")
    train(titan_train, folder, ONE_RANK, STEPS, "--checkpoint.no_enable")
    return losses(folder)


@pytest.mark.parametrize(
    "saving, loading, mode",
    [
        pytest.param(ONE_RANK, FSDP_TP, "disabled", id="one-rank-to-fsdp-tp"),
        pytest.param(FSDP_TP, ONE_RANK, "async", id="fsdp-tp-to-one-rank"),
        pytest.param(FSDP2, TP2, "async_with_pinned_mem", id="fsdp-to-tp"),
        pytest.param(TP2, HSDP, "async", id="tp-to-hsdp"),
        pytest.param(HSDP, FSDP2, "disabled", id="hsdp-to-fsdp"),
    ],
)
def test_resumes_on_another_mesh(titan_train, straight, tmp_path, saving, loading, mode):
    options = ("--checkpoint.interval", 2, "--checkpoint.async_mode", mode)
    train(titan_train, tmp_path, saving, SAVED, *options)
    done = train(titan_train, tmp_path, loading, STEPS, *options)
    assert f"resumed from step {SAVED} " in done.stdout
    assert losses(tmp_path) == pytest.approx(straight, rel=1e-5)
    saved = re.findall(r"Saved checkpoint step-(\d+) \([0-9.]+ GiB in [0-9.]+ s, [0-9.]+ GiB/s\)", done.stdout)
    assert saved == ["4", "6", "8"], done.stdout  # once each, though all ranks write


def test_data_of_each_rank_goes_on(titan_train, tmp_path):
    """With upstream's order of the data every rank has its own place in it."""
    options = ("--training.data_order", "per_rank", "--checkpoint.interval", 2)
    train(titan_train, tmp_path / "straight", FSDP2, 6, *options)
    train(titan_train, tmp_path / "parts", FSDP2, 3, *options)
    train(titan_train, tmp_path / "parts", FSDP2, 6, *options)
    assert losses(tmp_path / "parts") == losses(tmp_path / "straight")


def newest_saved(output):
    return max((int(step) for step in re.findall(r"Saved checkpoint step-(\d+)", output)), default=0)


def saving(folder):
    return any(path.name.startswith(".saving-") for path in folder.iterdir())


def wait_for_a_save(folder, seconds=60):
    """Returns while one is under way."""
    for _ in range(seconds * 1000):
        if saving(folder):
            return
        time.sleep(0.001)
    raise AssertionError("nothing is saved")


@pytest.mark.parametrize("rounds", [5, pytest.param(20, marks=pytest.mark.long)])
def test_killed_while_saving(titan_train, tmp_path, rounds):
    generator = random.Random(rounds)
    job = (*SMALL, "--debug.seed", 1, "--metrics.no_enable_tensorboard", "--training.steps", 100000,
           "--training.global_batch_size", 6, "--checkpoint.interval", 1, "--checkpoint.async_mode", "async",
           "--checkpoint.keep_latest_k", 2, "--job.dump_folder", tmp_path)  # fmt: skip
    saved, interrupted = 0, 0
    for _ in range(rounds):
        with titan_train.running(*job, launcher=torchrun(3)) as process:
            for line in process.stdout:
                if "Training starts at step" in line:
                    break
            start = int(re.search(r"step (\d+)", line)[1])
            # All that was told to be saved is there; what was not told may be.
            assert start > saved, f"step {saved} was saved, training starts at {start}"
            wait_for_step(process, start + 1)
            rank = workers(process)[generator.randrange(3)]
            wait_for_a_save(tmp_path / "checkpoint")
            time.sleep(generator.uniform(0, 0.02))
            interrupted += saving(tmp_path / "checkpoint")
            os.kill(rank, signal.SIGKILL)
            output, errors = process.communicate(timeout=60)
        assert process.returncode == 1 and "SIGKILL" in errors, errors
        saved = max(saved, start - 1, newest_saved(output))
    done = titan_train(*job, "--training.steps", saved + 3)
    assert int(re.search(r"resumed from step (\d+) ", done.stdout)[1]) >= saved
    assert "is not valid" not in done.output
    assert interrupted > 0, "no kill has met a save"
    assert not [path for path in (tmp_path / "checkpoint").iterdir() if path.name.startswith((".saving-", ".old-"))]
