"""What the float8 probes compute: copies of matrices and products of linears. On the GPU where there is one."""

import os
import pathlib
import subprocess

import torch
from safetensors.torch import load_file, save_file

BUILD = pathlib.Path(os.environ.get("TITAN_BUILD", pathlib.Path(__file__).parents[2] / "build"))


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


def our_products(tmp_path, kind, tensors, *recipes):
    """linear_probe's results by name, for its inputs by name."""
    source, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file({name: tensor.float() for name, tensor in tensors.items()}, source)
    subprocess.run([BUILD / "tests/linear_probe", kind, source, out, *recipes], check=True, timeout=120)
    return {name: tensor.clone() for name, tensor in load_file(out).items()}


def decibels(exact, found):
    """Signal to quantization noise."""
    exact = exact.double()
    return (20 * torch.log10(exact.norm() / (exact - found.double()).norm())).item()
