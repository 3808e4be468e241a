"""Teacher vectors -> codes with numpy: three matrix products. `embedder.py` of an exported folder is this very file.

    from embedder import NumpyEmbedder                       # needs numpy and safetensors
    codes = NumpyEmbedder.load("FOLDER").encode(vectors)     # (n, D) -> (n, d) float32

or, without a line of Python: python embedder.py VECTORS.npy CODES.npy. Compare codes by Euclidean distance, or by cosine where
`output` in card.json is `sphere`.

Legend: n rows, D teacher's width, d numbers of a code (all levels), h1 and h2 hidden widths.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

try:
    from stillhouse.core.checks import InputError
    from stillhouse.core.hashes import verify_files
    from stillhouse.core.records import read_json
except ImportError:  # where this file was copied to, the library is not there
    InputError = ValueError  # type: ignore[misc, assignment]

    def read_json(path: Path) -> Any:
        """What stands in a file."""
        return json.loads(path.read_text(encoding="utf-8"))

    def verify_files(folder: Path, card: Any, names: Iterable[str] = ()) -> None:
        """Only the library checks hashes."""


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
        card = read_json(folder / CARD)
        got = card.get("format") if isinstance(card, dict) else type(card).__name__
        if got != FORMAT:
            raise InputError(f"{folder / CARD}: expected format {FORMAT!r}, got {got!r}")
        verify_files(folder, card, (WEIGHTS,))
        weights = {name: array.astype(np.float32) for name, array in load_file(folder / WEIGHTS).items()}
        D, d, (h1, h2) = card["teacher_dim"], sum(card["levels"]), card["hidden"]
        shapes = {"mean": (D,), "skip": (d, D), "w1": (h1, D), "b1": (h1,), "w2": (h2, h1), "b2": (h2,), "w3": (d, h2)}
        if (found := {name: array.shape for name, array in weights.items()}) != shapes:
            raise InputError(f"{folder / WEIGHTS} does not go with its card: expected {shapes}, got {found}")
        return cls(card, weights)

    def encode(self, vectors: np.ndarray, *, batch_size: int = 4096) -> Floats:
        """(n, d) codes of vectors (n, D) of any float type, which may be memory-mapped; the first numbers alone are a code too.

        Raises:
            InputError: another width than the card's, not 2-D, NaN or infinite rows (the first is named).
        """
        x, D = np.asanyarray(vectors), int(self.card["teacher_dim"])
        if x.ndim != 2 or x.shape[1] != D or x.dtype.kind not in "fiu":
            raise InputError(
                f"vectors: expected vectors of width {D}, as the student was taught, got {x.dtype} of shape {x.shape}"
            )
        codes = np.empty((len(x), sum(self.card["levels"])), np.float32)
        for start in range(0, len(x), batch_size):
            some = np.array(x[start : start + batch_size], dtype=np.float32)
            if len(bad := np.flatnonzero(~np.isfinite(some).all(1))):
                raise InputError(f"vectors: expected finite numbers, got NaN or infinite ones in row {start + bad[0]}")
            codes[start : start + len(some)] = self._codes(some)
        return codes

    def _codes(self, x: Floats) -> Floats:
        w = self.weights
        x = (_unit(x) if self.card["normalize"] else x) - w["mean"]
        hidden = gelu(gelu(x @ w["w1"].T + w["b1"]) @ w["w2"].T + w["b2"])
        z: Floats = x @ w["skip"].T + hidden @ w["w3"].T
        if self.card["output"] == "sphere":
            first = self.card["levels"][0]
            z[:, :first] = _unit(z[:, :first])
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


def _unit(x: Floats) -> Floats:
    # by its largest number first: squares of 1e-30 vanish in float32, those of 1e30 are infinite
    x = x / np.maximum(np.abs(x).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    unit: Floats = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-12))
    return unit


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 3:
        sys.exit("usage: python embedder.py VECTORS.npy CODES.npy")
    loaded = NumpyEmbedder.load(Path(__file__).resolve().parent)
    np.save(sys.argv[2], loaded.encode(np.load(sys.argv[1], mmap_mode="r", allow_pickle=False)))
