"""Hugging Face folders written and read by many ranks, whose shards begin and end within heads."""
from driver import SMALL, files_below, losses, ranks_without_launcher

JOB = (*SMALL, "--debug.seed", 1, "--metrics.no_enable_tensorboard", "--training.steps", 1, "--optimizer.lr", 0,
       "--training.global_batch_size", 10)  # fmt: skip
IN_HF = ("--checkpoint.last_save_model_only", "--checkpoint.last_save_in_hf")


def run(titan_train, ranks, dump_folder, *options):
    with ranks_without_launcher(titan_train, ranks, *JOB, *options, "--job.dump_folder", dump_folder) as processes:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * ranks, errors
    return dump_folder / "checkpoint/step-1"


def test_many_ranks_write_and_read_what_one_does(titan_train, tmp_path):
    one = run(titan_train, 1, tmp_path / "one", "--training.local_batch_size", 10, *IN_HF)
    many = run(titan_train, 5, tmp_path / "many", "--training.local_batch_size", 2, *IN_HF)
    assert "model-00001-of-00001.safetensors" in files_below(one)
    assert files_below(one) == files_below(many)
    for name in files_below(one):
        assert (one / name).read_bytes() == (many / name).read_bytes(), name

    # The seed is another one: these are the folder's weights.
    read = ("--debug.seed", 2, "--checkpoint.initial_load_path", many, "--checkpoint.initial_load_in_hf")
    run(titan_train, 1, tmp_path / "read_by_one", "--training.local_batch_size", 10, *read)
    tp = ("--parallelism.tensor_parallel_degree", 2, "--training.local_batch_size", 10)
    run(titan_train, 2, tmp_path / "read_by_tp", *tp, *read)
    run(titan_train, 5, tmp_path / "read_by_many", "--training.local_batch_size", 2, *read)
    expected = losses(tmp_path / "one")[1]
    for name in ("read_by_one", "read_by_tp", "read_by_many"):
        assert abs(losses(tmp_path / name)[1] - expected) < 1e-5 * expected
