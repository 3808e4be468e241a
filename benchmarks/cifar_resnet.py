"""The small residual networks for pictures of 32 x 32 pixels, with the names of their published weights."""

from __future__ import annotations

from torch import Tensor, nn


class _Block(nn.Module):
    """Two convolutions and a shortcut without weights: where a stage begins, every second pixel, and zeros as new channels."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.new = stride, (width - inside) // 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H / stride, W / stride)."""
        straight = x[:, :, :: self.stride, :: self.stride]
        straight = nn.functional.pad(straight, (0, 0, 0, 0, self.new, self.new))
        inner = self.bn2(self.conv2(nn.functional.relu(self.bn1(self.conv1(x)))))
        return nn.functional.relu(inner + straight)


class CifarResNet(nn.Module):
    """Three stages of 16, 32 and 64 channels.

    Args:
        blocks: of each stage; the network has 6 x blocks + 2 layers.
        num_classes: K.

    Example:
        ResNet-20 has 0.27 million weights, as the paper's table 6 says.

        >>> sum(p.numel() for p in CifarResNet(3).parameters())
        269722

    Source: He et al. 2015, arXiv:1512.03385, section 4.2, with shortcuts of option A.
    """

    def __init__(self, blocks: int, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks)
        self.layer2 = _stage(16, 32, blocks)
        self.layer3 = _stage(32, 64, blocks)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, K)."""
        x = self.layer3(self.layer2(self.layer1(nn.functional.relu(self.bn1(self.conv1(x))))))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def _stage(inside: int, width: int, blocks: int) -> nn.Sequential:
    first = _Block(inside, width, width // inside)
    return nn.Sequential(first, *(_Block(width, width, 1) for _ in range(blocks - 1)))
