"""Weights to and from Hugging Face: transformers' LlamaForCausalLM gives our logits and our loss."""

import json
import pathlib
import subprocess
import sys

import numpy
import pytest
import torch
from driver import BUILD, DEBUG_JOB, TitanTrain, losses
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import llama_reference as reference
from test_model import run_probe

LAYERS, VOCAB, BATCH, LENGTH = 2, 512, 2, 256
SCALED = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}  # fmt: skip
UNSCALED = {"rope_type": "default", "rope_theta": 500000.0}


def random_llama(folder, kv_heads=16, rope=SCALED, heads=16):
    """A model of the debug flavour's sizes, saved by transformers; weights large enough for positions to matter."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCAB, hidden_size=256, intermediate_size=768, num_hidden_layers=LAYERS,
        num_attention_heads=heads, num_key_value_heads=kv_heads, rms_norm_eps=1e-5, rope_parameters=rope,
        max_position_embeddings=131072, tie_word_embeddings=False, initializer_range=0.12))  # fmt: skip
    model.save_pretrained(folder)
    return folder


def load_llama(folder, **changes):
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **changes).eval()


@torch.no_grad()
def logits_of(model, tokens):
    return model(tokens).logits.flatten(0, 1)


def native_weights(checkpoint):
    (file,) = (pathlib.Path(checkpoint) / "model").glob("*.safetensors")
    return load_file(file)


def our_logits(tmp_path, checkpoint, tokens, kv_heads=16):
    sizes = reference.Sizes(layers=LAYERS, vocab=VOCAB, kv_heads=kv_heads)
    return run_probe(tmp_path, native_weights(checkpoint), sizes, tokens[None], tokens[None])["logits"]


def random_tokens():
    return torch.randint(VOCAB, (BATCH, LENGTH), generator=torch.Generator().manual_seed(3))


def assert_same_logits(found, expected):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-4, (found - expected).abs().max()


def token_file(tmp_path):
    """Tokens as uint16, and the same as the training's sequences: [n, LENGTH + 1]."""
    ids = numpy.random.default_rng(5).integers(VOCAB, size=40 * (LENGTH + 1), dtype=numpy.uint16)
    ids.tofile(tmp_path / "tokens.bin")
    return torch.from_numpy(ids.astype(numpy.int64)).view(-1, LENGTH + 1)


@pytest.fixture
def titan(tmp_path):
    token_file(tmp_path)
    run = TitanTrain(tmp_path / "cache")
    common = (DEBUG_JOB, "--model.n_layers", LAYERS, "--model.vocab_size", VOCAB, "--debug.seed", 1,
              "--model.hf_assets_path", tmp_path / "no_tokenizer",
              "--training.dataset_path", tmp_path / "tokens.bin", "--training.seq_len", LENGTH,
              "--training.local_batch_size", BATCH, "--optimizer.lr", 1e-3)  # fmt: skip
    return lambda *arguments, **options: run(*common, *arguments, **options)


def convert(*arguments, expect=0):
    done = subprocess.run([BUILD / "bin/titan-convert", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


# Linux counts in a process's peak what it had before exec, which is its parent's memory: so a small parent.
PEAK = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def peak_memory_of(*command):
    """In bytes."""
    done = subprocess.run([sys.executable, "-c", PEAK, *map(str, command)], stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


def test_converting_streams(tmp_path):
    """The largest tensor has 192 MiB as float32, the model 0.5 GiB; neither is ever in memory whole."""
    vocabulary, width, ffn = 49152, 1024, 2048
    (tmp_path / "hf").mkdir()
    config = LlamaConfig(vocab_size=vocabulary, hidden_size=width, intermediate_size=ffn, num_hidden_layers=1,
                         num_attention_heads=8, num_key_value_heads=8, rope_parameters=UNSCALED,
                         architectures=["LlamaForCausalLM"], tie_word_embeddings=False)  # fmt: skip
    config.save_pretrained(tmp_path / "hf")
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in LlamaForCausalLM(config).state_dict().items()}
    save_file({name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()},
              tmp_path / "hf/model.safetensors", {"format": "pt"})  # fmt: skip
    converter, largest = BUILD / "bin/titan-convert", vocabulary * width * 4
    limit = 120 << 20
    assert limit < largest
    assert peak_memory_of(converter, "import", tmp_path / "hf", tmp_path / "step-0") < limit
    assert (tmp_path / "step-0/model/shard-00001-model-00001-of-00001.safetensors").stat().st_size > 2 * largest
    assert peak_memory_of(converter, "export", tmp_path / "step-0", tmp_path / "out") < limit


def test_a_trained_model_exported_gives_our_logits(titan, tmp_path):
    start = random_llama(tmp_path / "start")
    arguments = ("--checkpoint.initial_load_path", start, "--checkpoint.initial_load_in_hf", "--training.steps", 3)
    titan(*arguments, "--job.dump_folder", tmp_path / "native")
    titan(*arguments, "--job.dump_folder", tmp_path / "hf", "--checkpoint.last_save_in_hf",
          "--checkpoint.last_save_model_only")  # fmt: skip
    native, exported = tmp_path / "native/checkpoint/step-3", tmp_path / "hf/checkpoint/step-3"
    convert("export", native, tmp_path / "converted")

    tokens = random_tokens()
    ours = our_logits(tmp_path, native, tokens)
    for folder in (exported, tmp_path / "converted"):
        model = load_llama(folder)
        assert model.config.rope_parameters["rope_type"] == "llama3"
        expected = logits_of(model, tokens)
        assert_same_logits(ours, expected)
    # It is not the model that training started from, and the scaling of its positions matters.
    assert (logits_of(load_llama(start), tokens) - expected).abs().max() > 1e-2
    unscaled = load_llama(tmp_path / "converted", rope_parameters=UNSCALED)
    assert (logits_of(unscaled, tokens) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("kv_heads", [16, 4, 1])
def test_an_imported_model_gives_its_logits(tmp_path, kv_heads):
    folder = random_llama(tmp_path / "hf", kv_heads)
    convert("import", folder, tmp_path / "step-0")
    tokens = random_tokens()
    expected = logits_of(load_llama(folder), tokens)
    assert_same_logits(our_logits(tmp_path, tmp_path / "step-0", tokens, kv_heads), expected)

    convert("export", tmp_path / "step-0", tmp_path / "again")
    before, after = load_llama(folder).state_dict(), load_llama(tmp_path / "again").state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_training_starts_with_the_loss_of_an_imported_model(titan, tmp_path):
    folder = random_llama(tmp_path / "hf")
    titan("--checkpoint.initial_load_path", folder, "--checkpoint.initial_load_in_hf", "--training.steps", 2,
          "--optimizer.lr", 0, "--job.dump_folder", tmp_path / "out")  # fmt: skip
    sequences = token_file(tmp_path)
    model = load_llama(folder)
    for step, loss in losses(tmp_path / "out").items():
        batch = sequences[(step - 1) * BATCH : step * BATCH]
        expected = torch.nn.functional.cross_entropy(logits_of(model, batch[:, :-1]), batch[:, 1:].flatten())
        assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_a_model_of_other_heads_is_refused_and_other_positions_are_named(titan, tmp_path):
    arguments = ("--checkpoint.initial_load_in_hf", "--training.steps", 1, "--job.dump_folder", tmp_path / "out")
    other_heads = random_llama(tmp_path / "heads", heads=8, kv_heads=8)  # all tensors have the same shapes
    done = titan("--checkpoint.initial_load_path", other_heads, *arguments, expect=2)
    assert "8 heads" in done.stderr and "config.json" in done.stderr

    unscaled = random_llama(tmp_path / "unscaled", rope=UNSCALED)
    done = titan("--checkpoint.initial_load_path", unscaled, *arguments)
    assert "not scaled" in done.output

    (unscaled / "config.json").unlink()  # then there is nothing to compare
    titan("--checkpoint.initial_load_path", unscaled, "--checkpoint.initial_load_in_hf", "--training.steps", 1,
          "--job.dump_folder", tmp_path / "no_config")  # fmt: skip
    assert json.loads((tmp_path / "no_config/checkpoint/step-1/titan.json").read_text())["step"] == 1
