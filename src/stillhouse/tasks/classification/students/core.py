"""Layers of clauses: one bank that votes, and several in a row (DeepTM).

Shapes: ... leading axes, F bits, C clauses, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.layers.straight_through import hard_step
from stillhouse.tasks.classification.students.clauses import ClauseBank
from stillhouse.tasks.classification.students.config import ClauseOptions, Feedforward


class ClauseOutput(NamedTuple):
    """Votes (..., O), and the strengths (..., C) of the clauses that cast them."""

    votes: Tensor
    strength: Tensor


class TMLayer(nn.Module):
    """Bits -> clauses -> votes: `(drop(bank(bits)) + bias) V`.

    Args:
        num_bits: F.
        num_clauses: C, even: the second half of the clauses are the partners of the first (see `priors`).
        outputs: O.
        options: the rule of the clauses.
        vote_std: standard deviation of the initial votes V.

    Example:
        >>> layer = TMLayer(8, 4, 3, ClauseOptions(literals=4))
        >>> tuple(layer(torch.ones(2, 8)).votes.shape)
        (2, 3)

    Raises:
        InputError: an odd number of clauses.
    """

    def __init__(
        self, num_bits: int, num_clauses: int, outputs: int, options: ClauseOptions, vote_std: float = 0.1
    ) -> None:
        super().__init__()
        if num_clauses < 2 or num_clauses % 2:
            raise InputError(f"clauses: expected an even number of at least 2, got {num_clauses}")
        self.bank = ClauseBank(num_bits, num_clauses, options)
        self.drop = nn.Dropout(options.clause_dropout)
        self.votes = nn.Linear(num_clauses, outputs, bias=options.clause_bias is None)
        self.clause_bias = (
            None if options.clause_bias is None else nn.Parameter(torch.full((num_clauses,), options.clause_bias))
        )
        nn.init.normal_(self.votes.weight, std=vote_std)
        if self.votes.bias is not None:
            nn.init.zeros_(self.votes.bias)

    def forward(self, bits: Tensor) -> ClauseOutput:
        """Bits (..., F) of 0 and 1 to votes and strengths."""
        strength = self.bank(bits)
        dropped = self.drop(strength)
        return ClauseOutput(self.votes(dropped if self.clause_bias is None else dropped + self.clause_bias), strength)


class DeepTM(nn.Module):
    """TM layers in a row over pre-activations: `b = 1[x > 0]`, `x <- LayerNorm(drop(TM(b)) + R x)`, a last TM gives O.

    With no hidden widths it is one `TMLayer` behind a threshold (backend `ste`). The residual runs through the numbers
    before the threshold, not through the bits: sigmoid(votes) added to bits of 0 and 1 (the published form) never crosses
    the next threshold, so that hidden layers could not change a bit.

    Args:
        widths: F, numbers that become bits; those between the layers; O.
        num_clauses: C of every layer but the last.
        options: the rule of the clauses.
        last_clauses: C of the last layer; None for `num_clauses`.
        dropout: on the votes between the layers.

    Example:
        >>> tuple(DeepTM((8, 6, 3), 4, ClauseOptions(literals=4))(torch.randn(2, 8)).votes.shape)
        (2, 3)
    """

    def __init__(
        self,
        widths: Sequence[int],
        num_clauses: int,
        options: ClauseOptions,
        *,
        last_clauses: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        counts = [num_clauses] * (len(pairs) - 1) + [num_clauses if last_clauses is None else last_clauses]
        self.layers = nn.ModuleList(TMLayer(a, c, b, options) for (a, b), c in zip(pairs, counts))
        self.norms = nn.ModuleList(nn.LayerNorm(b) for _, b in pairs[:-1])
        self.paths = nn.ModuleList(nn.Linear(a, b, bias=False) if a != b else nn.Identity() for a, b in pairs[:-1])
        self.drop = nn.Dropout(dropout)

    @property
    def last(self) -> TMLayer:
        """The layer whose clauses are reported."""
        layer = self.layers[-1]
        assert isinstance(layer, TMLayer)
        return layer

    def vote_weight(self) -> Tensor:
        """(O, C) of the last layer."""
        return self.last.votes.weight

    def forward(self, x: Tensor) -> ClauseOutput:
        """Numbers (..., F), of which the positive ones are bits 1, to votes (..., O) and the last layer's strengths."""
        for layer, norm, path in zip(self.layers, self.norms, self.paths):
            x = norm(self.drop(layer(hard_step(x)).votes) + path(x))
        voted: ClauseOutput = self.layers[-1](hard_step(x))
        return voted


class ControlCore(nn.Module):
    """What stands where clause layers were, in a control: MLPs with as many hidden units as clauses, or linear maps.

    Args:
        widths: inputs, those between the layers, outputs.
        units: hidden units of each MLP; 0 for linear maps.
        dropout: between the layers.
    """

    def __init__(self, widths: Sequence[int], units: int, dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(pairwise(widths)):
            if place:
                layers += [nn.LayerNorm(before), nn.Dropout(dropout)]
            if units:
                layers += [nn.Linear(before, units), nn.GELU()]
            layers.append(nn.Linear(units or before, after))
        self.layers = nn.Sequential(*layers)

    def vote_weight(self) -> Tensor:
        """(O, units) of the last linear map."""
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        return last.weight

    def forward(self, x: Tensor) -> ClauseOutput:
        """Numbers (..., F) to (..., O), and what the last linear map reads."""
        strength = self.layers[:-1](x)
        return ClauseOutput(self.layers[-1](strength), strength)


def make_core(
    part: Feedforward, widths: Sequence[int], clauses: int, options: ClauseOptions, *, dropout: float = 0.0
) -> DeepTM | ControlCore:
    """A clause layer behind a threshold (or several), or its control.

    Args:
        part: "clauses"; "mlp" has a hidden unit for each clause; "none" is a linear map.
        widths: inputs, those between the layers, outputs.
        clauses: C.
        options: the rule of the clauses.
        dropout: between the layers.
    """
    if part == "clauses":
        return DeepTM(widths, clauses, options, dropout=dropout)
    return ControlCore(widths, clauses if part == "mlp" else 0, dropout)


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
        config: of the model, whose clause layers read `tm_hidden` bits.
        clauses: of the layer.
    """

    def __init__(self, width: int, config: Any, clauses: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, config.tm_hidden)
        self.binarize = Binarizer(config.tm_hidden)
        self.core = make_core(config.part, (config.tm_hidden, config.num_classes), clauses, config.rule)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, D) to votes (B, K)."""
        voted: ClauseOutput = self.core(self.binarize(self.project(pooled)))
        return voted.votes


Template = Literal["none", "symmetric", "zero"]
NEAR = 0.05  # spread of the logits of the template "zero": a tenth of the usual one
FOR_AND_AGAINST = 0.05  # clause bias of the template "symmetric", as documented


@torch.no_grad()
def apply_prior(model: nn.Module, template: Template) -> int:
    """Start every clause layer of a model from a template; the number of layers that it was applied to.

    "symmetric": the clauses of the second half are the partners of the first: where clause j wants a bit, its partner wants
    the bit's negation, and their votes are opposite; the clause bias is 0.05. "zero": no literal is preferred: all logits lie
    close to the threshold, as many above it as the bank asks for, and a few steps move any of them; the clause bias is 0.
    In both, clauses are drawn one by one. (As published, all clauses of a half are equal, and stay equal.)

    Args:
        model: any module with `TMLayer`s inside.
        template: "none" changes nothing.

    Raises:
        InputError: a model without clauses.
    """
    if template == "none":
        return 0
    layers = [module for module in model.modules() if isinstance(module, TMLayer)]
    if not layers:
        raise InputError(f"prior template {template!r}: {type(model).__name__} has no clauses")
    for layer in layers:
        if template == "zero":
            layer.bank.reset_parameters(layer.bank.literals, spread=NEAR)
        else:
            half, logits = layer.bank.num_clauses // 2, layer.bank.include_logits
            logits[:, half:] = logits[:, :half].flip(0)
            layer.votes.weight[:, half:] = -layer.votes.weight[:, :half]
        if layer.clause_bias is not None:
            layer.clause_bias.fill_(FOR_AND_AGAINST if template == "symmetric" else 0.0)
    return len(layers)
