"""Under the real torchrun, over gloo: training on any mesh takes the steps that one process takes."""
import pytest
from driver import SMALL, step_records, torchrun

STEPS = 4
GLOBAL_BATCH = 8
JOB = (*SMALL, "--debug.seed", 1, "--checkpoint.no_enable", "--metrics.no_enable_tensorboard", "--optimizer.lr", 1e-3,
       "--training.steps", STEPS, "--training.global_batch_size", GLOBAL_BATCH)  # fmt: skip
FLOAT8 = ("--model.converters", "quantize.linear.float8", "--quantize.linear.float8.emulate",
          "--quantize.linear.float8.recipe_name", "rowwise",
          "--quantize.linear.float8.filter_fqns", "output")  # fmt: skip
FULL = ("--activation_checkpoint.mode", "full")
SELECTIVE = ("--activation_checkpoint.mode", "selective", "--activation_checkpoint.selective_ac_option", "op")


def mesh(replicate=1, shard=1, tensor=1):
    return ("--parallelism.data_parallel_replicate_degree", replicate, "--parallelism.data_parallel_shard_degree", shard,
            "--parallelism.tensor_parallel_degree", tensor)  # fmt: skip


def batch(sequences):
    return ("--training.local_batch_size", sequences)


def losses_and_norms(titan_train, dump_folder, *options, launcher=()):
    done = titan_train(*JOB, *options, "--job.dump_folder", dump_folder, launcher=launcher)
    records = step_records(dump_folder)
    assert [record["step"] for record in records] == list(range(1, STEPS + 1)), done.output
    return done, [(record["global_avg_loss"], record["grad_norm"]) for record in records]


@pytest.fixture(scope="module")
def one_process(titan_train, tmp_path_factory):
    """The losses and norms of one process with these options; each run once."""
    found = {}

    def run(*options):
        if options not in found:
            found[options] = losses_and_norms(titan_train, tmp_path_factory.mktemp("one"), *options)[1]
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
    ],
)
def test_equals_one_process(titan_train, one_process, tmp_path, ranks, options):
    done, values = losses_and_norms(titan_train, tmp_path, *options, launcher=torchrun(ranks))
    assert values == [pytest.approx(expected, rel=1e-5) for expected in one_process(*batch(8))]
    assert done.stderr == ""


# A column's scale spans the tokens of a micro-batch, so that float8 values depend on how the batch is cut.
@pytest.mark.parametrize(
    "ranks, options",
    [
        pytest.param(2, mesh(shard=2), id="fsdp2"),
        pytest.param(4, (*mesh(replicate=2, shard=2), *FULL), id="hsdp-recomputes"),
    ],
)
def test_float8_equals_one_process_with_the_same_micro_batches(titan_train, one_process, tmp_path, ranks, options):
    _, values = losses_and_norms(titan_train, tmp_path, *FLOAT8, *batch(2), *options, launcher=torchrun(ranks))
    expected = one_process(*FLOAT8, *batch(2))
    assert values == [pytest.approx(pair, rel=1e-5) for pair in expected]
    assert expected != one_process(*batch(8))
