"""Convolutions that keep clear of a fault of torch: of a 1 x 1 one with a stride, the pixels that count are taken first.

torch 2.15 (oneDNN) corrupts its heap on CPUs with AVX2 and nothing newer in the backward pass of a channels_last 1 x 1
convolution of stride 2 with fewer than 8 input channels. Taken first, the pixels never meet that kernel.
"""

from __future__ import annotations

from torch import Tensor, nn


def convolution(inputs: int, outputs: int, side: int, stride: int = 1, *, bias: bool = True) -> nn.Conv2d:
    """A square convolution padded by side // 2, so that at stride 1 an odd side keeps the size of the map.

    Example:
        >>> import torch
        >>> tuple(convolution(3, 5, 1, stride=2)(torch.rand(1, 3, 7, 7)).shape)
        (1, 5, 4, 4)
    """
    if side == 1 and stride > 1:
        return PointwiseConv(inputs, outputs, stride, bias=bias)
    return nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=bias)


class PointwiseConv(nn.Conv2d):
    """`nn.Conv2d(inputs, outputs, 1, stride)`, with the same weights, on every stride-th pixel."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) to (B, O, ceil(H / stride), ceil(W / stride))."""
        rows, columns = self.stride
        return nn.functional.conv2d(x[:, :, ::rows, ::columns], self.weight, self.bias)
