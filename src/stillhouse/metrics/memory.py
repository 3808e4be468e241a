"""What a forward pass holds in memory: counted as tensors are made and freed, on any device."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def forward_memory(module: nn.Module, inputs: Tensor) -> dict[str, int]:
    """Bytes of one forward pass in eval mode, without gradients; weights are not counted.

    Args:
        module: inputs -> anything.
        inputs: a batch.

    Returns:
        `activations`: of what all modules without children put out, each output once; `peak`: the most that is held at one time of
        what the pass itself made, inner steps of a module too.

    Example:
        Two numbers become three, and three become three more; both are held while the second is made.

        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid())
        >>> forward_memory(net, torch.zeros(1, 2))
        {'activations': 24, 'peak': 24}
    """
    modes = [(part, part.training) for part in module.modules()]
    leaves = [part for part in module.modules() if next(part.children(), None) is None]
    put_out = _Sum()
    hooks = []
    module.eval()
    try:
        with torch.no_grad():
            with _Held() as held:
                module(inputs)
            hooks = [leaf.register_forward_hook(put_out.of(inputs)) for leaf in leaves]  # holds on to what it has seen
            module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for part, mode in modes:
            part.training = mode
    return {"activations": put_out.bytes, "peak": held.most}


class _Sum:
    """Bytes of outputs; one that a module hands through (an identity, a view of its input) is not made anew."""

    def __init__(self) -> None:
        self.bytes, self._seen = 0, list[Any]()

    def of(self, inputs: Tensor) -> Callable[[nn.Module, Any, Any], None]:
        self._seen = [inputs.untyped_storage()]

        def hook(module: nn.Module, given: Any, output: Any) -> None:
            for tensor in tree_leaves(output):
                if isinstance(tensor, Tensor) and not any(tensor.untyped_storage() is known for known in self._seen):
                    self._seen.append(tensor.untyped_storage())
                    self.bytes += tensor.untyped_storage().nbytes()

        return hook


class _Held(TorchDispatchMode):
    """Follows storages from the operation that makes them to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(x.untyped_storage()) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if id(storage) not in given and id(storage) not in self._known:
                    self._known[id(storage)] = storage.nbytes()
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self._freed, id(storage))
        self.most = max(self.most, self.now)
        return made

    def _freed(self, key: int) -> None:
        self.now -= self._known.pop(key, 0)
