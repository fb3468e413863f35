"""Learning-rate schedules and optimizer steps against torch.optim."""

import math
import os
import pathlib
import subprocess

import numpy
import pytest
import torch

BUILD = pathlib.Path(os.environ.get("TITAN_BUILD", pathlib.Path(__file__).parents[2] / "build"))


def run(program, *words, stdin=b""):
    words = [repr(word) if isinstance(word, float) else str(word) for word in words]
    return subprocess.run([BUILD / "tests" / program, *words], input=stdin, check=True,
                          stdout=subprocess.PIPE, timeout=60).stdout


def reference_factor(step, total, warmup, ratio, decay, floor):
    """Three phases, written for LambdaLR from the description of the schedule."""
    warmup = min(warmup, total)
    falling = total - warmup if ratio is None else min(round(total * ratio), total - warmup)
    if step < warmup:
        return (step + 1) / warmup
    before = total - falling  # the decay's first step is the one after this
    if step <= before:
        return 1.0
    progress = (step - before) / falling
    curve = {"linear": 1 - progress, "sqrt": 1 - math.sqrt(progress),
             "cosine": 0.5 * (1 + math.cos(math.pi * progress))}[decay]
    return floor + (1 - floor) * curve


@pytest.mark.parametrize("decay", ["linear", "sqrt", "cosine"])
@pytest.mark.parametrize("total,warmup,ratio,floor", [
    (10, 2, 0.8, 0.0), (100, 20, None, 0.1), (50, 0, 0.3, 0.0), (30, 30, None, 0.0),
    (20, 200, 0.5, 0.0), (25, 5, 0.9, 0.2), (7, 0, 0.5, 0.0), (5, 0, 0.5, 0.0), (40, 3, 0.0, 0.0)])
def test_factors_equal_lambda_lr(total, warmup, ratio, decay, floor):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: reference_factor(step, total, warmup, ratio, decay, floor))
    expected = []
    for _ in range(total):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    words = [total, warmup, "none" if ratio is None else ratio, decay, floor, total]
    found = [float(line) for line in run("schedule_probe", *words).split()]
    assert found == pytest.approx(expected, abs=1e-14)


COUNT = 4099
RATES = [8e-4 * min(1.0, (step + 1) / 3) for step in range(12)]


def torch_steps(name, rates, parameter, gradients, beta1, beta2, eps, weight_decay, max_norm):
    parameter = torch.nn.Parameter(parameter.clone())
    optimizer = getattr(torch.optim, name)([parameter], lr=1.0, betas=(beta1, beta2), eps=eps,
                                           weight_decay=weight_decay)
    for rate, gradient in zip(rates, gradients):
        parameter.grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_([parameter], max_norm)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    state = optimizer.state[parameter]
    return parameter.detach(), state["exp_avg"], state["exp_avg_sq"], norm


def our_steps(name, dtypes, rates, parameter, gradients, *settings):
    """Parameter, exp_avg, exp_avg_sq, bf16 copy and the last norm; dtypes: of master, gradient and moments."""
    stdin = b"".join(t.double().numpy().tobytes() for t in [parameter, *gradients])
    values = torch.from_numpy(numpy.frombuffer(
        run("optimizer_probe", name, *dtypes, *settings, len(parameter), *rates, stdin=stdin)).copy())
    return *values[:-1].split(len(parameter)), values[-1]


def relative(found, expected):
    expected = expected.double()
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", ["AdamW", "Adam"])
@pytest.mark.parametrize("dtype,bound", [("float64", 1e-7), ("float32", 1e-6), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("eps,max_norm", [(1e-8, 1.0), (1e-3, 1e9)])
def test_steps_equal_torch(name, dtype, bound, eps, max_norm):
    generator = torch.Generator().manual_seed(4)
    kind = getattr(torch, dtype)
    parameter = torch.randn(COUNT, generator=generator, dtype=torch.float64).to(kind)
    gradients = [torch.randn(COUNT, generator=generator, dtype=torch.float64).to(kind)
                 for _ in RATES]
    settings = [0.9, 0.95, eps, 0.1, max_norm]
    expected = torch_steps(name, RATES, parameter, gradients, *settings)
    found, exp_avg, exp_avg_sq, compute, norm = our_steps(
        name, [dtype] * 3, RATES, parameter, gradients, *settings)

    # The clip factor is an fp32 value on the device, whatever the parameters are.
    assert relative(found, expected[0]) < bound
    assert relative(exp_avg, expected[1]) < bound
    assert relative(exp_avg_sq, expected[2]) < bound
    assert torch.equal(compute, found.bfloat16().double())
    assert norm.item() == pytest.approx(expected[3].double().item(), rel=max(bound, 1e-6))
    # What was compared is the change, not the parameter that hides it.
    assert relative(found - parameter.double(), expected[0].double() - parameter.double()) < 50 * bound


@pytest.mark.parametrize("name", ["AdamW", "Adam"])
@pytest.mark.parametrize("beta2", [0.95, 0.999])
def test_bfloat16_moments_stay_beside_torch_in_float32(name, beta2):
    """A stochastic rounding errs by 0.23 % of the value in the root mean square. In 1 / (1 - beta^2) steps that adds up
    to 0.5 % of exp_avg and 0.7 % of exp_avg_sq; with beta2 = 0.999, where errors live on, to twice that in 100 steps."""
    generator = torch.Generator().manual_seed(8)
    rates = [1e-3] * 100
    parameter = torch.randn(COUNT, generator=generator)
    direction = torch.randn(COUNT, generator=generator)
    gradients = [direction + torch.randn(COUNT, generator=generator) for _ in rates]
    settings = [0.9, beta2, 1e-8, 0.1, 1.0]
    expected = torch_steps(name, rates, parameter, gradients, *settings)
    found = our_steps(name, ["float32", "float32", "stochastic"], rates, parameter, gradients, *settings)
    change, wanted = found[0] - parameter.double(), expected[0].double() - parameter.double()

    assert 1e-4 < relative(change, wanted) < 1e-2
    assert 1e-3 < relative(found[1], expected[1]) < 1e-2
    assert 1e-3 < relative(found[2], expected[2]) < (1e-2 if beta2 == 0.95 else 2e-2)
    # Without bias: over all elements the errors cancel out.
    for ours, theirs in [(found[1].abs(), expected[1].abs()), (found[2], expected[2])]:
        assert ours.mean().item() == pytest.approx(theirs.double().mean().item(), rel=3e-3)
