"""The focusing network: lines of a range bin in azimuth order, complex in and complex out.

Shapes: B range bins, L azimuth lines, C input channels, H model width.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stillhouse.layers.part import Student
from stillhouse.layers.state_space.block import ComplexLinear, PhaseGate, StateSpaceBlock
from stillhouse.layers.state_space.kernel import complex_sequence, real_pairs_to_complex
from stillhouse.layers.state_space.s4d import S4D
from stillhouse.tasks.sar.students import StateSpaceConfig


class SarSSM(Student):
    """Input projection, state-space layers with residuals, output projection; no additive bias anywhere.

    The network commutes with a global phase: f(e^{j phi} x) = e^{j phi} f(x).

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
        self.input = ComplexLinear(config.signal_channels, config.model_dim)
        self.modulation = nn.Parameter(torch.zeros(config.model_dim, 2, 2)) if config.use_pos_encoding else None
        self.blocks = nn.ModuleList(_block(config, ahead) for ahead in config.layer_look_ahead())
        self.output = ComplexLinear(config.model_dim, config.output_dim)

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
        h = self.input(lines[..., : self.config.signal_channels])
        if self.modulation is not None:
            code = torch.view_as_real(lines[..., -1]).to(self.modulation.dtype).to(h.dtype)
            h = h * (1 + code @ real_pairs_to_complex(self.modulation).T)
        return h

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for an optimizer: matrices decay; dynamics, gains, biases, modulation and feedthrough do not.

        Decay would pull log-decays to 0 (a memory of one line) and frequencies to zero Doppler.
        """
        own = list(self.named_parameters())
        return [
            {"params": [p for name, p in own if is_matrix(name, p)], "weight_decay": weight_decay},
            {"params": [p for name, p in own if not is_matrix(name, p)], "weight_decay": 0.0},
        ]


@torch.no_grad()
def focus(model: SarSSM, lines: Tensor, batch: int = 64) -> NDArray[np.complex64]:
    """(N, L) focused lines of lines (N, L, C), in eval mode and on the network's own device."""
    model.eval()
    device = next(model.parameters()).device
    parts = [model(part.to(device)).cpu() for part in lines.split(batch)]
    return torch.cat(parts)[..., 0].numpy()


def noise(model: SarSSM, count: int) -> Tensor:
    """(1, count, C) lines of unit power, with places along a line where the network reads them."""
    channels = model.config.input_dim
    lines = torch.randn(1, count, channels, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    if model.config.use_pos_encoding:
        lines[..., -1] = 0.5 + 1j * torch.arange(count) / count
    return lines


DYNAMICS = ("log_dt", "log_decay", "frequency")


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is neither dynamics nor a number or two a channel: what decays, and what is worth pruning."""
    return parameter.ndim >= 2 and name.rpartition(".")[2] not in (*DYNAMICS, "feedthrough", "modulation")


def _block(config: StateSpaceConfig, look_ahead: int | None) -> StateSpaceBlock:
    width = config.model_dim
    s4d = S4D(
        width,
        config.state_dim // 2,
        look_ahead=look_ahead,
        shared_modes=config.shared_modes,
        doppler_band=config.doppler_band,
        memory=config.memory,
    )
    gate = PhaseGate(width) if config.use_selectivity else None
    gain = 1 / math.sqrt(config.num_layers)
    return StateSpaceBlock(s4d, activation=config.activation_function, dropout=config.dropout, gate=gate, gain=gain)
