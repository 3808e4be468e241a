"""Weights split over the processes (FSDP2), and whole again: for files, and after the training.

A student is one group: its weights are whole from the forward pass to the end of the backward pass, since losses read them too, and
its gradients and optimizer moments are always split. A teacher's blocks are whole only while they compute; what lies between them
(embeddings, heads, often one tensor in two places) is not split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from stillhouse.core import ranks

FORWARD_METHODS = ("hidden", "encode", "features", "forward_features", "forward_head")  # called beside `forward`
OF_FSDP = "__composable_api"  # how torch marks a module that is split


def shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Split a student over the first axis of a mesh."""
    fully_shard(module, mesh=mesh["data_parallel"], reshard_after_forward=False)
    for name in FORWARD_METHODS:
        if callable(getattr(module, name, None)):
            register_fsdp_forward_method(module, name)
    return module


def shard_frozen(module: nn.Module, device: torch.device) -> Callable[[], None]:
    """Split a teacher over all processes, block by block, so that no device ever holds the whole; returns what undoes it."""
    undo = keep_whole(module)
    mesh = init_device_mesh(device.type, (ranks.count(),))
    for block in list(_blocks(module)) or [module]:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    module.to(device)
    return undo


def keep_whole(module: nn.Module) -> Callable[[], None]:
    """Remember a module as it is before it is split; what is returned puts it back, with the weights of now.

    The whole weights wait in the memory of the CPU meanwhile.
    """
    held = [(part, part.__class__, {name: dict(value) for name, value in _tables(part)}) for part in module.modules()]
    place = next((p.device for p in module.parameters()), torch.device("cpu"))
    fresh: dict[int, nn.Parameter] = {}
    for whole in module.parameters():
        whole.data = whole.data.cpu()
        fresh[id(whole)] = nn.Parameter(whole.detach().clone(), whole.requires_grad)
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:  # a tensor in two places stays one
                part._parameters[name] = fresh[id(parameter)]

    def undo() -> None:
        for part, kind, tables in held:
            part.__class__ = kind
            for name in [name for name in vars(part) if name.startswith(OF_FSDP)]:
                del vars(part)[name]
            for name, value in _tables(part):
                before = tables.get(name, {})
                if name == "_parameters":
                    value.clear()
                    value.update(before)
                else:  # hooks that came later (taps) are taken off by whoever put them on
                    for key in [key for key in value if key not in before and _of_torch(value[key])]:
                        del value[key]
            for name in FORWARD_METHODS:
                vars(part).pop(name, None)
        module.to(place)

    return undo


def full(value: Any) -> Any:
    """The same with every split tensor whole; all processes must ask for it alike."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, Mapping):
        return {key: full(entry) for key, entry in value.items()}
    return type(value)(map(full, value)) if isinstance(value, (list, tuple)) else value


def like(whole: Tensor, target: Tensor) -> Tensor:
    """A whole tensor, split as another one is."""
    if not isinstance(target, DTensor):
        return whole
    return distribute_tensor(whole.to(target.device, target.dtype), target.device_mesh, target.placements)


@torch.no_grad()
def load_whole(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """`load_state_dict` of whole tensors into a module whose weights may be split."""
    now = module.state_dict()
    module.load_state_dict({name: like(x, now[name]) if name in now else x for name, x in state.items()})


def optimizer_state(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A whole optimizer state, split as the parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {
            name: like(x, parameters[number])
            if isinstance(x, Tensor) and x.shape == parameters[number].shape and x.ndim
            else x
            for name, x in entries.items()
        }
        for number, entries in state["state"].items()
    }
    return {**state, "state": moments}


def reshard(module: nn.Module) -> None:
    """Split again what a forward pass without a backward pass left whole."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def norm(parameters: list[Tensor]) -> Tensor:
    """The norm of all gradients, split ones and whole ones."""
    split = [p.grad for p in parameters if isinstance(p.grad, DTensor)]
    whole = [p.grad for p in parameters if p.grad is not None and not isinstance(p.grad, DTensor)]
    found = [torch.nn.utils.get_total_norm(part) for part in (split, whole) if part]
    plain = [x.full_tensor() if isinstance(x, DTensor) else x for x in found]
    return torch.linalg.vector_norm(torch.stack(plain)) if plain else torch.zeros(())


def clip(parameters: list[Tensor], limit: float) -> Tensor:
    """`clip_grad_norm_` where some gradients are split."""
    found = norm(parameters)
    factor = (limit / (found + 1e-6)).clamp(max=1.0)
    if limit != float("inf"):
        for p in parameters:
            if p.grad is not None:
                p.grad.mul_(factor)
    return found


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of its lists and sequences that have weights, those nearest to the root."""
    for child in module.children():
        if isinstance(child, (nn.ModuleList, nn.Sequential)):
            yield from (block for block in child if any(True for _ in block.parameters()))
        else:
            yield from _blocks(child)


def _tables(part: nn.Module) -> Iterator[tuple[str, dict[Any, Any]]]:
    for name, value in vars(part).items():
        if name == "_parameters" or (
            name.endswith(("_hooks", "_kwargs", "_always_called")) and isinstance(value, dict)
        ):
            yield name, value


def _of_torch(hook: Any) -> bool:
    function = getattr(hook, "__wrapped__", hook)
    home = getattr(function, "__module__", "") or type(getattr(function, "__self__", None)).__module__
    return not isinstance(hook, bool) and home.startswith("torch.distributed")
