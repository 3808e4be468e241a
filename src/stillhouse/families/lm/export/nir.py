"""NIR, the exchange format of neuromorphic chips and simulators, for what it can express of a spiking language model.

NIR (of 2024) has thresholds, scales, delays and linear maps: enough for a spiking linear layer and for a feed-forward layer. It
has no product of two signals, no normalization and no decay that depends on the input: mixers and whole networks are refused.

Shapes: I inputs, O outputs.
"""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.records import write_atomically

if TYPE_CHECKING:
    from torch import nn

    from stillhouse.families.lm.students.blocks import ChannelMix
    from stillhouse.layers.spikes import SpikeLinear, SpikeUnit

REASONS: dict[str, str] = {
    "MatrixMixer": "a memory that is multiplied with data-dependent decays, keys and queries (NIR has no product of signals)",
    "ScalarMixer": "keys times values (NIR has no product of signals)",
    "LayerNorm": "a division by the spread of its input",
    "Embedding": "a look-up by number",
    "Readout": "a dense product with an input that does not spike",
}
"""Why a part has no form in NIR."""


def nir_parts(model: nn.Module) -> list[str]:
    """Paths that `to_nir` takes: spiking linear layers, and feed-forward layers whose two layers spike."""
    from stillhouse.families.lm.students.blocks import ChannelMix
    from stillhouse.layers.spikes import SpikeLinear

    found = []
    for path, part in model.named_modules():
        layers = (
            (part,) if isinstance(part, SpikeLinear) else (part.up, part.down) if isinstance(part, ChannelMix) else ()
        )
        if layers and all(layer.spike is not None for layer in layers):
            found.append(path)
    return found


def to_nir(model: nn.Module, path: str) -> Any:
    """A part of a network as a NIR graph; what goes in are real numbers, the spikes are made in the graph.

    A spike of sign s and count n is n thresholds at 1, ..., n times the channel's, on the input and on its negative, whose binary
    spikes are scaled by the amplitude and summed. One time step of the graph is one token.

    Args:
        model: at share 1.
        path: one of `nir_parts(model)`.

    Returns:
        A `nir.NIRGraph` from a node "input" (I,) to a node "output" (O,).

    Raises:
        InputError: nothing of that name, a part that NIR cannot express with the reason, or a network on its ramp.

    Source: Pedersen et al. 2024, arXiv:2311.14641 (Neuromorphic Intermediate Representation).
    """
    from stillhouse.families.lm.students.blocks import ChannelMix
    from stillhouse.layers.spikes import SpikeLinear

    modules = dict(model.named_modules())
    if path not in modules:
        raise InputError(f"nir: there is no part {path!r}; {nearest(path, nir_parts(model))}")
    part = modules[path]
    if path not in nir_parts(model):
        raise InputError(
            f"nir cannot express {path or 'the whole network'}: {_why(part)}; parts that it can: {nir_parts(model)}"
        )
    nir = _nir()
    graph = _Graph(nir)
    if isinstance(part, SpikeLinear):
        inputs = part.inputs
        last = graph.layer("", part, path, "input")
    else:
        assert isinstance(part, ChannelMix)
        inputs = part.up.inputs
        last = graph.layer(
            "down_", part.down, f"{path}.down", graph.layer("up_", part.up, f"{path}.up", graph.shift(part))
        )
    graph.nodes["input"] = nir.Input({"input": np.array([inputs])})
    outputs = part.outputs if isinstance(part, SpikeLinear) else part.down.outputs
    graph.nodes["output"] = nir.Output({"output": np.array([outputs])})
    graph.edges.append((last, "output"))
    return nir.NIRGraph(graph.nodes, graph.edges, metadata={"part": path, "time_step": "one token"})


def export_nir(model: nn.Module, path: str, file: str | Path) -> None:
    """Write `to_nir(model, path)` as a NIR file (HDF5).

    Raises:
        InputError: see `to_nir`; or it cannot be written there, and what was there is left as it was.
    """
    buffer = io.BytesIO()
    _nir().write(buffer, to_nir(model, path))
    write_atomically(Path(file), lambda opened: opened.write(buffer.getbuffer()))


class _Graph:
    """Nodes and edges so far."""

    def __init__(self, nir: Any) -> None:
        self.nir = nir
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []

    def add(self, name: str, node: Any, *sources: str) -> str:
        """A node that is given the sum of its sources."""
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return name

    def shift(self, ffn: ChannelMix) -> str:
        """(1 - mu) x(t) + mu x(t - 1)."""
        mu, nir = _array(ffn.shift.mu[0]), self.nir
        now = self.add("now", nir.Scale(1 - mu), "input")
        before = self.add("before", nir.Scale(mu), self.add("delay", nir.Delay(np.ones_like(mu)), "input"))
        return self.add("blend", nir.Scale(np.ones_like(mu)), now, before)

    def layer(self, prefix: str, layer: SpikeLinear, path: str, source: str) -> str:
        """Thresholds on both signs, their spikes scaled by the amplitude, and one linear map."""
        unit = layer.spike
        assert unit is not None
        if unit.share.item() != 1_000_000 or (layer.ternary and layer.share.item() != 1_000_000):
            raise InputError(f"nir: expected {path} at share 1, got a ramp; call quantize(1) first")
        spikes = self.spikes(prefix, unit, source)
        return self.add(f"{prefix}synapses", self.nir.Linear(_array(layer.effective_weight())), *spikes)

    def spikes(self, prefix: str, unit: SpikeUnit, source: str) -> list[str]:
        """Names of the nodes whose sum is `amplitude * counts`."""
        threshold, amplitude, nir = _array(unit.threshold), _array(unit.amplitude), self.nir
        scaled = []
        for sign, factor in (("plus", 1), ("minus", -1))[: 2 if unit.signed else 1]:
            side = source
            if factor < 0:
                side = self.add(f"{prefix}negative", nir.Scale(-np.ones_like(threshold)), source)
            levels = [  # NIR fires above a threshold, we at it: the next number below
                self.add(f"{prefix}{sign}_{n}", nir.Threshold(np.nextafter(n * threshold, np.float32(0))), side)
                for n in range(1, unit.levels + 1)
            ]
            scaled.append(self.add(f"{prefix}{sign}_amplitude", nir.Scale(factor * amplitude), *levels))
        return scaled


def _why(part: nn.Module) -> str:
    """The reasons of all parts inside, once each."""
    from stillhouse.layers.spikes import SpikeLinear

    reasons = {}
    for inner in part.modules():
        kind = type(inner).__name__
        if kind in REASONS:
            reasons[kind] = f"is {REASONS[kind]}"
        elif isinstance(inner, SpikeLinear) and inner.spike is None:
            reasons[kind] = "has a dense input"
    return (
        "; ".join(f"{kind} {reason}" for kind, reason in reasons.items())
        or f"{type(part).__name__} is no layer that spikes"
    )


def _array(x: Any) -> np.ndarray:
    array: np.ndarray = x.detach().cpu().float().numpy()
    return array


def _nir() -> Any:
    try:
        return import_module("nir")
    except ImportError as error:
        raise InputError(f"nir export needs the package nir ({error}): pip install 'stillhouse[lm]'") from None
