"""Which linears run in float8: the conversion report of --dry_run against torchao's filter functions and torchtitan's."""

import json

import pytest
import torch
from driver import DEBUG_JOB, TitanTrain

utils = pytest.importorskip("torchao.float8.float8_linear_utils", reason="torchao is not installed")

FLAVORS = ["debugmodel", "8B", "70B", "405B"]
FILTERS = {
    "none": [],
    "head": ["output"],
    "head twice, a part of names, a layer": ["output", "output", "w1", "layers.1."],
    "cases differ": ["Output", "attention.W"],
    "whole names": ["layers.0.attention.wq", "layers.10.feed_forward.w2"],
    "what only others have": ["router.gate", "experts"],
    "automatic": ["auto_filter_small_kn"],
    "automatic and head": ["auto_filter_small_kn", "output"],
    "head, w and automatic": ["output", "w", "auto_filter_small_kn"],
}


@pytest.fixture(scope="module")
def titan_train(tmp_path_factory):
    return TitanTrain(tmp_path_factory.mktemp("cache"))


def decisions(titan_train, flavor, filters, *arguments, recipe="rowwise"):
    """The report's rows by name."""
    words = ["--model.flavor", flavor, "--model.converters", "float8", "--float8.recipe_name", recipe, *arguments]
    if filters:
        words += ["--float8.filter_fqns", ",".join(filters)]
    plan = json.loads(titan_train(DEBUG_JOB, "--dry_run", "--json", *words).stdout)
    (report,) = plan["conversions"]
    rows = {row["name"]: row for row in report["linears"]}
    assert len(rows) == 7 * plan["model"]["n_layers"] + 1 and report["converted"] == sum(r["float8"] for r in rows.values())
    assert all(bool(row["reason"]) != row["float8"] for row in rows.values())
    return rows


def upstream(filters, recipe="rowwise"):
    """The filter that torchtitan v0.2.2 hands to torchao, on a linear and its name."""
    filters = list(filters)
    if "auto_filter_small_kn" in filters:
        filters.remove("auto_filter_small_kn")
        return utils._auto_filter_for_recipe(recipe, filters)

    def divides_and_is_not_named(module, name):
        return all(size % 16 == 0 for size in module.weight.shape) and not any(entry in name for entry in filters)

    return divides_and_is_not_named


def expect_as_upstream(rows, filters):
    converts = upstream(filters)
    for name, row in rows.items():
        linear = torch.nn.Linear(row["K"], row["N"], bias=False, device="meta")
        assert row["float8"] == converts(linear, name), row


@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("flavor", FLAVORS)
def test_every_linear_of_every_flavour(titan_train, flavor, filters):
    expect_as_upstream(decisions(titan_train, flavor, filters), filters)


@pytest.mark.parametrize("filters", [[], ["auto_filter_small_kn"]], ids=["none", "automatic"])
@pytest.mark.parametrize("vocabulary", [128000, 128001, 128008, 2040, 2049, 2064])
def test_heads_that_do_not_divide(titan_train, vocabulary, filters):
    size = ("--model.n_layers", 1, "--model.vocab_size", vocabulary)
    rows = decisions(titan_train, "8B", filters, *size)
    assert rows["output"]["N"] == vocabulary
    expect_as_upstream(rows, filters)


def test_the_other_recipe_without_the_automatic_filter(titan_train):
    rows = decisions(titan_train, "8B", ["output"], recipe="rowwise_with_gw_hp")
    expect_as_upstream(rows, ["output"])


def test_flavours_are_all_that_there_are(titan_train):
    choices = titan_train(DEBUG_JOB, "--dry_run", "--model.flavor", "none", expect=2).stderr
    assert choices.strip().endswith("choose one of " + ", ".join(FLAVORS))
