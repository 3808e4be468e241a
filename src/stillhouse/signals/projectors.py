"""Maps from the student's width to the teacher's. Learned with the student, saved for resume, dropped at export.

Shapes: ... rows (samples, positions), S width of the student, D width of the teacher.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from stillhouse.core.checks import InputError
from stillhouse.core.config import configclass
from stillhouse.core.processes import gather

ProjectorKind = Literal["linear", "mlp", "orthogonal", "none"]
Initialize = Literal["default", "orthogonal", "least-squares"]


class LeastSquaresLinear(nn.Linear):
    """A linear map that starts where the first batch puts it: the ridge solution of features to targets.

    A random start asks the student for features that a random map turns into the teacher's; this one asks first what the
    student's features hold already. Fitted once, in the first training step; the flag travels with the weights.

    Args:
        student_width: S.
        teacher_width: D.
        ridge: share of the mean variance of a channel that is added to all, since a batch may have fewer rows than channels.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> fit = LeastSquaresLinear(1, 1, ridge=0.0).fit_once(x, 3 * x + 1)
        >>> round(fit.weight.item(), 4), round(fit.bias.item(), 4)
        (3.0, 1.0)
    """

    fitted: Tensor

    def __init__(self, student_width: int, teacher_width: int, *, ridge: float = 1e-3) -> None:
        super().__init__(student_width, teacher_width)
        self.ridge = ridge
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def fit_once(self, student: Tensor, teacher: Tensor) -> LeastSquaresLinear:
        """Set weight and bias from rows (..., S) and (..., D); does nothing the second time, in evaluation, or on NaN."""
        if self.fitted or not self.training:
            return self
        # of several processes all fit to the rows of all, or their projectors would differ
        x, y = (gather(rows.flatten(0, -2)).double() for rows in (student, teacher))
        if not (x.isfinite().all() and y.isfinite().all()):
            return self
        x_mean, y_mean = x.mean(0), y.mean(0)
        x, y = x - x_mean, y - y_mean
        gram = x.T @ x
        gram.diagonal().add_(self.ridge * gram.diagonal().mean())
        weight = (torch.linalg.pinv(gram, hermitian=True) @ x.T @ y).T
        self.weight.copy_(weight)
        self.bias.copy_(y_mean - weight @ x_mean)
        self.fitted.fill_(True)
        return self


def build_projector(
    kind: ProjectorKind, student_width: int, teacher_width: int, *, initialize: Initialize = "default"
) -> nn.Module:
    """A projector (..., S) -> (..., D).

    A strong projector can learn the teacher's features by itself: then the loss falls and the student's own features do
    not come nearer. `linear` is the usual compromise, `orthogonal` cannot bend the student's geometry at all.

    Args:
        kind: linear; mlp (two layers, GELU between, as wide as the teacher); orthogonal (an isometry: W^T W = I, or W W^T = I
            where the teacher is narrower; no bias; it stays one through every optimizer step); none.
        student_width: S.
        teacher_width: D.
        initialize: how `linear` starts: torch's default, a random orthogonal matrix, or the least squares of the first batch.

    Returns:
        A module; `nn.Identity` for none.

    Raises:
        InputError: widths differ and kind is none, or a start that the kind does not have.

    Example:
        >>> build_projector("orthogonal", 4, 6)(torch.eye(4)).square().sum(1).round(decimals=4).tolist()
        [1.0, 1.0, 1.0, 1.0]

    Source: Romero et al. 2015, arXiv:1412.6550 (FitNets' regressor); Miles et al. 2024, arXiv:2403.06213 (orthogonal).
    """
    if kind == "none" and student_width != teacher_width:
        raise InputError(f"widths {student_width} and {teacher_width} differ; take projector: linear")
    if initialize != "default" and kind != "linear":
        raise InputError(f"initialize: expected default with projector {kind}, got {initialize}")
    if kind == "none":
        return nn.Identity()
    if kind == "mlp":
        return nn.Sequential(
            nn.Linear(student_width, teacher_width), nn.GELU(), nn.Linear(teacher_width, teacher_width)
        )
    if kind == "orthogonal":
        return parametrizations.orthogonal(nn.Linear(student_width, teacher_width, bias=False))
    if initialize == "least-squares":
        return LeastSquaresLinear(student_width, teacher_width)
    linear = nn.Linear(student_width, teacher_width)
    if initialize == "orthogonal":
        nn.init.orthogonal_(linear.weight)
        nn.init.zeros_(linear.bias)
    return linear


def project(projector: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
    """The student's rows in the teacher's width; the first batch sets a least-squares projector."""
    if isinstance(projector, LeastSquaresLinear):
        projector.fit_once(student.detach(), teacher.detach())
    out: Tensor = projector(student)
    return out


class Projector:
    """A choice of projector; its widths are known when the signal is built."""

    kind: ProjectorKind

    def build(self, student_width: int, teacher_width: int) -> nn.Module:
        """(..., S) -> (..., D)."""
        return build_projector(self.kind, student_width, teacher_width)


@configclass
class LinearProjector(Projector):
    """A learned linear map."""

    kind: Literal["linear"] = "linear"
    initialize: Initialize = Field(
        default="default", description="how it starts; least-squares: fitted to the first batch"
    )

    def build(self, student_width: int, teacher_width: int) -> nn.Module:
        """(..., S) -> (..., D)."""
        return build_projector("linear", student_width, teacher_width, initialize=self.initialize)


@configclass
class MLPProjector(Projector):
    """Two layers with GELU between."""

    kind: Literal["mlp"] = "mlp"


@configclass
class OrthogonalProjector(Projector):
    """A learned isometry."""

    kind: Literal["orthogonal"] = "orthogonal"


@configclass
class NoProjector(Projector):
    """Equal widths as they are."""

    kind: Literal["none"] = "none"


AnyProjector = LinearProjector | MLPProjector | OrthogonalProjector | NoProjector
