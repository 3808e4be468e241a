"""Divergences over vocabularies: computed from hidden states chunk by chunk, so that (tokens x classes) is never held.

Shapes: N tokens, C tokens of a chunk, V classes, D width. p = softmax(teacher / T), q = softmax(student / T).

Logits, loss and gradients of a chunk are made in the forward pass, in place, and only the sums are kept: the gradient of a
divergence in its logits has a closed form, so nothing of size N x V has to wait for the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError, same_shape
from stillhouse.losses.softened import floored, wide

Divergence = Literal["forward-kl", "reverse-kl", "js"]
TeacherLogits = Callable[[Tensor], Tensor]
Comparison = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Grads = list[Tensor | None]

# logits of a chunk, 32 MiB in float32: a smaller one passes over the gradient of the weight too often, a larger one gains little
CHUNK_ELEMENTS = 2**23


class Projection(NamedTuple):
    """Logits that are not yet computed: `hidden @ weight.T`. (N, D) and (V, D)."""

    hidden: Tensor
    weight: Tensor


def fused_linear_divergence(
    student: Projection,
    teacher: Projection | TeacherLogits,
    *,
    divergence: Divergence = "forward-kl",
    beta: float = 0.5,
    temperature: float = 1.0,
    valid: Tensor | None = None,
    count: float | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Mean over tokens of a divergence between the student's logits and the teacher's, times T^2.

    Gradients of gradients (`create_graph=True`) are refused: take the dense form for them.

    Equal to `forward_kl`, `reverse_kl` or `generalized_js` of the logits in value and gradient, at a fraction of the memory: for
    language models the logits are the largest tensors of a step, and the dense form holds several of that size.

    Args:
        student: the gradient of its weight is summed in float32 at least.
        teacher: gets no gradient; its width may be another. Or a function (a cache, several teachers) that takes token numbers
            (c,) int64 of 0 to N - 1 and gives logits (c, V); called without gradients.
        divergence: which one.
        beta: weight of the teacher in the mixture of js, strictly between 0 and 1.
        temperature: a positive number.
        valid: (N,) bool, the tokens that count; None: all. The others reach neither the value nor a gradient.
        count: what the sum is divided by; None: the number of valid tokens. With micro-batches or several processes give the
            number of valid tokens of the whole batch, else short sequences weigh more.
        chunk: tokens at a time; None: as many as make 2^23 logits.

    Returns:
        0-d in nats times T^2. If no token is valid: 0, with gradients of 0.

    Raises:
        InputError: shapes do not fit, or a setting is out of its range.

    Example:
        Widths 1, hidden states 1: the weights are the logits. Teacher (3/4, 1/4), student (1/2, 1/2), as in `forward_kl`.

        >>> one = torch.ones(1, 1)
        >>> student, teacher = torch.tensor([[1.0], [1.0]]).log(), torch.tensor([[3.0], [1.0]]).log()
        >>> round(fused_linear_divergence(Projection(one, student), Projection(one, teacher)).item(), 4)
        0.1308

    Relations:
        `scores_kl` where only some of the teacher's logits are known.

    Source: the closed-form gradient in the forward pass: Hsu et al. 2024, arXiv:2410.10989 (Liger Kernel).
    """
    for side in (student, teacher):
        if isinstance(side, Projection) and (side[0].ndim, side[1].ndim, side[0].shape[1:]) != (
            2,
            2,
            side[1].shape[1:],
        ):
            raise InputError(
                f"expected hidden (N, D) and weight (V, D), got {tuple(side[0].shape)} and {tuple(side[1].shape)}"
            )
    n_tokens, n_classes = len(student.hidden), len(student.weight)
    if isinstance(teacher, Projection):
        same_shape("teacher's tokens and classes", (len(teacher.hidden), len(teacher.weight)), (n_tokens, n_classes))
    rows = _valid_rows(valid, n_tokens, student.hidden.device)
    common = torch.promote_types(student.hidden.dtype, student.weight.dtype)
    leaves = [x.to(common) for x in student]
    task = _Task(
        teacher_logits=partial(_linear, *teacher) if isinstance(teacher, Projection) else teacher,
        compare=partial(_js, beta=beta)
        if divergence == "js"
        else {"forward-kl": _forward, "reverse-kl": _reverse}[divergence],
        temperature=temperature,
        rows=rows,
        count=max(1, len(rows)) if count is None else count,
        chunk=chunk or max(1, CHUNK_ELEMENTS // max(1, n_classes)),
        wanted=tuple(torch.is_grad_enabled() and x.requires_grad for x in leaves),
    )
    value: Tensor = _Fused.apply(*leaves, task)[0]
    return value


@dataclass(frozen=True)
class _Task:
    """All that is not differentiated."""

    teacher_logits: TeacherLogits
    compare: Comparison
    temperature: float
    rows: Tensor
    count: float
    chunk: int
    wanted: tuple[bool, ...]

    def run(self, *leaves: Tensor) -> tuple[Tensor, Grads]:
        """The value and its gradients in hidden and weight, None where not wanted."""
        hidden = leaves[0]
        dtype = wide(hidden[:0]).dtype
        grads = [torch.zeros_like(x, dtype=dtype) if w else None for x, w in zip(leaves, self.wanted)]
        total = torch.zeros((), dtype=dtype, device=hidden.device)
        # autocast would make the logits bf16 behind the back of the dtypes that were given
        with torch.autocast(device_type=hidden.device.type, enabled=False):
            for rows in self.rows.split(self.chunk):
                total += self._add_chunk(rows, leaves, grads)
        return total * (self.temperature**2 / self.count), grads

    def _add_chunk(self, rows: Tensor, leaves: Any, grads: Grads) -> Tensor:
        """The summed loss of some tokens; their gradients are added. A function of its own, so that its logits end with it."""
        hidden, weight = leaves
        d_hidden, d_weight = grads
        scale = self.temperature / self.count  # d(T^2 L / count) / dz, where L sees z / T
        h = hidden[rows]
        s_CV = wide(nn.functional.linear(h, weight))
        given = self.teacher_logits(rows)
        same_shape("teacher logits of a chunk", tuple(given.shape), tuple(s_CV.shape))
        t_CV = given.to(s_CV.dtype) / self.temperature  # a copy, which may be overwritten
        loss, g_CV = self.compare(s_CV.div_(self.temperature), t_CV)
        del s_CV, t_CV  # one of them is the gradient now
        if d_hidden is not None:
            d_hidden[rows] = (g_CV.to(weight.dtype) @ weight).to(d_hidden.dtype) * scale
        if d_weight is not None:
            d_weight.addmm_(g_CV.t(), h.to(d_weight.dtype) * scale)
        return loss.sum()


class _Fused(torch.autograd.Function):
    """The value, and beside it its gradients, which the forward pass makes and the backward pass multiplies."""

    @staticmethod
    def forward(hidden: Tensor, weight: Tensor, task: _Task) -> tuple[Tensor | None, ...]:
        value, grads = task.run(hidden, weight)
        return value, *grads

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
        ctx.grads = output[1:]
        ctx.mark_non_differentiable(*(x for x in ctx.grads if x is not None))
        ctx.set_materialize_grads(False)  # nobody hands gradients of the gradients in: no zeros of their size

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # gradients as constants would silently drop the second derivative
            raise InputError("fused_linear_divergence: has no second derivatives; take the divergence of the logits")
        return *(None if grad is None else grad * outer[0] for grad in ctx.grads), None


# Each takes logits over T, overwrites both, and gives the loss (C,) and its gradient (C, V) in the student's, divided by T^2.
# What sums to 0, as q - p, is added class by class: it cancels the first order of each summand, all rounding where q is near p.


def _forward(s_CV: Tensor, t_CV: Tensor) -> tuple[Tensor, Tensor]:
    log_q, log_p = _log_softmax_(s_CV), _log_softmax_(t_CV)
    p = log_p.exp()
    weighted = _finite_(log_p).sub_(log_q).mul_(p)
    gradient = log_q.exp_().sub_(p)
    return weighted.add_(gradient).sum(1), gradient


def _reverse(s_CV: Tensor, t_CV: Tensor) -> tuple[Tensor, Tensor]:
    log_q, log_p = _log_softmax_(s_CV), _log_softmax_(t_CV)
    q = log_q.exp()
    log_p = floored(log_p)
    weighted = log_q.sub_(log_p).mul_(q)
    loss = log_p.exp_().sub_(q).add_(weighted).sum(1)
    return loss, weighted.sub_(q.mul_(loss.unsqueeze(1)))


def _js(s_CV: Tensor, t_CV: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    log_q, log_p = _log_softmax_(s_CV), _log_softmax_(t_CV)
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    p = log_p.exp()
    teachers = _finite_(log_p).sub_(log_m).mul_(p).sub_(p)
    q = log_q.exp()
    weighted = log_q.sub_(log_m).mul_(q)
    loss = log_m.exp_().add_(teachers, alpha=beta).add_(weighted - q, alpha=1 - beta).sum(1)
    gradient = weighted.sub_(q.mul_(weighted.sum(1, keepdim=True))).mul_(1 - beta)
    return loss, gradient


def _log_softmax_(x_CV: Tensor) -> Tensor:
    return x_CV.sub_(x_CV.logsumexp(1, keepdim=True))


def _finite_(log_p: Tensor) -> Tensor:
    """A class that is ruled out adds 0 times a finite number: 0 times -inf would be NaN."""
    return log_p.clamp_(min=torch.finfo(log_p.dtype).min)


def _linear(hidden: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    common = torch.promote_types(hidden.dtype, weight.dtype)
    return nn.functional.linear(hidden[rows].to(common), weight.to(common))


def _valid_rows(valid: Tensor | None, tokens: int, device: torch.device) -> Tensor:
    if valid is None:
        return torch.arange(tokens, device=device)
    same_shape("valid", tuple(valid.shape), (tokens,))
    if valid.dtype != torch.bool:
        raise InputError(f"valid: expected bool, got {valid.dtype}")
    return valid.nonzero().squeeze(1)
