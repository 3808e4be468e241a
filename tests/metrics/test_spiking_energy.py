"""Spike statistics and counted energy: against spikes counted by hand and operations counted by torch."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, LlamaConfig

from stillhouse.layers.spikes.linear import SpikeLinear
from stillhouse.layers.spikes.unit import SpikeUnit
from stillhouse.tasks.lm.energy import (
    Activity,
    OperationEnergies,
    Operations,
    measure_spikes,
    spiking_operations,
    synapse_operations,
    transformer_operations,
)
from stillhouse.tasks.lm.students import SpikeConfig, SpikingLMConfig

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
    """Linear layers, low-rank gates and readout; what remains are the state's products and elementwise work."""
    model = SMALL.without_special_part().build().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 64, dtype=torch.int64))
    linear = (
        sum(v for k, v in counter.get_flop_counts()["Global"].items() if str(k) in ("aten.mm", "aten.addmm")) / 2 / 64
    )
    operations = spiking_operations(model, {})
    state = 2 * 4 * 16 * 8 + 2 * 6 * 16 + 2 * 6 * 16 + 2 * 16
    counted = operations["synapses"].macs + operations["mixers"].macs + operations["readout"].macs
    assert counted == linear + state


def test_energy_is_the_table_times_the_counts():
    """By hand: 2 multiply-adds, 3 additions, 4 multiplications, 5 bytes of weights."""
    energy = Operations(2, 3, 4, 5).energy(OperationEnergies(addition=1, multiplication=10, memory_byte=100))
    assert energy == {"operations_pj": 2 * 11 + 3 + 40, "with_weight_traffic_pj": 65 + 500}


def test_a_transformers_operations_are_those_of_its_weights():
    """SmolLM2-135M: 30 layers of 576, 3 heads of 9 for keys, gated 1536, 49152 tokens: 134.5 million weights in products."""
    smollm2 = LlamaConfig(
        hidden_size=576, num_hidden_layers=30, intermediate_size=1536, num_attention_heads=9, num_key_value_heads=3
    )
    counted = transformer_operations(smollm2, vocabulary=49152, context=1)
    weights = 134_515_008 - 61 * 576  # all parameters but the gains of its norms; the readout is the embedding
    assert counted.macs == weights + 30 * 2 * 576
    small = [transformer_operations(GPT2Config(n_embd=8, n_layer=1, n_head=1), 8, context) for context in (1, 100)]
    assert small[1].macs - small[0].macs == 2 * 99 * 8
