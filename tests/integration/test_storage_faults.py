"""A disk that fills up or cannot be written: the run goes on, the failed checkpoint is reported, earlier ones stay."""
import os
import re
import resource
import signal
import subprocess

import numpy
import pytest
from driver import ROOT, SMALL, TITAN_TRAIN, step_records, tensors, torchrun

COMMON = (*SMALL, "--checkpoint.interval", 2)
FLOAT8 = ("--model.converters", "float8", "--float8.emulate", "--float8.filter_fqns", "output")
TWO, SIX = ("--training.steps", 2), ("--training.steps", 6)


def failed_saves(output):
    return [int(step) for step in re.findall(r"ERROR - Checkpoint step-(\d+) was NOT saved", output)]


def limit_file_size():
    # Writes beyond the limit fail with EFBIG: metrics fit, a checkpoint's shards do not.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def test_files_that_may_not_grow(titan_train, tmp_path):
    arguments = (*COMMON, "--job.dump_folder", tmp_path)
    titan_train(*arguments, *TWO)
    before = tensors(tmp_path / "checkpoint" / "step-2")
    done = titan_train(*arguments, *SIX, preexec_fn=limit_file_size, restore_signals=False, expect=1)
    assert failed_saves(done.output) == [4, 6]
    assert "training ended after step 6, but its checkpoint was not saved: " in done.stderr
    assert [record["step"] for record in step_records(tmp_path)] == list(range(1, 7))
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir() if path.is_dir()) == ["step-2"]
    after = tensors(tmp_path / "checkpoint" / "step-2")
    assert all(numpy.array_equal(before[name], after[name]) for name in before)


def in_own_mounts(script, environment):
    """Runs a shell script as root of its own mount namespace; skips where that is not allowed."""
    unshare = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    return subprocess.run([*unshare, "bash", "-euc", script], cwd=ROOT, env=environment, capture_output=True, text=True)


def command(*arguments):
    return " ".join([str(TITAN_TRAIN), *map(str, arguments)])


def test_disk_full(titan_train, tmp_path):
    copy = tmp_path / "copy"
    done = in_own_mounts(
        f"mkdir {tmp_path}/disk; mount -t tmpfs -o size=1m none {tmp_path}/disk\n"
        f"{command(*COMMON, *SIX, '--job.dump_folder', tmp_path / 'disk')} || echo status $?\n"
        f"cp -r {tmp_path}/disk {copy}",
        titan_train.environment,
    )
    output = done.stdout + done.stderr
    assert failed_saves(output) == [2, 4, 6] and "No space left" in output and "status 1" in output, output
    assert [record["step"] for record in step_records(copy)] == list(range(1, 7))
    assert not list((copy / "checkpoint").glob("step-*"))


def test_read_only_output(titan_train, tmp_path):
    dump = tmp_path / "out"
    titan_train(*COMMON, *TWO, "--job.dump_folder", dump)
    done = in_own_mounts(
        f"mount --bind {dump} {dump}; mount -o remount,ro,bind {dump}\n"
        f"{command(*COMMON, *SIX, *FLOAT8, '--job.dump_folder', dump)} || echo status $?",
        titan_train.environment,
    )
    output = done.stdout + done.stderr
    assert "Read-only file system" in output, output
    assert "conversion_report.json was not written: " in output, output
    assert "step:  6" in output and "status 1" in output, output
    assert (dump / "checkpoint" / "step-2" / "titan.json").exists()
    assert [record["step"] for record in step_records(dump)] == [1, 2]


@pytest.mark.parametrize(
    "ranks, options, message",
    [
        (1, ("--checkpoint.enable",), "no checkpoint can be saved: cannot create "),
        (2, ("--checkpoint.enable",), "no checkpoint can be saved: cannot create "),
        (2, ("--checkpoint.no_enable",), "cannot be made: Not a directory"),
        (1, ("--checkpoint.no_enable", "--job.save_config_file", "job.json"), "cannot be made: Not a directory"),
    ],
)
def test_folder_that_cannot_be_made(titan_train, tmp_path, ranks, options, message):
    (tmp_path / "file").touch()
    arguments = (*COMMON, *SIX, "--job.dump_folder", tmp_path / "file" / "x", *options)
    done = titan_train(*arguments, launcher=torchrun(ranks) if ranks > 1 else (), expect=1 if ranks > 1 else 2)
    assert message in done.stderr and re.search(r"choose (a job\.dump_folder|one) in which", done.stderr)
    assert "step:" not in done.output
