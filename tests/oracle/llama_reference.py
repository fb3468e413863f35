"""An independent Llama-3 in plain PyTorch, for comparison: autograd, no fused operations, any dtype."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass
class Sizes:
    dim: int = 256
    layers: int = 2
    heads: int = 16
    kv_heads: int = 16
    hidden: int = 768
    vocab: int = 512
    eps: float = 1e-5
    theta: float = 500000.0

    @property
    def head_dim(self):
        return self.dim // self.heads


def random_weights(sizes, seed=0):
    """Weights by torchtitan's names, large enough that every gradient matters."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, std):
        return torch.randn(*shape, generator=generator) * std

    d, kv = sizes.dim, sizes.kv_heads * sizes.head_dim
    weights = {"tok_embeddings.weight": draw(sizes.vocab, d, std=1.0)}
    for i in range(sizes.layers):
        p = f"layers.{i}."
        weights[p + "attention.wq.weight"] = draw(d, d, std=0.08)
        weights[p + "attention.wk.weight"] = draw(kv, d, std=0.08)
        weights[p + "attention.wv.weight"] = draw(kv, d, std=0.05)
        weights[p + "attention.wo.weight"] = draw(d, d, std=0.05)
        weights[p + "feed_forward.w1.weight"] = draw(sizes.hidden, d, std=0.05)
        weights[p + "feed_forward.w3.weight"] = draw(sizes.hidden, d, std=0.05)
        weights[p + "feed_forward.w2.weight"] = draw(d, sizes.hidden, std=0.05)
        weights[p + "attention_norm.weight"] = 1 + draw(d, std=0.1)
        weights[p + "ffn_norm.weight"] = 1 + draw(d, std=0.1)
    weights["norm.weight"] = 1 + draw(d, std=0.1)
    weights["output.weight"] = draw(sizes.vocab, d, std=d**-0.5)
    return weights


def scaled_frequencies(sizes):
    """Llama 3.1's rotary frequencies: factor 8, low 1, high 4, original length 8192."""
    frequencies = []
    for i in range(sizes.head_dim // 2):
        frequency = sizes.theta ** (-2 * i / sizes.head_dim)
        wavelength = 2 * math.pi / frequency
        if wavelength > 8192 / 1:
            frequency /= 8
        elif wavelength >= 8192 / 4:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            frequency = (1 - smooth) * frequency / 8 + smooth * frequency
        frequencies.append(frequency)
    return torch.tensor(frequencies, dtype=torch.float64)


def rotate(x, frequencies):
    """x: [B, S, H, head_dim]; channels 2i and 2i+1 turn together."""
    angles = torch.outer(torch.arange(x.shape[1], dtype=torch.float64), frequencies)
    cos, sin = angles.cos()[None, :, None, :].to(x.dtype), angles.sin()[None, :, None, :].to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def forward(weights, sizes, tokens):
    """tokens [B, S] -> logits [B, S, V]"""
    batch, length = tokens.shape
    frequencies = scaled_frequencies(sizes)
    mask = torch.full((length, length), float("-inf"), dtype=torch.float64).triu(1)
    x = weights["tok_embeddings.weight"][tokens]
    for i in range(sizes.layers):
        w = {k: weights[f"layers.{i}.{k}.weight"] for k in (
            "attention.wq", "attention.wk", "attention.wv", "attention.wo", "feed_forward.w1",
            "feed_forward.w2", "feed_forward.w3", "attention_norm", "ffn_norm")}
        h = rms_norm(x, w["attention_norm"], sizes.eps)
        q = rotate((h @ w["attention.wq"].T).view(batch, length, sizes.heads, -1), frequencies)
        k = rotate((h @ w["attention.wk"].T).view(batch, length, sizes.kv_heads, -1), frequencies)
        v = (h @ w["attention.wv"].T).view(batch, length, sizes.kv_heads, -1)
        groups = sizes.heads // sizes.kv_heads
        k, v = k.repeat_interleave(groups, 2), v.repeat_interleave(groups, 2)
        scores = torch.einsum("bshd,bthd->bhst", q, k) / math.sqrt(sizes.head_dim)
        attended = torch.einsum("bhst,bthd->bshd", (scores + mask.to(x.dtype)).softmax(-1), v)
        x = x + attended.flatten(2) @ w["attention.wo"].T
        h = rms_norm(x, w["ffn_norm"], sizes.eps)
        x = x + (F.silu(h @ w["feed_forward.w1"].T) * (h @ w["feed_forward.w3"].T)) @ w["feed_forward.w2"].T
    return rms_norm(x, weights["norm.weight"], sizes.eps) @ weights["output.weight"].T


def loss_and_gradients(weights, sizes, tokens, labels):
    """fp64. tokens, labels [M, B, S]; the loss is the sum over valid labels by their number."""
    weights = {k: v.double().requires_grad_() for k, v in weights.items()}
    valid = (labels != -100).sum()
    logits = forward(weights, sizes, tokens.flatten(0, 1))
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten().long(), reduction="sum",
                           ignore_index=-100) / valid
    loss.backward()
    return loss.detach(), {k: v.grad for k, v in weights.items()}, logits.detach()
