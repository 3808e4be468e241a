"""From features to numbers whose signs are informative bits, and from pooled features to class votes.

Shapes: B batch, T channels, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stillhouse.families.classification.students.core import Part, make_core
from stillhouse.families.classification.students.options import ClauseOptions

MOMENTUM = 0.05


class Binarizer(nn.Module):
    """Standardize each channel by running statistics and subtract a learned offset; the sign is the bit.

    Pooled features of a ReLU net are all positive and nearly alike over images: the sign of a linear map of them is almost
    constant, and a clause over constant bits knows nothing. Against the running mean, each bit is one about as often as zero.
    Running statistics are used in training too, so that a batch of one works and both modes give the same bits; the first
    batch sets them.

    Args:
        channels: T.
        spread: offsets start evenly between -spread and spread deviations.
        learned: whether there are offsets; a linear map with a bias ahead does not need them.

    Example:
        >>> binarizer = Binarizer(1)
        >>> binarizer(torch.tensor([[5.0], [7.0]])).sign().flatten().tolist()
        [-1.0, 1.0]
    """

    def __init__(self, channels: int, spread: float = 0.0, *, learned: bool = True) -> None:
        super().__init__()
        start = torch.linspace(-spread, spread, channels) if channels > 1 else torch.zeros(1)
        self.offsets = nn.Parameter(start) if learned else None
        self.mean: Tensor
        self.std: Tensor
        self.seen: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def _track(self, x: Tensor) -> None:
        over = [axis for axis in range(x.ndim) if axis != 1]
        mean = x.float().mean(over)
        std = x.float().std(over, unbiased=False) if x.numel() > x.shape[1] else self.std
        share = 1.0 if self.seen == 0 else MOMENTUM
        self.mean.lerp_(mean, share)
        self.std.lerp_(std, share)
        self.seen += 1

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, ...) features to (B, T, ...) numbers."""
        if self.training:
            self._track(x)
        shape = (1, -1, *([1] * (x.ndim - 2)))
        scaled = (x - self.mean.reshape(shape)) / self.std.clamp(min=1e-4).reshape(shape)
        return scaled if self.offsets is None else scaled - self.offsets.reshape(shape)


class StageVote(nn.Module):
    """Pooled features (B, D) to class votes: a linear map, bits around its running mean, a clause layer over them.

    Args:
        width: D.
        hidden: bits.
        clauses: of the layer.
        classes: K.
        options: the rule of the clauses.
        part: "clauses" or a control.
    """

    def __init__(
        self, width: int, hidden: int, clauses: int, classes: int, options: ClauseOptions, part: Part = "clauses"
    ) -> None:
        super().__init__()
        self.project = nn.Linear(width, hidden)
        self.binarize = Binarizer(hidden)
        self.core = make_core(part, hidden, clauses, classes, options)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) to votes (B, K) and strengths (B, clauses)."""
        votes, strength = self.core(self.binarize(self.project(pooled)))
        return votes, strength
