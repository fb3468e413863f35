#!/usr/bin/env python3
"""Draws where float8 pays to OUT.png and OUT.svg: plot_float8_linear.py TABLE [--out OUT]

TABLE is what `titan-bench float8_linear --format csv` (or json) wrote. A heat map of the speed-up over bf16 by K and N,
a row of panels for each recipe and a panel for each M: blue is faster than bf16, red slower. Needs matplotlib.
"""

import argparse
import csv
import json
import math
import pathlib
import sys

RECIPES = ("rowwise", "rowwise_with_gw_hp")


class InputProblem(Exception):
    """What is wrong with the table, for the user."""


def read_rows(path):
    """The lines of the table as dicts of text (CSV) or numbers (JSON)."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputProblem(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not text.lstrip().startswith("{"):
        return list(csv.DictReader(text.splitlines()))
    try:
        return json.loads(text)["rows"]
    except (ValueError, KeyError) as error:
        raise InputProblem(f"{path}: not what --format json writes: {error}") from None


def read_speedups(path):
    """{recipe: {(M, K, N): speed-up}}"""
    rows = read_rows(path)
    if not rows:
        raise InputProblem(f"{path}: no sizes in it; titan-bench float8_linear --format csv --output {path} writes it")
    speedups = {recipe: {} for recipe in RECIPES}
    for number, row in enumerate(rows, 1):
        try:
            size = tuple(int(row[name]) for name in "MKN")
            for recipe in RECIPES:
                speedups[recipe][size] = float(row[f"{recipe}_speedup"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputProblem(f"{path}: row {number}: no number where one is needed: {error}") from None
    return speedups


def grid(speedups, m, ks, ns):
    """Speed-ups by K (from below) and N; NaN where none was measured."""
    return [[speedups.get((m, k, n), math.nan) for n in ns] for k in ks]


def draw(by_recipe):
    try:
        import matplotlib
    except ImportError:
        raise InputProblem("matplotlib is missing: pip install matplotlib") from None
    matplotlib.use("Agg")  # files only: no display is needed
    from matplotlib import colors, pyplot

    sizes = by_recipe[RECIPES[0]]
    ms, ks, ns = (sorted({size[axis] for size in sizes}) for axis in range(3))
    width, height = 1.2 + len(ms) * (1.2 + 0.75 * len(ns)), 0.9 + len(RECIPES) * (0.9 + 0.5 * len(ks))
    figure, panels = pyplot.subplots(len(RECIPES), len(ms), squeeze=False, figsize=(width, height),
                                     layout="constrained")
    shades = colors.TwoSlopeNorm(vmin=0.5, vcenter=1.0, vmax=2.0)
    for recipe, row in zip(RECIPES, panels):
        for m, axes in zip(ms, row):
            cells = grid(by_recipe[recipe], m, ks, ns)
            image = axes.imshow(cells, norm=shades, cmap="RdBu", origin="lower", aspect="auto")
            for y, line in enumerate(cells):
                for x, speedup in enumerate(line):
                    if not math.isnan(speedup):
                        pale = 0.7 < speedup < 1.6
                        axes.text(x, y, f"{speedup:.2f}", ha="center", va="center", fontsize=8,
                                  color="black" if pale else "white")
            axes.set_title(f"{recipe}, M = {m}", fontsize=10)
            axes.set_xticks(range(len(ns)), ns)
            axes.set_yticks(range(len(ks)), ks)
            axes.set_xlabel("N")
            axes.set_ylabel("K")
    figure.colorbar(image, ax=panels, label="times as fast as bf16")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", metavar="TABLE", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("float8_linear"), help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        figure = draw(read_speedups(arguments.table))
        for suffix in (".png", ".svg"):
            path = arguments.out.with_name(arguments.out.name + suffix)
            figure.savefig(path, dpi=150)
            print(path)
    except InputProblem as problem:
        sys.exit(f"plot_float8_linear.py: {problem}")
    except OSError as error:
        sys.exit(f"plot_float8_linear.py: cannot write {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
