"""Energy of the matrix products of one token: counted operations times published energies, an account and never a measurement.

What is counted are products with weights, most of what a network does: additions where spikes meet weights that are not 0 (SynOps),
multiply-adds elsewhere. Decays, norms, gates and attention scores are left out, of student and teacher alike. Weight traffic stands
apart, since it is most of the energy when one text is generated at a time.

Shapes: D channels, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.layers.spikes.linear import SpikeLinear
from stillhouse.layers.spikes.unit import spike_counts
from stillhouse.layers.ternary import ternary_codes
from stillhouse.metrics.energy import OperationEnergies

PACKED_BYTES, FLOAT_BYTES = 1 / 5, 4  # of a ternary weight, five to a byte, and of a float32


@dataclass(frozen=True)
class Activity:
    """What one spike unit did over a text.

    Attributes:
        rate: (D,) share of tokens at which a channel fired.
        spikes: (D,) mean of |count|: spikes a token, above the rate where counts exceed 1.
    """

    rate: Tensor
    spikes: Tensor


@torch.no_grad()
def measure_spikes(model: Any, pieces: Iterable[Tensor]) -> dict[str, Activity]:
    """What every spike unit of a `SpikingLM` that spikes does over a text, tokens (B, L) at a time, by the layer's path."""
    model.eval()
    units = model.spike_units()
    sums, tokens = {name: torch.zeros(2, unit.channels, dtype=torch.float64) for name, unit in units.items()}, 0
    for piece in pieces:
        tokens += piece.numel()
        for unit in units.values():
            unit.recording = []
        model.hidden(piece)
        for name, unit in units.items():
            counts = spike_counts(unit.recording[0], unit.threshold, unit.levels, signed=unit.signed).abs().double()
            sums[name] += torch.stack([counts.clamp(max=1).sum(0), counts.sum(0)]).cpu()
            unit.recording = None
    return {name: Activity(*(both / tokens)) for name, both in sums.items()}


@dataclass(frozen=True)
class Operations:
    """Operations of one token; `additions` stand alone, `weight_bytes` are read, those of silent inputs are not."""

    macs: float = 0.0
    additions: float = 0.0
    multiplications: float = 0.0
    weight_bytes: float = 0.0

    def __add__(self, other: Operations) -> Operations:
        return Operations(*(a + b for a, b in zip(astuple(self), astuple(other))))

    def energy(self) -> dict[str, float]:
        """Picojoules a token, without weight traffic and with it.

        Example:
            A thousand additions and one multiply-add: 900 + 4.6.

            >>> round(Operations(macs=1, additions=1000).energy()["operations_pj"], 1)
            904.6
        """
        table = OperationEnergies()
        found = (self.macs + self.additions) * table.addition + (
            self.macs + self.multiplications
        ) * table.multiplication
        return {"operations_pj": found, "with_weight_traffic_pj": found + self.weight_bytes * table.memory_byte}


def student_operations(model: Any, pieces: Iterable[Tensor]) -> Operations:
    """Of a `SpikingLM` as it is deployed (share 1), at the spikes that some texts make."""
    activities, total = measure_spikes(model, pieces), Operations()
    for name, layer in model.linear_layers().items():
        total += synapse_operations(layer, activities.get(name))
    return sum((_dense(x.weight) for x in (model.embedding, model.lift, model.lower) if x is not None), total)


def teacher_operations(network: nn.Module) -> Operations:
    """Of a network of transformers: every matrix but those of embeddings."""
    matrices = (part for part in network.modules() if not isinstance(part, nn.Embedding))
    weights = [w for part in matrices if isinstance(w := getattr(part, "weight", None), Tensor) and w.ndim == 2]
    return sum(map(_dense, weights), Operations())


def synapse_operations(layer: SpikeLinear, activity: Activity | None) -> Operations:
    """Of one linear layer: a spike of count n at a synapse is n additions.

    Example:
        Two inputs, one always firing, one never; three dense outputs: three additions of a scaled column.

        >>> from stillhouse.layers.spikes.unit import SpikeUnit
        >>> fired = Activity(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]))
        >>> synapse_operations(SpikeLinear(2, 3, spike=SpikeUnit(2)), fired).additions
        3.0
    """
    if not layer.ternary and activity is None:
        return _dense(layer.weight)
    codes = ternary_codes(layer.weight.detach())[0] if layer.ternary else torch.ones_like(layer.weight)
    synapses = (codes != 0).double().sum(0)  # (I,) outputs that an input reaches
    size, scales = (PACKED_BYTES, layer.outputs) if layer.ternary else (FLOAT_BYTES, 0)
    spikes, rate = (synapses * 0 + 1,) * 2 if activity is None else (activity.spikes, activity.rate)
    additions, read = float(spikes.double().cpu() @ synapses.cpu()), float(rate.double().sum()) * layer.outputs * size
    return Operations(additions=additions, multiplications=scales, weight_bytes=read)


def _dense(weight: Tensor) -> Operations:
    return Operations(macs=weight.numel(), weight_bytes=FLOAT_BYTES * weight.numel())
