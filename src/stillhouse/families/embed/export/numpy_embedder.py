"""Teacher vectors -> codes with numpy alone: three matrix products. `embedder.py` of an exported folder is this very file.

    from embedder import NumpyEmbedder
    codes = NumpyEmbedder.load("FOLDER").encode(vectors)     # (n, D) -> (n, d) float32

or, without a line of Python: python embedder.py VECTORS.npy CODES.npy

Legend: n rows, D teacher's width, d numbers of a code (all levels), h1 and h2 hidden widths.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from stillhouse.core.checks import InputError
except ImportError:  # where this file was copied to, numpy is all there is

    class InputError(ValueError):  # type: ignore[no-redef]
        """Data, a file or a value is not what it must be."""


FORMAT = "stillhouse-embedder-1"
CARD, WEIGHTS = "card.json", "student.safetensors"
OUTPUTS = ("euclidean", "sphere", "tanh")
NAMES = ("mean", "skip", "w1", "b1", "w2", "b2", "w3")
DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class NumpyEmbedder:
    """A student that maps a teacher's vectors to short codes, as `load` reads it from a folder.

    Attributes:
        card: what stands there of it: `teacher_dim` D, `levels` (5, or 5, 25, 125), `axes`, `metrics`, `teacher`, ...
        weights: `mean` (D), `skip` (d, D), `w1` (h1, D), `b1`, `w2` (h2, h1), `b2`, `w3` (d, h2).
    """

    card: dict[str, Any]
    weights: dict[str, Floats]

    @classmethod
    def load(cls, folder: str | Path) -> NumpyEmbedder:
        """Read `card.json` and `student.safetensors`; a pickle is never opened.

        Raises:
            InputError: a file is missing, of another format or changed since it was written, or weights and card disagree.
        """
        folder = Path(folder)
        card = checked_card(read_card(folder / CARD), folder / CARD)
        verify(folder, card, (WEIGHTS,))
        weights = {name: array.astype(np.float32) for name, array in read_safetensors(folder / WEIGHTS).items()}
        _check_weights(weights, card, folder / WEIGHTS)
        return cls(card, weights)

    @cached_property
    def exact(self) -> dict[str, ExactWeight]:
        """The four matrices, made ready for products that do not depend on the other rows."""
        return {name: ExactWeight.of(self.weights[name]) for name in ("skip", "w1", "w2", "w3")}

    @property
    def levels(self) -> tuple[int, ...]:
        """Numbers of each level: (5,), or (5, 25, 125)."""
        return tuple(self.card["levels"])

    def encode(self, vectors: np.ndarray, *, batch_size: int = 256, level: int | None = None) -> Floats:
        """Codes of vectors; a row's code does not depend, to the last bit, on which rows come with it.

        Args:
            vectors: (n, D) any float type, may be memory-mapped; n may be 0. A zero row is coded as the zero vector.
            batch_size: rows held at once.
            level: how many levels to return: 1 is the first alone, 2 the first two side by side, ... [all]

        Returns:
            (n, d) float32; d is the sum of the first `level` levels.

        Raises:
            InputError: another width than the card's, not 2-D, NaN or infinite rows (they are named), no such level.
        """
        x = np.asanyarray(vectors)
        expected = int(self.card["teacher_dim"])
        if x.ndim != 2 or x.shape[1] != expected or x.dtype.kind not in "fiu":
            raise InputError(f"vectors: expected numbers (rows, {expected}), got {x.dtype} of shape {x.shape}")
        if batch_size < 1:
            raise InputError(f"batch_size: expected at least 1, got {batch_size}")
        if level is not None and not 1 <= level <= len(self.levels):
            raise InputError(f"level: expected 1 to {len(self.levels)}, got {level}")
        wide = sum(self.levels[:level])
        codes = np.empty((len(x), wide), np.float32)
        for start in range(0, len(x), batch_size):
            some = np.array(x[start : start + batch_size], dtype=np.float32)
            _refuse_nan(some, start)
            codes[start : start + len(some)] = self._forward(some)[:, :wide]
        return codes

    def _forward(self, x: Floats) -> Floats:
        if self.card["normalize"]:
            # by the largest number first: squares of 1e-30 vanish in float32, those of 1e30 are infinite
            x /= np.maximum(np.abs(x).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
            x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-12))
        w = self.weights
        x -= w["mean"]
        hidden = gelu(gelu(x @ self.exact["w1"] + w["b1"]) @ self.exact["w2"] + w["b2"])
        z: Floats = x @ self.exact["skip"] + hidden @ self.exact["w3"]
        first = self.levels[0]
        z[:, :first] = placed(z[:, :first], self.card["output"], self.card.get("scale"))
        return z


@dataclass(frozen=True)
class ExactWeight:
    """A weight (O, I) whose products are the same to the last bit on every CPU, whatever rows come together.

    BLAS adds in another order for each CPU, shape and place of a row. So rows are rounded to whole numbers times a power
    of two, of so many bits that float64 adds all I products without rounding: then no order matters. The rounding is that of
    float32 for I below 32, and 2^-22 of a row's largest number at 1000.

    Example:
        >>> x, weight = np.array([[1, 2]], np.float32), np.array([[3, 4], [0, 0.5]], np.float32)
        >>> (x @ ExactWeight.of(weight)).tolist()
        [[11.0, 1.0]]

    Source: after the error-free splitting of Ozaki et al. 2012, "Error-free transformations of matrix multiplication".
    """

    wholes: NDArray[np.float64]  # (O, I)
    scales: NDArray[np.float64]  # (O, 1)
    bits: int
    __array_ufunc__ = None  # `x @ weight` is ours, not numpy's

    @classmethod
    def of(cls, weight: NDArray[Any]) -> ExactWeight:
        """Of a plain array."""
        bits = (53 - weight.shape[1].bit_length()) // 2
        return cls(*_whole(weight, bits), bits)

    def __rmatmul__(self, x: Floats) -> Floats:
        wholes, scales = _whole(x, self.bits)
        found = wholes @ self.wholes.T
        found *= scales
        found *= self.scales.T
        return found.astype(np.float32)


def _whole(x: NDArray[Any], bits: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Whole numbers of at most 2^bits, and the power of two that each row of them is to be multiplied by."""
    _, exponent = np.frexp(np.abs(x).max(axis=1, keepdims=True).astype(np.float64))
    exponent = exponent - bits
    wholes = np.multiply(x, np.ldexp(1.0, -exponent), dtype=np.float64)
    return np.rint(wholes, out=wholes), np.ldexp(1.0, exponent)


def gelu(x: Floats) -> Floats:
    """x Phi(x) in its tanh form.

    Example:
        >>> gelu(np.array([0.0, 1.0], np.float32)).round(4).tolist()
        [0.0, 0.8411999940872192]

    Source: Hendrycks & Gimpel 2016, arXiv:1606.08415.
    """
    bent: Floats = np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x))
    half: Floats = np.float32(0.5) * x
    return half * (np.float32(1) + bent)


def placed(z: Floats, output: str, scale: float | None) -> Floats:
    """The first level as the card's `output` names it: as it is, on the unit sphere, or tanh(z / scale) in the box."""
    if output == "sphere":
        return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.float32(1e-12))
    if output == "tanh":
        return np.tanh(z / np.float32(scale))
    return z


def read_card(path: Path) -> Any:
    """What a `card.json` holds.

    Raises:
        InputError: it is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None


def verify(folder: Path, card: dict[str, Any], names: Sequence[str]) -> None:
    """See that a card and some files beside it are as they were written: `card["sha256"]` has their hashes.

    Raises:
        InputError: no hashes, a file that is missing, a card or a file that was changed.
    """
    found = card.get("sha256")
    hashes = {name: found.get(name) for name in (*names, CARD)} if isinstance(found, dict) else {}
    if not all(isinstance(entry, str) for entry in hashes.values()) or not hashes:
        raise InputError(f"{folder / CARD}: expected the sha256 of {', '.join((*names, CARD))}, got {found!r}")
    content = {key: value for key, value in card.items() if key != "sha256"}
    others = {name: entry for name, entry in card["sha256"].items() if name != CARD}
    got = {CARD: hashlib.sha256(json.dumps([content, others], sort_keys=True).encode()).hexdigest()}
    for name in names:
        try:
            got[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"cannot read {folder / name}: {error.strerror}") from None
    for name, expected in hashes.items():
        if got[name] != expected:
            raise InputError(
                f"{folder / name} was changed after it was written: expected sha256 {expected}, got {got[name]}"
            )


def checked_card(card: Any, path: Path) -> dict[str, Any]:
    """The card, once what inference reads of it is there and makes sense."""
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        got = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise InputError(f"{path}: expected format {FORMAT!r}, got {got!r}")
    levels, width, scale = card.get("levels"), card.get("teacher_dim"), card.get("scale")
    if not isinstance(levels, list) or not levels or not all(type(n) is int and n > 0 for n in levels):
        raise InputError(f"{path}: levels: expected whole numbers such as [5] or [5, 25, 125], got {levels!r}")
    if type(width) is not int or width < 1:
        raise InputError(f"{path}: teacher_dim: expected a whole number above 0, got {width!r}")
    if not isinstance(card.get("normalize"), bool):
        raise InputError(f"{path}: normalize: expected true or false, got {card.get('normalize')!r}")
    if card.get("output") not in OUTPUTS:
        raise InputError(f"{path}: output: expected one of {', '.join(OUTPUTS)}, got {card.get('output')!r}")
    if card["output"] == "tanh" and not (isinstance(scale, (int, float)) and 0 < scale < math.inf):
        raise InputError(f"{path}: scale: expected a number above 0 for output tanh, got {scale!r}")
    return card


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file: 8 bytes length, a JSON header, raw little-endian numbers. Nothing is executed.

    Raises:
        InputError: the file is missing, truncated, or something else (a pickle, for one).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise InputError(f"{path} is truncated or not safetensors ({len(data)} bytes)")
    body, arrays = data[8 + size :], {}
    try:
        header = json.loads(data[8 : 8 + size])
        for name, about in header.items():
            if name == "__metadata__":
                continue
            start, end = about["data_offsets"]
            # a slice beyond the end is shorter, which reshape refuses
            arrays[name] = np.frombuffer(body[start:end], DTYPES[about["dtype"]]).reshape(about["shape"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is truncated or not safetensors of F16, F32 or F64: {error}") from None
    return arrays


def _check_weights(weights: dict[str, Floats], card: dict[str, Any], path: Path) -> None:
    missing = [name for name in NAMES if name not in weights]
    if missing:
        raise InputError(f"{path}: expected arrays {', '.join(NAMES)}; missing: {', '.join(missing)}")
    width, codes = card["teacher_dim"], sum(card["levels"])
    h1, h2 = weights["b1"].size, weights["b2"].size
    shapes = dict(zip(NAMES, [(width,), (codes, width), (h1, width), (h1,), (h2, h1), (h2,), (codes, h2)]))
    wrong = [f"{n}: expected {s}, got {weights[n].shape}" for n, s in shapes.items() if weights[n].shape != s]
    wrong += [f"{n}: holds NaN or infinite numbers" for n in NAMES if not np.isfinite(weights[n]).all()]
    if wrong:
        raise InputError(f"{path} does not go with its card: {'; '.join(wrong)}")


def _refuse_nan(x: Floats, first: int) -> None:
    bad = np.flatnonzero(~np.isfinite(x).all(1))
    if len(bad):
        shown = ", ".join(str(first + row) for row in bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise InputError(f"vectors: expected finite numbers, got NaN or infinite ones in rows {shown}")


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 3:
        sys.exit("usage: python embedder.py VECTORS.npy CODES.npy")
    loaded = NumpyEmbedder.load(Path(__file__).resolve().parent)
    np.save(sys.argv[2], loaded.encode(np.load(sys.argv[1], mmap_mode="r", allow_pickle=False)))
