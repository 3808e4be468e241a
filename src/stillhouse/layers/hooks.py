"""Features by name from any module: the path of a sub-module is the name of what it puts out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.types import Outputs, OutputSpec


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; left as it was part by part: a frozen part of a module in training stays in eval mode."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


class Clauses(nn.Module):
    """A module that puts out strengths of clauses (..., C): what a signal on clauses may be given."""


class FeatureExtractor:
    """A module that is called for `Outputs`: its logits, and what the named sub-modules put out on the way.

    A plain class, so that a teacher wrapped in it is never a sub-module of anything (`.train()` cannot reach it).

    Args:
        module: returns logits (B, K) or (B, L, K), a tuple whose first entry is that, or `Outputs`.
        features: paths of sub-modules (`blocks.1`, `layer3`), as `module.named_modules()` spells them.
        call: what to call instead of `module`, where something is wrapped around it (mixed precision).

    Raises:
        InputError: a path that the module does not have, with the near one.
    """

    def __init__(
        self, module: nn.Module, features: Sequence[str] = (), call: Callable[[Tensor], Any] | None = None
    ) -> None:
        self.module = module
        self._call = module if call is None else call
        self._hooks: list[RemovableHandle] = []
        self._seen: dict[str, Tensor] = {}
        children = dict(module.named_modules())
        for name in dict.fromkeys(features):
            if name not in children or not name:
                known = [n for n in children if n]
                raise InputError(f"feature {name!r}: {type(module).__name__} has none; {nearest(name, known)}")
            self._hooks.append(children[name].register_forward_hook(self._keep(name)))

    def close(self) -> None:
        """Take the hooks off the module again."""
        for hook in self._hooks:
            hook.remove()

    def __call__(self, inputs: Tensor) -> Outputs:
        """Run the module on (B, C, H, W) pixels."""
        self._seen = {}
        found = self._call(inputs)
        found = found.logits if isinstance(found, Outputs) else found
        logits = found[0] if isinstance(found, tuple) else found
        return Outputs(logits, self.take())

    def take(self) -> dict[str, Tensor]:
        """What the sub-modules put out since the last time, by path; for a module that somebody else calls."""
        seen, self._seen = self._seen, {}
        return seen

    def spec(self, example: Tensor) -> OutputSpec:
        """Shapes without the batch axis, from one forward pass in eval mode on an example (B, C, H, W)."""
        with evaluating(self.module):
            outputs = self(example)
        if outputs.logits.ndim < 2:
            raise InputError(f"logits: expected (B, K) or (B, L, K), got {tuple(outputs.logits.shape)}")
        shapes = {name: tuple(x.shape[1:]) for name, x in outputs.features.items()}
        clauses = tuple(path for path, part in self.module.named_modules() if isinstance(part, Clauses))
        return OutputSpec(outputs.logits.shape[-1], shapes, clauses=clauses)

    def _keep(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, args: object, output: object) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if not isinstance(tensor, Tensor):
                raise InputError(f"feature {name!r}: expected a tensor from it, got {type(tensor).__name__}")
            self._seen[name] = tensor

        return hook
