"""Checkpoints against torch.distributed.checkpoint and safetensors, and titan-convert against the formulas of
Hugging Face's layout."""

import json
import os
import pathlib
import subprocess

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint import HuggingFaceStorageReader
from torch.distributed.checkpoint._consolidate_hf_safetensors import consolidate_safetensors_files

BUILD = pathlib.Path(os.environ.get("TITAN_BUILD", pathlib.Path(__file__).parents[2] / "build"))
DIM, HEADS, KV_HEADS, FFN, VOCAB, LAYERS = 32, 4, 2, 48, 50, 2
HEAD = DIM // HEADS


def tool(*arguments):
    subprocess.run([BUILD / "tests/checkpoint_tool", *map(str, arguments)], check=True, timeout=120)


def convert(*arguments):
    return subprocess.run([BUILD / "bin/titan-convert", *map(str, arguments)], timeout=120,
                          capture_output=True, text=True)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def mixed_tensors():
    torch.manual_seed(1)
    return {"matrix": torch.randn(33, 20), "vector": torch.randn(7), "experts": torch.randn(5, 6, 4),
            "half": torch.randn(9, 3).bfloat16(), "half16": torch.randn(4, 5).half(),
            "double": torch.randn(3, 2).double(), "scalar": torch.tensor(-2**40),
            "bytes": torch.randint(0, 255, (11,), dtype=torch.uint8),
            "float8": torch.randn(6, 4).to(torch.float8_e4m3fn)}


LAYOUTS = ["whole", "rows:2", "rows:5", "grid:2x3"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_distributed_checkpoint_reads_our_shards(tmp_path, layout):
    tensors = mixed_tensors()
    moments = {f"{name}.exp_avg": torch.randn(33, 20) for name in ("matrix", "other")}
    save_file({**tensors, **{f"optimizer.{name}": t for name, t in moments.items()}}, tmp_path / "in")
    tool("write", tmp_path / "in", layout, tmp_path, 1000)
    for part, expected in (("model", tensors), ("optim", moments)):
        loaded = {name: torch.zeros_like(tensor) for name, tensor in expected.items()}
        dcp.load(loaded, storage_reader=HuggingFaceStorageReader(str(tmp_path / "step-1000" / part)),
                 no_dist=True)
        assert_same(loaded, expected)
    tool("read", tmp_path / "step-1000", tmp_path / "out")
    assert_same(load_file(tmp_path / "out"), tensors)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shards_consolidate_to_plain_files(tmp_path, layout):
    # Of integers that function knows no size.
    tensors = {name: tensor for name, tensor in mixed_tensors().items() if tensor.is_floating_point()}
    save_file(tensors, tmp_path / "in")
    tool("write", tmp_path / "in", layout, tmp_path, 1)
    (tmp_path / "plain").mkdir()
    consolidate_safetensors_files(str(tmp_path / "step-1/model"), str(tmp_path / "plain"),
                                  {name: 1 for name in tensors})
    (plain,) = (tmp_path / "plain").glob("*.safetensors")
    assert_same(load_file(plain), tensors)


def test_safetensors_reads_each_shard(tmp_path):
    tensors = mixed_tensors()
    save_file(tensors, tmp_path / "in")
    tool("write", tmp_path / "in", "rows:3", tmp_path, 1)
    rows = 0
    for rank in range(3):
        path = tmp_path / f"step-1/model/shard-{rank + 1:05}-model-00001-of-00001.safetensors"
        with safe_open(path, framework="pt") as shard:
            metadata = shard.metadata()
            assert metadata["format"] == "pt" and metadata["DCP_VERSION"] == "1.0"
            places = json.loads(metadata["DCP_SHARDING_INFO"])
            assert places.keys() == set(shard.keys())
            block = shard.get_tensor("matrix")
            offset = places["matrix"]["saved_offsets"]
            assert offset == [rows, 0]
            assert torch.equal(block, tensors["matrix"][rows:rows + len(block)])
            rows += len(block)
            # No chunk is empty: torch's reader would take it for one at the same place.
            assert all(shard.get_tensor(name).numel() for name in shard.keys())
    assert rows == 33


@pytest.mark.parametrize("word, dtype", [("bfloat16", torch.bfloat16), ("float16", torch.float16)])
def test_export_dtype_rounds_as_torch(tmp_path, word, dtype):
    generator = torch.Generator().manual_seed(2)
    bits = torch.randint(-2**31, 2**31, (1 << 20,), generator=generator).int()
    values = torch.cat([bits.view(torch.float32), torch.randn(1 << 18, generator=generator) * 1e-6,
                        torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 65504.0, 65520.0, 65519.99])])
    values = torch.where(values.isnan(), torch.zeros(()), values)
    save_file({"values": values}, tmp_path / "in")
    tool("write", tmp_path / "in", "whole", tmp_path, 1, word)
    tool("read", tmp_path / "step-1", tmp_path / "out")
    assert_same(load_file(tmp_path / "out"), {"values": values.to(dtype)})


def llama():
    torch.manual_seed(3)
    shapes = {"tok_embeddings": (VOCAB, DIM), "norm": (DIM,), "output": (VOCAB, DIM)}
    for layer in range(LAYERS):
        shapes |= {f"layers.{layer}.{name}": shape for name, shape in {
            "attention.wq": (DIM, DIM), "attention.wk": (KV_HEADS * HEAD, DIM),
            "attention.wv": (KV_HEADS * HEAD, DIM), "attention.wo": (DIM, DIM),
            "feed_forward.w1": (FFN, DIM), "feed_forward.w2": (DIM, FFN), "feed_forward.w3": (FFN, DIM),
            "attention_norm": (DIM,), "ffn_norm": (DIM,)}.items()}
    return {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}


NAMES = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head",
         "attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj",
         "attention.wv": "self_attn.v_proj", "attention.wo": "self_attn.o_proj",
         "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
         "feed_forward.w3": "mlp.up_proj", "attention_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm"}


def to_hugging_face(weights):
    """The conversion in torch's own terms, independent of the program's."""
    result = {}
    for name, tensor in weights.items():
        parts = name.removesuffix(".weight").split(".")
        prefix = f"model.layers.{parts[1]}." if parts[0] == "layers" else ""
        key = ".".join(parts[2:] if prefix else parts)
        if key in ("attention.wq", "attention.wk"):
            tensor = tensor.view(-1, HEAD // 2, 2, DIM).transpose(1, 2).reshape(-1, DIM)
        result[f"{prefix}{NAMES[key]}.weight"] = tensor
    return result


def save_hugging_face(directory, tensors):
    directory.mkdir()
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps({
        "model_type": "llama", "hidden_size": DIM, "num_hidden_layers": LAYERS, "vocab_size": VOCAB,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "intermediate_size": FFN,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 500000.0}))


@pytest.mark.parametrize("word", ["float32", "bfloat16", "float16"])
def test_convert_there_and_back(tmp_path, word):
    dtype = getattr(torch, word)
    weights = llama()
    stored = {name: tensor.to(dtype) for name, tensor in to_hugging_face(weights).items()}
    save_hugging_face(tmp_path / "hf", {name: tensor.contiguous() for name, tensor in stored.items()})

    result = convert("import", tmp_path / "hf", tmp_path / "step-0")
    assert result.returncode == 0, result.stdout
    tool("read", tmp_path / "step-0", tmp_path / "out")
    assert_same(load_file(tmp_path / "out"), {name: t.to(dtype).float() for name, t in weights.items()})

    result = convert("export", tmp_path / "step-0", tmp_path / "back", "--dtype", word)
    assert result.returncode == 0, result.stdout
    index = json.loads((tmp_path / "back/model.safetensors.index.json").read_text())
    found = {}
    for file in set(index["weight_map"].values()):
        found |= load_file(tmp_path / "back" / file)
    assert found.keys() == index["weight_map"].keys()
    assert_same(found, stored)
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in found.values())
    config = json.loads((tmp_path / "back/config.json").read_text())
    assert (config["hidden_size"], config["rope_theta"], config["torch_dtype"]) == (DIM, 500000.0, word)


def test_convert_reports_bad_input(tmp_path):
    weights = to_hugging_face(llama())
    del weights["model.norm.weight"]
    weights["lm_head.weight"] = torch.zeros(VOCAB + 1, DIM)
    save_hugging_face(tmp_path / "hf", {name: tensor.contiguous() for name, tensor in weights.items()})
    result = convert("import", tmp_path / "hf", tmp_path / "step-0")
    assert result.returncode == 2
    assert "model.norm.weight: missing" in result.stdout and "lm_head.weight: F32 [51, 32]" in result.stdout
    assert convert("export", tmp_path / "hf", tmp_path / "out").returncode == 2
    assert convert("export", tmp_path / "none", tmp_path / "out").returncode == 2
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert convert("import", tmp_path / "hf", tmp_path / "full").returncode == 2
    assert convert("import").returncode == 2 and convert("--help").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "hf"]


def test_transformers_loads_the_export(tmp_path):
    import transformers  # slow to load: only for this test

    expected = {name: tensor.contiguous() for name, tensor in to_hugging_face(llama()).items()}
    save_hugging_face(tmp_path / "hf", expected)
    assert convert("import", tmp_path / "hf", tmp_path / "step-0").returncode == 0
    assert convert("export", tmp_path / "step-0", tmp_path / "out").returncode == 0
    model, report = transformers.LlamaForCausalLM.from_pretrained(
        tmp_path / "out", dtype="float32", output_loading_info=True)
    assert not any(report.values()), report
    assert_same(dict(model.named_parameters()), expected)

    # What transformers itself saves comes back too.
    model.save_pretrained(tmp_path / "saved")
    result = convert("import", tmp_path / "saved", tmp_path / "step-1")
    assert result.returncode == 0, result.stdout
    tool("read", tmp_path / "step-1", tmp_path / "weights")
    assert_same(load_file(tmp_path / "weights"), llama())
