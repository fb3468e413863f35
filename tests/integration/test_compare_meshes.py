"""scripts/compare_meshes.py: what it prints of the same job on one process and on two."""
import re
import subprocess
import sys
from statistics import mean

from driver import ROOT, SMALL, TITAN_TRAIN


def compare(titan_train, *arguments, expect=0):
    job, *options = map(str, SMALL)
    command = [sys.executable, ROOT / "scripts/compare_meshes.py", job, "--program", TITAN_TRAIN, "--global-batch", "4",
               "--steps", "3", *arguments, "--", *options]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=titan_train.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def rows(text):
    """The table's rows by what stands first in them."""
    cells = [re.split(r" *\| *", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return {first: rest for first, *rest in cells}


def test_two_processes_beside_one(titan_train):
    two, other = "2 --parallelism.data_parallel_shard_degree 2", "1 --optimizer.lr 0.1"
    printed = compare(titan_train, "1", two, other).stdout
    assert printed.startswith(f"- A: `1`\n- B: `{two}`\n- C: `{other}`\n")
    found = rows(printed)
    assert found["step"] == ["A", "B", "C"]
    one, sharded, faster = zip(*(map(float, found[step]) for step in "123"))
    assert one[0] > one[2]  # it learns
    for name, summary in (("largest difference", max), ("mean difference", mean)):
        itself, of_two, of_other = map(float, found[name])
        assert itself == 0 and of_two < 1e-5
        assert of_other > 1e-2
        expected = summary([abs(loss - reference) / reference for loss, reference in zip(faster, one)])
        assert abs(of_other - expected) < 0.06 * expected  # printed with two digits
    assert max(abs(loss - reference) for loss, reference in zip(sharded, one)) < 1e-4


def test_a_run_that_fails_is_shown(titan_train):
    done = compare(titan_train, "1 --parallelism.tensor_parallel_degree 2", expect=1)
    assert "the degrees do not make up the 1 rank" in done.stderr and not done.stdout
    done = compare(titan_train, "one", expect=2)
    assert 'got "one"' in done.stderr
