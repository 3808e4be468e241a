"""Linear centered kernel alignment: how alike two sets of features are up to rotation and scale, and the loss made of it.

Shapes: n samples, D width of either side. Complex features are taken with their Hermitian products (x x^H), so a common phase
is a rotation like any other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stillhouse.losses.softened import compared_rows, wide, without_autocast

ROUNDING = 64  # an own product below this many roundings of its largest part is 0


@without_autocast
def linear_cka(x: Tensor, y: Tensor, *, debiased: bool = True) -> Tensor:
    """Similarity of two centered sets of features: 1 up to rotation, isotropic scale and shift, near 0 where unrelated.

    Centering is part of it: without it any two sets of features with a mean are alike. Without `debiased` unrelated features
    are alike too where the batch is smaller than the widths (0.93 at n = 32 with 312 against 768).

    Args:
        x: (n, D), real or complex.
        y: (n, D'), real or complex.
        debiased: the unbiased estimate of each product (HSIC_1); n at least 4. Else the plain one; n at least 3, since two
            rows are alike to any two others.

    Returns:
        0-d; in [0, 1] if not debiased, else at most 1 and possibly below 0. 0, without gradient, where one side is constant (or
        its debiased product with itself is 0: all rows equal but one).

    Raises:
        InputError: not two matrices of as many rows, or too few rows.

    Example:
        Plain: (-1, 0, 1) and (1, -2, 1) are orthogonal once centered. Their squares (1, 0, 1) and (1, 4, 1) run opposite.

        >>> x = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> linear_cka(x, 5 - 3 * x, debiased=False).item(), linear_cka(x, 3 * x.square(), debiased=False).item()
        (1.0, 0.0)

    Relations:
        `cka_loss` for training; `kernel_alignment_loss` is the formula without centering.

    Source: Kornblith et al. 2019, arXiv:1905.00414; unbiased: Song et al. 2012 (JMLR 13), eq. 5; Nguyen et al. 2021,
        arXiv:2010.15327. High CKA does not prove equal geometry: Davari et al. 2022, arXiv:2210.16156.
    """
    return _cka(x, y, debiased)[0]


@without_autocast
def cka_loss(student: Tensor, teacher: Tensor, *, debiased: bool = True) -> Tensor:
    """1 - CKA: pulls the student's whole arrangement of a batch towards the teacher's, whatever the widths.

    Args:
        student: (B, Ds), real or complex.
        teacher: (B, Dt); gets no gradient.
        debiased: as `linear_cka`; B at least 4. Leave it on: the plain form is small for unrelated features in small batches.

    Returns:
        0-d, at least 0 up to rounding; above 1 where the debiased estimate is below 0. A constant teacher teaches nothing:
        0, without gradient. A constant student: 1.

    Raises:
        InputError: as `linear_cka`.

    Example:
        >>> x = torch.tensor([[-1.0], [0.0], [1.0], [3.0]])
        >>> abs(round(cka_loss(2 * x, x).item(), 5))
        0.0

    Relations:
        `similarity_preserving` compares row by row.

    Source: as `linear_cka`.
    """
    value, constant = _cka(student, teacher.detach(), debiased)
    return (1 - value) * ~constant


@without_autocast
def kernel_alignment_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - tr(K_x K_y) / (|K_x| |K_y|) of the Gram matrices K_x = x x^H and K_y: CKA without centering, as it is often printed.

    Whatever both sides have in common in all samples, as a mean, counts as likeness, and unrelated features are alike in small
    batches: 0.58 of 32 samples of width 32 and 64, where `linear_cka` has 0.

    Args:
        student: (B, Ds), real or complex.
        teacher: (B, Dt); gets no gradient.

    Returns:
        0-d in [0, 1]. A teacher of zeros teaches nothing: 0, without gradient.

    Raises:
        InputError: not two matrices of as many rows, or fewer than 2.

    Example:
        >>> round(kernel_alignment_loss(torch.ones(2, 1), torch.eye(2)).item(), 4)
        0.2929

    Source: Cristianini et al. 2001 (On kernel-target alignment), definition 1.
    """
    value, constant = _cka(student, teacher.detach(), False, center=False)
    return (1 - value) * ~constant


def _cka(x: Tensor, y: Tensor, debiased: bool, *, center: bool = True) -> tuple[Tensor, Tensor]:
    """CKA, or kernel alignment without `center`, and whether the second side is constant (0 without `center`)."""
    compared_rows(x, y, "cka", (4 if debiased else 3) if center else 2)
    (x, flat_x), (y, flat_y) = _prepared(x, center), _prepared(y, center)
    cross, _ = _product(x, y, debiased)
    own = []
    for side, flat in ((x, flat_x), (y, flat_y)):
        value, largest = _product(side, side, debiased)
        # not `>`: a NaN must stay one
        own.append((value, flat | (value <= ROUNDING * torch.finfo(value.dtype).eps * largest)))
    none = own[0][1] | own[1][1]
    root = (own[0][0].masked_fill(none, 1.0) * own[1][0].masked_fill(none, 1.0)).sqrt()
    return cross * ~none / root, own[1][1]


def _prepared(x: Tensor, center: bool) -> tuple[Tensor, Tensor]:
    """Centered where that is wanted, the largest number near 1 (squares in float32 see the scale), and whether nothing varies."""
    x = x.to(torch.promote_types(x.dtype, torch.complex64)).resolve_conj() if x.is_complex() else wide(x)
    largest = x.detach().abs().amax()
    x = x / largest.masked_fill(largest == 0, 1.0)
    x = x - x.mean(dim=0) if center else x
    spread = x.detach().abs().amax()
    flat = spread <= 4 * torch.finfo(x.dtype).eps
    return x / spread.masked_fill(flat, 1.0), flat


def _product(x: Tensor, y: Tensor, debiased: bool) -> tuple[Tensor, Tensor]:
    """HSIC of two sides, once centered, up to the factor (n - 1)^2 or n (n - 3) that CKA cancels, and its largest part."""
    n = len(x)
    joint = torch.promote_types(x.dtype, y.dtype)
    x, y = x.to(joint), y.to(joint)
    twisted = None  # sum of products with one side not conjugated: differs from the trace for complex features only
    if n * (x.shape[1] + y.shape[1]) <= x.shape[1] * y.shape[1]:  # n^2 D is cheaper than n D^2
        gram_x, gram_y = x @ x.mH, y @ y.mH
        trace = _real(gram_x * gram_y.conj()).sum()
        if x.is_complex():
            twisted = _real(gram_x * gram_y).sum()
        own_x, own_y = _real(gram_x.diagonal()), _real(gram_y.diagonal())
        rows_x, rows_y = gram_x.sum(dim=1) - own_x, gram_y.sum(dim=1) - own_y
    else:
        trace = _squared(y.mH @ x).sum()
        if x.is_complex():
            twisted = _squared(y.mT @ x).sum()
        own_x, own_y = _squared(x).sum(dim=1), _squared(y).sum(dim=1)
        # rows sum to 0 once centered, up to rounding that the two forms share
        rows_x, rows_y = x @ x.sum(dim=0).conj() - own_x, y @ y.sum(dim=0).conj() - own_y
    if not debiased:
        return trace, trace.detach()
    own = (own_x * own_y).sum()
    total = _real(rows_x).sum() * _real(rows_y).sum()
    mixed = _real(rows_x * rows_y.conj()).sum()
    value = trace - own + total / ((n - 1) * (n - 2)) - 2 / (n - 2) * mixed
    if twisted is not None:
        # of four different samples, the pairs (i, j) and (q, r) may touch crosswise too: real products cannot distinguish
        crosswise = _real(rows_x * rows_y).sum()
        value = value + (2 * (mixed - crosswise) - (trace - twisted)) / ((n - 1) * (n - 2))
    return value, trace.detach()


def _real(x: Tensor) -> Tensor:
    return x.real if x.is_complex() else x


def _squared(x: Tensor) -> Tensor:
    return _real(x * x.conj())
