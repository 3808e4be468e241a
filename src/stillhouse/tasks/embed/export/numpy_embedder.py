"""Teacher vectors -> codes with numpy: three matrix products. `embedder.py` of an exported folder is this very file.

    from embedder import NumpyEmbedder                       # needs numpy and safetensors
    codes = NumpyEmbedder.load("FOLDER").encode(vectors)     # (n, D) -> (n, d) float32

or, without a line of Python: python embedder.py VECTORS.npy CODES.npy

Legend: n rows, D teacher's width, d numbers of a code (all levels), h1 and h2 hidden widths.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

try:
    from stillhouse.core.checks import InputError
except ImportError:  # where this file was copied to, the library is not there

    class InputError(ValueError):  # type: ignore[no-redef]
        """Data, a file or a value is not what it must be."""


FORMAT = "stillhouse-embedder-1"
CARD, WEIGHTS = "card.json", "student.safetensors"
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
        try:
            card = json.loads((folder / CARD).read_text(encoding="utf-8"))
            raw = (folder / WEIGHTS).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {error.filename}: {error.strerror}") from None
        except ValueError as error:
            raise InputError(f"{folder / CARD} is not JSON: {error}") from None
        got = card.get("format") if isinstance(card, dict) else type(card).__name__
        if got != FORMAT:
            raise InputError(f"{folder / CARD}: expected format {FORMAT!r}, got {got!r}")
        _verify(folder, card, raw)
        try:
            weights = {name: array.astype(np.float32) for name, array in load(raw).items()}
        except (SafetensorError, ValueError) as error:
            raise InputError(f"{folder / WEIGHTS} is truncated or not safetensors: {error}") from None
        D, d, (h1, h2) = card["teacher_dim"], sum(card["levels"]), card["hidden"]
        shapes = {"mean": (D,), "skip": (d, D), "w1": (h1, D), "b1": (h1,), "w2": (h2, h1), "b2": (h2,), "w3": (d, h2)}
        if (found := {name: array.shape for name, array in weights.items()}) != shapes:
            raise InputError(f"{folder / WEIGHTS} does not go with its card: expected {shapes}, got {found}")
        return cls(card, weights)

    @property
    def levels(self) -> tuple[int, ...]:
        """Numbers of each level: (5,), or (5, 25, 125)."""
        return tuple(self.card["levels"])

    def encode(self, vectors: np.ndarray, *, batch_size: int = 4096, level: int | None = None) -> Floats:
        """Codes of vectors.

        Args:
            vectors: (n, D) any float type, may be memory-mapped; n may be 0. A zero row is coded as the zero vector.
            batch_size: rows held at once.
            level: how many levels to return: 1 is the first alone, 2 the first two side by side, ... [all]

        Returns:
            (n, d) float32; d is the sum of the first `level` levels.

        Raises:
            InputError: another width than the card's, not 2-D, NaN or infinite rows (the first is named), no such level.
        """
        x = np.asanyarray(vectors)
        expected = int(self.card["teacher_dim"])
        if x.ndim != 2 or x.shape[1] != expected or x.dtype.kind not in "fiu":
            raise InputError(f"vectors: expected numbers (rows, {expected}), got {x.dtype} of shape {x.shape}")
        if level is not None and not 1 <= level <= len(self.levels):
            raise InputError(f"level: expected 1 to {len(self.levels)}, got {level}")
        wide = sum(self.levels[:level])
        codes = np.empty((len(x), wide), np.float32)
        for start in range(0, len(x), batch_size):
            some = np.array(x[start : start + batch_size], dtype=np.float32)
            bad = np.flatnonzero(~np.isfinite(some).all(1))
            if len(bad):
                raise InputError(f"vectors: expected finite numbers, got NaN or infinite ones in row {start + bad[0]}")
            codes[start : start + len(some)] = self._forward(some)[:, :wide]
        return codes

    def _forward(self, x: Floats) -> Floats:
        if self.card["normalize"]:
            # by the largest number first: squares of 1e-30 vanish in float32, those of 1e30 are infinite
            x /= np.maximum(np.abs(x).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
            x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-12))
        w = self.weights
        x -= w["mean"]
        hidden = gelu(gelu(x @ w["w1"].T + w["b1"]) @ w["w2"].T + w["b2"])
        z: Floats = x @ w["skip"].T + hidden @ w["w3"].T
        first = self.levels[0]
        z[:, :first] = placed(z[:, :first], self.card["output"], self.card.get("scale"))
        return z


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


def _verify(folder: Path, card: dict[str, Any], raw: bytes) -> None:
    """See that card and weights are as they were written: `card["sha256"]` has their hashes."""
    found = card.get("sha256")
    if not isinstance(found, dict) or not {CARD, WEIGHTS} <= set(found):
        raise InputError(f"{folder / CARD}: expected the sha256 of {WEIGHTS} and {CARD}, got {found!r}")
    content = {key: value for key, value in card.items() if key != "sha256"}
    others = {name: entry for name, entry in found.items() if name != CARD}
    for name, held in ((CARD, json.dumps([content, others], sort_keys=True).encode()), (WEIGHTS, raw)):
        if found[name] != hashlib.sha256(held).hexdigest():
            raise InputError(f"{folder / name} was changed after it was written: another sha256 than {found[name]}")


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 3:
        sys.exit("usage: python embedder.py VECTORS.npy CODES.npy")
    loaded = NumpyEmbedder.load(Path(__file__).resolve().parent)
    np.save(sys.argv[2], loaded.encode(np.load(sys.argv[1], mmap_mode="r", allow_pickle=False)))
