"""Energy of one token by counted operations times published energies of an operation: an account, never a measurement.

The published numbers are those of a 45 nm process; a chip of today needs less of everything, and what counts is the ratio of two
networks under the same table. Weight traffic stands apart, since it is most of the energy when one text is generated at a time.

Shapes: D channels, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.layers.recurrent.mixers import MatrixMixer, ScalarMixer, TokenShift
from stillhouse.layers.spikes.linear import SpikeLinear
from stillhouse.layers.spikes.unit import spike_counts
from stillhouse.layers.ternary import ternary_codes
from stillhouse.metrics.energy import LABEL, OperationEnergies

TABLE = OperationEnergies()
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
    """Operations of one token.

    Attributes:
        macs: a multiplication and an addition each.
        additions: alone: what a spike costs at a synapse (SynOps), and comparisons with a threshold.
        multiplications: alone.
        weight_bytes: of weights that are read; those of silent inputs are not.
    """

    macs: float = 0.0
    additions: float = 0.0
    multiplications: float = 0.0
    weight_bytes: float = 0.0

    def __add__(self, other: Operations) -> Operations:
        return Operations(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def energy(self, table: OperationEnergies = TABLE) -> dict[str, float]:
        """Picojoules a token, without weight traffic and with it.

        Example:
            A thousand additions and one multiply-add: 900 + 4.6.

            >>> round(Operations(macs=1, additions=1000).energy()["operations_pj"], 1)
            904.6
        """
        mac = table.addition + table.multiplication
        found = self.macs * mac + self.additions * table.addition + self.multiplications * table.multiplication
        return {"operations_pj": found, "with_weight_traffic_pj": found + self.weight_bytes * table.memory_byte}


def energies(model: Any, pieces: Iterable[Tensor], teacher: Operations) -> dict[str, Any]:
    """Picojoules of a token of a student at the spikes that some texts make, by part too, beside its teacher's."""
    parts = spiking_operations(model, measure_spikes(model, pieces))
    ours, theirs = sum(parts.values(), Operations()).energy(), teacher.energy()
    return {
        "label": LABEL,
        "student": ours,
        "student_parts": {name: operations.energy()["operations_pj"] for name, operations in parts.items()},
        "teacher": theirs,
        "ratio": {kind: value / theirs[kind] for kind, value in ours.items()},
    }


def spiking_operations(model: Any, activities: Mapping[str, Activity]) -> dict[str, Operations]:
    """Operations of one token of a `SpikingLM` by part: `synapses`, `spikes`, `mixers`, `norms`, `readout`, `ngram`.

    Of an n-gram: the sums over the vocabulary, and its table of single tokens read once; the few entries of a token's own contexts
    are left out.

    Args:
        model: with its weights as they are deployed (share 1).
        activities: what `measure_spikes` gave for it.
    """
    parts = dict.fromkeys(("synapses", "spikes", "mixers", "norms", "readout", "ngram"), Operations())
    for name, layer in model.linear_layers().items():
        parts["synapses"] += synapse_operations(layer, activities.get(name))
        if layer.spike is not None:  # a comparison a level and channel
            parts["spikes"] += Operations(additions=layer.inputs * layer.spike.levels)
    for part in model.modules():
        if isinstance(part, (MatrixMixer, ScalarMixer)):
            parts["mixers"] += mixer_operations(part)
        elif isinstance(part, TokenShift):
            parts["mixers"] += Operations(macs=part.mu.numel(), additions=part.mu.shape[1])
        elif isinstance(part, nn.LayerNorm):
            parts["norms"] += Operations(macs=2 * part.weight.numel(), additions=3 * part.weight.numel())
    for matrix in (model.embedding, model.lift, model.lower):
        if matrix is not None:
            parts["readout"] += _dense(matrix.weight.numel())
    if model.prior is not None:
        size = int(model.prior.vocab_size)
        parts["ngram"] = Operations(additions=2 * size, weight_bytes=FLOAT_BYTES * size)
    return parts


def synapse_operations(layer: SpikeLinear, activity: Activity | None) -> Operations:
    """Operations of one linear layer a token: additions where spikes meet weights, multiply-adds where nothing spikes.

    A spike of count n at a synapse is n additions, at weights that are not 0.

    Example:
        Two inputs, one always firing, one never; three dense outputs: three additions of a scaled column.

        >>> from stillhouse.layers.spikes.unit import SpikeUnit
        >>> fired = Activity(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]))
        >>> synapse_operations(SpikeLinear(2, 3, spike=SpikeUnit(2)), fired).additions
        3.0
    """
    if not layer.ternary and activity is None:
        return _dense(layer.weight.numel())
    codes = ternary_codes(layer.weight.detach())[0] if layer.ternary else torch.ones_like(layer.weight)
    synapses = (codes != 0).double().sum(0)  # (I,) outputs that an input reaches
    size, scales = (PACKED_BYTES, layer.outputs) if layer.ternary else (FLOAT_BYTES, 0)
    one = torch.ones(layer.inputs)
    spikes, rate = (one, one) if activity is None else (activity.spikes, activity.rate)
    additions = (spikes.double().to(synapses.device) * synapses).sum().item()
    read = rate.double().sum().item() * layer.outputs * size
    return Operations(additions=additions, multiplications=scales, weight_bytes=read)


def mixer_operations(mixer: MatrixMixer | ScalarMixer) -> Operations:
    """Operations of a mixer a token outside of its linear layers: decays, removals, writing, reading, gates."""
    width = mixer.width
    if isinstance(mixer, ScalarMixer):
        return Operations(macs=width, multiplications=2 * width)
    memory = width * width // mixer.heads
    ranks = [part.up.numel() for part in (mixer.decay, mixer.gate, mixer.rate)]
    return Operations(
        macs=4 * memory + sum(ranks) + 6 * width,
        multiplications=memory + 6 * width,
        weight_bytes=FLOAT_BYTES * sum(ranks),
    )


def transformer_operations(config: Any, vocabulary: int, context: int) -> Operations:
    """Operations of one token that a dense transformer generates with a cache of keys and values: the other side of the ratio.

    Args:
        config: that transformers keeps of a decoder, of Llama's kind (gated feed-forward layers) or of GPT-2's.
        vocabulary: tokens.
        context: tokens in the cache.

    Raises:
        InputError: a configuration that does not name its sizes.

    Example:
        Width 1, all sizes 1: 4 attention weights, 3 feed-forward weights, 1 of the readout, and a score and a sum of context 1.

        >>> from types import SimpleNamespace
        >>> sizes = SimpleNamespace(hidden_size=1, num_hidden_layers=1, intermediate_size=1)
        >>> transformer_operations(sizes, vocabulary=1, context=1).macs
        10
    """
    width, layers = getattr(config, "hidden_size", None), getattr(config, "num_hidden_layers", None)
    if not isinstance(width, int) or not isinstance(layers, int):
        raise InputError(
            f"energy: expected a decoder that names hidden_size and num_hidden_layers, got {type(config).__name__}"
        )
    gated = getattr(config, "intermediate_size", None)
    hidden = gated or getattr(config, "n_inner", None) or 4 * width
    heads, groups = getattr(config, "num_attention_heads", 1), getattr(config, "num_key_value_heads", None)
    keys = width if groups is None else width * groups // heads
    feed_forward = (3 if gated else 2) * width * hidden
    weights = layers * (2 * width * width + 2 * width * keys + feed_forward) + vocabulary * width
    return _dense(weights) + Operations(macs=layers * 2 * context * width)


def _dense(weights: int) -> Operations:
    return Operations(macs=weights, weight_bytes=FLOAT_BYTES * weights)
