"""What scripts/train.sh starts for upstream's environment variables, with stand-ins for the set-up, the build and the
programs, which print their arguments."""
import os
import shutil
import subprocess

import pytest
from driver import ROOT

TORCHRUN = "python -m torch.distributed.run --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint localhost:0 "


@pytest.fixture
def train_sh(tmp_path):
    """Runs a copy of the script from a folder beside its repository; gives what it started, or its message."""
    repository, here = tmp_path / "repository", tmp_path / "here"
    here.mkdir()
    for name in ("scripts/bootstrap.sh", "scripts/build.sh", "build/bin/titan-train", ".venv/bin/python"):
        stand_in = repository / name
        stand_in.parent.mkdir(parents=True, exist_ok=True)
        stand_in.write_text("#!/bin/sh\n" + ("" if name.endswith(".sh") else 'echo "$(basename "$0") $*"\n'))
        stand_in.chmod(0o755)
    (repository / "configs").mkdir()
    (repository / "configs/debug.toml").touch()
    (here / "mine.toml").touch()
    shutil.copy(ROOT / "scripts/train.sh", repository / "scripts")

    def run(*arguments, expect=0, **variables):
        usual = {name: value for name, value in os.environ.items()
                 if name not in ("NGPU", "LOG_RANK", "CONFIG_FILE", "COMM_MODE")}  # fmt: skip
        done = subprocess.run([repository / "scripts/train.sh", *arguments], cwd=here, env={**usual, **variables},
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == expect, done.stderr
        return (done.stdout + done.stderr).strip().replace(str(here), "HERE")

    return run


def test_one_process_is_no_job_of_torchrun(train_sh):
    started = "titan-train configs/debug.toml --training.steps 3"
    assert train_sh("configs/debug.toml", "--training.steps", "3") == started
    assert train_sh("configs/debug.toml", "--training.steps", "3", NGPU="1") == started


def test_many_processes(train_sh):
    program = "--role rank --tee 3 --no-python build/bin/titan-train HERE/mine.toml --training.steps 3"
    arguments = ("mine.toml", "--training.steps", "3")
    assert train_sh(*arguments, NGPU="4") == TORCHRUN + "--local-ranks-filter 0 " + program
    assert train_sh(*arguments, NGPU="4", LOG_RANK="0,2") == TORCHRUN + "--local-ranks-filter 0,2 " + program


def test_config_file(train_sh):
    assert train_sh(CONFIG_FILE="configs/debug.toml") == "titan-train --job.config_file=configs/debug.toml"
    assert train_sh("--a.b", "1", CONFIG_FILE="mine.toml") == "titan-train --job.config_file=HERE/mine.toml --a.b 1"


def test_comm_mode_is_left_to_the_program(train_sh):
    assert train_sh("mine.toml", COMM_MODE="fake_backend", NGPU="32") == (
        "titan-train HERE/mine.toml --comm.mode=fake_backend")  # fmt: skip


@pytest.mark.parametrize("count", ["0", "-1", "two", "1.5", "08"])
def test_what_is_no_number_of_processes(train_sh, count):
    assert f'in NGPU, got "{count}"' in train_sh("mine.toml", NGPU=count, expect=2)
