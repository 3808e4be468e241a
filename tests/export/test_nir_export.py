"""NIR graphs, run by the definitions of their nodes, say what the network says; the rest is refused with its reason."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.families.lm.export.nir import export_nir, nir_parts, to_nir
from stillhouse.families.lm.students import SpikeConfig, SpikingLMConfig

nir = pytest.importorskip("nir")
SMALL = SpikingLMConfig(
    vocab_size=13, width=8, layers=1, heads=2, ffn=2.0, spikes=SpikeConfig(levels=2, hidden_levels=3)
)


def model(config=SMALL):
    torch.manual_seed(0)
    return config.build().eval()


def run(graph, x):
    """(L, O) of (L, I): each node as NIR defines it, a time step of 1, every input the sum over edges."""
    values = dict.fromkeys(graph.nodes)
    done = {}

    def value(name):
        if name in done:
            return done[name]
        node = graph.nodes[name]
        given = x if isinstance(node, nir.Input) else sum(value(a) for a, b in graph.edges if b == name)
        if isinstance(node, nir.Scale):
            given = given * node.scale
        elif isinstance(node, nir.Threshold):
            given = (given > node.threshold).astype(np.float32)
        elif isinstance(node, nir.Linear):
            given = given @ node.weight.T
        elif isinstance(node, nir.Delay):
            assert (node.delay == 1).all()
            given = np.concatenate([np.zeros_like(given[:1]), given[:-1]])
        else:
            assert isinstance(node, (nir.Input, nir.Output))
        done[name] = given
        return given

    assert values
    return value("output")


@pytest.mark.parametrize("path", ["blocks.0.mixer.key", "blocks.0.mixer.output", "blocks.0.ffn.down", "blocks.0.ffn"])
def test_graphs_that_are_written_and_read_say_what_the_network_says(path, tmp_path):
    """A sign, a level or the delay wrong: the graph still is valid NIR."""
    made = model()
    export_nir(made, path, tmp_path / "part.nir")
    graph = nir.read(str(tmp_path / "part.nir"))
    part = made.get_submodule(path)
    width = part.inputs if hasattr(part, "inputs") else 8
    x = 2 * torch.randn(30, width)
    with torch.no_grad():
        expected = part(x) if hasattr(part, "inputs") else part(x[None], torch.zeros(1, 8))[0]
    np.testing.assert_allclose(run(graph, x.numpy()), expected.numpy(), atol=1e-5, rtol=1e-5)


def test_a_value_at_its_threshold_fires_in_both():
    """NIR fires above its threshold, the network at it."""
    made = model(replace(SMALL, spikes=SpikeConfig()))
    layer = made.blocks[0].mixer.key
    x = layer.spike.threshold.detach()[None]
    with torch.no_grad():
        assert (layer.spike(x) != 0).all()
        expected = layer(x)
    np.testing.assert_allclose(run(to_nir(made, "blocks.0.mixer.key"), x.numpy()), expected.numpy(), atol=1e-6)


def test_what_nir_cannot_say_is_refused_with_its_reason():
    """A graph that silently leaves out the memory would be another network."""
    made = model()
    for path, reason in {
        "": "NIR has no product of signals",
        "blocks.0.mixer": "NIR has no product of signals",
        "blocks.0.mixer_norm": "division by the spread",
        "blocks.0.mixer.gate.down": "dense input",
    }.items():
        with pytest.raises(InputError, match=reason):
            to_nir(made, path)
    with pytest.raises(InputError, match=r"there is no part 'blocks\.0\.fnn'"):
        to_nir(made, "blocks.0.fnn")
    assert nir_parts(model(SMALL.without_special_part())) == []
    made.quantize(0.5)
    with pytest.raises(InputError, match="at share 1, got a ramp"):
        to_nir(made, "blocks.0.ffn")
