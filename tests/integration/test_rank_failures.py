"""A rank that fails, dies or hangs ends all of them, soon and with its reason; so do ranks that do not fit together."""
import os
import re
import signal
import socket
import struct
import time

import pytest
from driver import DEBUG_JOB, PROCESS_GROUPS_ONLY, ROOT, SMALL, ranks_without_launcher, torchrun, wait_for, wait_for_step, workers

BASE = (*SMALL, "--model.hf_assets_path", ROOT / "assets/tokenizer", "--checkpoint.no_enable",
        "--metrics.no_enable_tensorboard", "--debug.seed", 1)  # fmt: skip
ENDLESS = ("--training.steps", 100000)
SHORT_TIMEOUTS = ("--comm.init_timeout_seconds", 20, "--comm.train_timeout_seconds", 8)

# What ranks wait in: memory that they share, or a process group.
waiting_in = pytest.mark.parametrize("env", [{}, PROCESS_GROUPS_ONLY], ids=["shared-memory", "process-groups"])

# Starts each rank in a folder of its own, so that a relative path is another file on each.
IN_OWN_FOLDER = ("bash", "-c", 'cd "$0/$RANK" && exec "$@"')


def root_cause(output):
    """Of torchrun's summary: the rank that failed first, and its part."""
    text = re.search(r"Root Cause \(first observed failure\):(.*)", output, re.S)[1]
    return int(re.search(r"rank +: (\d+)", text)[1]), text


def ends_of(processes, seconds=90):
    """Exit status and stderr of each."""
    outputs = [process.communicate(timeout=seconds)[1] for process in processes]
    return [(process.returncode, output) for process, output in zip(processes, outputs)]


def write_tokens(path, count=6000, first=0):
    path.parent.mkdir()
    path.write_bytes(struct.pack(f"<{count}H", *(first + i % 300 for i in range(count))))


# ---- A rank ends ----


def test_killed_rank(titan_train, tmp_path):
    with titan_train.running(*BASE, *ENDLESS, "--job.dump_folder", tmp_path, launcher=torchrun(3)) as process:
        wait_for_step(process, 2)
        os.kill(workers(process)[1], signal.SIGKILL)
        _, errors = process.communicate(timeout=90)
    assert process.returncode == 1
    rank, text = root_cause(errors)
    assert rank == 1 and "SIGKILL" in text, errors


@waiting_in
@pytest.mark.parametrize("killed", [0, 1])
def test_killed_rank_without_launcher(titan_train, tmp_path, killed, env):
    options = (*BASE, *ENDLESS, "--job.dump_folder", tmp_path)
    with ranks_without_launcher(titan_train, 3, *options, env=env) as processes:
        wait_for_step(processes[0], 2)
        processes[killed].kill()
        ends = ends_of(processes)
    for rank, (status, errors) in enumerate(ends):
        if rank != killed:
            assert status == 1 and f"titan-train: rank {rank} ends, since " in errors
            # With rank 0 the meeting point is gone.
            assert ("another rank has gone" if killed == 0 else f"since rank {killed} does not answer") in errors


# ---- A rank fails ----


def test_failure_before_the_first_step_is_the_root_cause(titan_train, tmp_path):
    write_tokens(tmp_path / "0" / "data.bin")
    (tmp_path / "1").mkdir()
    launcher = (*torchrun(2), *IN_OWN_FOLDER, tmp_path)
    done = titan_train(*BASE, "--training.dataset_path", "data.bin", launcher=launcher, expect=1, timeout=90)
    rank, text = root_cause(done.stderr)
    assert rank == 1 and re.search(r"exitcode +: 2", text) and "rank 1: " in text and "data.bin" in text


@pytest.mark.parametrize("bad", [0, 1])
def test_failure_before_the_first_step_without_launcher(titan_train, tmp_path, bad):
    for rank in range(3):
        write_tokens(tmp_path / str(rank) / "data.bin")
    (tmp_path / str(bad) / "data.bin").unlink()
    options = (*BASE, "--training.dataset_path", "data.bin")
    with ranks_without_launcher(titan_train, 3, *options, folders=tmp_path) as processes:
        ends = ends_of(processes)
    for rank, (status, errors) in enumerate(ends):
        start = f"rank {rank}: " if rank == bad else f"rank {rank} ends, since rank {bad} has failed: "
        assert status == 2 and errors.startswith(f"titan-train: {start}") and "data.bin" in errors


@waiting_in
def test_failure_in_a_later_step(titan_train, tmp_path, env):
    for rank in range(2):
        write_tokens(tmp_path / str(rank) / "data.bin")
    options = (*BASE, *ENDLESS, "--training.dataset_path", "data.bin")
    with ranks_without_launcher(titan_train, 2, *options, folders=tmp_path, env=env) as processes:
        wait_for_step(processes[0], 2)
        os.truncate(tmp_path / "1" / "data.bin", 0)
        (status0, errors0), (status1, errors1) = ends_of(processes)
    assert (status0, status1) == (1, 1)
    assert errors1.startswith("titan-train: rank 1: ") and "data.bin" in errors1
    assert errors0.startswith("titan-train: rank 0 ends, since rank 1 has failed: ") and "data.bin" in errors0


# ---- A rank hangs, or never comes ----


@waiting_in
def test_hanging_rank(titan_train, tmp_path, env):
    options = (*BASE, *ENDLESS, *SHORT_TIMEOUTS, "--job.dump_folder", tmp_path)
    with ranks_without_launcher(titan_train, 3, *options, env=env) as processes:
        wait_for_step(processes[0], 2)
        processes[1].send_signal(signal.SIGSTOP)
        begin = time.monotonic()
        ends = ends_of([processes[0], processes[2]])
        assert time.monotonic() - begin < 40  # 8 s until they give up, 5 s until they name it, and what the machine takes
    for rank, (status, errors) in zip((0, 2), ends):
        assert status == 1 and f"titan-train: rank {rank} ends, since rank 1 does not answer" in errors


def test_rank_that_hangs_in_the_first_step(titan_train, tmp_path):
    timeouts = ("--comm.init_timeout_seconds", 10, "--comm.train_timeout_seconds", 300)
    seconds_long = ("--training.local_batch_size", 96)
    options = (*BASE, *timeouts, *seconds_long, "--job.dump_folder", tmp_path)
    with ranks_without_launcher(titan_train, 2, *options) as processes:
        wait_for(processes[0], "Training starts at step 1")
        processes[1].send_signal(signal.SIGSTOP)
        ((status, errors),) = ends_of(processes[:1])
    assert status == 1 and "titan-train: rank 0 ends, since rank 1 does not answer" in errors


@pytest.mark.long
def test_hanging_rank_under_torchrun(titan_train, tmp_path):
    options = (*BASE, *ENDLESS, *SHORT_TIMEOUTS, "--job.dump_folder", tmp_path)
    with titan_train.running(*options, launcher=torchrun(3)) as process:
        wait_for_step(process, 2)
        os.kill(workers(process)[1], signal.SIGSTOP)
        _, errors = process.communicate(timeout=90)  # torchrun waits for 30 s before it kills
    assert process.returncode == 1
    assert "rank 1 does not answer" in root_cause(errors)[1]


@pytest.mark.parametrize("missing", [0, 2])
def test_rank_that_never_comes(titan_train, missing):
    options = (*BASE, "--comm.init_timeout_seconds", 10)  # from first to last on a machine that is busy
    present = [rank for rank in range(3) if rank != missing]
    with ranks_without_launcher(titan_train, 3, *options, started=present) as processes:
        ends = ends_of(processes)
    for rank, (status, errors) in zip(present, ends):
        assert status == 2 and f"titan-train: rank {rank}: " in errors and "MASTER_ADDR" in errors
        if missing != 0:
            assert "these of the 3 ranks have not come" in errors and f"): {missing}; " in errors


# ---- The port is in use ----


def test_port_of_a_server_that_says_nothing(titan_train):
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        options = (*BASE, "--comm.init_timeout_seconds", 3)
        with ranks_without_launcher(titan_train, 2, *options, port=port) as processes:
            (status0, errors0), (status1, errors1) = ends_of(processes)
    assert (status0, status1) == (2, 2)
    assert "port" in errors0 and str(port) in errors0
    assert f"localhost:{port}" in errors1


def test_port_of_another_job(titan_train, tmp_path):
    options = (*BASE, *ENDLESS, "--comm.init_timeout_seconds", 10)
    with ranks_without_launcher(titan_train, 2, *options, "--job.dump_folder", tmp_path / "one") as first:
        wait_for_step(first[0], 1)
        port = int(rank_environment(first[0])["MASTER_PORT"])
        with ranks_without_launcher(titan_train, 2, *options, "--job.dump_folder", tmp_path / "two", port=port) as second:
            ends = ends_of(second)
        assert [status for status, _ in ends] == [2, 2] and all(str(port) in errors for _, errors in ends)
        wait_for_step(first[0], 40)  # goes on


def rank_environment(process):
    with open(f"/proc/{process.pid}/environ") as file:
        return dict(line.split("=", 1) for line in file.read().split("\0") if line)


# ---- Ranks that do not fit together ----


def test_different_jobs(titan_train, tmp_path):
    options = (*BASE, "--job.dump_folder", tmp_path)
    with ranks_without_launcher(titan_train, 3, *options, rank_options={1: ("--optimizer.lr", 0.5)}) as processes:
        ends = ends_of(processes)
    for status, errors in ends:
        assert status == 2 and "optimizer.lr: 0.004 on ranks 0, 2, 0.5 on rank 1" in errors
    assert not list(tmp_path.iterdir())


def test_different_data(titan_train, tmp_path):
    for rank in range(3):
        write_tokens(tmp_path / str(rank) / "data.bin", first=int(rank == 1))
    options = (*BASE, "--training.dataset_path", "data.bin")
    with ranks_without_launcher(titan_train, 3, *options, folders=tmp_path) as processes:
        ends = ends_of(processes)
    for status, errors in ends:
        assert status == 2 and "the ranks read different training data" in errors
        assert re.search(r'content_samples: "\w+" on ranks 0, 2, "\w+" on rank 1', errors)


def test_degrees_that_do_not_fit(titan_train):
    done = titan_train(DEBUG_JOB, "--parallelism.data_parallel_shard_degree", 3, launcher=torchrun(2), expect=1)
    _, text = root_cause(done.stderr)
    assert re.search(r"exitcode +: 2", text) and "data_parallel_shard_degree" in text
