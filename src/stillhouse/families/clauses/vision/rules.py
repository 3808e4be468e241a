"""The clauses that vote most for each class, in words: a file in the run folder.

Flat machines and transformers have rules of their own (`students.tsetlin.rules`); here is what serves any other network with
clause banks in it.

Legend: B images, C clauses, F bits, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.classification.data import ImageData
from stillhouse.core.records import write_atomically
from stillhouse.families.clauses.students.clauses import ClauseBank
from stillhouse.families.clauses.students.flat import FlatTM
from stillhouse.families.clauses.students.rules import flat_rules, transformer_rules
from stillhouse.families.clauses.students.transformer import UnifiedTMTransformer

RULES = "rules.txt"
LITERALS, CLAUSES, IMAGES, ROWS = (
    12,
    3,
    64,
    2048,
)  # shown of a clause, of a class; images averaged over, of a class, in all


def in_words(positive: Tensor, negated: Tensor, failures: int, names: Sequence[str]) -> str:
    """One clause as a sentence.

    Args:
        positive: (F) mask of literals x.
        negated: (F) mask of literals not x.
        failures: LF, misses that silence the clause.
        names: (F) what the bits are called.

    Example:
        >>> in_words(torch.tensor([1, 0, 1.0]), torch.tensor([0, 1, 0.0]), 2, ["a", "b", "c"])
        'a, c, not b (3 literals; silent from 2 misses on)'
    """
    wanted = [names[bit] for bit in positive.nonzero().flatten().tolist()]
    unwanted = [f"not {names[bit]}" for bit in negated.nonzero().flatten().tolist()]
    both = wanted + unwanted
    more = f", ... {len(both) - LITERALS} more" if len(both) > LITERALS else ""
    literals = ", ".join(both[:LITERALS]) + more if both else "nothing asked"
    return f"{literals} ({len(both)} literals; silent from {failures} misses on)"


def votes_of(model: nn.Module, pixels: Tensor, number: int) -> dict[str, Tensor]:
    """Signed votes (C) of every clause bank for one class, by module path: strength times gradient of the class score.

    Summed over the places that a bank is asked at (tokens, the class token too), mean over the images. To first order they add
    up to what the clauses give the score.

    Args:
        model: in eval mode.
        pixels: (B, channels, H, W).
        number: of the class.

    Source: Shrikumar et al. 2017, arXiv:1704.02685.
    """
    kept: dict[str, list[Tensor]] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: object, strength: Tensor) -> None:
            if strength.requires_grad:
                strength.retain_grad()
                kept.setdefault(name, []).append(strength)

        return hook

    banks = [(name, part) for name, part in model.named_modules() if isinstance(part, ClauseBank)]
    hooks = [part.register_forward_hook(keep(name)) for name, part in banks]
    try:
        with torch.enable_grad():
            output = model(pixels)
            logits = output[0] if isinstance(output, tuple) else output
            logits[:, number].sum().backward()
    finally:
        for hook in hooks:
            hook.remove()
    model.zero_grad(set_to_none=True)
    return {
        name: torch.stack([(x.detach() * x.grad).flatten(0, -2).sum(0) for x in strengths if x.grad is not None]).sum(0)
        / len(pixels)
        for name, strengths in kept.items()
        if any(x.grad is not None for x in strengths)
    }


def write_rules(student: Any, data: ImageData, folder: Path) -> Path | None:
    """`rules.txt` in the run folder, from validation images; None for a student without clauses."""
    if not any(isinstance(part, ClauseBank) for part in student.modules()):
        return None
    student.eval()
    batch = data.validation.batch(torch.arange(min(len(data.validation), ROWS)))
    shown = (batch.inputs, batch.labels, data.task.class_names)
    if isinstance(student, FlatTM):
        lines = ["What separates each class best, validation images. A literal is a pixel (row, column).", ""]
        lines += [str(rule) for rule in flat_rules(student, *shown)]
    elif isinstance(student, UnifiedTMTransformer):
        lines = [
            "What separates each class best, validation images. A bit is one learned threshold test on a patch.",
            "",
        ]
        if student.pool == "cls" and len(list(student.named_blocks())) == 1:
            lines += [
                "The only block's clauses at the patches come after the last attention: nothing of them reaches the class",
                "token, and their votes are 0. Take two blocks, or --transformer-pool mean, for rules that count.",
                "",
            ]
        lines += [str(rule) for rule in transformer_rules(student, *shown)]
    else:
        lines = _of_any(student, *shown)
    text = "\n".join(lines) + "\n"
    write_atomically(folder / RULES, lambda file: file.write(text.encode()))
    return folder / RULES


def _of_any(student: nn.Module, images: Tensor, labels: Tensor, class_names: Sequence[str]) -> list[str]:
    banks = {name: part for name, part in student.named_modules() if isinstance(part, ClauseBank)}
    lines = ["The clauses that vote most for each class (share of its positive clause votes, validation images)."]
    for number, name in enumerate(class_names):
        chosen = images[labels == number][:IMAGES]
        if len(chosen):
            lines += ["", f"class {name}", *_best(votes_of(student, chosen, number), banks)]
    return lines


def _best(votes: dict[str, Tensor], banks: dict[str, ClauseBank]) -> list[str]:
    positive = {name: x.clamp(min=0) for name, x in votes.items()}
    total = sum(float(x.sum()) for x in positive.values()) or 1.0
    ranked = sorted(((float(v), name, j) for name, x in positive.items() for j, v in enumerate(x)), reverse=True)
    lines = []
    for vote, name, clause in ranked[:CLAUSES]:
        bank = banks[name]
        wanted, unwanted = (mask[clause].detach() for mask in bank.masks())
        words = in_words(wanted, unwanted, bank.failures, [f"bit {bit}" for bit in range(bank.num_bits)])
        lines.append(f"  {name}, clause {clause}, share {vote / total:.1%}: {words}")
    return lines
