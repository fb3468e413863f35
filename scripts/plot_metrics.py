#!/usr/bin/env python3
"""Draws loss and tokens per second of runs to OUT.png and OUT.svg: plot_metrics.py RUN... [--out OUT]

A RUN is a dump folder or its metrics.jsonl, shown under the folder's name, or under LABEL if given as LABEL=RUN.
Of a step that a resumed run went through again the later record counts. Needs matplotlib.
"""

import argparse
import collections
import json
import math
import pathlib
import sys

Run = collections.namedtuple("Run", "label steps loss tps validation_steps validation_loss")


class InputProblem(Exception):
    """What is wrong with a run, for the user."""


def read_records(path):
    """Records of a metrics.jsonl by kind and step, later ones over earlier ones, and the number of bad lines."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputProblem(f"{path}: {error.strerror}; a run writes metrics.jsonl into its job.dump_folder") from None
    records, bad = {}, 0
    for line in filter(str.strip, lines):
        try:
            record = json.loads(line)
            records[record["kind"], int(record["step"])] = record
        except (ValueError, KeyError, TypeError):
            bad += 1  # a line that a crash has torn
    return records, bad


def column(records, key, path):
    """The numbers under one key; "NaN" and "Infinity", which JSON has no numbers for, leave a gap."""
    try:
        numbers = [float(record[key]) for record in records]
    except (KeyError, TypeError, ValueError):
        raise InputProblem(f"{path}: a record without a number under '{key}'") from None
    return [number if math.isfinite(number) else math.nan for number in numbers]


def read_run(argument):
    label, _, name = argument.rpartition("=")
    path = pathlib.Path(name)
    if path.is_dir():
        path /= "metrics.jsonl"
    records, bad = read_records(path)
    if bad:
        print(f"{path}: {bad} line(s) left out that are no records", file=sys.stderr)

    def of_kind(kind):
        return [records[key] for key in sorted(records) if key[0] == kind]

    steps, validations = of_kind("step"), of_kind("validation")
    if not steps:
        raise InputProblem(f"{path}: no step has been logged in it")
    return Run(
        label=label or path.resolve().parent.name,
        steps=[record["step"] for record in steps],
        loss=column(steps, "global_avg_loss", path),
        tps=column(steps, "tps", path),
        validation_steps=[record["step"] for record in validations],
        validation_loss=column(validations, "loss", path),
    )


def draw(runs):
    try:
        import matplotlib
    except ImportError:
        raise InputProblem("matplotlib is missing: pip install matplotlib") from None
    matplotlib.use("Agg")  # files only: no display is needed
    from matplotlib import pyplot

    figure, (loss, speed) = pyplot.subplots(2, 1, sharex=True, figsize=(9, 7), height_ratios=(2, 1))
    for run in runs:
        marker = "." if len(run.steps) < 50 else ""
        (line,) = loss.plot(run.steps, run.loss, label=run.label, marker=marker)
        if run.validation_steps:
            loss.plot(run.validation_steps, run.validation_loss, "o--", color=line.get_color(),
                      markersize=4, linewidth=1, label=f"{run.label}, validation")
        speed.plot(run.steps, run.tps, color=line.get_color(), marker=marker)
    loss.set_ylabel("loss")
    loss.legend()
    speed.set_ylabel("tokens/s per device")
    speed.set_ylim(0, 1.1 * max(speed.dataLim.ymax, 1))
    speed.set_xlabel("step")
    for axes in (loss, speed):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="dump folder or metrics.jsonl, or LABEL=one of them")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("metrics"), help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        figure = draw([read_run(argument) for argument in arguments.runs])
        for suffix in (".png", ".svg"):
            path = arguments.out.with_name(arguments.out.name + suffix)
            figure.savefig(path, dpi=150)
            print(path)
    except InputProblem as problem:
        sys.exit(f"plot_metrics.py: {problem}")
    except OSError as error:
        sys.exit(f"plot_metrics.py: cannot write {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
