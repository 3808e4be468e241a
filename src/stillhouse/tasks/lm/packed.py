"""A spiking language model as a file of packed ternary weights, five to a byte. numpy, until a network is packed.

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
from stillhouse.core.config import parse, to_mapping
from stillhouse.core.hashes import read_sealed, sealed
from stillhouse.core.records import write_atomically
from stillhouse.tasks.lm.students import SpikingLMConfig
from stillhouse.tasks.lm.students.trie import Trie, pack_trie, unpack_trie

if TYPE_CHECKING:
    from torch import Tensor

    from stillhouse.tasks.lm.students.network import SpikingLM

FORMAT, VERSION, PACKING = "stillhouse-packed-ternary", "1", "trits"
NGRAM, TABLE = "ngram", "embedding.weight"
POWERS = 3 ** np.arange(5)
TRITS = (np.arange(256)[:, None] // POWERS % 3 - 1).astype(np.int8)
"""(256, 5): the five codes of every byte below 3^5 = 243."""


def pack(codes: np.ndarray) -> np.ndarray:
    """Bytes (..., ceil(O / 5)) of ternary codes (..., O), -1, 0 and 1, along the last axis, 1.6 bits a code.

    Example:
        1 + 3 * 2 + 9 * 0 (for the codes 0, 1, -1) and the filling, 27 + 81 times 1:

        >>> pack(np.array([0, 1, -1])).tolist()
        [115]
    """
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
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of all arrays."""
        return sum(a.nbytes for a in self.arrays.values())

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

    def codes(self, path: str) -> np.ndarray:
        """(I, O) int8 of a ternary layer."""
        return unpack(self.arrays[f"{path}.codes"], self.outputs[path])

    def put(self, name: str, tensor: Tensor) -> None:
        """Take a tensor, in the smallest form that holds every value.

        Raises:
            InputError: a NaN or an infinity.
        """
        array = tensor.detach().cpu().numpy().copy()
        if not np.isfinite(array).all():
            raise InputError(f"pack {name}: expected finite weights, got a NaN or an infinity")
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if name == TABLE and (found := _grid(array)) is not None:
            self.arrays[f"{name}.grid"], self.arrays[f"{name}.step"] = found
        elif array.dtype == np.float32 and np.array_equal(half.astype(np.float32), array):
            self.arrays[name] = half
        else:
            self.arrays[name] = array

    def save(self, file: str | Path) -> int:
        """Write one safetensors file with the configuration in its header, whole or not at all; its bytes."""
        about = {"format": FORMAT, "version": VERSION, "packing": PACKING}
        header = about | {"config": json.dumps(to_mapping(self.config)), "outputs": json.dumps(self.outputs)}
        packed = sealed(save({name: np.ascontiguousarray(a) for name, a in self.arrays.items()}, header))
        write_atomically(Path(file), lambda opened: opened.write(packed))
        return len(packed)


def load_packed(file: str | Path) -> PackedStudent:
    """Read what `PackedStudent.save` wrote.

    Raises:
        InputError: missing, changed, or a file of another kind or version.
    """
    try:
        with safe_open(str(file), framework="numpy") as opened:
            header: Mapping[str, Any] = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
        found = [header.get(name) for name in ("format", "version", "packing")]
        if found != [FORMAT, VERSION, PACKING]:
            raise InputError(f"{FORMAT} {VERSION} of {PACKING}, got {found[0]} {found[1]} of {found[2]}")
        read_sealed(Path(file))
    except (OSError, SafetensorError, InputError) as error:
        raise InputError(f"packed student {file}: expected a safetensors file as it was written: {error}") from None
    return PackedStudent(parse(SpikingLMConfig, json.loads(header["config"])), arrays, json.loads(header["outputs"]))


def pack_student(model: SpikingLM) -> PackedStudent:
    """The arrays of a network that is quantized to the end.

    Args:
        model: at share 1 (`quantize(1)`); left as it is.

    Raises:
        InputError: a network on its ramp, which would be another one when packed, or weights that are not finite.
    """
    from stillhouse.layers.spikes.unit import SHARE_UNIT
    from stillhouse.layers.straight_through import ternary_codes

    packed, done = PackedStudent(model.config), set[str]()
    for path, layer in model.linear_layers().items():
        shares = [*([layer.share] if layer.ternary else []), *([] if layer.spike is None else [layer.spike.share])]
        if any(share.item() != SHARE_UNIT for share in shares):
            raise InputError(f"pack {path}: expected a network at share 1, got one on its ramp; call quantize(1) first")
        if layer.spike is not None:
            packed.put(f"{path}.threshold", layer.spike.threshold)
            packed.put(f"{path}.amplitude", layer.spike.amplitude)
        if layer.ternary:
            codes, scale = ternary_codes(layer.weight.detach().cpu())
            packed.put(f"{path}.scale", scale.reshape(-1))  # NaN anywhere in a row is NaN here
            packed.arrays[f"{path}.codes"] = pack(codes.numpy().astype(np.int8).T)
        else:
            packed.put(f"{path}.weight", layer.weight.T)
        packed.outputs[path] = layer.outputs
        done |= {f"{path}.weight", f"{path}.spike.raw_threshold", f"{path}.spike.amplitude"}
    for name, parameter in model.named_parameters():
        if name not in done:
            packed.put(name, parameter)
    if model.prior is not None:
        packed.arrays[NGRAM] = pack_trie(model.prior.trie)
    return packed


def _grid(table: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps (V, E) int8 and their size (V, 1) float16 of a table that `SpikingLM.round_weights` rounded, else None."""
    with np.errstate(over="ignore"):
        step = (np.abs(table).max(1, keepdims=True) / np.float32(127)).astype(np.float16)
    size = np.maximum(step.astype(np.float32), np.float32(2**-24))
    steps = np.round(table / size)
    if np.abs(steps).max(initial=0) > 127 or not np.array_equal(steps * size, table):
        return None
    return steps.astype(np.int8), size.astype(np.float16)
