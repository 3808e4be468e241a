"""Where clauses start: templates over the include logits of every bank, with clauses that differ from each other.

Shapes: C clauses, F bits.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

from stillhouse.core.checks import InputError, nearest
from stillhouse.families.classification.students.clauses import ClauseBank
from stillhouse.families.classification.students.core import TMLayer

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
        InputError: an unknown template, or a model without clauses.
    """
    if template not in get_args(Template):
        raise InputError(f"prior template: unknown {template!r}; {nearest(template, get_args(Template))}")
    if template == "none":
        return 0
    layers = [module for module in model.modules() if isinstance(module, TMLayer)]
    if not layers:
        raise InputError(f"prior template {template!r}: {type(model).__name__} has no clauses")
    for layer in layers:
        if template == "zero":
            layer.bank.reset_parameters(layer.bank.literals, spread=NEAR)
        else:
            _mirror(layer.bank)
            half = layer.bank.num_clauses // 2
            layer.votes.weight[:, half:] = -layer.votes.weight[:, :half]
        if layer.clause_bias is not None:
            layer.clause_bias.fill_(FOR_AND_AGAINST if template == "symmetric" else 0.0)
    return len(layers)


def _mirror(bank: ClauseBank) -> None:
    """The second half of the clauses asks for the negation of what the first half asks for."""
    half, logits = bank.num_clauses // 2, bank.include_logits
    logits[:, half:] = logits[:, :half].flip(0)
