"""The float8 step with tensor parallel, emulated: as torchao's linears have it where each computes with a rank's part,
so that every amax is of that part alone; and as good as the step without tensor parallel."""

import math

import pytest
import torch
import torch.nn.functional as F

import llama_reference as reference
from float8_probes import decibels
from test_model import inputs, relative, run_probe

float8 = pytest.importorskip("torchao.float8", reason="torchao is not installed")

RECIPES = ["rowwise", "rowwise_with_gw_hp"]
SIZES = reference.Sizes(layers=1, kv_heads=4)
OUTPUT, GRADIENT = 18, 17  # dB, the bars of torchao's own tests


def float8_linear(recipe):
    """A function of x [T, K] and a weight [N, K]: torchao's linear, whose emulation computes in fp32."""
    config = float8.Float8LinearConfig.from_recipe_name(recipe)
    object.__setattr__(config, "emulate", True)

    def linear(x, weight):
        module = float8.float8_linear.Float8Linear.from_float(
            torch.nn.Linear(*weight.T.shape, bias=False, device="meta"), config=config)
        return torch.func.functional_call(module, {"weight": weight}, (x,))

    return linear


def forward(weights, sizes, tokens, ranks, linear):
    """tokens [B, S] -> logits [B * S, V] of so many ranks: the linears that share an input are one on each."""
    batch, length = tokens.shape
    frequencies = reference.scaled_frequencies(sizes)
    mask = torch.full((length, length), -math.inf).triu(1)
    heads, kv_heads = sizes.heads // ranks, sizes.kv_heads // ranks

    def part(name, rank, dimension):
        return weights[name + ".weight"].chunk(ranks, dimension)[rank]

    def attention(layer, h, rank):
        qkv = linear(h, torch.cat([part(f"{layer}.attention.{w}", rank, 0) for w in ("wq", "wk", "wv")]))
        q, k, v = qkv.view(batch, length, -1, sizes.head_dim).split([heads, kv_heads, kv_heads], 2)
        q, k = reference.rotate(q, frequencies), reference.rotate(k, frequencies)
        k, v = k.repeat_interleave(heads // kv_heads, 2), v.repeat_interleave(heads // kv_heads, 2)
        scores = torch.einsum("bshd,bthd->bhst", q, k) / math.sqrt(sizes.head_dim) + mask
        attended = torch.einsum("bhst,bthd->bshd", scores.softmax(-1), v)
        return linear(attended.reshape(batch * length, -1), part(f"{layer}.attention.wo", rank, 1))

    def feed_forward(layer, h, rank):
        gate, up = linear(h, torch.cat([part(f"{layer}.feed_forward.{w}", rank, 0) for w in ("w1", "w3")])).chunk(2, 1)
        return linear(F.silu(gate) * up, part(f"{layer}.feed_forward.w2", rank, 1))

    x = weights["tok_embeddings.weight"][tokens.flatten()]
    for i in range(sizes.layers):
        for norm, sublayer in (("attention_norm", attention), ("ffn_norm", feed_forward)):
            h = reference.rms_norm(x, weights[f"layers.{i}.{norm}.weight"], sizes.eps)
            x = x + sum(sublayer(f"layers.{i}", h, rank) for rank in range(ranks))
    h = reference.rms_norm(x, weights["norm.weight"], sizes.eps)
    return torch.cat([linear(h, part("output", rank, 0)) for rank in range(ranks)], 1)


def expected_of(weights, tokens, labels, ranks, recipe):
    """The reference's results by step_probe's names."""
    weights = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    logits = forward(weights, SIZES, tokens[0], ranks, float8_linear(recipe))
    loss = F.cross_entropy(logits, labels.flatten().long(), ignore_index=-100)
    loss.backward()
    return {"loss": loss.detach()[None], "logits": logits.detach(),
            **{name + ".grad": weight.grad for name, weight in weights.items()}}


def with_unequal_parts(weights, ranks):
    """Values and output weights of rank r are 2^(20 r) apart from those of rank 0, in opposite directions: the model is
    the same but for float8, in which one scale for all would leave nothing of the small parts."""
    weights = dict(weights)
    for small, large in (("attention.wv", "attention.wo"), ("feed_forward.w3", "feed_forward.w2")):
        for name, dimension, sign in ((small, 0, -1), (large, 1, 1)):
            name = f"layers.0.{name}.weight"
            parts = weights[name].chunk(ranks, dimension)
            weights[name] = torch.cat([part * 2.0 ** (sign * 20 * rank) for rank, part in enumerate(parts)], dimension)
    return weights


@pytest.mark.parametrize("asynchronous", [0, 1])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("ranks", [2, 4])
def test_every_amax_is_of_a_ranks_part(tmp_path, ranks, recipe, asynchronous):
    weights = with_unequal_parts(reference.random_weights(SIZES), ranks)
    tokens, labels = inputs(SIZES, seq_len=64)
    found = run_probe(tmp_path, weights, SIZES, tokens, labels, float8=recipe, tp=ranks, **{"async": asynchronous})
    expected = expected_of(weights, tokens, labels, ranks, recipe)
    assert found.keys() == expected.keys()
    of_whole = expected_of(weights, tokens, labels, 1, recipe)
    assert relative(found["loss"], expected["loss"]) < 1e-5
    for name in expected.keys() - {"loss"}:
        # Nearer than single values that fall on the other side of a rounding; far from one amax for all.
        assert relative(found[name], expected[name]) < 5e-3 < 0.3 < relative(of_whole[name], expected[name]), name


@pytest.mark.parametrize("recipe", RECIPES)
def test_as_good_as_without_tensor_parallel(tmp_path, recipe):
    weights = reference.random_weights(SIZES)
    tokens, labels = inputs(SIZES)
    exact = run_probe(tmp_path, weights, SIZES, tokens, labels)
    one, two = (run_probe(tmp_path, weights, SIZES, tokens, labels, dtype="bfloat16", float8=recipe, tp=ranks)
                for ranks in (1, 2))
    for name in exact.keys() - {"loss"}:
        bar = OUTPUT if name == "logits" else GRADIENT
        assert decibels(one[name], two[name]) >= bar, name
        assert decibels(exact[name], two[name]) >= max(bar, decibels(exact[name], one[name]) - 1), name
