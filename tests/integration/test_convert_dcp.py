"""scripts/convert_dcp.py: checkpoints from and to torch.distributed.checkpoint, as torchtitan lays them out."""
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import torch.distributed.checkpoint as dcp
from driver import (
    BUILD,
    DEBUG_JOB,
    ROOT,
    SMALL,
    assert_bitwise_equal,
    losses,
    ranks_without_launcher,
    tensors,
    torchrun,
)
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
FLAT = StateDictOptions(flatten_optimizer_state_dict=True)
JOB = (*SMALL, "--debug.seed", 7, "--debug.deterministic", "--lr_scheduler.total_steps", 20)


def convert(*words, expect=0):
    environment = {**os.environ, "TITAN_BUILD": str(BUILD), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, ROOT / "scripts/convert_dcp.py", *map(str, words)], env=environment,
                          cwd=ROOT, capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout.strip() or done.stderr.strip()


@pytest.fixture(scope="module")
def run(titan_train, tmp_path_factory):
    """Four steps, with a checkpoint."""
    dump = tmp_path_factory.mktemp("run")
    titan_train(*JOB, "--training.steps", 4, "--checkpoint.interval", 4, "--job.dump_folder", dump)
    return dump


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return convert("export", run / "checkpoint/step-4", tmp_path_factory.mktemp("titan") / "checkpoint")


def test_there_and_back_is_the_same_run(titan_train, run, exported, tmp_path):
    copy, back = tmp_path / "copy", tmp_path / "back"
    shutil.copytree(run, copy)
    shutil.copytree(run, back, ignore=shutil.ignore_patterns("checkpoint"))
    convert("import", exported, back / "checkpoint", DEBUG_JOB, *JOB[1:])
    assert_bitwise_equal(tensors(back / "checkpoint/step-4"), tensors(copy / "checkpoint/step-4"))
    for dump in (copy, back):
        titan_train(*JOB, "--training.steps", 7, "--checkpoint.interval", 7, "--job.dump_folder", dump,
                    "--checkpoint.exclude_from_loading", "dataloader")  # fmt: skip
    assert losses(back) == losses(copy) and max(losses(back)) == 7
    assert_bitwise_equal(tensors(back / "checkpoint/step-7"), tensors(copy / "checkpoint/step-7"))
    assert "initial weights" in titan_train(
        *JOB, "--training.steps", 1, "--job.dump_folder", tmp_path / "initial", "--checkpoint.enable",
        "--checkpoint.initial_load_path", back / "checkpoint/step-4").output  # fmt: skip


class Upstream:
    """A module of the same parameters with its optimizer and schedule, saved and loaded as torchtitan does."""

    def __init__(self, shapes):
        self.model = torch.nn.Module()
        for name, shape in shapes.items():
            *path, leaf = name.split(".")
            module = self.model
            for part in path:
                if part not in module._modules:
                    module.add_module(part, torch.nn.Module())
                module = module._modules[part]
            module.register_parameter(leaf, torch.nn.Parameter(torch.randn(shape)))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=4e-3, betas=(0.9, 0.95), weight_decay=0.1,
                                           fused=True)  # fmt: skip
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1 / (1 + step))
        self.counters = {"step": 0, "ntokens_seen": 0}

    def step(self):
        for parameter in self.model.parameters():
            parameter.grad = torch.randn_like(parameter)
        self.optimizer.step()
        self.scheduler.step()
        self.counters = {"step": self.counters["step"] + 1, "ntokens_seen": self.counters["ntokens_seen"] + 128}

    def state(self):
        return {**get_model_state_dict(self.model), "lr_scheduler": self.scheduler.state_dict(),
                "optimizer": get_optimizer_state_dict(self.model, self.optimizer, options=FLAT),
                "train_state": self.counters}  # fmt: skip

    def load(self, path):
        state = self.state()
        dcp.load(state, checkpoint_id=path, no_dist=True)
        weights = {name: state[name] for name in get_model_state_dict(self.model)}
        set_model_state_dict(self.model, weights)
        set_optimizer_state_dict(self.model, self.optimizer, state["optimizer"], options=FLAT)
        self.scheduler.load_state_dict(state["lr_scheduler"])
        self.counters = state["train_state"]

    def tensors(self):
        found = {("model", name): p.detach().numpy() for name, p in self.model.named_parameters()}
        for name, parameter in self.model.named_parameters():
            for moment in ("exp_avg", "exp_avg_sq"):
                found["optim", f"{name}.{moment}"] = self.optimizer.state[parameter][moment].numpy()
        return found


@pytest.fixture
def upstream(run):
    torch.manual_seed(3)
    manifest = json.loads((run / "checkpoint/step-4/titan.json").read_text())
    return Upstream({t["name"]: t["shape"] for t in manifest["tensors"] if t["part"] == "model"})


def test_torch_loads_what_is_exported(run, exported, upstream):
    upstream.step()  # as torchtitan, which fills the optimizer's state before it loads
    upstream.load(exported)
    assert_bitwise_equal(upstream.tensors(), tensors(run / "checkpoint/step-4"))
    assert upstream.counters == {"step": 4, "ntokens_seen": 4 * 2 * 64}
    assert {float(state["step"]) for state in upstream.optimizer.state.values()} == {4.0}
    assert upstream.scheduler.last_epoch == 4
    # The learning rate of step 5, as titan-train has it.
    schedule = [20, 4, 0.5, "cosine", 0.1, 5]  # of configs/debug.toml
    factors = subprocess.run([BUILD / "tests/schedule_probe", *map(str, schedule)], capture_output=True, check=True,
                             timeout=60).stdout.split()  # fmt: skip
    (group,) = upstream.optimizer.param_groups
    assert group["lr"] == pytest.approx(4e-3 * float(factors[4]), rel=1e-12)
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.95), 1e-8, 0.1)


def test_imports_what_torch_saved(titan_train, upstream, tmp_path):
    for _ in range(3):
        upstream.step()
    dcp.save(upstream.state(), checkpoint_id=tmp_path / "theirs/step-3", no_dist=True)
    dump = tmp_path / "run"
    said = convert("import", tmp_path / "theirs/step-3", dump / "checkpoint", DEBUG_JOB, *JOB[1:])
    assert said == str(dump / "checkpoint/step-3")
    assert_bitwise_equal(tensors(said), upstream.tensors())
    manifest = json.loads((dump / "checkpoint/step-3/titan.json").read_text())
    assert (manifest["step"], manifest["model_only"], manifest["model"]["n_heads"]) == (3, False, 16)
    assert manifest["state"]["tokens_seen"] == 384 and manifest["state"]["optimizer_updates"] == 3
    output = titan_train(*JOB, "--training.steps", 5, "--job.dump_folder", dump, "--checkpoint.enable").output
    assert "resumed from step 3" in output and "the data begins anew" in output and set(losses(dump)) == {4, 5}


def test_exports_the_shards_of_a_mesh(titan_train, upstream, tmp_path):
    mesh = ("--parallelism.data_parallel_shard_degree", 3, "--parallelism.tensor_parallel_degree", 2)
    options = ("--training.steps", 2, "--checkpoint.interval", 2, "--job.dump_folder", tmp_path)
    with ranks_without_launcher(titan_train, 6, *JOB, *mesh, *options) as processes:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, errors
    step = tmp_path / "checkpoint/step-2"
    assert len(list((step / "optim").iterdir())) == 6
    upstream.step()
    upstream.load(convert("export", step, tmp_path / "theirs"))
    assert_bitwise_equal(upstream.tensors(), tensors(step))
    assert upstream.counters == {"step": 2, "ntokens_seen": 2 * 3 * 2 * 64}


def test_imports_the_shards_of_many_ranks(upstream, tmp_path):
    upstream.step()
    torch.save(upstream.state(), tmp_path / "state.pt")
    command = (*torchrun(4), sys.executable, ROOT / "tests/integration/save_dcp_by_ranks.py", tmp_path / "state.pt",
               tmp_path / "theirs/step-1")  # fmt: skip
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    subprocess.run([*map(str, command)], check=True, env=environment, capture_output=True, timeout=200)
    assert len(list((tmp_path / "theirs/step-1").glob("*.distcp"))) == 4
    said = convert("import", tmp_path / "theirs/step-1", tmp_path / "ours", DEBUG_JOB, *JOB[1:])
    assert_bitwise_equal(tensors(said), upstream.tensors())


def test_weights_alone(titan_train, upstream, tmp_path):
    dcp.save(get_model_state_dict(upstream.model), checkpoint_id=tmp_path / "theirs/step-9", no_dist=True)
    step = convert("import", tmp_path / "theirs/step-9", tmp_path / "ours", DEBUG_JOB, *JOB[1:])
    assert step.endswith("step-9") and json.loads((tmp_path / "ours/step-9/titan.json").read_text())["model_only"]
    theirs = {name: value for name, value in tensors(step).items()}
    assert theirs.keys() == {("model", name) for name, _ in upstream.model.named_parameters()}
    back = convert("export", step, tmp_path / "back")
    state = {name: torch.empty_like(value) for name, value in get_model_state_dict(upstream.model).items()}
    dcp.load(state, checkpoint_id=back, no_dist=True)
    assert all(torch.equal(state[name], value) for name, value in get_model_state_dict(upstream.model).items())


def test_says_what_is_wrong(titan_train, run, exported, tmp_path):
    step = tmp_path / "checkpoint/step-4"
    shutil.copytree(run / "checkpoint/step-4", step)
    shard = next((step / "optim").glob("*"))
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)
    assert "is altered" in convert("export", step, tmp_path / "out", expect=2)
    assert not list((tmp_path / "out").iterdir()), "nothing half-written stays"
    manifest = step / "titan.json"
    manifest.write_text(manifest.read_text().replace('"tokens_seen":', '"tokens_seem":'))
    assert "titan.json is altered" in convert("export", step, tmp_path / "out", expect=2)
    assert "no .metadata" in convert("import", step, tmp_path / "out", DEBUG_JOB, expect=2)
    assert "name the JOB.toml" in convert("import", exported, tmp_path / "out", expect=2)
    misspelt = convert("import", exported, tmp_path / "out", DEBUG_JOB, "--model.flavour", "8B", expect=2)
    assert "did you mean model.flavor?" in misspelt
    convert("export", run / "checkpoint/step-4", tmp_path / "twice")
    assert "exists" in convert("export", run / "checkpoint/step-4", tmp_path / "twice", expect=2)
    refused = titan_train(*SMALL, "--job.dump_folder", tmp_path / "run", "--checkpoint.enable",
                          "--checkpoint.initial_load_path", exported, expect=2).output  # fmt: skip
    assert f"scripts/convert_dcp.py import {exported}" in refused
