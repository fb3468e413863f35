"""The products of a float8 linear: accurate enough, and as torchao's Float8Linear has them, within a bf16 rounding. On
the GPU where there is one that computes in float8, else emulated on the CPU."""

import dataclasses

import pytest
import torch

from float8_probes import decibels, our_copies, our_products

ON_GPU = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)
DEVICE = "cuda" if ON_GPU else "cpu"
RECIPES = ["rowwise", "rowwise_with_gw_hp"]

# Upstream's bars in dB (torchao test/float8: test_base.py, test_numerics_integration.py).
CAST, OUTPUT, WEIGHT_GRADIENT, FEED_FORWARD = 25, 18, 17, 20
# Their tests have none for dX, which like Y is a product of two float8 operands.
INPUT_GRADIENT = OUTPUT

M, K = 160, 192
GROUPS = {
    "one": {"wo": 224},
    "wq wk wv": {"wq": 192, "wk": 64, "wv": 64},
    "w1 w3": {"w1": 208, "w3": 208},
}


def even(shape, generator):
    return torch.randn(shape, generator=generator)


def uneven(shape, generator):
    """Rows and columns of different magnitude, and a few values far out, as activations have them."""
    rows = torch.exp2(torch.randint(-4, 5, (shape[0], 1), generator=generator).float())
    cols = torch.exp2(torch.randint(-2, 3, (1, shape[1]), generator=generator).float())
    far = 1 + 30 * (torch.rand(shape, generator=generator) < 1e-3)
    return torch.randn(shape, generator=generator) * rows * cols * far


def draw(sizes, fill):
    """x, dy and the weights of a group, in bf16."""
    generator = torch.Generator().manual_seed(3)
    shapes = {"x": (M, K), "dy": (M, sum(sizes.values())), **{name: (n, K) for name, n in sizes.items()}}
    return {name: fill(shape, generator).bfloat16() for name, shape in shapes.items()}


def joined(sizes, tensors, suffix=""):
    return torch.cat([tensors[name + suffix] for name in sizes])


def exact_products(x, weight, dy):
    x, weight, dy = x.double(), weight.double(), dy.double()
    return {"y": x @ weight.T, "dx": dy @ weight, "dw": dy.T @ x}


def torchao_products(recipe, x, weight, dy):
    """What one Float8Linear gives."""
    torchao = pytest.importorskip("torchao.float8", reason="torchao is not installed")
    config = dataclasses.replace(torchao.Float8LinearConfig.from_recipe_name(recipe), emulate=not ON_GPU)
    linear = torch.nn.Linear(*weight.T.shape, bias=False, dtype=weight.dtype)
    linear.weight = torch.nn.Parameter(weight.clone())
    linear = torchao.float8_linear.Float8Linear.from_float(linear, config=config).to(DEVICE)
    x = x.to(DEVICE, copy=True).requires_grad_()
    y = linear(x)
    y.backward(dy.to(DEVICE))
    return {"y": y.detach().cpu(), "dx": x.grad.cpu(), "dw": linear.weight.grad.cpu()}


def expect_one_rounding(found, expected):
    """Equal but for the order of the sums, which tensor cores cut short, and a rounding to bf16 on either side."""
    expected = expected.double()
    typical = expected.square().mean().sqrt().item()
    torch.testing.assert_close(found.double(), expected, rtol=2.0**-7, atol=2.0 ** (-7 if ON_GPU else -9) * typical)


def test_casts_and_a_product_of_two():
    generator = torch.Generator().manual_seed(2)
    kinds = ["row", "column", "column_by_tensor"]
    a, b = (torch.randn(M, K, generator=generator).bfloat16() for _ in range(2))
    copies = list(our_copies([(kind, matrix) for kind in kinds for matrix in (a, b)]))
    values = [bytes_.view(torch.float8_e4m3fn).double() * inverse_scales.double()[:, None]
              for bytes_, inverse_scales in copies]
    for i, kind in enumerate(kinds):
        for matrix, copy in zip((a, b), values[2 * i:2 * i + 2]):
            assert decibels(matrix if kind == "row" else matrix.T, copy) >= CAST, kind
    assert decibels(a.double() @ b.double().T, values[0] @ values[1].T) >= CAST  # over rows
    assert decibels(a.double().T @ b.double(), values[2] @ values[3].T) >= CAST  # over columns


@pytest.mark.parametrize("fill", [even, uneven])
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_group_is_as_good_as_one_float8_linear(tmp_path, recipe, group, fill):
    sizes = GROUPS[group]
    tensors = draw(sizes, fill)
    found = our_products(tmp_path, "group", tensors, *[f"{name}={recipe}" for name in sizes])
    ours = {"y": found["y"], "dx": found["dx"], "dw": joined(sizes, found, ".grad")}
    operands = tensors["x"], joined(sizes, tensors), tensors["dy"]
    exact = exact_products(*operands)

    quality = {name: decibels(exact[name], ours[name]) for name in exact}
    if fill is even:
        assert quality["y"] >= OUTPUT and quality["dx"] >= INPUT_GRADIENT and quality["dw"] >= WEIGHT_GRADIENT, quality
    # bf16 itself has about 50 dB: the wgrad of rowwise_with_gw_hp is in it, and the rest is not.
    assert {name for name, value in quality.items() if value > 45} == ({"dw"} if recipe != "rowwise" else set())

    theirs = torchao_products(recipe, *operands)
    for name in exact:
        assert quality[name] >= decibels(exact[name], theirs[name]) - 1, name
        expect_one_rounding(ours[name], theirs[name])


@pytest.mark.parametrize("recipe", RECIPES)
def test_members_of_a_group_are_what_they_are_alone(tmp_path, recipe):
    """Forward and wgrad quantize each member's rows by themselves; dgrad sums over the members."""
    sizes = GROUPS["wq wk wv"]
    tensors = draw(sizes, uneven)
    together = our_products(tmp_path, "group", tensors, *[f"{name}={recipe}" for name in sizes])
    columns = zip(sizes, together["y"].split(list(sizes.values()), 1), tensors["dy"].split(list(sizes.values()), 1))
    for name, y, dy in columns:
        operands = tensors["x"], tensors[name], dy.contiguous()
        alone = our_products(tmp_path, "group", dict(zip(["x", name, "dy"], operands)), f"{name}={recipe}")
        for theirs in (alone, torchao_products(recipe, *operands)):
            expect_one_rounding(y, theirs["y"])
            expect_one_rounding(together[name + ".grad"], theirs.get(name + ".grad", theirs.get("dw")))


@pytest.mark.parametrize("recipe", RECIPES)
def test_group_of_mixed_precision(tmp_path, recipe):
    """A filter that takes wk out of the group: wk is exact to bf16, the rest as torchao has it."""
    sizes = GROUPS["wq wk wv"]
    tensors = draw(sizes, even)
    found = our_products(tmp_path, "group", tensors, f"wq={recipe}", "wk=none", f"wv={recipe}")
    dx = torch.zeros(M, K, dtype=torch.float64)
    parts = zip(sizes, found["y"].split(list(sizes.values()), 1), tensors["dy"].split(list(sizes.values()), 1))
    for name, y, dy in parts:
        operands = tensors["x"], tensors[name], dy.contiguous()
        expected = exact_products(*operands) if name == "wk" else torchao_products(recipe, *operands)
        expect_one_rounding(y, expected["y"])
        expect_one_rounding(found[name + ".grad"], expected["dw"])
        dx += expected["dx"].double()
    assert decibels(dx, found["dx"]) > 45  # rounded to bf16 after each of the three
    exact = exact_products(tensors["x"], joined(sizes, tensors), tensors["dy"])
    assert decibels(exact["dx"], found["dx"]) >= INPUT_GRADIENT


@pytest.mark.parametrize("recipe", RECIPES)
def test_nan_and_infinity_go_where_torchaos_go(tmp_path, recipe):
    sizes = GROUPS["one"]
    tensors = draw(sizes, even)
    tensors["x"][3, 5], tensors["x"][7, 9] = float("nan"), float("inf")
    tensors["wo"][11, 13], tensors["dy"][15, 17], tensors["dy"][19, 21] = -float("inf"), float("inf"), float("nan")
    found = our_products(tmp_path, "group", tensors, f"wo={recipe}")
    theirs = torchao_products(recipe, tensors["x"], tensors["wo"], tensors["dy"])
    assert 0 < theirs["y"].isnan().sum() < theirs["y"].numel()
    for ours, name in [("y", "y"), ("dx", "dx"), ("wo.grad", "dw")]:
        assert torch.equal(found[ours].isfinite(), theirs[name].isfinite()), name
        assert torch.equal(found[ours].isnan(), theirs[name].isnan()), name
        if (finite := theirs[name].isfinite()).any():
            expect_one_rounding(found[ours][finite], theirs[name][finite])


@pytest.mark.parametrize("recipe", RECIPES)
def test_rows_of_zeros_give_exact_zeros(tmp_path, recipe):
    tensors = draw(GROUPS["one"], even)
    tensors["x"][[0, 5]] = tensors["dy"][[0, 7]] = tensors["wo"][2] = 0
    tensors["x"][:, 3] = tensors["dy"][:, 4] = 0
    found = our_products(tmp_path, "group", tensors, f"wo={recipe}")
    for name, rows, columns in [("y", [0, 5], 2), ("dx", [0, 7], None), ("wo.grad", 4, 3)]:
        zero = torch.zeros(found[name].shape, dtype=torch.bool)
        zero[rows] = True
        if columns is not None:
            zero[:, columns] = True
        assert (found[name][zero] == 0).all(), name
        assert found[name].isfinite().all() and (found[name][~zero] != 0).float().mean() > 0.99, name


DIM, HIDDEN = 256, 768


def norm(x):
    return (x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


def feed_forward(x, w1, w2, w3, dy):
    """Output and gradients of what linear_probe's feed_forward computes; the weights are linears."""
    n = norm(x)
    out = x + w2(torch.nn.functional.silu(w1(n)) * w3(n))
    out.backward(dy)
    return {"out": out.detach() - x.detach(), "dx": x.grad, **{
        f"{name}.grad": linear.weight.grad for name, linear in {"w1": w1, "w2": w2, "w3": w3}.items()}}


@pytest.mark.parametrize("recipe", RECIPES)
def test_feed_forward_block(tmp_path, recipe):
    generator = torch.Generator().manual_seed(5)
    shapes = {"w1": (HIDDEN, DIM), "w2": (DIM, HIDDEN), "w3": (HIDDEN, DIM)}
    tensors = {name: (torch.randn(shape, generator=generator) * shape[1] ** -0.5).bfloat16()
               for name, shape in shapes.items()}
    # Small beside the block's output, so that the residual does not hide it.
    tensors["x"] = (torch.randn(M, DIM, generator=generator) * 0.01).bfloat16()
    tensors["dy"] = torch.randn(M, DIM, generator=generator).bfloat16()
    found = our_products(tmp_path, "feed_forward", tensors, recipe)
    found["out"] -= tensors["x"]

    def linear(name, dtype):
        module = torch.nn.Linear(*tensors[name].T.shape, bias=False, dtype=dtype)
        module.weight = torch.nn.Parameter(tensors[name].to(dtype))
        return module

    exact = feed_forward(tensors["x"].double().requires_grad_(), *[linear(name, torch.float64) for name in shapes],
                         tensors["dy"].double())
    assert found.keys() >= exact.keys()
    quality = {name: decibels(exact[name], found[name]) for name in exact}
    assert min(quality.values()) >= FEED_FORWARD, quality

    torchao = pytest.importorskip("torchao.float8", reason="torchao is not installed")
    config = dataclasses.replace(torchao.Float8LinearConfig.from_recipe_name(recipe), emulate=not ON_GPU)
    linears = [torchao.float8_linear.Float8Linear.from_float(linear(name, torch.bfloat16), config=config).to(DEVICE)
               for name in shapes]
    theirs = feed_forward(tensors["x"].to(DEVICE).requires_grad_(), *linears, tensors["dy"].to(DEVICE))
    for name in exact:
        assert quality[name] >= decibels(exact[name], theirs[name].cpu()) - 1, (name, quality)
