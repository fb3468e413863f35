"""Under the real torchrun: how a failure is reported. And which ranks log."""
import json
import re

from driver import BUILD, DEBUG_JOB, SMALL, ranks_without_launcher, torchrun


def root_cause(output):
    """The part of torchrun's summary on the process that failed first."""
    return re.search(r"Root Cause \(first observed failure\):(.*)", output, re.S)[1]


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
    environment = {"LD_PRELOAD": BUILD / "tests" / "throw_in_thread.so", "TORCHELASTIC_ERROR_FILE": error_file}
    done = titan_train(*SMALL, "--job.dump_folder", tmp_path, env=environment, expect=1)
    assert "titan-train: the thread's own reason" in done.stderr
    assert json.loads(error_file.read_text())["message"]["message"] == "the thread's own reason"


def test_no_error_file_where_all_is_well(titan_train, tmp_path):
    error_file = tmp_path / "error.json"
    titan_train("--version", env={"TORCHELASTIC_ERROR_FILE": error_file})
    assert not error_file.exists()


def test_the_first_rank_logs_and_those_of_log_rank(titan_train, tmp_path, monkeypatch):
    monkeypatch.setitem(titan_train.environment, "LOG_RANK", "2,3")
    job = (*SMALL, "--training.steps", 1, "--checkpoint.no_enable", "--job.dump_folder", tmp_path)
    with ranks_without_launcher(titan_train, 3, *job) as processes:
        outputs = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert ["Training completed" in output for output, _ in outputs] == [True, False, True]
    assert outputs[1][0] == ""
