"""Spike statistics and counted energy: against spikes counted by hand and operations counted by torch."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from stillhouse.layers.spikes.linear import SpikeLinear
from stillhouse.layers.spikes.unit import SpikeUnit
from stillhouse.tasks.lm.energy import (
    Activity,
    Operations,
    measure_spikes,
    student_operations,
    synapse_operations,
    teacher_operations,
)
from stillhouse.tasks.lm.students import SpikeConfig, SpikingLMConfig
from stillhouse.tasks.lm.teachers import SmallTransformerConfig
from stillhouse.tasks.lm.teachers.teacher import small_transformer

SMALL = SpikingLMConfig(vocab_size=13, width=16, layers=2, heads=2, ffn=2.0)


def pieces(count=3):
    torch.manual_seed(1)
    return [torch.randint(0, 13, (2, 20)) for _ in range(count)]


def test_rates_are_those_of_the_spikes_that_reach_the_products():
    """Statistics taken from something else than what is multiplied would prove nothing."""
    torch.manual_seed(0)
    model = replace(SMALL, spikes=SpikeConfig(levels=3)).build().train()
    layer = model.blocks[1].mixer.key
    seen = []
    handle = layer.spike.register_forward_hook(lambda m, args, out: seen.append(out.detach() / m.amplitude.detach()))
    activities = measure_spikes(model, pieces())
    handle.remove()
    counts = torch.cat([x.reshape(-1, 16) for x in seen]).round()
    one = activities["blocks.1.mixer.key"]
    torch.testing.assert_close(one.rate, (counts != 0).double().mean(0))
    torch.testing.assert_close(one.spikes, counts.abs().double().mean(0))
    assert len(counts) == 120
    assert (one.spikes > one.rate).any()
    assert len(activities) == 2 * 6


def test_synaptic_additions_are_counted_at_weights_that_are_there():
    """SynOps = spikes x weights that are not 0, here counted one by one."""
    torch.manual_seed(0)
    layer = SpikeLinear(12, 7, spike=SpikeUnit(12, levels=2), ternary=True)
    x = 1.5 * torch.randn(500, 12)
    spikes = (layer.spike(x) / layer.spike.amplitude).detach().round()
    activity = Activity((spikes != 0).double().mean(0), spikes.abs().double().mean(0))
    codes = layer.effective_weight().detach() != 0
    expected = sum(spikes[t].abs()[i].item() * codes[:, i].sum().item() for t in range(500) for i in range(12)) / 500
    got = synapse_operations(layer, activity)
    assert got.additions == pytest.approx(expected)
    assert got.macs == 0
    assert got.multiplications == 7  # the scale, once an output
    assert got.weight_bytes == pytest.approx((spikes != 0).float().mean(0).sum().item() * 7 / 5)
    dense = synapse_operations(SpikeLinear(12, 7), None)
    assert (dense.macs, dense.additions, dense.weight_bytes) == (84, 0, 4 * 84)


def test_a_dense_networks_products_are_those_that_torch_counts():
    """Linear layers and readout of student and teacher; low-rank gates' second halves are vectors' work."""
    teacher = small_transformer(SmallTransformerConfig(width=16, layers=2, heads=2), 13).eval()
    model = SMALL.without_special_part().build().eval()
    gates = sum(p.numel() for name, p in model.named_parameters() if name.endswith(".up"))
    for network, operations, left_out in (
        (model, student_operations(model, pieces()), gates),
        (teacher, teacher_operations(teacher), 0),
    ):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 64, dtype=torch.int64))
        counts = counter.get_flop_counts()["Global"]
        linear = sum(v for k, v in counts.items() if str(k) in ("aten.mm", "aten.addmm")) / 2 / 64
        assert operations.macs == linear - left_out


def test_energy_is_the_table_times_the_counts():
    """By hand: 2 multiply-adds, 3 additions, 4 multiplications, 5 bytes of weights."""
    energy = Operations(2, 3, 4, 5).energy()
    assert energy["operations_pj"] == pytest.approx(2 * 4.6 + 3 * 0.9 + 4 * 3.7)
    assert energy["with_weight_traffic_pj"] - energy["operations_pj"] == pytest.approx(5 * 160)
