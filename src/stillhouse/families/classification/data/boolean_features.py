"""Bits of images by oriented filters and quantiles: what flat clause machines read in place of pixels.

For every channel of an image: the pixel above 0 and above three quantiles of its positive pixels (4 bits), and eight filters
(Sobel 3 x 3, a 5 x 5 diagonal, a 7 x 7 Sobel, a 3 x 3 line, each with its quarter turn), each compared with nine thresholds:
0, four quantiles of the positive and four of the negative responses. 4 + 8 x 9 = 76 bits a pixel. Quantiles are those of
the image itself, so a picture's bits depend on nothing else.

Legend: B images, C channels, H height, W width.

Source: the boolean convolution features of the Tsetlin.jl examples (Hnilov 2025, arXiv:2508.08350), as the documents describe them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BITS = 76
POSITIVE, NEGATIVE = (0.25, 0.34, 0.5, 0.75), (0.75, 0.66, 0.5, 0.25)
RAW = (0.25, 0.5, 0.75)
COPIES: tuple[tuple[float, float, bool], ...] = (  # angle in degrees, zoom, mirrored
    (0.0, 1.0, False),
    (0.0, 0.9, False),
    (0.0, 1.1, False),
    (-6.0, 1.0, False),
    (6.0, 1.0, False),
    (0.0, 1.0, True),
)


def filters() -> list[Tensor]:
    """Eight kernels (k, k): four and their quarter turns."""
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    diagonal = torch.eye(5) - torch.eye(5).roll(1, 1).triu(1) / 2 - torch.eye(5).roll(-1, 1).tril(-1) / 2
    ramp, smooth = torch.arange(-3.0, 4.0), torch.tensor([1.0, 6, 15, 20, 15, 6, 1])
    wide_sobel = smooth[:, None] * ramp[None, :]
    line = torch.tensor([[-1.0, 2, -1], [-1, 2, -1], [-1, 2, -1]])
    made = [sobel, diagonal, wide_sobel, line]
    return [turned for kernel in made for turned in (kernel, torch.rot90(kernel))]


@torch.no_grad()
def boolean_features(images: Tensor, square: int = 1) -> Tensor:
    """The bits of images, those of each square joined by OR.

    A joined bit asks whether a pixel anywhere in its square has it. Whether some response of a square is above a level is whether
    its largest is, so that squares are joined before anything is compared.

    Args:
        images: (B, C, H, W) in [0, 1].
        square: side in pixels of what is joined; 1 joins nothing. At the right and lower edge squares are cut off.

    Returns:
        (B, 76 C, H / square, W / square) bool, whole squares and parts of one.

    Example:
        A black image has no bit at all.

        >>> boolean_features(torch.zeros(1, 1, 8, 8)).any().item(), tuple(boolean_features(torch.rand(2, 3, 8, 8)).shape)
        (False, (2, 228, 8, 8))
        >>> tuple(boolean_features(torch.rand(1, 1, 10, 8), square=4).shape)
        (1, 76, 3, 2)
    """
    count, channels, height, width = images.shape
    maps = images.reshape(count * channels, 1, height, width)
    brightest = _largest(maps, square)
    bits = [brightest > 0, *(brightest > level for level in _levels(maps, RAW, ())[0])]
    for kernel in filters():
        # in whole numbers (halves of gray levels): places that are alike are equal, whatever order floats are summed in
        response = torch.nn.functional.conv2d(maps * 255, 2 * kernel[None, None], padding="same").round()
        above, below = _levels(response, POSITIVE, NEGATIVE)
        largest, smallest = _largest(response, square), -_largest(-response, square)
        bits.append(largest > 0)
        bits += [largest > level for level in above]
        bits += [smallest < level for level in below]
    joined = torch.cat(bits, dim=1)
    return joined.reshape(count, channels * BITS, *joined.shape[2:])


def _largest(maps: Tensor, square: int) -> Tensor:
    """The largest entry of each square."""
    return maps if square == 1 else torch.nn.functional.max_pool2d(maps, square, ceil_mode=True)


FILTERS = ("Sobel", "diagonal", "wide Sobel", "line")


def feature_name(bit: int, channels: int = BITS) -> str:
    """What a channel of `boolean_features` asks.

    Args:
        bit: its number.
        channels: of all; more than 76 are several image channels.

    Example:
        >>> feature_name(0), feature_name(2), feature_name(4), feature_name(14), feature_name(12)
        ('bright', 'brighter than 50 %', 'Sobel above 0', 'turned Sobel above 25 %', 'Sobel below 25 %')
    """
    image_channel, place = divmod(bit, BITS)
    of = f" (channel {image_channel})" if channels > BITS else ""
    if place < 1 + len(RAW):
        return ("bright" if not place else f"brighter than {RAW[place - 1]:.0%}".replace("%", " %")) + of
    kernel, threshold = divmod(place - 1 - len(RAW), 1 + len(POSITIVE) + len(NEGATIVE))
    name = f"{'turned ' if kernel % 2 else ''}{FILTERS[kernel // 2]}"
    if not threshold:
        return f"{name} above 0{of}"
    side, shares = ("above", POSITIVE) if threshold <= len(POSITIVE) else ("below", NEGATIVE)
    share = shares[(threshold - 1) % len(POSITIVE)]
    return f"{name} {side} {share:.0%}{of}".replace("%", " %")


def _levels(maps: Tensor, above: tuple[float, ...], below: tuple[float, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """(B, 1, 1, 1) each: quantiles of the positive entries of every map (nearest rank), and of the negative ones by their size.

    Infinity where there are none. One sort serves both: negative entries come first, the largest of them in front.
    """
    values = _sorted(maps.flatten(1))
    positive, negative = (values > 0).sum(1), (values < 0).sum(1)

    def quantile(share: float, many: Tensor, end: Tensor | int, sign: int) -> Tensor:
        rank = (share * (many - 1).clamp(min=0)).round().long()
        found = values.gather(1, (end + sign * rank).clamp(0, values.shape[1] - 1)[:, None])
        return torch.where(many[:, None] > 0, found, sign * torch.inf)[:, :, None, None]

    first = values.shape[1] - positive
    return [quantile(s, positive, first, 1) for s in above], [quantile(s, negative, negative - 1, -1) for s in below]


def _sorted(rows: Tensor) -> Tensor:
    """Rows in rising order; on a CPU by NumPy, whose vectorized sort takes a fraction of torch's time."""
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
    if rows.device.type != "cpu" or traced or type(rows) is not Tensor:
        return rows.sort(dim=1).values
    return torch.from_numpy(np.sort(rows.detach().numpy(), axis=1))


def copies(images: Tensor) -> list[Tensor]:
    """The images and five changed copies of each: zoomed out and in, turned by 6 degrees either way, mirrored left to right.

    The original pipeline mirrors top to bottom, which shows shirts upside down; that is not repeated.

    Args:
        images: (B, C, H, W).
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as change

    made = []
    for angle, zoom, mirrored in COPIES:
        x = images.flip(-1) if mirrored else images
        if angle or zoom != 1.0:
            nothing = {"translate": [0, 0], "shear": [0.0, 0.0]}
            x = change.affine(x, angle=angle, scale=zoom, interpolation=InterpolationMode.BILINEAR, **nothing)
        made.append(x)
    return made
