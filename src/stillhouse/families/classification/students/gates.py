"""Gates on the hidden numbers of a feed-forward, before they become bits.

Shapes: ... leading axes, D width, F hidden width.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from stillhouse.families.classification.students.core import DeepTM
from stillhouse.families.classification.students.options import ClauseOptions
from stillhouse.layers.straight_through import hard_step

GateName = Literal["none", "linear", "geglu", "swiglu", "tm", "deeptm"]
GateActivation = Literal["sigmoid", "tanh", "relu"]
START = 0.05  # thresholds start above 0: at 0 a positive gate could never change a sign, and so no bit


class GatedProjection(nn.Module):
    """Tokens (..., D) to hidden numbers (..., F) whose signs are the bits that clauses read.

    "none": W x + b. "linear": v act(g). "geglu": v GELU(g), "swiglu": v SiLU(g), both as published. "tm" and "deeptm":
    v act(TM(bits of v)), a clause layer as the gate. [v, g] = W x + b; every gated kind subtracts a learned threshold.

    Args:
        width: D.
        hidden: F.
        kind: the gate.
        activation: act of the kinds linear, tm and deeptm.
        clauses: clauses of a tm gate.
        options: rule of a tm gate's clauses.

    Source: Shazeer 2020, arXiv:2002.05202 (GEGLU, SwiGLU).
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        kind: GateName = "none",
        activation: GateActivation = "sigmoid",
        *,
        clauses: int = 0,
        options: ClauseOptions | None = None,
    ) -> None:
        super().__init__()
        assert kind in get_args(GateName)
        self.kind, self.hidden = kind, hidden
        split = kind in {"linear", "geglu", "swiglu"}
        self.linear = nn.Linear(width, hidden * 2 if split else hidden)
        nn.init.xavier_uniform_(self.linear.weight[:hidden])
        if split:
            nn.init.xavier_uniform_(self.linear.weight[hidden:])
        nn.init.zeros_(self.linear.bias)
        self.activation = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}[activation]
        inner = (hidden,) if kind == "deeptm" else ()
        rule = options or ClauseOptions()
        self.clauses = DeepTM(hidden, inner, hidden, clauses, rule) if kind in {"tm", "deeptm"} else None
        self.threshold = nn.Parameter(torch.full((hidden,), START)) if kind != "none" else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., F), signed: bits are where it is above 0."""
        x = self.linear(x)
        if self.threshold is None:
            return x
        if self.clauses is not None:
            x = x * self.activation(self.clauses(x).votes)
        else:
            value, gate = x.chunk(2, dim=-1)
            if self.kind == "geglu":
                x = value * nn.functional.gelu(gate)
            elif self.kind == "swiglu":
                x = value * nn.functional.silu(gate)
            else:
                x = value * self.activation(gate)
        return x - self.threshold


class BitwiseMix(nn.Module):
    """Bits mixed with their negations by one linear map, and thresholded again: a layer in which XOR can be made.

    The linear map sees `[b, 1 - b]` of hard bits b. On numbers before the threshold (the published place) it would be one
    more linear map after a linear map and could not add anything new. It starts close to passing every bit through.

    Args:
        hidden: F.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * hidden, hidden)
        eye = torch.eye(hidden)
        with torch.no_grad():
            nn.init.normal_(self.linear.weight, std=0.5 / hidden**0.5)
            self.linear.weight += torch.cat([eye, -eye], dim=1)
            self.linear.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """(..., F) signed numbers to (..., F) signed numbers."""
        bits = hard_step(x)
        mixed: Tensor = self.linear(torch.cat([bits, 1 - bits], dim=-1))
        return mixed
