"""The focusing network: lines of a range bin in azimuth order, complex in and complex out.

Shapes: B range bins, L azimuth lines, C input channels, H model width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.layers.part import Student
from stillhouse.layers.state_space import S4D, ComplexLinear, PhaseGate, StateSpaceBlock
from stillhouse.layers.state_space.pairs import complex_sequence, joined
from stillhouse.tasks.sar.students import StateSpaceConfig


class SarSSM(Student):
    """Input projection, state-space layers with residuals, output projection; no additive bias anywhere.

    Unless `position` is "channel", the network commutes with a global phase: f(e^{j phi} x) = e^{j phi} f(x).

    Args:
        config: all of it; kept as `.config`, so that a network can be built again.

    Example:
        >>> network = StateSpaceConfig(model_dim=4, state_dim=8, num_layers=2).build()
        >>> tuple(network(torch.randn(3, 16, 1, dtype=torch.complex64)).shape)
        (3, 16, 1)
    """

    def __init__(self, config: StateSpaceConfig) -> None:
        super().__init__()
        self.config = config
        real, signal = config.real_kernel, config.signal_channels + (config.position == "channel")
        self.input = ComplexLinear(signal, config.model_dim, real=real)
        self.modulation = nn.Parameter(torch.zeros(config.model_dim, 2, 2)) if config.position == "modulate" else None
        self.blocks = nn.ModuleList(_block(config, ahead) for ahead in config.layer_look_ahead())
        self.output = ComplexLinear(config.model_dim, config.output_dim, real=real)

    def forward(self, lines: Tensor) -> Tensor:
        """Focused lines (B, L, output_dim) of raw lines (B, L, C), or (B, L, 1, C) as the documented loader batches them.

        Raises:
            InputError: real numbers, or another shape.
        """
        if lines.ndim == 4 and lines.shape[2] == 1:
            lines = lines.squeeze(2)
        complex_sequence("lines", lines, self.config.input_dim)
        h = self.embed(lines)
        for block in self.blocks:
            h = block(h)
        return self.output(h)

    def embed(self, lines: Tensor) -> Tensor:
        """Embedded lines (B, L, H) of lines (B, L, C)."""
        config = self.config
        code = lines[..., -1] if config.coded else None
        h = self.input(lines if config.position == "channel" else lines[..., : config.signal_channels])
        if self.modulation is not None and code is not None:
            h = h * (1 + torch.view_as_real(code).to(self.modulation.dtype).to(h.dtype) @ joined(self.modulation).T)
        return h

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for an optimizer: matrices decay; dynamics, gains, biases, modulation and feedthrough do not.

        Decay would pull log-decays to 0 (a memory of one line) and frequencies to zero Doppler.
        """
        groups: dict[str, list[nn.Parameter]] = {"decayed": [], "free": [], "dynamics": []}
        for name, parameter in self.named_parameters():
            groups[_group(name, parameter)].append(parameter)
        return [
            {"params": groups["decayed"], "weight_decay": weight_decay},
            {"params": groups["free"], "weight_decay": 0.0},
            {"params": groups["dynamics"], "weight_decay": 0.0},
        ]


DYNAMICS = ("log_dt", "log_decay", "frequency")


def _group(name: str, parameter: nn.Parameter) -> str:
    last = name.rpartition(".")[2]
    if last in DYNAMICS:
        return "dynamics"
    matrix = parameter.ndim >= 2 and last not in ("feedthrough", "modulation")
    return "decayed" if matrix else "free"


def _block(config: StateSpaceConfig, look_ahead: int | None) -> StateSpaceBlock:
    width = config.model_dim
    s4d = S4D(
        width,
        config.modes,
        look_ahead=look_ahead,
        real_kernel=config.real_kernel,
        shared_modes=config.shared_modes,
        doppler_band=config.doppler_band,
        memory=config.memory,
    )
    return StateSpaceBlock(
        s4d,
        activation=config.activation,
        norm=config.norm == "rms",
        dropout=config.dropout,
        gate=PhaseGate(width) if config.use_selectivity == "gate" else None,
        gain=1 / math.sqrt(config.num_layers),
    )
