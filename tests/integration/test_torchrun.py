"""Under the real torchrun: how a failure is reported."""
import json
import os
import pathlib
import re
import signal

from driver import BUILD, DEBUG_JOB, SMALL, torchrun


def root_cause(output):
    """The part of torchrun's summary on the process that failed first."""
    return re.search(r"Root Cause \(first observed failure\):(.*)", output, re.S)[1]


def worker(process, rank):
    """The process id of a rank below a running torchrun."""
    for children in pathlib.Path(f"/proc/{process.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            if f"RANK={rank}" in pathlib.Path(f"/proc/{child}/environ").read_text().split("\0"):
                return int(child)
    raise AssertionError(f"no rank {rank}")


def test_bad_input_is_the_root_cause_in_the_summary(titan_train):
    done = titan_train(DEBUG_JOB, "--training.steps", "many", launcher=torchrun(2), expect=1)
    cause = root_cause(done.output)
    assert re.search(r"traceback : .*training\.steps.*many", cause) and re.search(r"exitcode +: 2", cause)


def test_several_lines_stay_several_lines(titan_train):
    done = titan_train(DEBUG_JOB, "--training.steps", "many", "--model.no_such", "1", launcher=torchrun(1), expect=1)
    traceback = root_cause(done.output).split("traceback : ")[1]
    assert "\n" in traceback.split("=====")[0].strip()


def test_exception_in_a_thread(titan_train, tmp_path):
    error_file = tmp_path / "error.json"
    environment = {
        **titan_train.environment,
        "LD_PRELOAD": BUILD / "tests" / "throw_in_thread.so",
        "TORCHELASTIC_ERROR_FILE": error_file,
    }
    done = titan_train(*SMALL, "--job.dump_folder", tmp_path, env=environment, expect=1)
    assert "titan-train: the thread's own reason" in done.stderr
    assert json.loads(error_file.read_text())["message"]["message"] == "the thread's own reason"


def test_no_error_file_where_all_is_well(titan_train, tmp_path):
    error_file = tmp_path / "error.json"
    titan_train("--version", env={**titan_train.environment, "TORCHELASTIC_ERROR_FILE": error_file})
    assert not error_file.exists()


def test_a_rank_that_is_killed_is_the_root_cause(titan_train, tmp_path):
    """Not one of the others, which lose contact with it and can say so."""
    long = (*SMALL, "--training.steps", 100000, "--checkpoint.no_enable", "--job.dump_folder", tmp_path)
    process = titan_train.start(*long, launcher=torchrun(3))
    try:
        assert any("step:  2" in line for line in process.stdout)
        os.kill(worker(process, rank=2), signal.SIGKILL)
        output = process.communicate(timeout=60)[1]
    finally:
        process.terminate()
    assert process.returncode == 1
    cause = root_cause(output)
    assert re.search(r"rank +: 2 ", cause) and "SIGKILL" in cause
    assert "titan-train: lost contact with other ranks" in output
