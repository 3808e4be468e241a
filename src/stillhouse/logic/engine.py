"""Which kernel evaluates a clause set on this machine, and a machine's images through it.

    numba       bit-sliced, 256 or 512 rows at a time, all threads    (extra `fast`)
    row         bit-sliced over clauses, one row at a time            (extra `fast`)
    numpy       bit-sliced, whole arrays
    torch       a matrix product, on a GPU if there is one
    definition  as the definition is written; nothing is faster than it is

All give the same whole numbers. Without a name the fastest here is taken, which is measured once a shape and remembered for the
process.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Hashable
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np

from stillhouse.core.checks import InputError, nearest
from stillhouse.layers.fastest import fastest
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.kernels.plan import DEPTHS
from stillhouse.logic.machine import Machine

ENGINES = ("numba", "row", "numpy", "torch", "definition")
TRIAL_ROWS = 1024  # a measurement takes at most so many rows
FEW_ROWS = 64  # up to here the kernel for one row is a candidate
WITHOUT_NUMBA = (
    "numba is not installed: clauses are evaluated by numpy, which is slower; `pip install stillhouse[fast]`"
)

OWN = "own"  # of a layer in a network: its product in torch

Scores = Callable[[np.ndarray], np.ndarray]
T = TypeVar("T")


def evaluator(clauses: ClauseSet, engine: str | None = None, *, parallel: bool = True) -> Scores:
    """Bits (B, F) to scores (B, K) int64 of a clause set.

    Args:
        clauses: the set.
        engine: one of `ENGINES`; None for the fastest on this machine.
        parallel: whether numba may take more than one thread.

    Raises:
        InputError: an unknown engine, or one that is not installed.
    """
    return Evaluator(clauses, engine, parallel=parallel).scores


class Evaluator:
    """A clause set with its kernels, each made when it is first used.

    Args:
        clauses: the set.
        engine: one of `ENGINES`; None for the fastest at each number of rows.
        parallel: whether numba may take more than one thread.
    """

    def __init__(self, clauses: ClauseSet, engine: str | None = None, *, parallel: bool = True) -> None:
        if engine is not None and engine not in ENGINES:
            raise InputError(
                f"engine: expected one of {', '.join(ENGINES)}, got {engine!r}; {nearest(engine, ENGINES)}"
            )
        if engine in {"numba", "row"} and not has_numba():
            raise InputError(
                f"engine {engine!r}: expected numba to be installed (`pip install stillhouse[fast]`), it is not"
            )
        self.clauses, self.engine, self.parallel = clauses, engine, parallel
        self._made: dict[str, object] = {}
        self._chosen: dict[int, str] = {}

    def scores(self, bits: np.ndarray) -> np.ndarray:
        """(B, K) int64 of bits (B, F), bool or 0 and 1.

        Raises:
            InputError: another shape.
        """
        if bits.ndim != 2 or bits.shape[1] != self.clauses.bits:
            raise InputError(f"bits: expected (rows, {self.clauses.bits}), got {bits.shape}")
        return self.scores_by(self.engine or self.choose(len(bits)), bits)

    def scores_of_pixels(self, pixels: np.ndarray, machine: Machine) -> np.ndarray:
        """(B, K) int64 of bytes (B, P): thresholds inside the kernel where there is one that can."""
        engine = self.engine or self.choose(len(pixels))
        if engine in {"numba", "row"}:
            kernel: Any = self.kernel(engine)
            found: np.ndarray = kernel.scores_of_pixels(pixels, machine.cuts, self.parallel)
            return found
        return self.scores_by(engine, machine.bits(pixels.reshape(-1, *machine.image_shape)))

    def choose(self, rows: int) -> str:
        """The fastest engine for so many rows, on this machine."""
        rows = max(1, min(1 << max(rows - 1, 0).bit_length(), TRIAL_ROWS))  # a class is a power of two
        if rows not in self._chosen:  # one image takes less time than to look it up by sizes
            self._chosen[rows] = self._choose(rows)
        return self._chosen[rows]

    def _choose(self, rows: int) -> str:
        candidates = self.candidates(rows)
        if len(candidates) == 1:
            return candidates[0]
        key = ("clauses", self._sizes, rows, self.parallel, *candidates)
        return fastest(lambda: self._ways(candidates, rows), key)

    def beside(self, own: Callable[[], T], packed: Callable[[str], T], rows: int, own_key: Hashable) -> T:
        """What a layer of a network gives: by its own form, or by an engine where that is clearly faster in its place.

        Measured on the input at hand, conversions included, once for each class of rows.

        Args:
            own: the layer's own form.
            packed: the same by an engine.
            rows: of the input.
            own_key: what else the layer's own time depends on (its type, device, threads).
        """
        rows = 1 << max(rows - 1, 0).bit_length()
        candidates = self.candidates(rows)
        ways = {OWN: own} | {engine: partial(packed, engine) for engine in candidates}
        chosen = fastest(lambda: ways, ("beside", self._sizes, rows, self.parallel, own_key, *candidates), usual=OWN)
        return ways[chosen]()

    @property
    def _sizes(self) -> tuple[int, ...]:
        clauses = self.clauses
        return clauses.bits, clauses.num_clauses, len(clauses.literals), clauses.failures, clauses.outputs

    def scores_by(self, engine: str, bits: np.ndarray) -> np.ndarray:
        """(B, K) int64 of bits (B, F), bool or 0 and 1, by one engine."""
        kernel: Any = self.kernel(engine)
        found: np.ndarray = kernel.scores(bits, self.parallel) if engine == "numba" else kernel.scores(bits)
        return found

    def candidates(self, rows: int) -> tuple[str, ...]:
        """Engines that can evaluate this set here."""
        numba = has_numba() and self.clauses.failures <= 2 ** DEPTHS[-1]
        torch = sys.modules.get("torch")  # what predicts with numpy alone does not load it for this
        graphics = ("torch",) if torch is not None and torch.cuda.is_available() else ()
        return (*(("numba",) if numba else ()), *(("row",) if numba and rows <= FEW_ROWS else ()), "numpy", *graphics)

    def _ways(self, candidates: tuple[str, ...], rows: int) -> dict[str, Callable[[], object]]:
        bits = np.random.default_rng(0).random((rows, self.clauses.bits)) < 0.5

        def way(engine: str) -> Callable[[], object]:
            return lambda: self.scores_by(engine, bits)

        return {engine: way(engine) for engine in candidates}

    def kernel(self, engine: str) -> object:
        """The kernel of an engine; anything with `scores`, and all but `row` with `values`."""
        if engine not in self._made:
            self._made[engine] = _kernel(engine, self.clauses)
        return self._made[engine]


def _kernel(engine: str, clauses: ClauseSet) -> object:
    if engine == "numba":
        from stillhouse.logic.kernels.numba_sliced import NumbaSliced

        return NumbaSliced(clauses)
    if engine == "row":
        from stillhouse.logic.kernels.row import NumbaRow

        return NumbaRow(clauses)
    if engine == "numpy":
        from stillhouse.logic.kernels.numpy_sliced import NumpySliced

        return NumpySliced(clauses)
    if engine == "torch":
        from stillhouse.logic.kernels.torch_dense import TorchDense

        return TorchDense(clauses)
    return clauses


@cache
def has_numba() -> bool:
    """Whether numba can be imported; the first time that it cannot, a warning says what that means."""
    if find_spec("numba") is not None:
        return True
    warnings.warn(WITHOUT_NUMBA, stacklevel=3)
    return False


class MachineEvaluator:
    """A whole machine with the kernels of its layers.

    Args:
        machine: the machine.
        engine: one of `ENGINES`; None for the fastest of each layer.
        parallel: whether numba may take more than one thread.
    """

    def __init__(self, machine: Machine, engine: str | None = None, *, parallel: bool = True) -> None:
        self.machine = machine
        self.layers = [Evaluator(layer, engine, parallel=parallel) for layer in machine.layers]

    def scores(self, images: np.ndarray) -> np.ndarray:
        """(B, K) int64 of images (B, channels, height, width), uint8 or float in [0, 1]."""
        machine, first = self.machine, self.layers[0]
        machine.checked(images)
        if images.dtype == np.uint8 and not machine.joins:
            return first.scores_of_pixels(images.reshape(len(images), -1), machine)
        ways = {id(layer): way for layer, way in zip(machine.layers, self.layers)}
        return machine.scores_of_bits(machine.bits(images), lambda layer, bits: ways[id(layer)].scores(bits))


def scores_of_images(machine: Machine, images: np.ndarray, engine: str | None = None) -> np.ndarray:
    """(B, K) int64 of images; kernels stay with the machine."""
    kept: dict[str | None, MachineEvaluator] = machine.kernels
    if engine not in kept:
        kept[engine] = MachineEvaluator(machine, engine)
    return kept[engine].scores(images)


def compile_seconds(machine: Machine, engine: str | None = None, rows: int = 1) -> float:
    """Seconds of the first call, beyond those of the second: what is compiled (or read from the disk) and measured."""
    images = np.zeros((rows, *machine.image_shape), np.uint8)
    took = []
    for _ in range(2):
        started = time.perf_counter()
        scores_of_images(machine, images, engine)
        took.append(time.perf_counter() - started)
    return max(took[0] - took[1], 0.0)
