#!/usr/bin/env python3
"""Trains one job on several meshes and prints their losses side by side:

  compare_meshes.py JOB.toml MESH MESH... --global-batch N [--steps 50] [--seed 1] [-- OPTION...]

A MESH is a number of processes on this host with the options that belong to it, as one argument: 1, 4,
"4 --parallelism.tensor_parallel_degree 2". Every run sees the same data in the same order and starts from the same
weights; OPTIONs behind -- go to all of them. The last lines of the table are the largest and the mean relative
difference of each run's losses to the first one's. How much of it is rounding shows a run on the first mesh that cuts
the batch otherwise, such as "1 --training.local_batch_size 1". Needs torchrun, which comes with .venv:

  .venv/bin/python scripts/compare_meshes.py configs/llama3_8b_16_layers.toml --global-batch 8 \\
      1 "1 --training.local_batch_size 1" 4 "4 --parallelism.tensor_parallel_degree 2" -- --model.converters float8
"""

import argparse
import collections
import json
import math
import pathlib
import shlex
import string
import subprocess
import sys
import tempfile
from statistics import mean

Mesh = collections.namedtuple("Mesh", "text processes options")

PROGRAM = pathlib.Path(__file__).resolve().parents[1] / "build/bin/titan-train"


class Problem(Exception):
    """What is wrong with the arguments or a run, for the user."""


def parse_mesh(text):
    words = shlex.split(text)
    try:
        processes = int(words[0])
    except (IndexError, ValueError):
        processes = 0
    if processes < 1:
        raise argparse.ArgumentTypeError(f'expected a number of processes and options, such as "4", got "{text}"')
    return Mesh(" ".join(words), processes, words[1:])


def launcher(processes):
    if processes == 1:
        return []
    return [sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node", str(processes),
            "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]  # fmt: skip


def train(program, job, mesh, options, dump_folder):
    """The losses of the run's steps."""
    command = [*launcher(mesh.processes), program, job, *mesh.options, *options, "--job.dump_folder", dump_folder]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Problem(f"exit status {done.returncode} of {shlex.join(map(str, command))}:\n{done.stdout}")
    records = map(json.loads, (dump_folder / "metrics.jsonl").read_text().splitlines())
    return [float(record["global_avg_loss"]) for record in records if record["kind"] == "step"]


def relative_difference(loss, reference):
    difference = abs(loss - reference) / abs(reference)
    return difference if math.isfinite(difference) else math.inf


def table(meshes, losses):
    """As Markdown: a row for each step, a column for each run."""
    letters = string.ascii_uppercase[: len(meshes)]
    lines = [f"- {letter}: `{mesh.text}`" for letter, mesh in zip(letters, meshes)]
    lines += ["", "| step | " + " | ".join(letters) + " |", "| ---: |" + " ---: |" * len(meshes)]
    for step, values in enumerate(zip(*losses), start=1):
        lines.append(f"| {step} | " + " | ".join(f"{value:.6f}" for value in values) + " |")
    differences = [list(map(relative_difference, run, losses[0])) for run in losses]
    for name, summary in (("largest difference", max), ("mean difference", mean)):
        lines.append(f"| {name} | " + " | ".join(f"{summary(run):.1e}" for run in differences) + " |")
    return "\n".join(lines)


def compare(arguments, options):
    options = [*options, "--training.steps", arguments.steps, "--debug.seed", arguments.seed,
               "--training.global_batch_size", arguments.global_batch, "--training.data_order", "global",
               "--metrics.log_freq", 1, "--metrics.no_enable_tensorboard", "--checkpoint.no_enable"]  # fmt: skip
    losses = []
    with tempfile.TemporaryDirectory() as folder:
        for number, mesh in enumerate(arguments.meshes, start=1):
            print(f"run {number} of {len(arguments.meshes)}: {mesh.text}", file=sys.stderr)
            dump_folder = pathlib.Path(folder) / str(number)
            losses.append(train(arguments.program, arguments.job, mesh, options, dump_folder))
            if len(losses[-1]) != arguments.steps:
                raise Problem(f'"{mesh.text}" took {len(losses[-1])} of {arguments.steps} steps: the data ended')
    return table(arguments.meshes, losses)


def main():
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    ours, options = sys.argv[1:end], sys.argv[end + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", metavar="JOB.toml", type=pathlib.Path)
    parser.add_argument("meshes", metavar="MESH", type=parse_mesh, nargs="+")
    parser.add_argument("--global-batch", metavar="N", type=int, required=True, help="sequences of a step")
    parser.add_argument("--steps", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--program", type=pathlib.Path, default=PROGRAM, help="default: build/bin/titan-train")
    try:
        print(compare(parser.parse_args(ours), options))
    except Problem as problem:
        sys.exit(f"compare_meshes.py: {problem}")
    except OSError as error:
        sys.exit(f"compare_meshes.py: {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
