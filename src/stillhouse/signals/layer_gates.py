"""Layers of the teacher mixed by learned gates (LAD).

Shapes: B batch, N positions, D width of the teacher.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError

START = 3.0  # logit of a gate: sigmoid(3) = 0.953


class LayerGates(nn.Module):
    """A block of the teacher's layers as one target, mixed layer by layer.

    G_0 = h_0, g_l = sigmoid(W_l [h_l; G_(l-1)]), G_l = g_l h_l + (1 - g_l) G_(l-1): one gate a position. Weights start at 0
    and biases at 3, so every gate starts at 0.953: nearly the block's last layer, as the uniform map has it. The gates follow
    the gradient of the alignment, which likes the layer that is easiest to match; a lower learning rate holds them back. A
    gate that is wide open or shut hardly moves again: its gradient is g (1 - g).

    Args:
        width: D.
        layers: how many layers the block has; a block of one has no gate.

    Example:
        0.953 * 1 + 0.047 * 0:

        >>> mixed, gates = LayerGates(2, 2)([torch.zeros(1, 1, 2), torch.ones(1, 1, 2)])
        >>> [round(x, 3) for x in mixed.flatten().tolist()], len(gates)
        ([0.953, 0.953], 1)

    Source: Lin, Chen, Kao 2023, doi:10.3390/s23031483 (LAD); gates of one number and their start are ours.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        gates = [nn.Linear(2 * width, 1) for _ in range(layers - 1)]
        for gate in gates:
            nn.init.zeros_(gate.weight)
            nn.init.constant_(gate.bias, START)
        self.gates = nn.ModuleList(gates)

    def forward(self, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Mixed (B, N, D) and the gates (B, N, 1) of all layers but the first, from the layers' (B, N, D)."""
        if len(states) != len(self.gates) + 1:
            raise InputError(f"layers of the block: expected {len(self.gates) + 1}, got {len(states)}")
        mixed, opened = states[0], []
        for state, gate in zip(states[1:], self.gates):
            g = torch.sigmoid(gate(torch.cat([state, mixed], dim=-1)))
            mixed = g * state + (1 - g) * mixed
            opened.append(g)
        return mixed, opened
