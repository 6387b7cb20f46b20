"""FSDP: parameters, gradients and optimizer state sharded over the processes, block by block; checkpoints are whole.

The config says ``fsdp = True``, or gives arguments of :func:`spread_model`. This is torch's ``fully_shard``: the model
keeps its class, parameters keep their names, and checkpoints are the same as without FSDP.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from mmav.models.layers import BLOCKS


def spread_model(model: nn.Module, *, reshard_after_forward: bool = True) -> nn.Module:
    """Shards a model over the processes of the group; changes and returns ``model``.

    Each transformer block is a unit: its parameters are gathered before it runs and freed afterwards; everything
    outside the blocks is one more unit.

    Args:
        model: The model, with the same parameters in all processes, on its device.
        reshard_after_forward: Free a block's parameters after the forward pass and gather them again in the backward
            pass: less memory, half as much communication again.
    """
    device = next(model.parameters()).device.type
    mesh = init_device_mesh(device, (distributed.get_world_size(),))
    for module in model.modules():
        if isinstance(module, BLOCKS):
            fully_shard(module, mesh=mesh, reshard_after_forward=reshard_after_forward)
    fully_shard(model, mesh=mesh, reshard_after_forward=reshard_after_forward)
    return model


def is_spread(model: nn.Module) -> bool:
    """Whether a model's parameters are sharded."""
    return isinstance(model, FSDPModule)


def gathered(value: Any) -> Any:
    """A state on the CPU with whole tensors instead of sharded ones; all processes must call this together."""
    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, dict):
        return type(value)((key, gathered(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(gathered(item) for item in value)
    return value


def spread_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Shards a whole tensor, equal in all processes, like a parameter of its shape; returns others unchanged."""
    if not isinstance(parameter, DTensor) or isinstance(value, DTensor) or value.shape != parameter.shape:
        return value
    value = value.to(parameter.device)
    # each process takes its own shard: no communication
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def spread_optimizer_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Shards the tensors of an optimizer's saved state like its parameters; changes ``state``."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    for index, of_parameter in state.get('state', {}).items():
        for name, value in of_parameter.items():
            if isinstance(value, Tensor):
                of_parameter[name] = spread_like(value, parameters[int(index)])
