"""titan-bench without a GPU: exit status 2, what is wrong, and nothing written."""
import os
import subprocess

import pytest
from driver import BUILD, DEBUG_JOB, files_below

SIZES = ["--M", "64,128", "--K", "32", "--N", "16"]

# name: (arguments, what the message must contain)
ARGUMENTS = {
    "nothing to time": ([], "subcommand"),
    "unknown bench": (["float9"], "subcommand"),
    "no multiple of 16": (["float8_linear", "--M", "64", "--K", "32,24", "--N", "16"], "24 is not a positive multiple of 16"),
    "no number": (["float8_linear", "--M", "64k", "--K", "32", "--N", "16"], "64k"),
    "zero tokens": (["matmul", "0"], "0 is not a positive multiple of 16"),
    "M alone": (["float8_linear", "--M", "64"], "--M, --K and --N together"),
    "unknown format": (["float8_linear", *SIZES, "--format", "xml"], "csv"),
    "a job's unknown option": (["step", DEBUG_JOB, "--training.stepz", "3"], "training.steps"),
    "float8_linear": (["float8_linear", "--format", "csv", "--output", "table.csv"], "needs a CUDA device"),
    "float8_linear, sizes": (["float8_linear", *SIZES], "needs a CUDA device"),
    "matmul": (["matmul", "4096"], "needs a CUDA device"),
    "quantize": (["quantize"], "needs a CUDA device"),
    "ops": (["ops", "rms_norm"], "needs a CUDA device"),
    "step": (["step", DEBUG_JOB, "--training.steps", "3"], "needs a CUDA device"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_says_what_is_wrong(tmp_path, name):
    arguments, message = ARGUMENTS[name]
    done = subprocess.run([str(BUILD / "bin/titan-bench"), *map(str, arguments)], cwd=tmp_path, capture_output=True,
                          text=True, timeout=120, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr and not done.stdout
    assert files_below(tmp_path) == []
