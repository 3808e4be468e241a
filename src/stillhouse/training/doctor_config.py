"""What is looked at when the terms of a loss are examined. No torch."""

from __future__ import annotations

from pydantic import Field

from stillhouse.core.config import configclass

TASK = "labels"  # the term that the others are held against, unless the task or the user names another


@configclass
class DoctorConfig:
    """Every so many steps: how strongly each term pulls, and whether it pulls with the task or against it.

    A weight alone means little: a term of weight 1 may be a thousandth of the gradient or all of it. Costs one backward pass a
    term on the steps that are examined.
    """

    every: int = Field(default=100, gt=0, description="optimizer steps between two examinations")
    task: str | None = Field(
        default=None, min_length=1, description="the term that the others are held against [the task's own loss]"
    )
    dominating: float = Field(
        default=10.0, gt=1, description="ratio to the task's gradient above which a term dominates"
    )
    vanishing: float = Field(default=1e-3, gt=0, lt=1, description="ratio below which a term is as good as absent")
    conflicting: float = Field(
        default=-0.5, ge=-1, lt=0, description="cosine below which a term works against the task"
    )
    patience: int = Field(
        default=3, gt=0, description="examinations in a row before it is reported: one batch may be an exception"
    )
    edge: float = Field(
        default=0.01, gt=0, lt=0.5, description="share of its range within which a learned number is at its bound"
    )
    balance: bool = Field(default=False, description="set the weights of terms so that they reach target_ratio")
    target_ratio: float = Field(
        default=0.5, gt=0, description="wanted ratio of a balanced term's gradient to the task's"
    )
    smoothing: float = Field(
        default=0.9, ge=0, lt=1, description="share of the old weight (in logarithms) kept at each examination"
    )
    limit: float = Field(
        default=100.0, gt=1, description="balanced weights stay within this factor of the configured ones"
    )
