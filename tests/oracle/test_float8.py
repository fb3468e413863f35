"""Float8 copies against torchao, bit for bit: every operand that a torchao Float8Linear makes in a
forward and a backward, for both recipes."""

import dataclasses
import os
import pathlib
import subprocess

import pytest
import torch
from torchao.float8 import Float8LinearConfig, float8_linear

BUILD = pathlib.Path(os.environ.get("TITAN_BUILD", pathlib.Path(__file__).parents[2] / "build"))
M, K, N = 80, 96, 112


def our_copies(requests):
    """For each (kind, matrix): values as bytes and inverse scales, as they are stored."""
    words, stdin = [str(requests[0][1].dtype).split(".")[1]], b""
    for kind, matrix in requests:
        words += [kind, *map(str, matrix.shape)]
        stdin += matrix.contiguous().view(torch.uint8).numpy().tobytes()
    out = bytearray(subprocess.run([BUILD / "tests/quantize_probe", *words], input=stdin, check=True,
                                   capture_output=True, timeout=60).stdout)
    for kind, matrix in requests:
        shape = matrix.shape if kind == "row" else matrix.shape[::-1]
        end = matrix.numel() + 4 * shape[0]
        yield (torch.frombuffer(out[: matrix.numel()], dtype=torch.uint8).reshape(shape),
               torch.frombuffer(out[matrix.numel():end], dtype=torch.float32))
        out = out[end:]
    assert not out


class Recorder:
    """Stands in for torchao's cast inside Float8Linear and keeps what goes in and comes out."""

    def __init__(self, monkeypatch):
        self.calls = []
        self.cast = float8_linear.hp_tensor_to_float8_dynamic
        monkeypatch.setattr(float8_linear, "hp_tensor_to_float8_dynamic", self)

    def __call__(self, tensor, *args, **kwargs):
        result = self.cast(tensor, *args, **kwargs)
        self.calls.append((tensor.detach(), result._data.detach(), result._scale.detach()))
        return result


def without_nan_signs(values):
    return torch.where(values & 0x7F == 0x7F, torch.full_like(values, 0x7F), values)


def expect_equal(expected):
    """expected: (kind, matrix, data, scale), with torchao's data turned to the way the copy is stored."""
    copies = our_copies([(kind, matrix) for kind, matrix, _, _ in expected])
    for (values, inverse_scales), (_, _, data, scale) in zip(copies, expected, strict=True):
        theirs = data.contiguous().view(torch.uint8)
        assert torch.equal(without_nan_signs(values), without_nan_signs(theirs))
        torch.testing.assert_close(inverse_scales, scale.flatten().expand(len(values)).reciprocal(), rtol=0, atol=0,
                                   equal_nan=True)


def plain(shape, generator):
    return torch.randn(shape, generator=generator)


def ragged(shape, generator):
    """Magnitudes of rows and columns that differ by many powers of two: values subnormal in e4m3, and zero."""
    rows = torch.randint(-20, 20, (shape[0], 1), generator=generator)
    cols = torch.randint(-20, 20, (1, shape[1]), generator=generator)
    return torch.randn(shape, generator=generator) * torch.exp2((rows + cols).float())


def special(shape, generator):
    x = torch.randn(shape, generator=generator)
    x[0] = 0
    x[1] = -0.0
    x[2] *= 1e-39
    x[3] = 3e38
    x[4] = torch.linspace(-448, 448, shape[1])
    x[5] = 1.75
    x[6] = 1e-12
    x[7] = 448 * 2.0 ** torch.linspace(0, -20, shape[1])
    x[:, 8] = 0
    x[:, 9] = -1e-42
    return x


def not_finite(shape, generator):
    x = torch.randn(shape, generator=generator)
    x[0, 3] = float("nan")
    x[1, 4] = float("inf")
    x[2, 5] = -float("inf")
    x[3, 6], x[3, 7] = float("inf"), float("nan")
    return x


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("fill", [plain, ragged, special, not_finite])
@pytest.mark.parametrize("recipe", ["rowwise", "rowwise_with_gw_hp"])
def test_operands_of_a_linear(monkeypatch, recipe, fill, dtype):
    generator = torch.Generator().manual_seed(11)
    x, weight, dy = (fill(shape, generator).to(dtype) for shape in [(M, K), (N, K), (M, N)])
    config = dataclasses.replace(Float8LinearConfig.from_recipe_name(recipe), emulate=True)
    linear = torch.nn.Linear(K, N, bias=False, dtype=dtype)
    linear.weight = torch.nn.Parameter(weight.clone())
    linear = float8_linear.Float8Linear.from_float(linear, config=config)
    recorder = Recorder(monkeypatch)
    inputs = x.clone().reshape(2, M // 2, K).requires_grad_()
    linear(inputs).backward(dy.reshape(2, M // 2, N))

    operands = [(tensor.reshape(-1, tensor.shape[-1]), data.reshape(-1, data.shape[-1]), scale)
                for tensor, data, scale in recorder.calls]
    (x_in, x_row, x_scale), (_, w_row, w_scale) = operands[:2]
    (dy_in, dy_row, dy_scale), (_, w_column, w_column_scale) = operands[2:4]
    assert torch.equal(x_in.nan_to_num(), x.nan_to_num()) and torch.equal(dy_in.nan_to_num(), dy.nan_to_num())
    expected = [("row", x, x_row, x_scale), ("row", weight, w_row.t(), w_scale), ("row", dy, dy_row, dy_scale),
                ("column" if recipe == "rowwise" else "column_by_tensor", weight, w_column, w_column_scale)]
    if recipe == "rowwise":
        (_, dy_column, dy_column_scale), (_, x_column, x_column_scale) = operands[4:]
        expected += [("column", dy, dy_column.t(), dy_column_scale), ("column", x, x_column.t(), x_column_scale)]
    else:
        assert len(operands) == 4  # the weight's gradient is made in high precision
    expect_equal(expected)
