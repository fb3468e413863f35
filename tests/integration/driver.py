"""Runs the built titan-train on the CPU, as a user would. The folder of the binaries is build/, or $TITAN_BUILD."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TITAN_BUILD", ROOT / "build"))
TITAN_TRAIN = BUILD / "bin" / "titan-train"
DEBUG_JOB = ROOT / "configs" / "debug.toml"

# The debug job cut down to a few milliseconds a step.
SMALL = (DEBUG_JOB, "--model.n_layers", 2, "--training.seq_len", 64, "--training.local_batch_size", 2)


def mesh(replicate=1, shard=1, tensor=1):
    return ("--parallelism.data_parallel_replicate_degree", replicate, "--parallelism.data_parallel_shard_degree", shard,
            "--parallelism.tensor_parallel_degree", tensor)  # fmt: skip


# In a rank's environment: what the ranks of a host exchange goes through process groups, as between hosts.
PROCESS_GROUPS_ONLY = {"NCCL_P2P_DISABLE": "1"}


def batch(sequences):
    return ("--training.local_batch_size", sequences)


class TitanTrain:
    """Starts titan-train with an environment of its own: no GPU, one thread, a cache folder shared by all tests."""

    def __init__(self, cache):
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("NCCL_P2P_")},
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(cache),
        }

    def start(self, *arguments, launcher=(), **options):
        """The running process, with `env` beside its environment; its stdout and stderr are pipes of text."""
        options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        options["env"] = {**self.environment, **options.get("env", {}), MARK: str(uuid.uuid4())}
        process = subprocess.Popen([str(part) for part in (*launcher, TITAN_TRAIN, *arguments)], text=True, **options)
        process.mark = options["env"][MARK]
        return process

    @contextlib.contextmanager
    def running(self, *arguments, **options):
        """The same, for a block; at its end all that it started is ended, workers of torchrun included."""
        process = self.start(*arguments, **options)
        try:
            yield process
        finally:
            end(process)

    def __call__(self, *arguments, expect=0, timeout=120, **options):
        """Runs to the end, checks the exit status; gives stdout, stderr and both as `output`."""
        with self.running(*arguments, **options) as process:
            stdout, stderr = process.communicate(timeout=timeout)
        done = subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)
        done.output = stdout + stderr
        assert expect is None or done.returncode == expect, f"exit status {done.returncode}, not {expect}\n{done.output}"
        return done


MARK = "TITAN_TEST_PROCESS"  # inherited by all that a process starts


def environments(process):
    """Of the process and of all that it has started, by process id."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            lines = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            variables = dict(line.split("=", 1) for line in lines if "=" in line)
            if variables.get(MARK) == process.mark:
                found[int(folder.name)] = variables
    return found


def end(process):
    for _ in range(2):  # what was being started meanwhile
        for pid in environments(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if process.stdout:
        process.stdout.close()
    if process.stderr:
        process.stderr.close()
    process.wait()


def workers(process, seconds=30):
    """The process ids of the titan-train processes that torchrun has started, by rank; waits until all are there."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        ranks = {}
        for pid, variables in environments(process).items():
            with contextlib.suppress(OSError):
                if "RANK" in variables and os.path.basename(os.readlink(f"/proc/{pid}/exe")) == TITAN_TRAIN.name:
                    ranks[int(variables["RANK"])] = pid
                    count = int(variables["LOCAL_WORLD_SIZE"])
        if ranks and len(ranks) == count:
            return ranks
        time.sleep(0.05)
    raise AssertionError("not all ranks have come")


def wait_for(process, pattern):
    """Reads the process's output up to a line that matches; gives the match."""
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"no {pattern}: {process.stderr.read()}")


def wait_for_step(process, step):
    wait_for(process, f"step: *{step} ")


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def ranks_without_launcher(
    titan_train, size, *options, started=None, folders=None, port=None, rank_options=None, env=None
):
    """The processes of the ranks `started`, by default all, as a loop in the shell would start them: rank 0 hosts the
    store. Each runs in its own folder of `folders`, and with its own further options."""
    port = port or free_port()
    with contextlib.ExitStack() as stack:
        processes = []
        for rank in started or range(size):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size,
                     "MASTER_ADDR": "localhost", "MASTER_PORT": port}  # fmt: skip
            environment = {**(env or {}), **{name: str(value) for name, value in place.items()}}
            folder = folders / str(rank) if folders else ROOT
            more = (rank_options or {}).get(rank, ())
            processes.append(stack.enter_context(titan_train.running(*options, *more, env=environment, cwd=folder)))
        yield processes


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
    """Every tensor of a checkpoint by part and name, put together from the shards, as numpy arrays; bfloat16 as its 16
    bits."""
    import torch
    from safetensors import safe_open

    chunks = {}
    for file in sorted(pathlib.Path(step_folder).glob("*/*.safetensors")):
        with safe_open(file, framework="pt") as content:
            sharding = json.loads((content.metadata() or {}).get("DCP_SHARDING_INFO", "{}"))
            for name in content.keys():
                tensor = content.get_tensor(name)
                tensor = tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
                offsets = sharding[name]["saved_offsets"] if name in sharding else [0] * tensor.dim()
                chunks.setdefault((file.parent.name, name), []).append((offsets, tensor.numpy()))
    return {place: put_together(parts) for place, parts in chunks.items()}


def put_together(chunks):
    """One array of those that lie in it at given offsets."""
    import numpy

    ends = [numpy.add(offsets, chunk.shape) for offsets, chunk in chunks]
    whole = numpy.empty(numpy.max(ends, axis=0).astype(int), chunks[0][1].dtype)
    assert whole.size == sum(chunk.size for _, chunk in chunks)
    for offsets, chunk in chunks:
        whole[tuple(slice(begin, begin + count) for begin, count in zip(offsets, chunk.shape))] = chunk
    return whole


def assert_bitwise_equal(one, other):
    """Of two results of tensors()."""
    import numpy

    assert one.keys() == other.keys() and one
    for name in one:
        numpy.testing.assert_array_equal(one[name].view(numpy.uint8), other[name].view(numpy.uint8), err_msg=str(name))


def files_below(folder):
    folder = pathlib.Path(folder)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
