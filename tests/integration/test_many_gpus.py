"""Many GPUs under torchrun: the losses of one GPU, however ranks exchange; no rank waits for ever for a lost one."""
import json
import os
import pathlib
import re
import signal
import time
from types import SimpleNamespace

import pytest
from driver import (DEBUG_JOB, PROCESS_GROUPS_ONLY, batch, mesh, ranks_without_launcher, step_records, torchrun, wait_for,
                    wait_for_step)  # fmt: skip

STEPS = 8
GLOBAL_BATCH = 8
JOB = (DEBUG_JOB, "--model.n_layers", 4, "--debug.seed", 1, "--metrics.no_enable_tensorboard", "--optimizer.lr", 1e-3,
       "--training.mixed_precision_param", "bfloat16")  # fmt: skip
FIXED = ("--training.steps", STEPS, "--training.global_batch_size", GLOBAL_BATCH)
ENDLESS = ("--training.steps", 100000, "--checkpoint.no_enable", "--comm.init_timeout_seconds", 30,
           "--comm.train_timeout_seconds", 10)  # fmt: skip
FLOAT8 = ("--model.converters", "float8", "--float8.filter_fqns", "output")
FULL = ("--activation_checkpoint.mode", "full")
SELECTIVE = ("--activation_checkpoint.mode", "selective", "--activation_checkpoint.selective_ac_option", "op")
STAY = ("--parallelism.fsdp_reshard_after_forward", "never")
ASYNC = ("--parallelism.enable_async_tensor_parallel",)
VALIDATION = ("--validation.enable", "--validation.freq", 4, "--validation.steps", 2, "--validation.seq_len", 128,
              "--validation.dataset", "c4_test")  # fmt: skip
COPIED = "Shards travel by the GPUs' copy engines"

pytestmark = pytest.mark.xdist_group("gpus")  # one test at a time


def number_of_gpus():
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return len([device for device in shown.split(",") if device.strip()])
    return sum(re.fullmatch(r"nvidia\d+", path.name) is not None for path in pathlib.Path("/dev").iterdir())


def needs_gpus(count):
    return pytest.mark.skipif(number_of_gpus() < count, reason=f"needs {count} GPUs")


def case(name, gpus, *options):
    return pytest.param(gpus, options, id=name, marks=needs_gpus(gpus))


GPUS = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(number_of_gpus()))))}


def validation(sequences):
    return (*VALIDATION, "--validation.local_batch_size", sequences)


def train(titan_train, dump_folder, *options, gpus=1, env=None):
    """A run: its output, the losses and gradient norms of its steps, its validation losses."""
    launcher = torchrun(gpus) if gpus > 1 else ()
    done = titan_train(*JOB, *FIXED, *options, "--job.dump_folder", dump_folder, launcher=launcher,
                       env={**GPUS, **(env or {})})  # fmt: skip
    steps = step_records(dump_folder)
    lines = map(json.loads, (dump_folder / "metrics.jsonl").read_text().splitlines())
    return SimpleNamespace(
        output=done.output,
        losses=[step["global_avg_loss"] for step in steps],
        norms=[step["grad_norm"] for step in steps],
        validations=[line["loss"] for line in lines if line["kind"] == "validation"],
    )


def assert_like(run, expected):
    """Equal but for what another order of rounding makes of them."""
    assert len(run.losses) == len(expected.losses) == STEPS
    assert run.losses[0] == pytest.approx(expected.losses[0], rel=3e-4)
    assert run.norms[0] == pytest.approx(expected.norms[0], rel=1e-2)
    assert run.losses == pytest.approx(expected.losses, rel=2e-3)
    if run.validations:
        assert run.validations == pytest.approx(expected.validations, rel=2e-3)


@pytest.fixture(scope="module")
def one_gpu(titan_train, tmp_path_factory):
    found = {}

    def run(*options):
        if options not in found:
            folder = tmp_path_factory.mktemp("one")
            found[options] = train(titan_train, folder, *options, *batch(8), *validation(4), "--checkpoint.no_enable")
        return found[options]

    return run


@pytest.mark.parametrize("flavour", [(), FLOAT8], ids=["bf16", "float8"])
@pytest.mark.parametrize(
    "gpus, options",
    [
        case("fsdp2", 2, *mesh(shard=2), *batch(4), *validation(2)),
        case("fsdp2-accumulates-recomputes", 2, *mesh(shard=2), *batch(2), *FULL),
        case("fsdp2-stays-recomputes", 2, *mesh(shard=2), *batch(4), *STAY, *SELECTIVE),
        case("replicas", 2, *mesh(replicate=2), *batch(4)),
        case("tp2", 2, *mesh(tensor=2), *batch(8)),
        case("tp2-async-accumulates", 2, *mesh(tensor=2), *batch(4), *ASYNC),
        case("fsdp4", 4, *mesh(shard=4), *batch(2)),
        case("hsdp-accumulates", 4, *mesh(replicate=2, shard=2), *batch(1)),
        case("fsdp2-tp2-accumulates-recomputes", 4, *mesh(shard=2, tensor=2), *batch(2), *FULL),
        case("fsdp2-tp2-async", 4, *mesh(shard=2, tensor=2), *batch(4), *ASYNC, *validation(2)),
        case("tp4-async", 4, *mesh(tensor=4), *batch(8), *ASYNC),
    ],
)
def test_losses_of_one_gpu(titan_train, one_gpu, tmp_path, request, gpus, options, flavour):
    options = (*options, *flavour, "--checkpoint.no_enable")
    run = train(titan_train, tmp_path, *options, gpus=gpus)
    assert_like(run, one_gpu(*flavour))
    assert (COPIED in run.output) == ("sdp" in request.node.callspec.id)
    assert "plain tensor parallel runs" not in run.output


@needs_gpus(2)
def test_nccl_where_gpus_shall_not_reach_each_other(titan_train, tmp_path):
    """Of two ranks both ways give the same sums, of gradients that attention's backward adds up in any order."""
    options = (*mesh(shard=2), *batch(4), "--checkpoint.no_enable")
    copied = train(titan_train, tmp_path / "copied", *options, gpus=2)
    sent = train(titan_train, tmp_path / "sent", *options, gpus=2, env=PROCESS_GROUPS_ONLY)
    assert COPIED in copied.output
    assert "Shards travel by the process group: NCCL_P2P_DISABLE is 1" in sent.output
    assert copied.losses[0] == sent.losses[0]
    assert copied.norms[0] == pytest.approx(sent.norms[0], rel=1e-4)
    assert_like(copied, sent)


@needs_gpus(2)
def test_saved_by_fsdp_resumed_by_tensor_parallel(titan_train, tmp_path):
    options = ("--checkpoint.interval", 4, "--checkpoint.async_mode", "async_with_pinned_mem", *batch(4))
    straight = train(titan_train, tmp_path, *options, *mesh(shard=2), gpus=2)
    again = ("--checkpoint.load_step", 4, *batch(8), *mesh(tensor=2))
    both = train(titan_train, tmp_path, *options, *again, gpus=2)
    assert "Training starts at step 5" in both.output
    assert both.losses == pytest.approx([*straight.losses, *straight.losses[4:]], rel=2e-3)


# ---- Copies have no limit of time of their own ----


@needs_gpus(2)
@pytest.mark.parametrize("env", [{}, PROCESS_GROUPS_ONLY], ids=["copied", "nccl"])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hangs"])
@pytest.mark.parametrize("in_first_step", [True, False], ids=["first-step", "later-step"])
def test_rank_that_is_gone(titan_train, tmp_path, in_first_step, sent, env):
    long_step = ("--training.seq_len", 2048, *batch(64)) if in_first_step else ()
    options = (*JOB, *ENDLESS, *mesh(shard=2), *long_step, "--job.dump_folder", tmp_path)
    with ranks_without_launcher(titan_train, 2, *options, env={**GPUS, **env}) as processes:
        if in_first_step:
            wait_for(processes[0], "Training starts at step 1")
        else:
            wait_for_step(processes[0], 5)
        processes[1].send_signal(sent)
        begin = time.monotonic()
        _, errors = processes[0].communicate(timeout=120)
        seconds = time.monotonic() - begin
    assert processes[0].returncode not in (0, None) and seconds < 75, errors
    assert "titan-train: rank 0 ends, since rank 1 does not answer" in errors


@needs_gpus(2)
def test_all_save_the_step_they_stop_at(titan_train, tmp_path):
    options = (*JOB, *mesh(shard=2), "--training.steps", 100000, "--checkpoint.interval", 100000)
    with ranks_without_launcher(titan_train, 2, *options, "--job.dump_folder", tmp_path, env=GPUS) as processes:
        wait_for_step(processes[0], 3)
        processes[1].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    last = step_records(tmp_path)[-1]["step"]
    assert outputs[0][0].count(f"Saved checkpoint step-{last} ") == 1
