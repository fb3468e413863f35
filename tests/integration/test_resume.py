"""A run that stops and goes on gives the bits of one that never stopped."""
import json

import pytest
from driver import DEBUG_JOB, SMALL, assert_bitwise_equal, losses, step_records, tensors

COMMON = (*SMALL, "--debug.seed", 7, "--debug.deterministic", "--lr_scheduler.total_steps", 20,
          "--checkpoint.interval", 5)  # fmt: skip


VARIANTS = {
    "plain": (),
    "accumulation": ("--training.global_batch_size", 4),
    "async": ("--checkpoint.async_mode", "async"),
    "recompute": ("--activation_checkpoint.mode", "full"),
    "bfloat16": ("--training.mixed_precision_param", "bfloat16"),
    "bfloat16_state": ("--optimizer.state_dtype", "bfloat16"),
    "per_rank": ("--training.data_order", "per_rank"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_20_steps_equal_10_and_10(titan_train, tmp_path, variant):
    arguments = (*COMMON, *VARIANTS[variant])
    straight, parts = tmp_path / "straight", tmp_path / "parts"
    titan_train(*arguments, "--training.steps", 20, "--job.dump_folder", straight)
    titan_train(*arguments, "--training.steps", 10, "--job.dump_folder", parts)
    resumed = titan_train(*arguments, "--training.steps", 20, "--job.dump_folder", parts)
    assert "step 10" in resumed.output

    assert losses(parts) == losses(straight) and len(losses(straight)) == 20
    step = "checkpoint/step-20"
    assert_bitwise_equal(tensors(straight / step), tensors(parts / step))
    # Metrics were appended, not written anew.
    assert [record["step"] for record in step_records(parts)] == list(range(1, 21))


def test_same_seed_repeats_and_another_differs(titan_train, tmp_path):
    runs = {"one": 7, "again": 7, "other": 8}
    for name, seed in runs.items():
        titan_train(*SMALL, "--debug.seed", seed, "--training.steps", 3, "--job.dump_folder", tmp_path / name)
    assert losses(tmp_path / "one") == losses(tmp_path / "again")
    assert losses(tmp_path / "one") != losses(tmp_path / "other")


def test_load_step_chooses_the_checkpoint(titan_train, tmp_path):
    titan_train(*COMMON, "--training.steps", 10, "--job.dump_folder", tmp_path)
    first = losses(tmp_path)
    titan_train(*COMMON, "--training.steps", 10, "--job.dump_folder", tmp_path, "--checkpoint.load_step", 5)
    written = step_records(tmp_path)
    assert [record["step"] for record in written] == [*range(1, 11), *range(6, 11)]
    assert losses(tmp_path) == first


def test_keep_latest_k(titan_train, tmp_path):
    titan_train(*COMMON, "--training.steps", 20, "--job.dump_folder", tmp_path, "--checkpoint.keep_latest_k", 2)
    assert sorted(path.name for path in (tmp_path / "checkpoint").glob("step-*")) == ["step-15", "step-20"]


@pytest.mark.parametrize("damage", ["truncated", "altered", "no manifest"])
def test_a_damaged_checkpoint_is_skipped_for_the_one_before(titan_train, tmp_path, damage):
    titan_train(*COMMON, "--training.steps", 10, "--job.dump_folder", tmp_path)
    newest = tmp_path / "checkpoint" / "step-10"
    (shard,) = (newest / "model").glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    if damage == "truncated":
        shard.write_bytes(content[:-100])
    elif damage == "altered":
        content[-100] ^= 1
        shard.write_bytes(content)
    else:
        (newest / "titan.json").unlink()
    first = losses(tmp_path)
    resumed = titan_train(*COMMON, "--training.steps", 10, "--job.dump_folder", tmp_path)
    assert "step-10" in resumed.output  # said which one it could not use
    assert [record["step"] for record in step_records(tmp_path)][10:] == list(range(6, 11))
    assert losses(tmp_path) == first


def test_all_checkpoints_damaged_is_an_error_not_a_fresh_start(titan_train, tmp_path):
    titan_train(*COMMON, "--training.steps", 5, "--job.dump_folder", tmp_path)
    (tmp_path / "checkpoint" / "step-5" / "titan.json").write_text("{")
    done = titan_train(*COMMON, "--training.steps", 10, "--job.dump_folder", tmp_path, expect=2)
    assert "step-5" in done.stderr
    assert len(step_records(tmp_path)) == 5


def test_a_checkpoint_of_another_model_is_refused(titan_train, tmp_path):
    titan_train(*COMMON, "--training.steps", 5, "--job.dump_folder", tmp_path)
    done = titan_train(DEBUG_JOB, "--job.dump_folder", tmp_path, expect=2)  # more layers
    assert "another model" in done.stderr and "layers.2." in done.stderr


def test_manifest_names_the_run(titan_train, tmp_path):
    titan_train(*COMMON, "--training.steps", 5, "--job.dump_folder", tmp_path)
    manifest = json.loads((tmp_path / "checkpoint" / "step-5" / "titan.json").read_text())
    assert manifest["step"] == 5
