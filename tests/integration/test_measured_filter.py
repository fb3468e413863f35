"""auto_filter_measured where there is nothing to measure: a run on the CPU and a dry run say so and keep what divides."""
import json

import pytest
from driver import SMALL

NOTHING = "auto_filter_measured: nothing can be measured"
FLAGS = ("--model.converters", "float8", "--float8.filter_fqns", "output,auto_filter_measured")


def spelled(tmp_path, section):
    job = tmp_path / "job.toml"
    debug = SMALL[0].read_text()
    job.write_text(f'{debug}\n[{section}]\nrecipe_name = "rowwise"\nfilter_fqns = ["output", "auto_filter_measured"]\n')
    return job


def check(report):
    """What conversion_report.json and the dry run's JSON hold: all that divides is in float8, and why not more."""
    (report,) = report
    assert report["converted"] == 14
    assert {row["name"] for row in report["linears"] if not row["float8"]} == {"output"}
    assert report["linears"][-1]["reason"] == 'filter_fqns "output"'
    assert report["notes"] and NOTHING in report["notes"][0]
    assert report["measurements"] == []
    assert report["warnings"] == []


@pytest.mark.parametrize("recipe", ["rowwise", "rowwise_with_gw_hp"])
def test_a_run_on_the_cpu_keeps_what_divides(titan_train, tmp_path, recipe):
    dump = tmp_path / "run"
    done = titan_train(*SMALL, *FLAGS, "--float8.recipe_name", recipe, "--training.steps", 2, "--job.dump_folder", dump)
    assert f"float8 {recipe}: 14 of 15 linears" in done.output
    assert done.output.count(NOTHING) == 1
    check(json.loads((dump / "conversion_report.json").read_text()))
    assert not (dump / "float8_measurements.json").exists()  # there is nothing to use again


@pytest.mark.parametrize("section", ["quantize.linear.float8", "float8"])
def test_both_spellings_and_the_dry_run(titan_train, tmp_path, section):
    arguments = (spelled(tmp_path, section), *SMALL[1:], "--model.converters", "float8", "--dry_run")
    assert NOTHING in titan_train(*arguments).stdout
    check(json.loads(titan_train(*arguments, "--json").stdout)["conversions"])


def test_names_and_sizes_stay_out(titan_train, tmp_path):
    plan = titan_train(
        *SMALL, "--model.converters", "float8", "--float8.filter_fqns", "auto_filter_measured,wk", "--model.vocab_size", 2050,
        "--dry_run", "--json",
    ).stdout  # fmt: skip
    (report,) = json.loads(plan)["conversions"]
    left = {row["name"].split(".")[-1]: row["reason"] for row in report["linears"] if not row["float8"]}
    assert left == {"wk": 'filter_fqns "wk"', "output": "N is no multiple of 16"}
