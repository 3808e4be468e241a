"""What is watched while a focusing network learns: documented losses, gradients and weights by layer; to TensorBoard and W&B.

A layer is `input`, `blocks.0`, ..., `output`. Norms are true L2 norms: that of all layers is the root of the sum of squares.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from stillhouse.core.checks import InputError

Mode = Literal["offline", "online"]

EVERY = 50
MONITOR = "distillation"  # TensorBoard folder that the documents name


class SarMonitor:
    """Writes scalars under the documented names.

    Args:
        folder: TensorBoard events go here.
        wandb: name of a Weights & Biases run; None for none.
        mode: offline: it stays on this disk until `wandb sync`; online: sent while it trains.
        settings: the settings that the W&B run holds.

    Raises:
        InputError: W&B is asked for and not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        wandb: str | None = None,
        mode: Mode = "offline",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self._board = folder, None
        self._run: Any = None
        self._name, self._mode, self._settings = wandb, mode, dict(settings or {})
        if wandb is not None:
            find_wandb()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars at an optimizer step; what is no finite number is left out."""
        from torch.utils.tensorboard import SummaryWriter

        if self._board is None:
            self._board = SummaryWriter(str(self.folder), purge_step=step)  # type: ignore[assignment]
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for name, value in finite.items():
            self._board.add_scalar(name, value, step)  # type: ignore[attr-defined]
        if self._name is not None and finite:
            if self._run is None:  # a job that is made to be looked at, and never trained, leaves no run
                self._run = _started(self.folder, self._name, self._mode, self._settings)
            self._run.log(finite, step=step)

    def close(self) -> None:
        """Finish both."""
        if self._board is not None:
            self._board.close()
            self._board = None
        if self._run is not None:
            self._run.finish()
            self._run = None


class GradientWatch:
    """Gradients as backward left them, before clipping: a hook a parameter, set only for the step that is looked at.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 1, bias=False)); watch = GradientWatch(net)
        >>> watch.start(); (3 * net(Tensor([[1.0]]))).sum().backward(); watch.stop()
        >>> watch.norms()
        {'0': 3.0, 'total': 3.0}
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._squares: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []

    def start(self) -> None:
        """Watch the backward passes from here on."""
        self.stop()
        self._squares = {}
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad:
                self._hooks.append(parameter.register_post_accumulate_grad_hook(self._keep(name)))

    def stop(self) -> None:
        """Take the hooks off; what was seen stays."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def norms(self) -> dict[str, float]:
        """L2 norm of every layer's gradient, and `total`; empty if no backward pass was watched."""
        return _by_layer({name: float(square) for name, square in self._squares.items()})

    def _keep(self, name: str) -> Any:
        def hook(parameter: Tensor) -> None:
            if parameter.grad is not None:  # micro-batches add up: the last call has the whole
                self._squares[name] = parameter.grad.detach().square().sum()

        return hook


def weight_norms(module: nn.Module) -> dict[str, float]:
    """L2 norm of every layer's weights, and `total`.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 1, bias=False)); _ = net[0].weight.data.copy_(Tensor([[3.0, 4.0]]))
        >>> weight_norms(net)
        {'0': 5.0, 'total': 5.0}
    """
    return _by_layer({name: float(p.detach().square().sum()) for name, p in module.named_parameters()})


def layer_of(name: str) -> str:
    """The layer that a parameter belongs to.

    Example:
        >>> layer_of("blocks.3.s4d.log_dt"), layer_of("input.weight")
        ('blocks.3', 'input')
    """
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 and parts[1].isdigit() else parts[0]


def _by_layer(squares: Mapping[str, float]) -> dict[str, float]:
    if not squares:
        return {}
    sums: dict[str, float] = {}
    for name, square in squares.items():
        sums[layer_of(name)] = sums.get(layer_of(name), 0.0) + square
    return {**{name: math.sqrt(total) for name, total in sums.items()}, "total": math.sqrt(sum(squares.values()))}


def find_wandb() -> Any:
    """The module of Weights & Biases.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("wandb")
    except ImportError:
        raise InputError(
            "wandb: expected the wandb package, which is not installed: pip install wandb, or leave --wandb out (the same "
            "scalars go to TensorBoard)"
        ) from None


def mode_of(setting: bool | Mode) -> Mode:
    """Nothing leaves the machine unless that is asked for by name.

    Example:
        >>> mode_of(True), mode_of("online")
        ('offline', 'online')
    """
    return setting if isinstance(setting, str) else "offline"


def _started(folder: Path, name: str, mode: Mode, settings: dict[str, Any]) -> Any:
    wandb = find_wandb()
    folder.mkdir(parents=True, exist_ok=True)
    return wandb.init(project="stillhouse-sar", name=name, dir=str(folder), mode=mode, config=settings)
