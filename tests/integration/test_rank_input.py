"""Bad input on many ranks: every rank ends with status 2 and the same reason, and nothing is written."""
import os
import shutil

import pytest
from driver import SMALL, files_below, ranks_without_launcher

BASE = (*SMALL, "--metrics.no_enable_tensorboard", "--debug.seed", 1, "--training.steps", 2)


def ends_of(titan_train, ranks, *options):
    """Stderr of each rank, all of which end with 2."""
    with ranks_without_launcher(titan_train, ranks, *options) as processes:
        errors = [process.communicate(timeout=90)[1] for process in processes]
    assert [process.returncode for process in processes] == [2] * ranks, errors
    return errors


# name: (ranks, options, the reason)
MESHES = {
    "degrees": (
        3, ("--parallelism.data_parallel_shard_degree", 2),
        "parallelism.data_parallel_shard_degree: the degrees do not make up the 3 ranks: data_parallel_replicate 1, "
        "data_parallel_shard 2, tensor_parallel 1, context_parallel 1, pipeline_parallel 1; start 2 processes, or",
    ),
    "heads": (
        3, ("--parallelism.tensor_parallel_degree", 3, "--training.seq_len", 63),
        "parallelism.tensor_parallel_degree: 3 does not divide what llama3 debugmodel has: 16 heads, "
        "16 key/value heads, 2048 vocabulary entries; choose a degree that divides them",
    ),
    "vocabulary": (
        2, ("--parallelism.tensor_parallel_degree", 2, "--model.vocab_size", 2049),
        "parallelism.tensor_parallel_degree: 2 does not divide what llama3 debugmodel has: 2049 vocabulary entries",
    ),
    "tokens": (
        2, ("--parallelism.tensor_parallel_degree", 2, "--training.seq_len", 63, "--training.local_batch_size", 1),
        "training.seq_len: the 1 x 63 tokens of a micro-batch are not a multiple of "
        "parallelism.tensor_parallel_degree = 2",
    ),
    "batch": (
        2, ("--training.global_batch_size", 6),
        "must be a positive multiple of training.local_batch_size x data-parallel ranks = 2 x 2 = 4, got 6",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MESHES)
def test_meshes(titan_train, tmp_path, case):
    ranks, options, reason = MESHES[case]
    for error in ends_of(titan_train, ranks, *BASE, *options, "--job.dump_folder", tmp_path):
        assert reason in error
    assert files_below(tmp_path) in ([], ["checkpoint/.lock"])


# ---- Checkpoints ----


@pytest.fixture(scope="module")
def saved(titan_train, tmp_path_factory):
    """The dump folder of a run of three ranks, with one checkpoint."""
    folder = tmp_path_factory.mktemp("saved")
    with ranks_without_launcher(titan_train, 3, *BASE, "--job.dump_folder", folder) as processes:
        errors = [process.communicate(timeout=90)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    return folder


SHARD = "shard-00003-model-00001-of-00001.safetensors"


def remove(path):
    path.unlink()


def cut(path):
    os.truncate(path, path.stat().st_size - 100)


def alter(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "missing": (remove, "No such file or directory"),
    "cut": (cut, "bytes"),
    "altered": (alter, "was altered"),
}


@pytest.mark.parametrize(
    "case, way",
    [("missing", "resumed"), ("cut", "resumed"), ("altered", "resumed"), ("altered", "named"), ("missing", "initial")],
)
def test_damaged_shards(titan_train, saved, tmp_path, case, way):
    """The last rank's shard holds what the last of two ranks reads."""
    damage, reason = DAMAGE[case]
    copy, dump_folder = tmp_path / "copy", tmp_path / "run"
    shutil.copytree(saved, copy)
    step = copy / "checkpoint/step-2"
    damage(step / "model" / SHARD)
    options = {
        "resumed": ("--job.dump_folder", copy),
        "named": ("--job.dump_folder", copy, "--checkpoint.load_step", 2),
        "initial": ("--job.dump_folder", dump_folder, "--checkpoint.initial_load_path", step),
    }[way]
    before = files_below(copy)
    errors = ends_of(titan_train, 2, *BASE, "--training.steps", 4, *options)
    for error in errors:
        assert SHARD in error and reason in error
    assert files_below(copy) == before and files_below(dump_folder) in ([], ["checkpoint/.lock"])
