"""Size and channels of images that are in memory already.

Legend: N rows, C channels, H height, W width, S the side asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stillhouse.tasks.classification.data.arrays import CHUNK
from stillhouse.tasks.classification.data.streamed import Rows, Streamed

# ITU-R 601-2, as Pillow turns RGB to gray
LUMA = (0.299, 0.587, 0.114)


def fit(rows: Rows, image_size: int | None, channels: int | None) -> Rows:
    """Images of the side and the channels that are asked for; the very same rows where nothing is to be done."""
    if isinstance(rows.images, Streamed):  # decoded to what was asked for
        return rows
    _, c, h, w = rows.images.shape
    resized = image_size is not None and (h, w) != (image_size, image_size)
    if not resized and channels in (None, c):
        return rows
    # Filled in place: a list of chunks to concatenate would hold everything twice
    side = (image_size, image_size) if resized else (h, w)
    fitted = rows.images.new_empty(len(rows.labels), channels or c, *side)  # type: ignore[arg-type]
    for start in range(0, len(rows.labels), CHUNK):
        part = slice(start, start + CHUNK)
        fitted[part] = _fit_chunk(rows.images[part], image_size if resized else None, channels or c)
    return Rows(fitted, rows.labels, rows.numbers)


def _fit_chunk(images: Tensor, image_size: int | None, channels: int) -> Tensor:
    x = images.float()
    if channels == 1 and x.shape[1] == 3:
        x = (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if image_size is not None:
        x = middle_square(x)
        x = torch.nn.functional.interpolate(
            x, size=(image_size, image_size), mode="bilinear", align_corners=False, antialias=True
        )
    if channels == 3 and x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    if images.dtype == torch.uint8:
        return x.round().clamp(0, 255).to(torch.uint8)
    return x.clamp(0, 1)


def middle_square(images: Tensor) -> Tensor:
    """The largest square in the middle of (N, C, H, W): nothing is squeezed.

    Example:
        >>> middle_square(torch.zeros(1, 1, 6, 10)).shape
        torch.Size([1, 1, 6, 6])
    """
    h, w = images.shape[-2:]
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    return images[..., top : top + side, left : left + side]
