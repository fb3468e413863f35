"""cmake --install: the installed tree runs wherever it is put, without the build's folders."""
import os
import re
import shutil
import subprocess

import pytest
from driver import BUILD, DEBUG_JOB, losses

PROGRAMS = ["titan-train", "titan-bench", "titan-convert"]
# What a host of the same system has by itself.
SYSTEM = re.compile(r"(linux-vdso|ld-linux-x86-64|lib(c|m|dl|rt|util|pthread|gcc_s|stdc\+\+))\.so")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Installed in one place and moved to another. The libraries are links, to save a copy of gigabytes."""
    base = tmp_path_factory.mktemp("install")
    for component, mode in {"program": "COPY", "libraries": "ABS_SYMLINK"}.items():
        subprocess.run(["cmake", "--install", BUILD, "--prefix", base / "first", "--component", component],
                       env={**os.environ, "CMAKE_INSTALL_MODE": mode}, check=True)  # fmt: skip
    shutil.move(base / "first", base / "moved")
    return base / "moved"


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_look_for_libraries_beside_them_alone(tree, program):
    listed = subprocess.run(["readelf", "-d", tree / "bin" / program], capture_output=True, text=True, check=True)
    assert re.findall(r"R(?:UN)?PATH\) .*\[(.*)\]", listed.stdout) == ["$ORIGIN/../lib"]
    listed = subprocess.run(["ldd", tree / "bin" / program], env={}, capture_output=True, text=True, check=True)
    found = dict(re.findall(r"(\S+) => (\S+)", listed.stdout))
    outside = {name: path for name, path in found.items() if not SYSTEM.match(name) and not path.startswith(str(tree))}
    assert not outside and len(found) > 2


def test_files_that_come_with_it(tree):
    share = tree / "share/titan-train"
    for name in ("README.md", "configs/debug.toml", "assets/tokenizer/tokenizer.json", "docs/options.md",
                 "scripts/train.sbatch"):  # fmt: skip
        assert (share / name).is_file(), name
    assert sorted(path.name for path in tree.iterdir()) == ["bin", "lib", "share"]


def test_the_debug_job_from_an_unrelated_folder(tree, tmp_path, titan_train):
    """With next to no environment: the text and the tokenizer of the job file are the tree's."""
    few = ("--training.steps", "3", "--debug.seed", "1")
    job = tree / "share/titan-train/configs/debug.toml"
    environment = {"HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([tree / "bin/titan-train", job, *few], cwd=tmp_path, env=environment, capture_output=True,
                          text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"assets/tokenizer is {tree}/share/titan-train/assets/tokenizer" in done.stdout

    titan_train(DEBUG_JOB, *few, "--job.dump_folder", tmp_path / "build")
    assert losses(tmp_path / "outputs") == losses(tmp_path / "build")


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_starts(tree, program):
    done = subprocess.run([tree / "bin" / program, "--help"], env={}, capture_output=True, text=True)
    assert done.returncode == 0 and program in done.stdout
