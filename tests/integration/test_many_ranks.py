"""Under the real torchrun, on the CPU: training on any mesh takes the steps that one process takes."""
import json
from types import SimpleNamespace

import numpy
import pytest
from driver import PROCESS_GROUPS_ONLY, SMALL, batch, mesh, step_records, tensors, torchrun

STEPS = 4
GLOBAL_BATCH = 8
JOB = (*SMALL, "--debug.seed", 1, "--metrics.no_enable_tensorboard", "--optimizer.lr", 1e-3, "--training.steps", STEPS,
       "--training.global_batch_size", GLOBAL_BATCH, "--checkpoint.enable_first_step_checkpoint")  # fmt: skip
FLOAT8 = ("--model.converters", "quantize.linear.float8", "--quantize.linear.float8.emulate",
          "--quantize.linear.float8.recipe_name", "rowwise",
          "--quantize.linear.float8.filter_fqns", "output")  # fmt: skip
FULL = ("--activation_checkpoint.mode", "full")
ASYNC = ("--parallelism.enable_async_tensor_parallel",)
WHOLE_LOGITS = ("--parallelism.disable_loss_parallel",)
STAY = ("--parallelism.fsdp_reshard_after_forward", "never")
SELECTIVE = ("--activation_checkpoint.mode", "selective", "--activation_checkpoint.selective_ac_option", "op")


def train(titan_train, dump_folder, *options, launcher=(), env=None):
    """A run: its output, losses and gradient norms of the steps, and every gradient of step 1, clipped: of those AdamW's
    first moment is then 1 - beta1."""
    done = titan_train(*JOB, *options, "--job.dump_folder", dump_folder, launcher=launcher, env=env or {})
    records = step_records(dump_folder)
    assert [record["step"] for record in records] == list(range(1, STEPS + 1)), done.output
    moments = tensors(dump_folder / "checkpoint/step-1")
    return SimpleNamespace(
        output=done.output,
        stderr=done.stderr,
        values=[(record["global_avg_loss"], record["grad_norm"]) for record in records],
        gradients={name: moment for (part, name), moment in moments.items() if name.endswith(".exp_avg")},
    )


def assert_equal_steps(run, expected):
    assert run.values == [pytest.approx(values, rel=1e-5) for values in expected.values]
    assert run.gradients.keys() == expected.gradients.keys() and len(run.gradients) == 3 + 2 * 9
    for name, gradient in expected.gradients.items():
        assert numpy.linalg.norm(run.gradients[name] - gradient) <= 1e-5 * numpy.linalg.norm(gradient), name


@pytest.fixture(scope="module")
def one_process(titan_train, tmp_path_factory):
    """What one process does with these options; each run once."""
    found = {}

    def run(*options):
        if options not in found:
            found[options] = train(titan_train, tmp_path_factory.mktemp("one"), *options)
        return found[options]

    return run


@pytest.mark.parametrize(
    "ranks, options",
    [
        pytest.param(1, batch(8), id="one-rank"),
        pytest.param(2, (*mesh(shard=-1), *batch(4)), id="fsdp2"),
        pytest.param(2, (*mesh(shard=2), *batch(2), *FULL), id="fsdp2-accumulates-recomputes"),
        pytest.param(2, (*mesh(replicate=2), *batch(4), *SELECTIVE), id="replicas"),
        pytest.param(4, (*mesh(shard=4), *batch(2), *SELECTIVE), id="fsdp4-recomputes"),
        pytest.param(4, (*mesh(replicate=2, shard=2), *batch(1), *FULL), id="hsdp-accumulates-recomputes"),
        pytest.param(2, (*mesh(tensor=2), *batch(8)), id="tp2"),
        pytest.param(4, (*mesh(shard=2, tensor=2), *batch(2), *FULL), id="fsdp2-tp2-accumulates-recomputes"),
        pytest.param(4, (*mesh(shard=2, tensor=2), *batch(4), *STAY, *WHOLE_LOGITS), id="fsdp2-tp2-stays-whole-logits"),
        pytest.param(4, (*mesh(tensor=4), *batch(4), *ASYNC, *SELECTIVE), id="tp4-async-accumulates-recomputes"),
    ],
)
def test_equals_one_process(titan_train, one_process, tmp_path, request, ranks, options):
    name = request.node.callspec.id
    run = train(titan_train, tmp_path, *options, launcher=torchrun(ranks))
    assert_equal_steps(run, one_process(*batch(8)))
    assert run.stderr == ""
    assert (f"Mesh: {ranks} ranks = " in run.output) == (ranks > 1)
    assert ("Shards travel through memory that the ranks share" in run.output) == ("fsdp" in name or "hsdp" in name)


@pytest.mark.parametrize(
    "ranks, options",
    [
        pytest.param(2, (*mesh(shard=2), *batch(2), *FULL), id="fsdp2-accumulates-recomputes"),
        pytest.param(4, (*mesh(replicate=2, shard=2), *batch(1)), id="hsdp-accumulates"),
        pytest.param(4, (*mesh(shard=2, tensor=2), *batch(4), *STAY), id="fsdp2-tp2-stays"),
    ],
)
def test_by_process_groups_equals_one_process(titan_train, one_process, tmp_path, ranks, options):
    run = train(titan_train, tmp_path, *options, launcher=torchrun(ranks), env=PROCESS_GROUPS_ONLY)
    assert_equal_steps(run, one_process(*batch(8)))
    assert run.stderr == ""
    assert "Shards travel by the process group: NCCL_P2P_DISABLE is 1" in run.output


def test_async_tensor_parallel_needs_memory_that_ranks_share(titan_train, one_process, tmp_path):
    options = (*mesh(tensor=2), *ASYNC, *batch(8))
    run = train(titan_train, tmp_path, *options, launcher=torchrun(2), env=PROCESS_GROUPS_ONLY)
    assert "parallelism.enable_async_tensor_parallel: NCCL_P2P_DISABLE is 1: plain tensor parallel runs" in run.output
    assert_equal_steps(run, one_process(*batch(8)))


# A column's scale spans the tokens of a micro-batch, so that float8 values depend on how the batch is cut.
@pytest.mark.parametrize(
    "ranks, options",
    [
        pytest.param(2, mesh(shard=2), id="fsdp2"),
        pytest.param(4, (*mesh(replicate=2, shard=2), *FULL), id="hsdp-recomputes"),
    ],
)
def test_float8_equals_one_process_with_the_same_micro_batches(titan_train, one_process, tmp_path, ranks, options):
    run = train(titan_train, tmp_path, *FLOAT8, *batch(2), *options, launcher=torchrun(ranks))
    expected = one_process(*FLOAT8, *batch(2))
    assert_equal_steps(run, expected)
    assert expected.values != one_process(*batch(8)).values


def test_async_tensor_parallel_says_why_it_cannot(titan_train, one_process, tmp_path):
    options = ("--training.seq_len", 24)
    run = train(titan_train, tmp_path, *options, *mesh(tensor=2), *ASYNC, *batch(1), launcher=torchrun(2))
    why = "a micro-batch has 24 tokens, no multiple of 16 for each of 2 ranks"
    assert f"parallelism.enable_async_tensor_parallel: {why}: plain tensor parallel runs" in run.output
    assert_equal_steps(run, one_process(*options, *batch(8)))


def test_metrics_are_of_the_whole_mesh(titan_train, tmp_path):
    """Without learning, the two steps of one process on four sequences each are what two data ranks see in one."""

    def run(name, *options, launcher=()):
        validation = ("--validation.enable", "--validation.freq", 1, "--validation.steps", 2,
                      "--validation.seq_len", 64, "--validation.dataset", "c4_test")  # fmt: skip
        titan_train(*JOB, *options, *batch(4), *validation, "--optimizer.lr", 0, "--checkpoint.no_enable",
                    "--job.dump_folder", tmp_path / name, launcher=launcher)  # fmt: skip
        lines = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        validations = [line["loss"] for line in lines if line["kind"] == "validation"]
        return step_records(tmp_path / name), validations[0]

    parts, one_validation = run("one", "--training.global_batch_size", 4, "--validation.local_batch_size", 4)
    steps, validation = run("mesh", *mesh(shard=2, tensor=2), "--validation.local_batch_size", 2, launcher=torchrun(4))
    first, second = (part["global_avg_loss"] for part in parts[:2])
    assert abs(first - second) > 1e-3 * first
    assert parts[0]["global_max_loss"] == first
    assert steps[0]["global_avg_loss"] == pytest.approx((first + second) / 2, rel=1e-5)
    assert steps[0]["global_max_loss"] == pytest.approx(max(first, second), rel=1e-5)
    assert [step["n_tokens_seen"] for step in steps] == [64 * GLOBAL_BATCH * (i + 1) for i in range(STEPS)]
    assert validation == pytest.approx(one_validation, rel=1e-5)
