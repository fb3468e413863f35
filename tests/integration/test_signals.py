"""SIGTERM and SIGINT: the state is saved, the exit status is 0; a second one ends the process at once."""
import json
import signal
import time

import pytest
from driver import DEBUG_JOB, SMALL, step_records

ENDLESS = ("--training.steps", 100000)
NO_SAVES = ("--checkpoint.interval", 100000)  # but the last


def wait_for_steps(process, dump, count, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        if (dump / "metrics.jsonl").exists() and len(step_records_so_far(dump)) >= count:
            return
        time.sleep(0.02)
    process.kill()
    pytest.fail(f"no step within {seconds} s: {process.communicate()}")


def step_records_so_far(dump):
    whole_lines = (dump / "metrics.jsonl").read_text().split("\n")[:-1]
    return [json.loads(line) for line in whole_lines]


def end_of(process, seconds=60):
    stdout, stderr = process.communicate(timeout=seconds)
    return process.returncode, stdout + stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_saves_the_full_state_and_exits_0(titan_train, tmp_path, number):
    # The last save would hold the model only; a signal saves everything all the same.
    arguments = (*SMALL, *NO_SAVES, "--checkpoint.last_save_model_only", "--job.dump_folder", tmp_path)
    process = titan_train.start(*arguments, *ENDLESS)
    wait_for_steps(process, tmp_path, 3)
    process.send_signal(number)
    status, output = end_of(process)
    assert status == 0, output
    last = step_records(tmp_path)[-1]["step"]
    (saved,) = (tmp_path / "checkpoint").glob("step-*")
    assert saved.name == f"step-{last}"
    assert list((saved / "optim").glob("*.safetensors"))

    titan_train(*arguments, "--training.steps", last + 2)
    assert [record["step"] for record in step_records(tmp_path)] == list(range(1, last + 3))


def test_without_checkpoints_says_that_nothing_was_saved(titan_train, tmp_path):
    process = titan_train.start(*SMALL, *ENDLESS, "--checkpoint.no_enable", "--job.dump_folder", tmp_path)
    wait_for_steps(process, tmp_path, 2)
    process.send_signal(signal.SIGTERM)
    status, output = end_of(process)
    assert status == 0
    assert "nothing was saved" in output
    assert not (tmp_path / "checkpoint").exists()


def test_second_signal_ends_at_once(titan_train, tmp_path):
    # Steps of a second or more, so that the second signal meets the first one's step.
    slow = ("--training.local_batch_size", 8, "--training.seq_len", 512)
    process = titan_train.start(DEBUG_JOB, *ENDLESS, *NO_SAVES, *slow, "--job.dump_folder", tmp_path)
    wait_for_steps(process, tmp_path, 1, seconds=200)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    assert process.poll() is None
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    assert time.monotonic() - start < 1
    # As a shell sees it: 128 + n.
    assert process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert not list((tmp_path / "checkpoint").glob("step-*"))
    process.communicate()


def test_after_a_kill_the_next_run_goes_on(titan_train, tmp_path):
    arguments = (*SMALL, "--checkpoint.interval", 2, "--job.dump_folder", tmp_path)
    process = titan_train.start(*arguments, *ENDLESS)
    wait_for_steps(process, tmp_path, 7)
    process.kill()
    process.communicate()
    before = step_records_so_far(tmp_path)[-1]["step"]
    titan_train(*arguments, "--training.steps", before + 2)
    steps = [record["step"] for record in step_records(tmp_path)]
    resumed_from = steps[steps.index(before) + 1] - 1  # of the second run
    assert resumed_from % 2 == 0 and before - 3 <= resumed_from <= before
    assert steps[-1] == before + 2
