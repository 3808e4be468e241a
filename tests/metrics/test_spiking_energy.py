"""Counted energy of a spiking network: against spikes and weights that are counted one by one."""

from dataclasses import replace

import pytest
import torch

from stillhouse.tasks.lm.energy import counted_energy
from stillhouse.tasks.lm.students import SpikeConfig, SpikingLMConfig

SMALL = SpikingLMConfig(vocab_size=13, width=16, layers=2, heads=2, ffn=2.0)


def test_additions_are_counted_where_spikes_meet_weights_that_are_there():
    """SynOps = spikes x weights that are not 0; what is not counted by spikes is multiplied, at 4.6 pJ."""
    torch.manual_seed(0)
    model, tokens = replace(SMALL, spikes=SpikeConfig(levels=3)).build().eval(), torch.randint(0, 13, (2, 20))
    seen = {}
    for layer in model.linear_layers().values():
        if layer.spike is not None:
            layer.spike.register_forward_hook(
                lambda unit, given, out, layer=layer: seen.update({layer: out / unit.amplitude})
            )
    energy = counted_energy(model, tokens)
    synops = sum(
        (spikes.abs().round().detach() @ (layer.effective_weight() != 0).float().T).sum().item() / 40
        for layer, spikes in seen.items()
    )
    assert energy["synops"] == pytest.approx(synops, rel=1e-4)
    assert any((spikes.abs().round() > 1).any() for spikes in seen.values())  # counts, not firings
    spiking = sum(layer.weight.numel() for layer in seen)
    floats = sum(layer.weight.numel() for layer in model.linear_layers().values()) + 13 * 16 - spiking
    scales = sum(layer.outputs for layer in seen if layer.ternary)
    assert energy["energy_pj"] == pytest.approx(0.9 * synops + 4.6 * floats + 3.7 * scales, rel=1e-4)
    assert energy["energy_ratio"] == pytest.approx(energy["energy_pj"] / (4.6 * (floats + spiking)))
    assert 0 < energy["traffic_ratio"] < 1
    beside = counted_energy(model, tokens, 1000)  # a weight of a dense teacher: 4.6 pJ, and 4 bytes of 160 pJ
    assert beside["teacher_energy_ratio"] == pytest.approx(energy["energy_pj"] / 4600)
    assert beside["teacher_traffic_ratio"] * 644.6 * 1000 == pytest.approx(
        energy["traffic_ratio"] * 644.6 * (floats + spiking), rel=1e-4
    )
    assert counted_energy(SMALL.without_special_part().build(), tokens) == {}
