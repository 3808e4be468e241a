"""A spiking language model as a file of packed ternary weights, five to a byte.

Shapes: I inputs, O outputs. Codes lie input by input, since that is how a generator reads them: the row of a silent input never.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse, to_mapping
from stillhouse.core.hashes import KEY, read_sealed, sealed
from stillhouse.core.records import write_atomically
from stillhouse.tasks.lm.students import SpikingLMConfig
from stillhouse.tasks.lm.students.trie import Trie, pack_trie, unpack_trie

if TYPE_CHECKING:
    from torch import Tensor

    from stillhouse.tasks.lm.students.network import SpikingLM

FORMAT, VERSION, PACKING = "stillhouse-packed-ternary", "1", "trits"
NGRAM = "ngram"
GRIDS = ("embedding.weight", "readout.dense")
POWERS = 3 ** np.arange(5)
TRITS = (np.arange(256)[:, None] // POWERS % 3 - 1).astype(np.int8)
"""(256, 5): the five codes of every byte below 3^5 = 243."""


def pack(codes: np.ndarray) -> np.ndarray:
    """Bytes (..., ceil(O / 5)) of ternary codes along the last axis, 1.6 bits a code.

    Args:
        codes: (..., O) of -1, 0 and 1.

    Raises:
        InputError: another code.

    Example:
        1 + 3 * 2 + 9 * 0 (for the codes 0, 1, -1) and the filling, 27 + 81 times 1:

        >>> pack(np.array([0, 1, -1])).tolist()
        [115]
    """
    if codes.size and not np.isin(codes, (-1, 0, 1)).all():
        wrong = np.asarray(codes)[~np.isin(codes, (-1, 0, 1))][0]
        raise InputError(f"ternary codes: expected -1, 0 or 1, got {wrong}")
    missing = -codes.shape[-1] % 5
    filled = np.concatenate([codes, np.zeros((*codes.shape[:-1], missing), codes.dtype)], -1)
    digits = (filled + 1).reshape(*codes.shape[:-1], -1, 5).astype(np.int64)
    return (digits @ POWERS).astype(np.uint8)


def unpack(packed: np.ndarray, count: int) -> np.ndarray:
    """The codes (..., count) int8 that `pack` packed.

    Example:
        >>> unpack(pack(np.array([0, 1, -1, 1, 1, -1])), 6).tolist()
        [0, 1, -1, 1, 1, -1]
    """
    return TRITS[packed].reshape(*packed.shape[:-1], -1)[..., :count]


@dataclass(frozen=True)
class PackedStudent:
    """A spiking language model as arrays; numpy alone.

    Attributes:
        config: of the network.
        arrays: by path. Of a linear layer: `<path>.codes` and `<path>.scale`, or `<path>.weight` (I, O) where it is dense;
            `<path>.threshold` and `<path>.amplitude` where its input spikes. Everything else under the name of the parameter, in
            16 bits where these hold every value; a table on a grid of 255 steps a row as `<name>.grid` and `<name>.step`; the
            n-gram as `ngram`.
        outputs: O of each linear layer by path.
    """

    config: SpikingLMConfig
    arrays: Mapping[str, np.ndarray]
    outputs: Mapping[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of all arrays."""
        return sum(a.nbytes for a in self.arrays.values())

    @property
    def ngram_bytes(self) -> int:
        """Of the n-gram inside; 0 without one."""
        return self.arrays[NGRAM].nbytes if NGRAM in self.arrays else 0

    def trie(self) -> Trie | None:
        """The n-gram inside."""
        ngram = self.config.ngram
        return None if ngram is None else unpack_trie(self.arrays[NGRAM], self.config.vocab_size, ngram.entries)

    def weight(self, path: str) -> np.ndarray:
        """(O, I) what the layer multiplies with, as the fake-quantized network has it."""
        if f"{path}.weight" in self.arrays:
            return self.array(f"{path}.weight").T
        codes, scale = self.codes(path), self.array(f"{path}.scale")
        return (codes.astype(scale.dtype) * scale).T

    def array(self, name: str) -> np.ndarray:
        """An array in the precision of computation, whatever it is stored in."""
        if f"{name}.grid" in self.arrays:
            return self.arrays[f"{name}.grid"].astype(np.float32) * self.arrays[f"{name}.step"].astype(np.float32)
        found = self.arrays[name]
        return found.astype(np.float32) if found.dtype == np.float16 else found

    def names(self) -> list[str]:
        """Of all arrays as `array` takes them."""
        return [n.removesuffix(".grid") for n in self.arrays if not n.endswith(".step") and n != NGRAM]

    def codes(self, path: str) -> np.ndarray:
        """(I, O) int8 of a ternary layer."""
        return unpack(self.arrays[f"{path}.codes"], self.outputs[path])

    def save(self, file: str | Path) -> int:
        """Write one safetensors file with the configuration in its header.

        Returns:
            Bytes of the file.

        Raises:
            InputError: it cannot be written there; what was there is left as it was.
        """
        header = {
            "format": FORMAT,
            "version": VERSION,
            "packing": PACKING,
            "config": json.dumps(to_mapping(self.config)),
            "outputs": json.dumps(dict(self.outputs)),
        }
        packed = sealed(save({name: np.ascontiguousarray(a) for name, a in self.arrays.items()}, header))
        write_atomically(Path(file), lambda opened: opened.write(packed))
        return len(packed)


def load_packed(file: str | Path) -> PackedStudent:
    """Read what `PackedStudent.save` wrote.

    Raises:
        InputError: missing, cut off, or a file of another kind or version.
    """
    try:
        with safe_open(str(file), framework="numpy") as opened:
            header: dict[str, Any] = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
        if KEY in header:
            read_sealed(Path(file))
    except (OSError, SafetensorError, InputError) as error:
        raise InputError(f"packed student {file}: expected a safetensors file as it was written, got {error}") from None
    found = [header.get(name) for name in ("format", "version", "packing")]
    if found != [FORMAT, VERSION, PACKING]:
        raise InputError(
            f"packed student {file}: expected {FORMAT} {VERSION} of {PACKING}, got {found[0]} {found[1]} of {found[2]}"
        )
    try:
        config = parse(SpikingLMConfig, json.loads(header["config"]))
        return PackedStudent(config, arrays, json.loads(header["outputs"]))
    except (KeyError, json.JSONDecodeError, ConfigError) as error:
        raise InputError(f"packed student {file}: its header cannot be read: {error}") from None


def pack_student(model: SpikingLM) -> PackedStudent:
    """The arrays of a network that is quantized to the end.

    Args:
        model: at share 1 (`quantize(1)`); left as it is.

    Raises:
        InputError: a network on its ramp, which would be another one when packed, or weights that are not finite.
    """
    from stillhouse.layers.spikes import SpikeUnit
    from stillhouse.tasks.lm.students.blocks import quantized_layers

    packer = _Packer()
    for name, unit in ((n, part) for n, part in model.named_modules() if isinstance(part, SpikeUnit)):
        _at_the_end(name, unit.share.item())
        path = name.removesuffix(".spike").replace("readout_spike", "readout")
        packer.put(f"{path}.threshold", unit.threshold)
        packer.put(f"{path}.amplitude", unit.amplitude)
        packer.done |= {f"{name}.raw_threshold", f"{name}.amplitude"}
    for path, layer in quantized_layers(model).items():
        packer.done.add(f"{path}.weight")
        if layer.ternary:
            _at_the_end(path, layer.share.item())
            packer.put_codes(path, layer.weight)
        else:
            packer.put(f"{path}.weight", layer.weight.T)
            packer.outputs[path] = layer.outputs
    readout = model.readout
    if readout.ternary:
        _at_the_end("readout", readout.share.item())
        packer.put_codes("readout", model.embedding.weight if readout.dense is None else readout.dense)
        packer.done.add("readout.dense")
    for name, parameter in model.named_parameters():
        if name not in packer.done:
            packer.put(name, parameter)
    if model.prior is not None:
        packer.arrays[NGRAM] = pack_trie(model.prior.trie)
    return PackedStudent(model.config, packer.arrays, packer.outputs)


class _Packer:
    """The arrays so far, and the parameters that are in them under another name."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.outputs: dict[str, int] = {}
        self.done: set[str] = set()

    def put(self, name: str, tensor: Tensor) -> None:
        """A tensor as it is."""
        array = tensor.detach().cpu().numpy().copy()
        if not np.isfinite(array).all():
            raise InputError(f"pack {name}: expected finite weights, got a NaN or an infinity")
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if array.dtype == np.float32 and name in GRIDS and (found := _grid(array)) is not None:
            self.arrays[f"{name}.grid"], self.arrays[f"{name}.step"] = found
        elif array.dtype == np.float32 and array.ndim and np.array_equal(half.astype(np.float32), array):
            self.arrays[name] = half
        else:
            self.arrays[name] = array

    def put_codes(self, path: str, weight: Tensor) -> None:
        """A weight (O, I) as codes and scale."""
        from stillhouse.layers.ternary import ternary_codes

        codes, scale = ternary_codes(weight.detach().cpu())
        self.put(f"{path}.scale", scale.reshape(-1))  # NaN anywhere in a row is NaN here
        self.arrays[f"{path}.codes"] = pack(codes.numpy().astype(np.int8).T)
        self.outputs[path] = weight.shape[0]


def _grid(table: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps (V, E) int8 and their size (V, 1) float16 of a table that `SpikingLM.round_weights` rounded, else None."""
    with np.errstate(over="ignore"):
        step = (np.abs(table).max(1, keepdims=True) / np.float32(127)).astype(np.float16)
    size = np.maximum(step.astype(np.float32), np.float32(2**-24))
    steps = np.round(table / size)
    if np.abs(steps).max(initial=0) > 127 or not np.array_equal(steps * size, table):
        return None
    return steps.astype(np.int8), size.astype(np.float16)


def _at_the_end(name: str, millionths: float) -> None:
    if millionths != 1_000_000:
        raise InputError(f"pack {name}: expected a network at share 1, got {millionths / 1e6}; call quantize(1) first")
