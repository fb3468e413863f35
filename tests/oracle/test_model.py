"""The training step against an independent Llama: loss, logits and the gradient of every parameter."""

import os
import pathlib
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file

import llama_reference as reference

BUILD = pathlib.Path(os.environ.get("TITAN_BUILD", pathlib.Path(__file__).parents[2] / "build"))


def run_probe(tmp_path, weights, sizes, tokens, labels, **options):
    source, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    micro_batches, batch, seq_len = tokens.shape
    save_file({**weights, "tokens": tokens.flatten(1).int(), "labels": labels.flatten(1).int()}, source)
    options = {"n_layers": sizes.layers, "kv_heads": sizes.kv_heads, "vocab_size": sizes.vocab,
               "batch": batch, "seq_len": seq_len, "mode": "none", "option": "2", "dtype": "float32",
               "float8": "none", "tp": 1, "async": 0, **options}
    subprocess.run([BUILD / "tests/step_probe", source, out] + [f"{k}={v}" for k, v in options.items()],
                   check=True, timeout=300)
    return {name: tensor.clone() for name, tensor in load_file(out).items()}  # another call writes the file anew


def inputs(sizes, micro_batches=1, batch=2, seq_len=40, seed=1):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(sizes.vocab, (micro_batches, batch, seq_len), generator=generator)
    labels = torch.randint(sizes.vocab, (micro_batches, batch, seq_len), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = -100
    return tokens, labels


def relative(found, expected):
    return ((found.double() - expected).norm() / expected.norm()).item()


MODES = [("none", "2"), ("full", "2"), ("selective", "op"), ("selective", "2"), ("selective", "0")]


@pytest.mark.parametrize("mode,option", MODES)
@pytest.mark.parametrize("kv_heads,micro_batches", [(16, 1), (4, 2)])
def test_matches_reference_in_fp32(tmp_path, mode, option, kv_heads, micro_batches):
    sizes = reference.Sizes(kv_heads=kv_heads, layers=3)
    weights = reference.random_weights(sizes)
    tokens, labels = inputs(sizes, micro_batches)
    loss, gradients, logits = reference.loss_and_gradients(weights, sizes, tokens, labels)
    found = run_probe(tmp_path, weights, sizes, tokens, labels, mode=mode, option=option)

    assert relative(found["loss"][0], loss) < 1e-6
    first = logits[: tokens.shape[1]].flatten(0, 1)
    assert relative(found["logits"], first) < 1e-5
    errors = {name: relative(found[name + ".grad"], gradient) for name, gradient in gradients.items()}
    assert len(errors) == 3 + 9 * sizes.layers
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("asynchronous", [0, 1])
@pytest.mark.parametrize("tp", [2, 4])
def test_tensor_parallel_matches_reference(tmp_path, tp, asynchronous):
    sizes = reference.Sizes(kv_heads=4)
    weights = reference.random_weights(sizes)
    tokens, labels = inputs(sizes, micro_batches=2, seq_len=64)
    loss, gradients, logits = reference.loss_and_gradients(weights, sizes, tokens, labels)
    found = run_probe(tmp_path, weights, sizes, tokens, labels, tp=tp, mode="full", **{"async": asynchronous})
    assert relative(found["loss"][0], loss) < 1e-6
    assert relative(found["logits"], logits[: tokens.shape[1]].flatten(0, 1)) < 1e-5
    errors = {name: relative(found[name + ".grad"], gradient) for name, gradient in gradients.items()}
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_close_to_reference_in_bf16(tmp_path, micro_batches):
    sizes = reference.Sizes(kv_heads=4)
    weights = {k: v.bfloat16().float() for k, v in reference.random_weights(sizes).items()}
    tokens, labels = inputs(sizes, micro_batches)
    loss, gradients, _ = reference.loss_and_gradients(weights, sizes, tokens, labels)
    found = run_probe(tmp_path, weights, sizes, tokens, labels, dtype="bfloat16")
    assert relative(found["loss"][0], loss) < 2e-3
    for name, gradient in gradients.items():
        assert relative(found[name + ".grad"], gradient) < 4e-2, name
