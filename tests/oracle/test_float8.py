"""Float8 copies against torchao, bit for bit: every operand that a torchao Float8Linear makes in a
forward and a backward, for both recipes."""

import dataclasses

import pytest
import torch

from float8_probes import our_copies

pytest.importorskip("torchao.float8", reason="torchao is not installed")
from torchao.float8 import Float8LinearConfig, float8_linear  # noqa: E402

M, K, N = 80, 96, 112


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


def operands_of_a_linear(monkeypatch, recipe, x, weight, dy):
    """(what went in, float8 data, scale) of every cast of a Float8Linear's forward and backward, by operand."""
    config = dataclasses.replace(Float8LinearConfig.from_recipe_name(recipe), emulate=True)
    linear = torch.nn.Linear(*weight.T.shape, bias=False, dtype=weight.dtype)
    linear.weight = torch.nn.Parameter(weight.clone())
    linear = float8_linear.Float8Linear.from_float(linear, config=config)
    with monkeypatch.context() as patch:
        recorder = Recorder(patch)
        inputs = x.clone().reshape(2, len(x) // 2, -1).requires_grad_()
        linear(inputs).backward(dy.reshape(2, len(x) // 2, -1))
    operands = [(tensor.reshape(-1, tensor.shape[-1]), data.reshape(-1, data.shape[-1]), scale)
                for tensor, data, scale in recorder.calls]
    names = ["x row", "w row", "dy row", "w column", "dy column", "x column"]
    # With rowwise_with_gw_hp the weight's gradient is made in high precision.
    return dict(zip(names if recipe == "rowwise" else names[:4], operands, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("fill", [plain, ragged, special, not_finite])
@pytest.mark.parametrize("recipe", ["rowwise", "rowwise_with_gw_hp"])
def test_operands_of_a_linear(monkeypatch, recipe, fill, dtype):
    generator = torch.Generator().manual_seed(11)
    x, weight, dy = (fill(shape, generator).to(dtype) for shape in [(M, K), (N, K), (M, N)])
    theirs = operands_of_a_linear(monkeypatch, recipe, x, weight, dy)
    for name, matrix in [("x row", x), ("dy row", dy)]:
        assert torch.equal(theirs[name][0].nan_to_num(), matrix.nan_to_num())

    def operand(name, kind, matrix, turned):
        _, data, scale = theirs[name]
        return kind, matrix, data.t() if turned else data, scale

    expected = [operand("x row", "row", x, False), operand("w row", "row", weight, True),
                operand("dy row", "row", dy, False),
                operand("w column", "column" if recipe == "rowwise" else "column_by_tensor", weight, False)]
    if recipe == "rowwise":
        expected += [operand("dy column", "column", dy, True), operand("x column", "column", x, True)]
    expect_equal(expected)


@pytest.mark.parametrize("fill", [plain, ragged, special, not_finite])
def test_members_of_a_group_are_quantized_as_each_alone(monkeypatch, fill):
    """A group's weight copy for forward and its gradient's for wgrad are those of its members, one below another."""
    generator = torch.Generator().manual_seed(12)
    x = fill((M, K), generator).bfloat16()
    members = [(fill((n, K), generator).bfloat16(), fill((M, n), generator).bfloat16()) for n in (48, 16, 32)]
    alone = [operands_of_a_linear(monkeypatch, "rowwise", x, weight, dy) for weight, dy in members]

    def stacked(name, column):
        return torch.cat([operands[name][column].t().reshape(-1, operands[name][1].shape[0]) if column == 1
                          else operands[name][column].flatten() for operands in alone])

    weight, dy = torch.cat([weight for weight, _ in members]), torch.cat([dy for _, dy in members], dim=1)
    expect_equal([("row", weight, stacked("w row", 1), stacked("w row", 2)),
                  ("column", dy, stacked("dy column", 1), stacked("dy column", 2))])
