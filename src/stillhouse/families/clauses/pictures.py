"""Votes of a clause laid over the pixels that it looked at, as small PNG images inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.image import imsave

from stillhouse.report.read import Array

FOR, AGAINST = (0xFF, 0x8C, 0x1A), (0x2E, 0x86, 0xFF)  # orange and blue: a diverging pair that all eyes can distinguish
COVER = 0.72


def overlay(image: Array, votes: Array, scale: float) -> Array:
    """(H, W, 3) uint8: the image in gray; where votes are, orange covers it for the class and blue against it.

    Args:
        image: (H, W) in [0, 1].
        votes: (H, W) signed.
        scale: the vote that gets the full colour.

    Example:
        >>> overlay(np.zeros((1, 2)), np.array([[0.0, 2.0]]), scale=2.0).tolist()
        [[[46, 46, 46], [196, 114, 32]]]
    """
    gray = 255 * (0.18 + 0.74 * image[..., None])
    strength = np.clip(np.abs(votes) / scale, 0, 1)[..., None] * COVER if scale > 0 else np.zeros((*votes.shape, 1))
    color = np.where(votes[..., None] >= 0, FOR, AGAINST)
    return ((1 - strength) * gray + strength * color).round().astype(np.uint8)


def picture_addresses(pictures: Sequence[tuple[Array, Array]]) -> list[str]:
    """One `data:` address a picture (image, votes); the pictures of a clause share one scale of votes."""
    scale = max((float(np.abs(votes).max()) for _, votes in pictures), default=0.0)
    return [data_address(overlay(image, votes, scale)) for image, votes in pictures]


def data_address(pixels: Array) -> str:
    """A picture (H, W, 3) uint8 as a PNG inside the page."""
    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png", metadata={"Software": ""})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
