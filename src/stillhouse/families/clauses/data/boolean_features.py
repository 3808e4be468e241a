"""Bits of images by oriented filters and quantiles: what flat clause machines read in place of pixels.

For every channel of an image: the pixel above 0 and above three quantiles of its positive pixels (4 bits), and eight filters
(Sobel 3 x 3, a 5 x 5 diagonal, a 7 x 7 Sobel, a 3 x 3 line, each with its quarter turn), each compared with nine thresholds:
0, four quantiles of the positive and four of the negative responses. 4 + 8 x 9 = 76 bits a pixel. Quantiles are those of
the image itself, so a picture's bits depend on nothing else.

Legend: B images, C channels, H height, W width.

Source: the boolean convolution features of the Tsetlin.jl examples (Hnilov 2025, arXiv:2508.08350), as the documents describe them.
"""

from __future__ import annotations

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
def boolean_features(images: Tensor) -> Tensor:
    """The bits of images.

    Args:
        images: (B, C, H, W) in [0, 1].

    Returns:
        (B, 76 C, H, W) bool.

    Example:
        A black image has no bit at all.

        >>> boolean_features(torch.zeros(1, 1, 8, 8)).any().item(), tuple(boolean_features(torch.rand(2, 3, 8, 8)).shape)
        (False, (2, 228, 8, 8))
    """
    count, channels, height, width = images.shape
    maps = images.reshape(count * channels, 1, height, width)
    bits = [maps > 0, *(maps > level for level in _levels(maps, RAW))]
    for kernel in filters():
        # in whole numbers (halves of gray levels): places that are alike are equal, whatever order floats are summed in
        response = torch.nn.functional.conv2d(maps * 255, 2 * kernel[None, None], padding="same").round()
        bits.append(response > 0)
        bits += [response > level for level in _levels(response, POSITIVE)]
        bits += [response < -level for level in _levels(-response, NEGATIVE)]
    return torch.cat(bits, dim=1).reshape(count, channels * BITS, height, width)


def _levels(maps: Tensor, shares: tuple[float, ...]) -> list[Tensor]:
    """(B, 1, 1, 1) each: quantiles of the positive entries of every map (nearest rank); infinity where there are none."""
    flat = torch.where(maps > 0, maps, torch.inf).flatten(1).sort(dim=1).values
    positive = (flat < torch.inf).sum(1)
    found = []
    for share in shares:
        rank = (share * (positive - 1).clamp(min=0)).round().long()
        found.append(flat.gather(1, rank[:, None])[:, :, None, None])
    return found


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
