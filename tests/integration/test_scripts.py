"""scripts/train.sh once everything is built: quick, quiet and from any folder."""
import shutil
import subprocess
import time

import pytest
from driver import BUILD, ROOT, TITAN_TRAIN

pytestmark = pytest.mark.skipif(BUILD != ROOT / "build", reason="the scripts build in build/")


def train_sh(*arguments, cwd, expect=0):
    done = subprocess.run([ROOT / "scripts" / "train.sh", *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def test_a_second_call_adds_nothing(tmp_path):
    binary = TITAN_TRAIN.stat()
    start = time.monotonic()
    done = train_sh("--version", cwd=tmp_path)
    assert time.monotonic() - start < 3
    assert "2.11.0" in done.stdout and not done.stderr
    assert TITAN_TRAIN.stat().st_mtime == binary.st_mtime


def test_job_is_found_in_the_callers_folder_or_the_repository(tmp_path):
    shutil.copy(ROOT / "configs" / "debug.toml", tmp_path / "mine.toml")
    for job in (["mine.toml"], [tmp_path / "mine.toml"], ["configs/debug.toml"], ["--job.config_file=mine.toml"],
                ["--job.config_file", "mine.toml"]):  # fmt: skip
        done = train_sh(*job, "--print_config", "--training.steps=17", cwd=tmp_path)
        assert "steps = 17" in done.stdout and 'flavor = "debugmodel"' in done.stdout


def test_status_is_the_programs(tmp_path):
    done = train_sh("none.toml", cwd=tmp_path, expect=2)
    assert "none.toml" in done.stderr
