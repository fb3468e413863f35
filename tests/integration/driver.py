"""Runs the built titan-train on the CPU, as a user would. The folder of the binaries is build/, or $TITAN_BUILD."""
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TITAN_BUILD", ROOT / "build"))
TITAN_TRAIN = BUILD / "bin" / "titan-train"
DEBUG_JOB = ROOT / "configs" / "debug.toml"

# The debug job cut down to a few milliseconds a step.
SMALL = (DEBUG_JOB, "--model.n_layers", 2, "--training.seq_len", 64, "--training.local_batch_size", 2)


class TitanTrain:
    """Starts titan-train with an environment of its own: no GPU, one thread, a cache folder shared by all tests."""

    def __init__(self, cache):
        self.environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(cache),
        }

    def start(self, *arguments, launcher=(), **options):
        """The running process; its stdout and stderr are pipes of text."""
        options = {"cwd": ROOT, "env": self.environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen([str(part) for part in (*launcher, TITAN_TRAIN, *arguments)], text=True, **options)

    def __call__(self, *arguments, expect=0, timeout=120, **options):
        """Runs to the end, checks the exit status; gives stdout, stderr and both as `output`."""
        process = self.start(*arguments, **options)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        done = subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)
        done.output = stdout + stderr
        assert expect is None or done.returncode == expect, f"exit status {done.returncode}, not {expect}\n{done.output}"
        return done


def torchrun(processes, *options):
    """A launcher that starts so many processes of this host, by a free port."""
    return (sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node", processes,
            "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", *options)  # fmt: skip


def step_records(dump_folder):
    """The step lines of metrics.jsonl in the order of writing."""
    lines = (pathlib.Path(dump_folder) / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "step"]


def losses(dump_folder):
    return {record["step"]: record["global_avg_loss"] for record in step_records(dump_folder)}


def tensors(step_folder):
    """Every tensor of a checkpoint by part and name, as numpy arrays; bfloat16 as its 16 bits."""
    import torch
    from safetensors import safe_open

    found = {}
    for file in sorted(pathlib.Path(step_folder).glob("*/*.safetensors")):
        with safe_open(file, framework="pt") as content:
            for name in content.keys():
                tensor = content.get_tensor(name)
                found[file.parent.name, name] = (
                    tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
                ).numpy()
    return found


def assert_bitwise_equal(one, other):
    """Of two results of tensors()."""
    import numpy

    assert one.keys() == other.keys() and one
    for name in one:
        numpy.testing.assert_array_equal(one[name].view(numpy.uint8), other[name].view(numpy.uint8), err_msg=str(name))


def files_below(folder):
    folder = pathlib.Path(folder)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
