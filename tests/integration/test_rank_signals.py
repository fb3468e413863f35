"""SIGTERM to any process of a job of many ranks: all stop after the same step, and every titan-train exits 0."""
import os
import signal
import subprocess
import time

import pytest
from driver import SMALL, ranks_without_launcher, step_records, torchrun, wait_for_step, workers

ENDLESS = (*SMALL, "--training.steps", 100000, "--checkpoint.no_enable", "--metrics.no_enable_tensorboard")

# Leaves the exit status of each rank in a file.
NOTES_STATUS = ("bash", "-c", 'trap : TERM; "$@"; status=$?; echo $status > "$0/status_$RANK"; exit $status')


@pytest.mark.parametrize("to_torchrun", [False, True])
def test_all_stop_after_the_same_step(titan_train, tmp_path, to_torchrun):
    launcher = (*torchrun(2), *NOTES_STATUS, tmp_path)
    with titan_train.running(*ENDLESS, "--job.dump_folder", tmp_path, launcher=launcher) as process:
        wait_for_step(process, 2)
        if to_torchrun:
            process.send_signal(signal.SIGTERM)
        else:
            os.kill(workers(process)[1], signal.SIGTERM)
        output, errors = process.communicate(timeout=90)
    # A signalled torchrun returns 1 whatever its workers do.
    assert process.returncode == (1 if to_torchrun else 0)
    assert [(tmp_path / f"status_{rank}").read_text() for rank in range(2)] == ["0\n", "0\n"], errors
    check_end(output, tmp_path)
    assert "titan-train: " not in errors


def check_end(output, dump_folder):
    last = step_records(dump_folder)[-1]["step"]
    assert output.count(f"signal 15 received: stopping after step {last}\n") == 1  # of rank 0
    assert "nothing was saved" in output and "Training completed" in output


def test_all_save_the_step_they_stop_at(titan_train, tmp_path):
    """And another mesh goes on from there."""
    job = (*SMALL, "--debug.seed", 1, "--metrics.no_enable_tensorboard", "--training.global_batch_size", 6,
           "--checkpoint.interval", 100000, "--job.dump_folder", tmp_path)  # fmt: skip
    with ranks_without_launcher(titan_train, 3, *job, "--training.steps", 100000) as processes:
        wait_for_step(processes[0], 3)
        processes[2].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    last = step_records(tmp_path)[-1]["step"]
    assert f"signal 15 received: stopping after step {last}\n" in outputs[0][0]
    assert outputs[0][0].count(f"Saved checkpoint step-{last} ") == 1
    tensor_parallel = ("--parallelism.tensor_parallel_degree", 2)
    done = titan_train(*job, *tensor_parallel, "--training.steps", last + 1, launcher=torchrun(2))
    assert f"Training starts at step {last + 1}" in done.stdout
    assert [record["step"] for record in step_records(tmp_path)] == list(range(1, last + 2))


def test_signal_of_a_closed_connection_ends_no_rank(titan_train, tmp_path):
    """It comes with writing to a rank that has gone, of which there is more to tell."""
    with ranks_without_launcher(titan_train, 2, *ENDLESS, "--job.dump_folder", tmp_path) as processes:
        wait_for_step(processes[0], 2)
        for process in processes:
            process.send_signal(signal.SIGPIPE)
        wait_for_step(processes[0], step_records(tmp_path)[-1]["step"] + 10)
        processes[0].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs


def test_signal_by_the_launcher_and_by_another_process(titan_train, tmp_path):
    """SLURM sends it to all processes of a job, and torchrun passes on its own."""
    with ranks_without_launcher(titan_train, 3, *ENDLESS, "--job.dump_folder", tmp_path) as processes:
        wait_for_step(processes[0], 2)
        subprocess.run(["bash", "-c", 'kill -TERM "$@"', "", *(str(process.pid) for process in processes)], check=True)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    check_end(outputs[0][0], tmp_path)
    assert [errors for _, errors in outputs] == ["", "", ""]


def test_second_signal_ends_a_rank_at_once(titan_train, tmp_path):
    slow = ("--training.local_batch_size", 8, "--training.seq_len", 512)
    with ranks_without_launcher(titan_train, 2, *ENDLESS, *slow, "--job.dump_folder", tmp_path) as processes:
        wait_for_step(processes[0], 1)
        processes[1].send_signal(signal.SIGTERM)
        time.sleep(0.1)
        processes[1].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [1, -signal.SIGTERM]
    assert "titan-train: rank 0 ends, since rank 1 does not answer" in outputs[0][1]
