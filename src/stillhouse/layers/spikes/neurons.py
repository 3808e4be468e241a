"""Neurons that add up what comes and spike, over a few time steps.

Shapes: B batch, T time steps, C channels, H W grid, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stillhouse.layers.straight_through import hard_step

SLOPE = 4.0  # of the surrogate at the threshold: its gradient there is 1


class LeakyNeurons(nn.Module):
    """u <- decay u + x; where u passes 1 a spike goes out and 1 is taken off (leaky integrate and fire, soft reset).

    Without decay the spikes count what came in: after any number of steps their sum is within one charge of the inputs' sum,
    as long as these lie in [0, 1]. Backward a spike has the slope of a sigmoid.

    Args:
        decay: share of the charge that is left after a time step.

    Example:
        Charges 0.6, then 1.2 (a spike, 0.2 is left), then 0.8.

        >>> LeakyNeurons(1.0)(torch.full((1, 3, 1), 0.6)).flatten().tolist()
        [0.0, 1.0, 0.0]

    Source: Wu et al. 2018, arXiv:1706.02609 (STBP), with a subtracting reset.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (B, T, ...) of 0 and 1 for inputs (B, T, ...)."""
        charge, spikes = torch.zeros_like(x[:, 0]), []
        for now in x.unbind(1):
            charge = self.decay * charge + now
            spike = hard_step(charge - 1.0, SLOPE)
            charge = charge - spike
            spikes.append(spike)
        return torch.stack(spikes, 1)


class SpikingBlock(nn.Module):
    """Convolution of stride 2, batch norm, neurons: (B, T, C, H, W) to spikes (B, T, C', H/2, W/2)."""

    def __init__(self, before: int, after: int, decay: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(after)
        self.neurons = LeakyNeurons(decay)
        nn.init.constant_(self.norm.bias, 0.5)  # half a threshold: a fair share of the neurons spikes from the start

    def forward(self, x: Tensor) -> Tensor:
        """Spikes."""
        now: Tensor = self.norm(self.conv(x.flatten(0, 1)))
        spikes: Tensor = self.neurons(now.unflatten(0, x.shape[:2]))
        return spikes


class SpikingNetwork(nn.Module):
    """The same image at every time step through blocks of spiking neurons; the scores are the mean over the steps.

    Args:
        widths: channels of the image, then of each block.
        classes: K.
        steps: T.
        decay: of the neurons.

    Example:
        >>> network = SpikingNetwork([1, 4, 8], 3, steps=2, decay=0.5)
        >>> tuple(network(torch.rand(5, 1, 8, 8)).shape)
        (5, 3)
    """

    def __init__(self, widths: Sequence[int], classes: int, *, steps: int, decay: float) -> None:
        super().__init__()
        self.steps = steps
        self.blocks = nn.ModuleList(SpikingBlock(a, b, decay) for a, b in pairwise(widths))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, K) scores of (B, C, H, W) images; `head` has put out those of each step, (B, T, K)."""
        x = images.unsqueeze(1).expand(-1, self.steps, -1, -1, -1)
        for block in self.blocks:
            x = block(x)
        scores: Tensor = self.head(x.mean((3, 4)))
        return scores.mean(1)
