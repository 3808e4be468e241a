"""A whole network of clauses as logic and whole numbers: pixels to bits, layers of clauses, a class.

Shapes: B images, L thermometer levels, P values of an image (channels, height, width), F bits (L P of levels), O width, K classes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.filter_bits import BITS, filter_bits

FRACTION = 16  # bits after the point of the numbers between layers
AT_ONCE = 2**17  # values of images whose filter bits are made at a time: their neighbourhoods are 49 times as many
WITHOUT_NUMBA = "numba is not installed: clauses are evaluated by numpy, slower; `pip install stillhouse[fast]`"


@dataclass(frozen=True, eq=False, slots=True)
class IntegerLayerNorm:
    """From the scores of a layer to the bits of the next: a linear path, LayerNorm and a sign, all in whole numbers.

        u = scores + floor(path @ numbers / 2^shift)
        r = floor(sqrt(sum(u^2) + epsilon))
        y = gain u + offset r
        bit = y > 0, number = floor(y / r)

    LayerNorm is `g (u - mean) / sqrt(variance + eps) + b`. Votes and path are lowered with their mean over outputs taken off,
    so that u has mean 0; with r in place of the root, no division is needed for a sign. Every product stays within 63 bits
    (`PackedModel.check`), so every engine has the same bits; against torch, numbers differ by rounding only.

    Attributes:
        path: (O, I) int32, of the numbers before the layer; the numbers of the first layer are 2 bit - 1.
        shift: bits by which its sums are larger than scores.
        gain: (O) int64, `g sqrt(O) 2^FRACTION`.
        offset: (O) int64, `b 2^FRACTION`.
        epsilon: `O eps scale^2`, at least 1.
    """

    path: np.ndarray
    shift: int
    gain: np.ndarray
    offset: np.ndarray
    epsilon: int

    def apply(self, scores: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores (B, O) and the numbers before the layer (B, I) to bits (B, O) and numbers (B, O), int64.

        Example:
            One number passes, the other is its negation; gains 1, nothing else:

            >>> join = IntegerLayerNorm(np.zeros((2, 1), np.int32), 0, np.array([1, 1]), np.array([0, 0]), 1)
            >>> join.apply(np.array([[5, -5]]), np.array([[0]]))[0].tolist()
            [[True, False]]
        """
        # products and sums below 2^53 (checked): exact in float64, in any order
        sums = (numbers.astype(np.float64) @ self.path.T.astype(np.float64)).astype(np.int64)
        u = scores + (sums >> self.shift)
        r = whole_root((u * u).sum(1) + self.epsilon)[:, None]
        y = self.gain * u + self.offset * r
        return y > 0, y // r

    def reach(self, layer: ClauseSet, before: int) -> int:
        """The largest number that leaves it, given the layer ahead and the largest number before that.

        Raises:
            InputError: it does not fit the layer, or a product could leave 62 bits.
        """
        width = layer.outputs
        shapes = self.path.shape, self.gain.shape, self.offset.shape
        sums = int(np.abs(self.path.astype(np.int64)).sum(1).max(initial=0)) * before
        gain, offset = int(np.abs(self.gain).max(initial=0)), int(np.abs(self.offset).max(initial=0))
        u = layer.widest() + (sums >> max(self.shift, 0)) + 1
        r = int((width * u * u + max(self.epsilon, 1)) ** 0.5) + 1
        fits = shapes == ((width, layer.bits), (width,), (width,)) and self.epsilon >= 1 and 0 <= self.shift < 63
        if not fits or sums >= 2**53 or r * r >= 2**62 or gain * u + offset * r >= 2**62:
            raise InputError("join: expected parts that fit its layer, sums below 2^53 and products below 2^62")
        return gain + offset + 1  # |u| <= r


def whole_root(q: np.ndarray) -> np.ndarray:
    """floor(sqrt(q)) of int64 below 2^62, exactly.

    Example:
        >>> whole_root(np.array([15, 16, 2**60 - 1])).tolist() == [3, 4, 2**30 - 1]
        True
    """
    r = np.sqrt(q.astype(np.float64)).astype(np.int64)
    r -= r * r > q
    r += (r + 1) * (r + 1) <= q
    return np.asarray(r)


@dataclass(frozen=True, eq=False)
class PackedModel:
    """Clause layers over the pixels of an image; the last one's largest score is the class.

    Bits are in the order of the students': of a thermometer level by level, then channel, row, column; of filters channel by
    channel, then bit, row and column of squares.

    Attributes:
        image_shape: (channels, height, width).
        edges: (L) float32, rising; a bit is `pixel > edge`. None of filters.
        layers: clause sets; the first reads F bits, each next one as many as the one before has outputs.
        joins: what is between them, one fewer.
        class_names: K.
        square: side in pixels of the squares whose filter bits are joined (`filter_bits`); 0: bits are levels.
    """

    image_shape: tuple[int, int, int]
    edges: np.ndarray
    layers: tuple[ClauseSet, ...]
    joins: tuple[IntegerLayerNorm, ...]
    class_names: tuple[str, ...]
    square: int = 0

    @cached_property
    def kernels(self) -> list[Any]:
        """One a layer, made once; its definition where numba is missing."""
        if not has_numba():
            return [*self.layers]
        from stillhouse.logic.kernel import Kernel

        return [Kernel(layer) for layer in self.layers]

    @property
    def pixels(self) -> int:
        """P."""
        return int(np.prod(self.image_shape))

    @property
    def width(self) -> int:
        """F."""
        if not self.square:
            return self.pixels * len(self.edges)
        channels, height, width = self.image_shape
        return BITS * channels * -(-height // self.square) * -(-width // self.square)

    @property
    def scale(self) -> float:
        """Scores divided by this are the network's logits."""
        return self.layers[-1].scale

    @cached_property
    def cuts(self) -> np.ndarray:
        """(L) int16: a byte of at least this is above the edge, for all 256 of them; 256 where none is."""
        bytes_as_torch_reads_them = np.arange(256, dtype=np.float32) / np.float32(255)
        return (256 - (bytes_as_torch_reads_them > self.edges[:, None]).sum(1)).astype(np.int16)

    def check(self) -> None:
        """Whether the parts fit each other, and no number can leave 63 bits; anything read from a file is checked so.

        Raises:
            InputError: what was expected and what came.
        """
        levels = np.concatenate([[-1e-9], self.edges, [1.0]])
        fronts = bool(len(self.edges)) != bool(self.square)  # one of the two
        if len(self.image_shape) != 3 or min(self.image_shape) < 1 or not fronts or not (np.diff(levels) > 0).all():
            raise InputError(
                "machine: expected (channels, height, width), and edges that rise in [0, 1) or squares of filters, got "
                f"{self.image_shape}, {self.edges}, {self.square}"
            )
        if not 0 <= self.square <= max(self.image_shape[1:]):
            raise InputError(
                f"square: expected at most the pixels of a side, {self.image_shape[1:]}, got {self.square}"
            )
        if len(self.layers) != len(self.joins) + 1:
            raise InputError(f"machine: expected a join between any two of {len(self.layers)} layers")
        width, reach = self.width, 1
        for number, layer in enumerate(self.layers):
            layer.check()
            if layer.bits != width:
                raise InputError(f"layer {number}: expected {width} bits, got {layer.bits}")
            if number < len(self.joins):
                reach = self.joins[number].reach(layer, reach)
            width = layer.outputs
        if width != len(self.class_names):
            raise InputError(f"machine: expected {len(self.class_names)} scores, one a class, got {width}")

    def checked(self, images: np.ndarray) -> np.ndarray:
        """Images as they are: (B, channels, height, width), bytes or floats.

        Raises:
            InputError: another shape or type, NaN.
        """
        if images.ndim != 4 or images.shape[1:] != self.image_shape:
            raise InputError(f"images: expected (B, {', '.join(map(str, self.image_shape))}), got {images.shape}")
        if images.dtype != np.uint8 and images.dtype.kind != "f":
            raise InputError(f"images: expected uint8 (0 to 255) or floats in [0, 1], got {images.dtype}")
        if images.dtype.kind == "f" and np.isnan(images).any():
            raise InputError("images: expected numbers, got NaN")
        return images

    def bits(self, images: np.ndarray) -> np.ndarray:
        """(B, F) truth values of images (B, channels, height, width), uint8 or float in [0, 1].

        Example:
            >>> machine = PackedModel((1, 1, 2), np.array([0.5], np.float32), (), (), ())
            >>> machine.bits(np.array([127, 128], np.uint8).reshape(1, 1, 1, 2)).tolist()
            [[False, True]]
        """
        if self.square:
            return self._filtered(self.checked(images))
        rows = self.checked(images).reshape(len(images), 1, self.pixels)
        if rows.dtype == np.uint8:
            bits = rows >= self.cuts[:, None]
        else:
            bits = rows.astype(np.float32, copy=False) > self.edges[:, None].astype(np.float32)
        return bits.reshape(len(images), -1)

    def _filtered(self, images: np.ndarray) -> np.ndarray:
        """(B, F) truth values of filters, of bytes or of the bytes nearest to floats."""
        found, step = np.zeros((len(images), self.width), bool), max(1, AT_ONCE // self.pixels)
        for start in range(0, len(images), step):
            part = images[start : start + step]
            part = part if part.dtype == np.uint8 else part.astype(np.float32) * np.float32(255)
            found[start : start + step] = filter_bits(part, self.square).reshape(len(part), -1)
        return found

    def scores(self, images: np.ndarray, *, definition: bool = False) -> np.ndarray:
        """(B, K) int64 of images (B, channels, height, width); `/ scale` are the logits.

        Args:
            images: uint8, or float in [0, 1].
            definition: as the definition is written, not by the fast kernel.
        """
        ways = [*self.layers] if definition else self.kernels
        images = self.checked(images)
        if images.dtype == np.uint8 and not self.joins and not self.square and hasattr(ways[0], "scores_of_pixels"):
            found: np.ndarray = ways[0].scores_of_pixels(images.reshape(len(images), -1), self.cuts)
            return found
        bits = self.bits(images)
        numbers = 2 * bits.astype(np.int64) - 1 if self.joins else bits
        for way, join in zip(ways, self.joins):
            bits, numbers = join.apply(way.scores(bits), numbers)
        return np.asarray(ways[-1].scores(bits))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """(B) int64 the class of each image; of equal scores the first."""
        return np.asarray(self.scores(images).argmax(1))


@cache
def has_numba() -> bool:
    """Whether numba can be imported; the first time that it cannot, a warning says what that means."""
    if find_spec("numba") is not None:
        return True
    warnings.warn(WITHOUT_NUMBA, stacklevel=2)
    return False
