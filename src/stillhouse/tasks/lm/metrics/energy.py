"""Energy of one token by counted operations times published energies of an operation: an account, never a measurement.

The published numbers are those of a 45 nm process; a chip of today needs less of everything, and what counts is the ratio of two
networks under the same table. Weight traffic stands apart, since it is most of the energy when one text is generated at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.layers.recurrent import MatrixMixer, ScalarMixer, TokenShift
from stillhouse.layers.spikes import SpikeLinear
from stillhouse.layers.ternary import ternary_codes
from stillhouse.metrics.energy import LABEL, OperationEnergies
from stillhouse.tasks.lm.metrics.spiking import Activity

PACKED_BYTES, FLOAT_BYTES = 1 / 5, 4  # of a ternary weight, five to a byte, and of a float32


@dataclass(frozen=True)
class Operations:
    """Operations of one token.

    Attributes:
        macs: a multiplication and an addition each.
        additions: alone: what a spike costs at a synapse (SynOps), and comparisons with a threshold.
        multiplications: alone.
        weight_bytes: of weights that are read; those of silent inputs are not.
        state_bytes: of recurrent state or of a cache of keys and values, read and written.
    """

    macs: float = 0.0
    additions: float = 0.0
    multiplications: float = 0.0
    weight_bytes: float = 0.0
    state_bytes: float = 0.0

    def __add__(self, other: Operations) -> Operations:
        return Operations(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def energy(self, table: OperationEnergies | None = None) -> dict[str, Any]:
        """`operations_pj`, `with_weight_traffic_pj`, `with_all_traffic_pj` a token, and the `label` to print beside them.

        Example:
            A thousand additions and one multiply-add: 900 + 4.6.

            >>> round(Operations(macs=1, additions=1000).energy()["operations_pj"], 1)
            904.6
        """
        table = OperationEnergies() if table is None else table
        mac = table.addition + table.multiplication
        operations = self.macs * mac + self.additions * table.addition + self.multiplications * table.multiplication
        with_weights = operations + self.weight_bytes * table.memory_byte
        return {
            "operations_pj": operations,
            "with_weight_traffic_pj": with_weights,
            "with_all_traffic_pj": with_weights + self.state_bytes * table.memory_byte,
            "label": LABEL,
        }


def spiking_operations(model: Any, activities: dict[str, Activity]) -> dict[str, Operations]:
    """Operations of one token of a `SpikingLM` by part: `synapses`, `spikes`, `mixers`, `norms`, `readout`, `ngram`.

    Of an n-gram: the sums over the vocabulary, and its table of single tokens read once; the few entries of a token's own contexts
    are left out.

    Args:
        model: with its weights as they are deployed (share 1).
        activities: what `measure_spikes` gave for it.

    Returns:
        By part; add them up for the whole. A spike of count n at a synapse is n additions, at weights that are not 0.

    Raises:
        InputError: a spiking layer without activity, or one that is still dense in part.
    """
    layers = {name: part for name, part in model.named_modules() if isinstance(part, SpikeLinear)}
    parts = {key: Operations() for key in ("synapses", "spikes", "mixers", "norms", "readout", "ngram")}
    for name, layer in layers.items():
        parts["synapses"] += synapse_operations(layer, activities.get(f"{name}.spike"), name)
        if layer.spike is not None:  # a comparison a level and channel
            parts["spikes"] += Operations(additions=layer.inputs * layer.spike.levels)
    for part in model.modules():
        if isinstance(part, (MatrixMixer, ScalarMixer)):
            parts["mixers"] += mixer_operations(part)
        elif isinstance(part, TokenShift):
            size = part.mu.numel()
            parts["mixers"] += Operations(macs=size, additions=part.mu.shape[1], state_bytes=8 * part.mu.shape[1])
        elif isinstance(part, nn.LayerNorm):
            size = part.weight.numel()
            parts["norms"] += Operations(macs=2 * size, additions=3 * size)
    parts["readout"] = _readout_operations(model, activities.get("readout_spike"))
    for joint in (model.lift, model.lower):
        if joint is not None:
            size = joint.weight.numel()
            parts["readout"] += Operations(macs=size, weight_bytes=FLOAT_BYTES * size)
    if model.prior is not None:
        size = int(model.prior.vocab_size)
        parts["ngram"] = Operations(additions=2 * size, weight_bytes=FLOAT_BYTES * size)
    return parts


def synapse_operations(layer: SpikeLinear, activity: Activity | None, name: str = "layer") -> Operations:
    """Operations of one linear layer a token: additions where spikes meet weights, multiply-adds where nothing spikes.

    Raises:
        InputError: see `spiking_operations`.

    Example:
        Two inputs, one always firing, one never; three dense outputs: three additions of a scaled column.

        >>> from stillhouse.layers.spikes import SpikeUnit
        >>> fired = Activity(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]), 10)
        >>> synapse_operations(SpikeLinear(2, 3, spike=SpikeUnit(2)), fired).additions
        3.0
    """
    codes = ternary_codes(layer.weight.detach())[0] if layer.ternary else torch.ones_like(layer.weight)
    synapses = (codes != 0).double().sum(0)  # (I,) outputs that an input reaches
    size, scales = (PACKED_BYTES, layer.outputs) if layer.ternary else (FLOAT_BYTES, 0)
    if layer.ternary and layer.share.item() < 1_000_000:
        raise InputError(f"{name}: expected ternary weights, got a ramp at {layer.share.item() / 1e6}")
    if layer.spike is None:
        count, read = synapses.sum().item(), layer.inputs * layer.outputs * size
        if layer.ternary:
            return Operations(additions=count, multiplications=scales, weight_bytes=read)
        return Operations(macs=count, weight_bytes=read)
    if activity is None or len(activity.rate) != layer.inputs:
        raise InputError(
            f"{name}: expected the activity of {layer.inputs} channels, got none that fits; measure it first"
        )
    additions = (activity.spikes.double().to(synapses.device) * synapses).sum().item()
    read = activity.rate.double().sum().item() * layer.outputs * size
    return Operations(additions=additions, multiplications=scales, weight_bytes=read)


def mixer_operations(mixer: MatrixMixer | ScalarMixer) -> Operations:
    """Operations of a mixer a token outside of its linear layers: decays, removals, writing, reading, gates.

    Example:
        >>> from stillhouse.layers.spikes import Quantization
        >>> scalar, delta = ScalarMixer(8, Quantization()), MatrixMixer(8, 2, Quantization())
        >>> mixer_operations(delta).macs > mixer_operations(scalar).macs
        True
    """
    width = mixer.width
    if isinstance(mixer, ScalarMixer):
        return Operations(macs=width, multiplications=2 * width, state_bytes=2 * 4 * width)
    memory = width * width // mixer.heads
    ranks = [part.up.numel() for part in (mixer.decay, mixer.gate, mixer.rate)]
    return Operations(
        macs=4 * memory + sum(ranks) + 6 * width,
        multiplications=memory + 6 * width,
        weight_bytes=FLOAT_BYTES * sum(ranks),
        state_bytes=2 * FLOAT_BYTES * memory,
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
    return Operations(
        macs=weights + layers * 2 * context * width,
        weight_bytes=weights * FLOAT_BYTES,
        state_bytes=layers * 2 * (context + 1) * keys * FLOAT_BYTES,
    )


def _readout_operations(model: Any, activity: Activity | None) -> Operations:
    weight, ternary = model.readout.weight, model.readout.ternary
    vocabulary, width = weight.shape
    size, firing = PACKED_BYTES if ternary else FLOAT_BYTES, 1.0 if activity is None else activity.density
    nonzero = (weight.detach() != 0).sum().item() if ternary else vocabulary * width
    count = nonzero * (1.0 if activity is None else activity.spikes.mean().item())
    bytes_read = vocabulary * width * size * firing
    if activity is None and not ternary:
        return Operations(macs=count, weight_bytes=bytes_read)
    return Operations(additions=count, multiplications=vocabulary if ternary else 0, weight_bytes=bytes_read)
