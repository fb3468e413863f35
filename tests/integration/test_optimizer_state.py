"""optimizer.state_dtype: training, checkpoints and resuming with the moments in bfloat16."""
import numpy
import pytest
from driver import DEBUG_JOB, SMALL, losses, tensors

BFLOAT16 = ("--optimizer.state_dtype", "bfloat16")


def mean_of_last(found):
    """Over the last ten of 40 steps."""
    assert len(found) == 40
    return numpy.mean([found[step] for step in range(31, 41)])


def test_loss_stays_beside_that_of_float32(titan_train, tmp_path):
    # At this learning rate nearby runs stay together; at the job's own, 4e-3, any rounding drives them apart.
    job = (DEBUG_JOB, "--training.local_batch_size", 2, "--optimizer.lr", 1e-3, "--debug.seed", 5,
           "--checkpoint.enable=false")  # fmt: skip
    titan_train(*job, "--job.dump_folder", tmp_path / "float32")
    titan_train(*job, *BFLOAT16, "--job.dump_folder", tmp_path / "bfloat16")
    expected, found = losses(tmp_path / "float32"), losses(tmp_path / "bfloat16")
    assert found[1] == expected[1] and found != expected
    assert expected[40] < 0.8 * expected[1]  # there is something to fall behind
    assert mean_of_last(found) == pytest.approx(mean_of_last(expected), rel=1e-3)


def test_moments_are_stored_as_bfloat16_and_masters_as_float32(titan_train, tmp_path):
    titan_train(*SMALL, *BFLOAT16, "--training.steps", 2, "--job.dump_folder", tmp_path)
    found = tensors(tmp_path / "checkpoint" / "step-2")
    assert {array.dtype for (part, _), array in found.items() if part == "model"} == {numpy.dtype("float32")}
    assert {array.dtype for (part, _), array in found.items() if part == "optim"} == {numpy.dtype("uint16")}


def test_resuming_without_a_seed_goes_on_with_the_runs_own(titan_train, tmp_path):
    titan_train(*SMALL, *BFLOAT16, "--training.steps", 3, "--job.dump_folder", tmp_path)
    steps = (*SMALL, *BFLOAT16, "--training.steps", 6, "--checkpoint.load_step", 3, "--job.dump_folder", tmp_path)
    titan_train(*steps)
    first = tensors(tmp_path / "checkpoint" / "step-6")
    titan_train(*steps)
    again = tensors(tmp_path / "checkpoint" / "step-6")
    for name in first:
        numpy.testing.assert_array_equal(first[name], again[name], err_msg=str(name))


@pytest.mark.parametrize("before,after", [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_moments_of_the_other_dtype_are_converted_and_said_so(titan_train, tmp_path, before, after):
    job = (*SMALL, "--debug.seed", 3, "--job.dump_folder", tmp_path)
    titan_train(*job, "--training.steps", 5, "--optimizer.state_dtype", before)
    done = titan_train(*job, "--training.steps", 10, "--optimizer.state_dtype", after)
    names = {"float32": "F32", "bfloat16": "BF16"}
    assert f"the checkpoint's optimizer state is {names[before]}, converted to {names[after]}" in done.output
    found = losses(tmp_path)
    assert len(found) == 10 and found[10] < found[1]
    same = titan_train(*job, "--training.steps", 12, "--optimizer.state_dtype", after)
    assert "converted" not in same.output
