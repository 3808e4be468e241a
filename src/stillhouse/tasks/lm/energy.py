"""Energy of a token's matrix products in a spiking network: counted operations times published energies, never a measurement.

Additions where spikes or ternary weights leave nothing else, multiply-adds elsewhere; norms, gates, decays and the state are left
out of both sides. Weights that are read stand apart: they are most of the energy when one text is generated at a time.

Shapes: B rows, L tokens, I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stillhouse.layers.spikes.unit import spike_counts
from stillhouse.layers.straight_through import ternary_codes

# picojoules in float32 at 45 nm: Horowitz 2014, "Computing's energy problem", ISSCC; of DRAM: Han et al. 2016, arXiv:1602.01528
ADD, MULTIPLY, BYTE = 0.9, 3.7, 160.0
PACKED_BYTES, FLOAT_BYTES = 1 / 5, 4  # of a ternary weight, five to a byte, and of a float32


@torch.no_grad()
def counted_energy(model: Any, tokens: Tensor, teacher_params: int = 0) -> dict[str, float]:
    """Of a `SpikingLM` as it is deployed (share 1), at the spikes that a text makes, as entries of its costs; without spikes {}.

    A spike of count n is n additions at each weight that is not 0; a weight is read where its input is not silent.

    Args:
        model: the network.
        tokens: (B, L).
        teacher_params: weights of a dense teacher, each of which is a multiply-add a token; 0: it is not known.

    Returns:
        A token's `synops` (additions that spikes make) and `energy_pj` (of operations), and shares of the energy of the same
        network with dense inputs and weights: `energy_ratio`, `traffic_ratio` (with every weight that is read); and of the
        teacher's: `teacher_energy_ratio`, `teacher_traffic_ratio`.
    """
    layers, spikes = model.linear_layers(), dict[str, tuple[Tensor, Tensor]]()

    def kept(name: str) -> Any:
        def keep(unit: Any, given: tuple[Tensor], output: Tensor) -> None:
            counts = spike_counts(given[0], unit.threshold, unit.levels, signed=unit.signed).abs().flatten(0, -2)
            spikes[name] = counts.double().mean(0), (counts > 0).double().mean(0)

        return keep

    hooks = [unit.register_forward_hook(kept(name)) for name, unit in model.spike_units().items()]
    try:
        model.hidden(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    if not spikes:
        return {}
    floats = sum(x.weight.numel() for x in (model.embedding, model.lift, model.lower) if x is not None)
    synops = additions = multiplications = read = 0.0
    products = floats + sum(layer.weight.numel() for layer in layers.values())
    for name, layer in layers.items():
        if name not in spikes and not layer.ternary:
            floats += layer.weight.numel()
            continue
        codes = ternary_codes(layer.weight)[0] if layer.ternary else torch.ones_like(layer.weight)
        counts, rate = spikes.get(name, (codes.new_ones(layer.inputs).double(),) * 2)
        made = float(counts @ (codes != 0).double().sum(0))
        additions, synops = additions + made, synops + made * (name in spikes)
        multiplications += layer.outputs * layer.ternary  # the scale
        read += float(rate.sum()) * layer.outputs * (PACKED_BYTES if layer.ternary else FLOAT_BYTES)
    energy = (floats + additions) * ADD + (floats + multiplications) * MULTIPLY
    whole, found = energy + (read + floats * FLOAT_BYTES) * BYTE, {"synops": synops, "energy_pj": energy}
    for name, weights in {"": products, "teacher_": teacher_params}.items():
        if weights:
            dense = weights * (ADD + MULTIPLY)
            found[f"{name}energy_ratio"] = energy / dense
            found[f"{name}traffic_ratio"] = whole / (dense + weights * FLOAT_BYTES * BYTE)
    return found
