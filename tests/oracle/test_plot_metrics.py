"""scripts/plot_metrics.py: what it reads from metrics.jsonl, and that it draws."""

import importlib.util
import json
import math
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as xml

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts/plot_metrics.py"
spec = importlib.util.spec_from_file_location("plot_metrics", SCRIPT)
plot_metrics = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plot_metrics)


def step(number, loss, tps=1000.0):
    return json.dumps({"kind": "step", "step": number, "global_avg_loss": loss, "tps": tps})


def validation(number, loss):
    return json.dumps({"kind": "validation", "step": number, "loss": loss})


def write_run(folder, *lines):
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def plot(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=120)


def test_later_records_of_a_step_win(tmp_path):
    run = write_run(tmp_path / "resumed", step(1, 9), step(10, 8), step(20, 7), validation(20, 7.5),
                    step(10, 6), step(15, 5))
    read = plot_metrics.read_run(str(run))
    assert (read.label, read.steps, read.loss) == ("resumed", [1, 10, 15, 20], [9, 6, 5, 7])
    assert (read.validation_steps, read.validation_loss) == ([20], [7.5])


def test_torn_lines_are_left_out_and_reported(tmp_path, capsys):
    run = write_run(tmp_path / "torn", step(1, 9), step(2, 8)[:-9], '"step"', '{"step": 3}', "\0\0", step(4, 7))
    assert plot_metrics.read_run(str(run)).steps == [1, 4]
    assert "4 line(s) left out" in capsys.readouterr().err


def test_non_finite_losses_are_gaps(tmp_path):
    run = write_run(tmp_path / "run", step(1, "NaN"), step(2, "Infinity"), step(3, 2.5))
    loss = plot_metrics.read_run(str(run)).loss
    assert [math.isnan(value) for value in loss] == [True, True, False]


def test_draws_runs_to_png_and_svg(tmp_path):
    first = write_run(tmp_path / "first", *(step(n, 9 / n) for n in range(1, 60)), validation(30, 1.0))
    second = write_run(tmp_path / "second", step(1, 9), step(10, "NaN"), step(20, 4))
    done = plot(first, f"renamed={second / 'metrics.jsonl'}", "--out", tmp_path / "plot.v1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plot.v1.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "plot.v1.svg").read_text()
    xml.fromstring(svg)
    for text in ("first", "first, validation", "renamed", "tokens/s per device"):
        assert f"<!-- {text} -->" in svg


@pytest.mark.parametrize("lines,message", [
    (None, "No such file or directory"),
    ([validation(1, 2.0)], "no step has been logged"),
    (['{"kind": "step", "step": 1, "tps": 5}'], "'global_avg_loss'"),
])
def test_says_what_is_wrong(tmp_path, lines, message):
    run = tmp_path / "run"
    if lines:
        write_run(run, *lines)
    done = plot(run, "--out", tmp_path / "plot")
    assert done.returncode == 1
    assert message in done.stderr and str(run) in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "plot.png").exists()


def test_says_where_it_cannot_write(tmp_path):
    run = write_run(tmp_path / "run", step(1, 2.0))
    done = plot(run, "--out", tmp_path / "absent/plot")
    assert done.returncode == 1 and "absent/plot.png" in done.stderr and "Traceback" not in done.stderr
