"""A bank of fuzzy pattern clauses, soft ANDs over bits, trained by gradient, exact as bit operations; the base of their models.

Shapes: ... any leading axes, F bits (2F literals: each bit and its negation), C clauses; B batch, C channels, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse, to_mapping
from stillhouse.layers.hooks import Clauses
from stillhouse.layers.part import Student
from stillhouse.layers.straight_through import hard_include, revivable_relu
from stillhouse.tasks.classification.students.config import ClauseOptions

LOW, HIGH = 0.05, 0.95  # bounds of a learned tau


class Tau(nn.Module):
    """tau in (0.05, 0.95), kept in the state dict, so that a learned one reloads exactly.

    A learned tau is `0.05 + 0.9 sigmoid(a)`. Its gradient comes from the masks `1[p > tau]`, whose surrogate is `p - tau`:
    raising tau excludes literals. With `ema` the masks use a moving average over training steps (`advance` takes one step), and
    the gradient still goes to tau itself.

    Args:
        value: tau at the start.
        learnable: whether it is a parameter.
        ema: memory of the average, in (0, 1); None for no average.

    Example:
        >>> tau = Tau(0.5, ema=0.9)
        >>> _ = tau.value.fill_(0.6); tau.advance(); round(tau().item(), 4)
        0.51
    """

    def __init__(self, value: float, *, learnable: bool = False, ema: float | None = None) -> None:
        super().__init__()
        self.start, self.ema = value, ema
        self.value: Tensor
        self.average: Tensor
        share = (value - LOW) / (HIGH - LOW)
        self.raw = nn.Parameter(torch.tensor(math.log(share / (1 - share)))) if learnable else None
        if not learnable:
            self.register_buffer("value", torch.tensor(value))
        if ema is not None:
            self.register_buffer("average", torch.tensor(value))

    def now(self) -> Tensor:
        """0-d: tau of this step, before any average."""
        return self.value if self.raw is None else LOW + (HIGH - LOW) * torch.sigmoid(self.raw)

    def forward(self) -> Tensor:
        """0-d: what masks are compared with; its gradient is that of `now`."""
        now = self.now()
        return now if self.ema is None else self.average + (now - now.detach())

    @torch.no_grad()
    def advance(self) -> None:
        """One step of the average; a model calls it once a training step."""
        if self.ema is not None:
            self.average.lerp_(self.now(), 1 - self.ema)


class ClauseBank(Clauses):
    """Fuzzy capacity clauses: `c_j = relu(min(n_j, LF) - misses_j) / LF`, with hard literals.

    Clause j includes some of the 2F literals (`include_logits`, hard masks by a straight-through estimator). `n_j` counts
    them, `misses_j` counts those that are false for an input, `LF` (literal failures) is how many misses silence the
    clause. LF = 1 is the ordinary all-or-nothing AND; LF at or above n_j would make the clause linear in the bits and
    useless beside attention, which is why clauses start with about three times LF literals.

    One matrix product evaluates the bank: misses = sum(m) - x (m - n)^T for positive masks m and negated masks n.

    Args:
        num_bits: F.
        num_clauses: C.
        options: the rule (see its fields).

    Attributes:
        include_logits: (2, C, F) parameter; [0] the literals x, [1] the literals not x.

    Example:
        A clause "bit 0 and not bit 1" with LF 1:

        >>> bank = ClauseBank(num_bits=2, num_clauses=2, options=ClauseOptions(failures=1))
        >>> with torch.no_grad():
        ...     _ = bank.include_logits.fill_(-5.0)
        ...     bank.include_logits[0, 0, 0] = bank.include_logits[1, 0, 1] = 5.0
        >>> bank(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))[:, 0].tolist()
        [1.0, 0.0, 0.0]

    Source: Hnilov 2025, "Fuzzy-Pattern Tsetlin Machine", arXiv:2508.08350.
    """

    def __init__(self, num_bits: int, num_clauses: int, options: ClauseOptions | None = None) -> None:
        super().__init__()
        if num_clauses < 1:
            raise InputError(f"clauses: expected at least 1, got {num_clauses}")
        options = options or ClauseOptions()
        self.num_bits, self.num_clauses = num_bits, num_clauses
        self.failures, self.leak = options.failures, options.leak
        self.literals = options.literals_at_start
        self.literal_dropout, self.literal_budget = options.literal_dropout, options.literal_budget
        self.threshold = Tau(options.tau, learnable=options.learnable_tau, ema=options.tau_ema)
        self.include_logits = nn.Parameter(torch.empty(2, num_clauses, num_bits))
        self.reset_parameters(self.literals)

    def reset_parameters(self, literals: float, spread: float = 0.5) -> None:
        """Normal include logits whose mean puts `literals` of the 2F literals of a clause (at most 90 %) above the threshold."""
        share = min(literals / (2 * self.num_bits), 0.9)
        quantile = float(2**0.5 * torch.erfinv(torch.tensor(2 * share - 1, dtype=torch.float64, device="cpu")))
        level = float(torch.logit(torch.tensor(self.threshold.start, device="cpu")))
        nn.init.normal_(self.include_logits, mean=level + spread * quantile, std=spread)

    def masks(self) -> tuple[Tensor, Tensor]:
        """The hard include masks, (C, F) each: of the literals x and of the literals not x."""
        include = hard_include(self.include_logits, self.threshold())
        if self.literal_budget is not None:
            include = include * self._within_budget(self.literal_budget)
        if self.training and self.literal_dropout > 0:
            kept = torch.rand(2, 1, self.num_bits, device=include.device) >= self.literal_dropout
            include = include * kept
        positive, negated = include.unbind(0)  # one gradient for both: indexing twice would make two, mostly zeros
        return positive, negated

    def _within_budget(self, budget: int) -> Tensor:
        """(2, C, F) of 0 and 1: the `budget` literals of each clause with the largest logits."""
        flat = self.include_logits.detach().transpose(0, 1).flatten(1)  # (C, 2F)
        chosen = flat.topk(min(budget, flat.shape[1]), dim=1).indices
        kept = torch.zeros_like(flat).scatter_(1, chosen, 1.0)
        return kept.unflatten(1, (2, self.num_bits)).transpose(0, 1)

    def capacity(self, positive: Tensor, negated: Tensor) -> Tensor:
        """(C) the value of a clause without a miss, before division by LF: min(n, LF)."""
        count = positive.sum(1) + negated.sum(1)
        return count.clamp(max=float(self.failures))

    def forward(self, bits: Tensor) -> Tensor:
        """Strength of every clause for bits (..., F) of 0 and 1.

        Returns:
            (..., C) in {0, 1/LF, ..., 1}.
        """
        if bits.shape[-1] != self.num_bits:
            raise InputError(f"bits: expected (..., {self.num_bits}), got {tuple(bits.shape)}")
        positive, negated = self.masks()
        capacity = self.capacity(positive, negated)
        # under autocast the product runs in bf16: bits and masks are exact there, and so are counts up to 256
        hits = nn.functional.linear(bits, positive - negated)
        # an all-zero input misses every positive literal
        return revivable_relu(hits + (capacity - positive.sum(1)), self.leak) / self.failures


class ClauseModel(Student):
    """An image model with clauses; it takes raw pixels in [0, 1].

    Args:
        **options: fields of the class's configuration; an unknown one is refused with the near one.

    Attributes:
        config: the configuration, defaults included.
        model_kwargs: what builds the same network again: `type(model)(**model.model_kwargs)`.

    Raises:
        ConfigError: an unknown keyword, a value out of range, sizes that do not fit.
    """

    config_class: ClassVar[type]
    clause_learning_rate_factor: float = 1.0  # of a run's training, see `parameter_groups`

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.config: Any = parse(self.config_class, options)
        self.model_kwargs: dict[str, Any] = {n: v for n, v in to_mapping(self.config).items() if n != "kind"}
        self.image_shape: tuple[int, int, int] = self.config.image_shape
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        for name in ("pixel_mean", "pixel_std"):
            if hasattr(self.config, name):
                values = torch.as_tensor(getattr(self.config, name), dtype=torch.float32)
                self.register_buffer(name, values.reshape(-1, 1, 1))

    def checked(self, pixels: Tensor) -> Tensor:
        """The pixels as they are.

        Raises:
            InputError: another shape than (B, C, H, W) of the configuration.
        """
        if tuple(pixels.shape[1:]) != self.image_shape:
            raise InputError(
                f"pixels: expected (B, {', '.join(map(str, self.image_shape))}), got {tuple(pixels.shape)}"
            )
        return pixels

    def normalized(self, pixels: Tensor) -> Tensor:
        """Raw pixels (B, C, H, W), checked, minus the mean, over the deviation."""
        return (self.checked(pixels) - self.pixel_mean) / self.pixel_std

    def __getstate__(self) -> dict[str, Any]:
        """Without the loss term of the last forward pass: its graph cannot be copied or pickled."""
        return {name: None if name == "_penalty" else value for name, value in self.__dict__.items()}

    def banks(self) -> Iterator[ClauseBank]:
        """Every clause bank, those of gates and hidden layers included."""
        return (module for module in self.modules() if isinstance(module, ClauseBank))

    def advance_tau(self) -> None:
        """One step of the averages of tau, in training mode; a forward pass begins with it."""
        if self.training:
            for bank in self.banks():
                bank.threshold.advance()

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for an optimizer: matrices decay; biases, norms, positions, tokens and include logits do not.

        Decay would pull an include logit towards 0, which is the threshold: it would include literals, not forget them.
        What belongs to a layer of clauses (include logits, votes, biases of clauses) is at `clause_learning_rate_factor` times
        the common rate: an include logit has to cross half a unit or more before anything changes, a weight a few hundredths.
        """
        layers = (module for module in self.modules() if any(isinstance(c, ClauseBank) for c in module.children()))
        of_clauses = {id(parameter) for layer in layers for parameter in layer.parameters()}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {(False, False): [], (False, True): []}
        for name, parameter in self.named_parameters():
            free = parameter.ndim < 2 or name.endswith("include_logits") or name in {"positions", "class_token"}
            scaled = self.clause_learning_rate_factor != 1 and id(parameter) in of_clauses
            groups.setdefault((scaled, free), []).append(parameter)
        return [
            {"params": parameters, "weight_decay": 0.0 if free else weight_decay}
            | ({"rate_factor": self.clause_learning_rate_factor} if scaled else {})
            for (scaled, free), parameters in sorted(groups.items(), key=lambda entry: entry[0])
        ]
