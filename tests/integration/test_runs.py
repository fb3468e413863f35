"""Runs with one thing different from the debug job each."""
import json
import struct

import pytest
from driver import DEBUG_JOB, SMALL, files_below, losses, step_records, torchrun

THREE = (*SMALL, "--training.steps", 3, "--debug.seed", 5)


@pytest.fixture(scope="module")
def plain_losses(titan_train, tmp_path_factory):
    dump = tmp_path_factory.mktemp("plain")
    titan_train(*THREE, "--job.dump_folder", dump)
    return losses(dump)


RECOMPUTE = {
    "full": ["--activation_checkpoint.mode", "full"],
    "op": ["--activation_checkpoint.mode", "selective", "--activation_checkpoint.selective_ac_option", "op"],
    "every second block": ["--activation_checkpoint.mode", "selective", "--activation_checkpoint.selective_ac_option", "2"],
}


@pytest.mark.parametrize("mode", RECOMPUTE)
def test_recompute_changes_no_bit(titan_train, tmp_path, plain_losses, mode):
    # The file sets a mode of its own, which a flag overrides.
    titan_train(*THREE, *RECOMPUTE[mode], "--job.dump_folder", tmp_path)
    assert losses(tmp_path) == plain_losses


def test_under_torchrun(tmp_path, titan_train, plain_losses):
    titan_train(*THREE, "--job.dump_folder", tmp_path, launcher=torchrun(1))
    assert losses(tmp_path) == plain_losses


def test_accumulation_equals_the_large_batch(titan_train, tmp_path):
    """Two micro-batches of one sequence against one of two: the same gradient up to rounding."""
    for name, local in {"once": 2, "twice": 1}.items():
        titan_train(
            DEBUG_JOB, "--model.n_layers", 2, "--training.seq_len", 64, "--training.steps", 3, "--debug.seed", 5,
            "--training.local_batch_size", local, "--training.global_batch_size", 2, "--job.dump_folder", tmp_path / name,
        )  # fmt: skip
    once, twice = losses(tmp_path / "once"), losses(tmp_path / "twice")
    assert twice == pytest.approx(once, rel=1e-5)


def test_validation(titan_train, tmp_path):
    titan_train(
        *THREE, "--validation.enable", "--validation.freq", 2, "--validation.steps", 2, "--validation.seq_len", 64,
        "--validation.local_batch_size", 2, "--validation.dataset", "c4_test", "--job.dump_folder", tmp_path,
    )  # fmt: skip
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["kind"], r["step"]) for r in records] == [
        ("step", 1), ("validation", 1), ("step", 2), ("validation", 2), ("step", 3)
    ]  # fmt: skip
    assert all(5 < r["loss"] < 10 for r in records if r["kind"] == "validation")


def test_validation_leaves_training_alone(titan_train, tmp_path, plain_losses):
    titan_train(
        *THREE, "--validation.enable", "--validation.freq", 1, "--validation.steps", 1, "--validation.seq_len", 64,
        "--validation.local_batch_size", 2, "--validation.dataset", "c4_test", "--job.dump_folder", tmp_path,
    )  # fmt: skip
    assert losses(tmp_path) == plain_losses


def test_finite_data_of_token_ids_needs_no_tokenizer(titan_train, tmp_path):
    ids = [(7 * i * i + i) % 2000 for i in range(64 * 2 * 5 + 1)]
    (tmp_path / "ids.bin").write_bytes(struct.pack(f"<{len(ids)}H", *ids))
    job = (tmp_path / "job.toml")
    job.write_text(
        f"""[model]
flavor = "debugmodel"
n_layers = 1
hf_assets_path = "{tmp_path}/none"
[metrics]
log_freq = 1
[training]
dataset_path = "{tmp_path}/ids.bin"
seq_len = 64
local_batch_size = 2
steps = 7
"""
    )
    titan_train(job, "--job.dump_folder", tmp_path / "out")
    records = step_records(tmp_path / "out")
    assert [record["step"] for record in records] == list(range(1, 8))  # begins again after the fifth
    assert records[-1]["n_tokens_seen"] == 7 * 128
    assert "checkpoint" not in "".join(files_below(tmp_path / "out"))


def test_profiler_trace(titan_train, tmp_path):
    titan_train(
        *SMALL, "--training.steps", 5, "--profiling.enable_profiling", "--profiling.profile_freq", 5,
        "--job.dump_folder", tmp_path,
    )  # fmt: skip
    trace = json.loads((tmp_path / "profile_traces/iteration_5/rank0_trace.json").read_text())
    assert len(trace["traceEvents"]) > 10
