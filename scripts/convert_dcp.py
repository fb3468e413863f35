#!/usr/bin/env python3
"""Converts checkpoints from and to those of torchtitan (torch.distributed.checkpoint):

  convert_dcp.py import DCP_STEP FOLDER JOB.toml [--section.option value ...]
      torchtitan's DCP_STEP (the directory with .metadata) becomes FOLDER/step-N, from which titan-train goes on if
      FOLDER is its checkpoint folder (or: --checkpoint.initial_load_path FOLDER/step-N). JOB.toml is that job.
  convert_dcp.py export STEP FOLDER
      titan-train's STEP (the directory with titan.json) becomes FOLDER/step-N, from which torchtitan goes on with
      --checkpoint.exclude_from_loading dataloader.

Weights and both moments come over bit for bit, with the step, the tokens seen and the place in the learning rate's
schedule; the place in the data does not. One tensor is in memory at a time. Run it with .venv/bin/python.
"""

import argparse
import ctypes
import json
import math
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import warnings

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("TITAN_BUILD", ROOT / "build"))
SHARD = "shard-00001-model-00001-of-00001.safetensors"
BLOCK = 16 << 20  # bytes to a hash
MOMENTS = ("exp_avg", "exp_avg_sq")
DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
NOT_WEIGHTS = ("optimizer.", "lr_scheduler.", "train_state.", "dataloader.")


class InputProblem(Exception):
    """What is wrong with the input, for the user."""


# ---- Hashes ----


def load_xxhash():
    try:
        library = ctypes.CDLL("libxxhash.so.0")
    except OSError:
        raise InputProblem("libxxhash.so.0 is missing: sudo apt-get install libxxhash0") from None
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return library


def hash_bytes(data):
    """XXH3-64 of bytes, as 16 hexadecimal digits."""
    return f"{load_xxhash().XXH3_64bits(data, len(data)):016x}"


def hash_blocks(tensor, block_bytes):
    """The hashes of a contiguous tensor's bytes, one after the other."""
    library, size, address = load_xxhash(), tensor.nbytes, tensor.data_ptr()
    return "".join(f"{library.XXH3_64bits(address + begin, min(block_bytes, size - begin)):016x}"
                   for begin in range(0, size, block_bytes))


# ---- Our format (docs/checkpoint_format.md) ----


def read_manifest(step):
    try:
        text = (step / "titan.json").read_bytes()
    except OSError as error:
        raise InputProblem(f"{step} is no checkpoint of titan-train: titan.json: {error.strerror}") from None
    head, _, body = text.partition(b'"checksum": ')
    checksum, _, rest = body.partition(b",\n")
    manifest = json.loads(text)
    if checksum != f'"{hash_bytes(rest)}"'.encode():
        raise InputProblem(f"{step}/titan.json is altered: its checksum does not match")
    if manifest["format_version"] != 1:
        raise InputProblem(f"{step}/titan.json has format version {manifest['format_version']}; known is 1")
    return manifest


class OurTensors:
    """Tensors of a step by (part, name), put together from their chunks and verified as they are read."""

    def __init__(self, step):
        self.step, self.manifest = step, read_manifest(step)
        self.info = {(t["part"], t["name"]): (torch.Size(t["shape"]), DTYPES[t["dtype"]])
                     for t in self.manifest["tensors"]}
        self.chunks = {}
        for file in self.manifest["files"]:
            path = step / file["part"] / file["name"]
            with open(path, "rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(length))
            for chunk in file["chunks"]:
                begin = 8 + length + header[chunk["name"]]["data_offsets"][0]
                self.chunks.setdefault((file["part"], chunk["name"]), []).append((path, begin, chunk))

    def placeholder(self, place):
        shape, dtype = self.info[place]
        return torch.empty(shape, dtype=dtype, device="meta")

    def read(self, part, name):
        shape, dtype = self.info[part, name]
        tensor = torch.empty(shape, dtype=dtype)
        for path, begin, chunk in self.chunks[part, name]:
            piece = torch.empty(chunk["shape"], dtype=dtype)
            with open(path, "rb") as stream:
                stream.seek(begin)
                stream.readinto(memoryview(piece.view(torch.uint8).flatten().numpy()))
            if hash_blocks(piece, self.manifest["hash_block_bytes"]) != chunk["hashes"]:
                raise InputProblem(f"{path} is altered: {name} does not have the bytes that titan.json says")
            places = tuple(slice(o, o + n) for o, n in zip(chunk["offset"], chunk["shape"], strict=True))
            tensor[places] = piece
        return tensor


def write_synced(path, write):
    with open(path, "wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())


def write_part(folder, part, info, read, block_bytes):
    """Writes the tensors {name: (shape, dtype)} of a part, which read(name) gives; returns the file's record."""
    header, offset = {"__metadata__": {
        "format": "pt", "DCP_VERSION": "1.0",
        "DCP_SHARDING_INFO": json.dumps({n: {"saved_offsets": [0] * len(s)} for n, (s, _) in info.items()})}}, 0
    for name, (shape, dtype) in info.items():
        size = math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    head = struct.pack("<Q", len(text)) + text
    chunks = []

    def write(stream):
        stream.write(head)
        for name, (shape, dtype) in info.items():
            tensor = read(name)
            if tensor.shape != shape or tensor.dtype != dtype:
                raise InputProblem(f"{name} is {list(tensor.shape)} {tensor.dtype}, announced as {list(shape)} {dtype}")
            stream.write(memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy()))
            chunks.append({"name": name, "offset": [0] * len(shape), "shape": list(shape),
                           "hashes": hash_blocks(tensor, block_bytes)})

    (folder / part).mkdir()
    write_synced(folder / part / SHARD, write)
    return {"part": part, "name": SHARD, "size": len(head) + offset, "header_hash": hash_bytes(head), "chunks": chunks}


def write_manifest(folder, fields, parts, files):
    tensors = [{"name": name, "part": part, "dtype": NAMES[dtype], "shape": list(shape)}
               for part, info in parts.items() for name, (shape, dtype) in info.items()]
    body = json.dumps({**fields, "tensors": tensors, "files": files})
    body = (body[1:] + "\n").encode()
    text = f'{{\n"format_version": 1,\n"checksum": "{hash_bytes(body)}",\n'.encode() + body
    write_synced(folder / "titan.json", lambda stream: stream.write(text))


# ---- torchtitan's format ----


def read_dcp_metadata(path):
    if not (path / ".metadata").is_file():
        raise InputProblem(f"{path} has no .metadata: it is no checkpoint of torch.distributed.checkpoint")
    return dcp.FileSystemReader(path).read_metadata().state_dict_metadata


def read_dcp(path, name, shape, dtype):
    tensor = {name: torch.empty(shape, dtype=dtype)}
    dcp.load(tensor, storage_reader=dcp.FileSystemReader(path), no_dist=True)
    return tensor[name]


class LazyPlanner(DefaultSavePlanner):
    """Saves tensors that are given as empty ones of the meta device: each is read when its turn comes."""

    def __init__(self, read):
        super().__init__()
        self.read = read

    def resolve_data(self, write_item):
        found = super().resolve_data(write_item)
        return self.read(write_item.index.fqn) if isinstance(found, torch.Tensor) and found.is_meta else found


def schedule_factor(config, step):
    """The factor of the learning rate after so many steps (lib/optim/schedule.cpp)."""
    options = config["lr_scheduler"]
    total = options["total_steps"] or config["training"]["steps"]
    warmup = min(options["warmup_steps"], total)
    decay = total - warmup
    if options["decay_ratio"] is not None:
        decay = min(decay, round(total * options["decay_ratio"]))
    if step < warmup:
        return (step + 1) / warmup
    if step <= total - decay or decay == 0:
        return 1.0
    progress = min(1.0, (step - total + decay) / decay)
    curve = {"linear": 1 - progress, "sqrt": 1 - math.sqrt(progress),
             "cosine": 0.5 * (1 + math.cos(math.pi * progress))}[options["decay_type"]]
    return options["min_lr_factor"] + (1 - options["min_lr_factor"]) * curve


def optimizer_entries(config, step):
    """What torch keeps of an optimizer's group and of its LambdaLR after so many steps."""
    options = config["optimizer"]
    optimizer = getattr(torch.optim, options["name"])(
        [torch.nn.Parameter(torch.zeros(1))], lr=options["lr"], betas=(options["beta1"], options["beta2"]),
        eps=options["eps"], weight_decay=options["weight_decay"], foreach=options["implementation"] == "foreach",
        fused=options["implementation"] == "fused")
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: schedule_factor(config, n))
    (group,) = optimizer.param_groups
    group["lr"] = options["lr"] * schedule_factor(config, step)
    scheduler.last_epoch, scheduler._step_count, scheduler._last_lr = step, step + 1, [group["lr"]]
    return {key: value for key, value in group.items() if key != "params"}, scheduler.state_dict()


# ---- The two ways ----


def import_step(source, folder, job):
    metadata = read_dcp_metadata(source)
    tensors = {name: (entry.size, entry.properties.dtype) for name, entry in metadata.items()
               if isinstance(entry, TensorStorageMetadata)}
    model = {name: info for name, info in sorted(tensors.items()) if not name.startswith(NOT_WEIGHTS)}
    if "tok_embeddings.weight" not in model:
        raise InputProblem(f"{source} holds no model of torchtitan's: tok_embeddings.weight is missing")
    moments = {f"{name}.{moment}": tensors[f"optimizer.state.{name}.{moment}"] for name in model for moment in MOMENTS
               if f"optimizer.state.{name}.{moment}" in tensors}
    if moments and len(moments) != 2 * len(model):
        raise InputProblem(f"{source} has moments of {len(moments) // 2} of its {len(model)} parameters")
    train_state = {key: 0 for key in ("step", "ntokens_seen") if f"train_state.{key}" in metadata}
    if train_state:
        dcp.load({"train_state": train_state}, storage_reader=dcp.FileSystemReader(source), no_dist=True)
    named = re.search(r"step-(\d+)$", str(source.resolve()))  # weights alone come without counters
    step = int(train_state.get("step") or (named[1] if named else 0))
    updates = int(max((read_dcp(source, name, *info).item() for name, info in tensors.items()
                       if re.fullmatch(r"optimizer\.state\.tok_embeddings\.weight\.step", name)), default=0))
    plan = subprocess.run([BUILD / "bin/titan-train", *job, "--dry_run", "--json"], capture_output=True, text=True)
    if plan.returncode != 0:
        raise InputProblem(f"titan-train {' '.join(job)} --dry_run: {plan.stderr.strip() or plan.stdout.strip()}")

    def write(target):
        files = [write_part(target, "model", model, lambda name: read_dcp(source, name, *model[name]), BLOCK)]
        if moments:
            files.append(write_part(target, "optim", moments,
                                    lambda name: read_dcp(source, f"optimizer.state.{name}", *moments[name]), BLOCK))
        write_manifest(target, {
            "step": step, "model_only": not moments, "model": json.loads(plan.stdout)["model"],
            "state": {"tokens_seen": int(train_state.get("ntokens_seen", 0)), "optimizer_updates": updates,
                      "converted_from": str(source)},
            "hash_block_bytes": BLOCK}, {"model": model, "optim": moments}, files)

    return write_step(folder, step, write)


def export_step(source, folder):
    ours = OurTensors(source)
    step, state = ours.manifest["step"], ours.manifest["state"]
    places = {name: ("model", name) for part, name in ours.info if part == "model"}
    meta = {name: ours.placeholder(place) for name, place in places.items()}
    if not ours.manifest["model_only"]:
        if "config" not in state:
            raise InputProblem(f"{source} was itself converted: titan-train has not written its configuration there")
        group, scheduler = optimizer_entries(state["config"], step)
        optimizer = {}
        for name in list(places):
            optimizer[f"state.{name}.step"] = torch.tensor(float(state["optimizer_updates"]))
            for moment in MOMENTS:
                places[f"optimizer.state.{name}.{moment}"] = ("optim", f"{name}.{moment}")
                optimizer[f"state.{name}.{moment}"] = ours.placeholder(("optim", f"{name}.{moment}"))
            optimizer |= {f"param_groups.{name}.{key}": value for key, value in group.items()}
        meta |= {"optimizer": optimizer, "lr_scheduler": scheduler,
                 "train_state": {"step": step, "ntokens_seen": state["tokens_seen"]}}

    def write(target):
        try:
            dcp.save(meta, storage_writer=dcp.FileSystemWriter(target, single_file_per_rank=True, thread_count=1),
                     planner=LazyPlanner(lambda name: ours.read(*places[name])), no_dist=True)
        except dcp.CheckpointException as failure:  # what went wrong in it, of the only rank
            raise failure.failures[0][0] from None

    return write_step(folder, step, write)


def write_step(folder, step, write):
    """FOLDER/step-N, written under another name and renamed when it is whole."""
    target, interim = folder / f"step-{step}", folder / f".converting-{step}"
    if target.exists():
        raise InputProblem(f"{target} exists")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(interim, ignore_errors=True)
    interim.mkdir()
    try:
        write(interim)
        os.rename(interim, target)
    except BaseException:
        shutil.rmtree(interim, ignore_errors=True)
        raise
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return target


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="way", required=True)
    way = ways.add_parser("import", help="from torchtitan to titan-train")
    way.add_argument("source", type=pathlib.Path, metavar="DCP_STEP")
    way.add_argument("folder", type=pathlib.Path, metavar="FOLDER")
    way.add_argument("job", nargs=argparse.REMAINDER, metavar="JOB.toml ...")
    way = ways.add_parser("export", help="from titan-train to torchtitan")
    way.add_argument("source", type=pathlib.Path, metavar="STEP")
    way.add_argument("folder", type=pathlib.Path, metavar="FOLDER")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")
    try:
        if arguments.way == "export":
            print(export_step(arguments.source, arguments.folder))
        elif not arguments.job:
            raise InputProblem("import: name the JOB.toml that will go on from there")
        else:
            print(import_step(arguments.source, arguments.folder, arguments.job))
    except (InputProblem, OSError) as problem:
        print(f"convert_dcp.py: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
