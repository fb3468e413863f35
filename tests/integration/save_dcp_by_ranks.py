"""For test_convert_dcp.py, under torchrun: saves the state in the file IN as torchtitan's ranks save theirs, FSDP along
one axis of the mesh and tensor parallel along the other, into the folder OUT."""
import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor


def main():
    source, out = sys.argv[1:]
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("fsdp", "tp"))

    def spread(state):
        return {name: spread(value) if isinstance(value, dict) else part(name, value) for name, value in state.items()}

    def part(name, value):
        if not isinstance(value, torch.Tensor) or value.dim() == 0:
            return value
        by_inputs = ".wo." in name or ".w2." in name
        of_tensor_parallel = Replicate() if value.dim() == 1 else Shard(1 if by_inputs else 0)
        return distribute_tensor(value, mesh, [Shard(0), of_tensor_parallel])

    dcp.save(spread(torch.load(source, weights_only=False)), checkpoint_id=out)
    dist.destroy_process_group()


main()
