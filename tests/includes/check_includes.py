"""Checks that includes go one way: each folder looks only down. check_includes.py ROOT"""
import pathlib
import re
import sys

# What each folder may include, beside itself and the system. lib/config, and with it JobConfig, is seen by lib/train
# and apps alone.
BELOW = {
    "lib/base": [],
    "kernels": ["lib/base"],
    "lib/config": ["lib/base"],
    "lib/data": ["lib/base"],
    "lib/metrics": ["lib/base"],
    "lib/ops": ["lib/base", "kernels"],
}
BELOW["lib/float8"] = BELOW["lib/ops"] + ["lib/ops"]
BELOW["lib/parallel"] = BELOW["lib/float8"] + ["lib/float8"]
BELOW["lib/model"] = BELOW["lib/optim"] = BELOW["lib/checkpoint"] = BELOW["lib/parallel"] + ["lib/parallel"]
BELOW["lib/train"] = [folder for folder in BELOW]
BELOW["apps"] = [folder for folder in BELOW]

# Folders and, where a folder has both kinds, files.
TORCH_FREE = ["lib/base/", "kernels/", "lib/config/", "lib/data/", "lib/checkpoint/", "lib/parallel/agree.",
              "lib/parallel/error_file.", "lib/parallel/host_group.", "lib/parallel/launch.",
              "lib/parallel/slurm_lists."]  # fmt: skip
TORCH = re.compile(r"(ATen|c10|torch|caffe2)/")
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)
SUFFIXES = {".hpp", ".cpp", ".cu", ".cuh"}


def folder_of(path):
    """The layer that a path written from the root lies in, or None."""
    return next((folder for folder in BELOW if path.startswith(folder + "/")), None)


def torch_free(path):
    return path.startswith(tuple(TORCH_FREE))


def faults(path, text, root):
    layer = folder_of(path)
    for mark, name in INCLUDE.findall(text):
        target = folder_of(name)
        if mark == '"' and not (root / name).is_file():
            yield f'"{name}" does not exist: project headers are written from the root, others in <>'
        elif mark == "<" and target:
            yield f"<{name}> is the project's own: write it in quotes"
        elif target and target != layer and target not in BELOW[layer]:
            yield f'"{name}" is above or beside {layer}, which may include {BELOW[layer] or "nothing else"}'
        elif TORCH.match(name) and torch_free(path):
            yield f"<{name}>: {layer} stays free of torch"
        elif torch_free(path) and target and not torch_free(name):
            yield f'"{name}" brings torch: {layer} stays free of it'


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    files = [f for top in ("lib", "kernels", "apps") for f in sorted((root / top).rglob("*")) if f.suffix in SUFFIXES]
    if not files:
        sys.exit(f"no sources under {root}")
    bad = 0
    for file in files:
        path = file.relative_to(root).as_posix()
        if folder_of(path) is None:
            print(f"{path}: this folder is not in the table of {__file__}")
            bad += 1
            continue
        for fault in faults(path, file.read_text(), root):
            print(f"{path}: {fault}")
            bad += 1
    print(f"{len(files)} files, {bad} faults")
    sys.exit(bad > 0)


main()
