"""Bits of images by oriented filters and quantiles, in whole numbers alone, so that every engine has the same ones. NumPy alone.

Of every channel nine maps are made: its pixels as bytes, and twice their responses to eight filters (Sobel 3 x 3, a 5 x 5 diagonal,
a 7 x 7 Sobel, a 3 x 3 line, each with its quarter turn; 0 beyond the border). What is asked of a map is whether it is above 0, and
above quantiles of its own positive entries (`PIXEL`), of a response also whether it is below quantiles of its negative ones
(`RESPONSE`): 4 + 8 x 9 = 76 bits.

Legend: B images, C channels, H height, W width, P pixels.

Source: the boolean convolution features of the Tsetlin.jl examples (Hnilov 2025, arXiv:2508.08350), as the documents describe them.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

PIXEL = (0, 25, 50, 75)  # hundredths of the positive entries; 0: is it above 0?
RESPONSE = (0, 25, 34, 50, 75, -75, -66, -50, -25)  # below 0: of the negative entries, by their size
ASKED = tuple(
    (number, share) for number in range(9) for share in (RESPONSE if number else PIXEL)
)  # a map, a quantile of it
BITS = len(ASKED)
REACH = 3  # pixels that a filter sees on each side


def _kernels() -> np.ndarray:
    """(8, 7, 7) float32, doubled, so that they are whole: four and their quarter turns."""
    diagonal = 2 * np.eye(5) - np.eye(5, k=1) - np.eye(5, k=-1)
    wide = np.outer([2, 12, 30, 40, 30, 12, 2], range(-3, 4))
    four = (np.outer([2, 4, 2], [-1, 0, 1]), diagonal, wide, np.outer([2, 2, 2], [-1, 2, -1]))
    framed = [np.pad(one, REACH - len(one) // 2) for one in four]
    return np.array([turned for one in framed for turned in (one, np.rot90(one))], np.float32)


KERNELS = _kernels()


def filter_bits(images: np.ndarray, square: int = 1) -> np.ndarray:
    """The bits of images, those of each square joined by OR: whether any of its pixels has it.

    Args:
        images: (B, C, H, W), 0 to 255; others are rounded.
        square: side in pixels of what is joined; at the right and lower edge squares are cut off.

    Returns:
        (B, 76 C, H', W') bool; H' and W' count the squares, parts of one too.

    Example:
        One bright pixel is above 0, and not above the quantiles of itself:

        >>> filter_bits(np.array([[0, 9], [0, 0]]).reshape(1, 1, 2, 2), 2)[0, :5, 0, 0].tolist()
        [True, False, False, False, True]
    """
    count, channels, height, width = images.shape
    maps = np.rint(images.reshape(-1, 1, height, width), dtype=np.float32)
    around = np.pad(maps[:, 0], [(0, 0), (REACH, REACH), (REACH, REACH)])
    side = 2 * REACH + 1
    seen = np.lib.stride_tricks.sliding_window_view(around, (side, side), axis=(1, 2)).reshape(len(maps), -1, side**2)
    # whole numbers below 2^24: exact, in whatever order they are added
    responses = (KERNELS.reshape(8, -1) @ seen.swapaxes(1, 2)).reshape(-1, 8, height, width)
    nine = np.concatenate([maps, responses], axis=1)
    edges = _edges(nine.reshape(len(maps), 9, -1))[..., None, None]
    largest, smallest = _largest(nine, square), -_largest(-nine, square)
    bits = [
        largest[:, number] > edges[:, bit] if share >= 0 else smallest[:, number] < edges[:, bit]
        for bit, (number, share) in enumerate(ASKED)
    ]
    return np.stack(bits, axis=1).reshape(count, channels * BITS, *largest.shape[2:])


def _edges(maps: np.ndarray) -> np.ndarray:
    """(B, 76) what maps (B, 9, P) are compared with: quantiles by nearest rank, halves to even; infinity where none can be."""
    number, share = np.array(ASKED).T
    places, ordered = maps.shape[2], np.sort(maps, axis=2)
    of_sign = np.where(share > 0, (ordered > 0).sum(2)[:, number], (ordered < 0).sum(2)[:, number])
    exact = abs(share) * np.maximum(of_sign - 1, 0)
    rank = (exact + 49 + exact // 100 % 2) // 100
    place = np.where(share > 0, places - of_sign + rank, of_sign - 1 - rank).clip(0, places - 1)
    found = np.take_along_axis(ordered.reshape(len(maps), -1), number * places + place, axis=1)
    return np.where(share == 0, 0, np.where(of_sign > 0, found, np.copysign(np.float32(np.inf), share)))


def _largest(maps: np.ndarray, square: int) -> np.ndarray:
    """The largest entry of each square."""
    over = [(0, 0), (0, 0), (0, -maps.shape[2] % square), (0, -maps.shape[3] % square)]
    whole = np.pad(maps, over, mode="edge") if square > 1 else maps
    rows = reduce(np.maximum, (whole[:, :, i::square] for i in range(square)))
    return reduce(np.maximum, (rows[..., i::square] for i in range(square)))
