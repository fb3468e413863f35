"""scripts/plot_float8_linear.py: what it reads from the bench's CSV and JSON, and that it draws."""

import importlib.util
import json
import math
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as xml

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts/plot_float8_linear.py"
spec = importlib.util.spec_from_file_location("plot_float8_linear", SCRIPT)
plot_float8_linear = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plot_float8_linear)

HEADER = "M,K,N,bf16_ms,rowwise_ms,rowwise_speedup,rowwise_with_gw_hp_speedup,torchao_rowwise_ms"
SIZES = [(m, k, n) for m in (8192, 16384) for k in (1024, 4096) for n in (1024, 14336)]


def speedup(size, recipe=0):
    return 0.625 + SIZES.index(size) / 8 + recipe / 16


def write_csv(path, sizes=SIZES):
    lines = [f"{m},{k},{n},1.0,1.0,{speedup((m, k, n))},{speedup((m, k, n), 1)}," for m, k, n in sizes]
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def write_json(path):
    rows = [{"M": m, "K": k, "N": n, "rowwise_speedup": speedup((m, k, n)),
             "rowwise_with_gw_hp_speedup": speedup((m, k, n), 1), "torchao_rowwise_ms": None} for m, k, n in SIZES]
    path.write_text(json.dumps({"device": "GPU", "rows": rows}, indent=2))
    return path


def plot(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=120)


def test_reads_csv_and_json_alike(tmp_path):
    expected = {"rowwise": {size: speedup(size) for size in SIZES},
                "rowwise_with_gw_hp": {size: speedup(size, 1) for size in SIZES}}
    assert plot_float8_linear.read_speedups(write_csv(tmp_path / "table.csv")) == expected
    assert plot_float8_linear.read_speedups(write_json(tmp_path / "table.json")) == expected


def test_sizes_that_were_not_measured_are_gaps():
    cells = plot_float8_linear.grid({(16, 32, 48): 1.5, (32, 32, 64): 2.0}, 16, [32, 64], [48, 64])
    assert cells[0][0] == 1.5
    assert [math.isnan(cell) for row in cells for cell in row] == [False, True, True, True]


def test_draws_a_panel_for_each_recipe_and_m(tmp_path):
    done = plot(write_csv(tmp_path / "table.csv", SIZES[:-1]), "--out", tmp_path / "plot.v1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plot.v1.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "plot.v1.svg").read_text()
    xml.fromstring(svg)
    for m in (8192, 16384):
        for recipe in ("rowwise", "rowwise_with_gw_hp"):
            assert svg.count(f"<!-- {recipe}, M = {m} -->") == 1
    for size in SIZES[:-1]:
        assert f"<!-- {speedup(size):.2f} -->" in svg


@pytest.mark.parametrize("text,message", [
    (None, "No such file or directory"),
    ("", "no sizes in it"),
    (HEADER + "\n", "no sizes in it"),
    (HEADER + "\n16,16,16,1,1,fast,1,\n", "row 1"),
    ("M,K,N\n16,16,16\n", "rowwise_speedup"),
    ('{"rows": 1', "not what --format json writes"),
    ("{}", "rows"),
])
def test_says_what_is_wrong(tmp_path, text, message):
    table = tmp_path / "table"
    if text is not None:
        table.write_text(text)
    done = plot(table, "--out", tmp_path / "plot")
    assert done.returncode == 1
    assert message in done.stderr and str(table) in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "plot.png").exists()


def test_says_where_it_cannot_write(tmp_path):
    done = plot(write_csv(tmp_path / "table.csv"), "--out", tmp_path / "absent/plot")
    assert done.returncode == 1 and "absent/plot.png" in done.stderr and "Traceback" not in done.stderr
