"""Where the clauses of any network are: one way to hear and to change what every clause bank puts out.

Shapes: B images, P places that a bank is asked at (tokens, positions, 1 for the whole image), C clauses, F bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.tasks.classification.students.clauses import ClauseBank
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer

FAR = 30.0  # an include logit that is surely on one side of any threshold


@dataclass(frozen=True, eq=False)
class ClauseModule:
    """One bank of clauses in a network.

    Attributes:
        name: as people read it ("block_2", "clauses").
        bank: the clauses.
    """

    name: str
    bank: ClauseBank

    def by_place(self, strength: Tensor, images: int) -> Tensor:
        """(B, P, C) of the strengths as the network has them."""
        return strength.reshape(images, -1, strength.shape[-1])

    def failing(self, bits: Tensor, images: int) -> tuple[Tensor, Tensor]:
        """(B, P, F) truth values each: where a literal x fails, and where a literal not x does."""
        flat = bits.reshape(images, -1, bits.shape[-1]) > 0
        return ~flat, flat


def sites(model: nn.Module) -> dict[str, ClauseModule]:
    """Every bank of clauses by its name, in the order of the network; empty for a network without clauses."""
    named = (
        {id(part.bank): n for n, part in model.feed_forwards().items()}
        if isinstance(model, UnifiedTMTransformer)
        else {}
    )
    banks = [(path, part) for path, part in model.named_modules() if isinstance(part, ClauseBank)]
    found: dict[str, ClauseModule] = {}
    for path, bank in banks:
        name = named.get(id(bank)) or ("clauses" if len(banks) == 1 else _readable(path, [other for other, _ in banks]))
        found[name] = ClauseModule(name, bank)
    return found


@contextmanager
def signal_set(
    found: Mapping[str, ClauseModule], hear: Callable[[ClauseModule, Tensor, Tensor], Tensor | None]
) -> Iterator[None]:
    """While open, `hear` gets every site with its bits and strengths, as the network has them, and may return other strengths."""
    with ExitStack() as stack:
        for site in found.values():
            stack.callback(site.bank.register_forward_hook(_hook(site, hear)).remove)
        yield


def _hook(
    site: ClauseModule, hear: Callable[[ClauseModule, Tensor, Tensor], Tensor | None]
) -> Callable[..., Tensor | None]:
    return lambda bank, args, strength: hear(site, args[0], strength)


@torch.no_grad()
def round_weights(model: nn.Module) -> None:
    """Write the hard masks of every bank into its include logits, far from the threshold, so that single literals can be changed.

    Nothing that the network puts out changes; a literal budget has done its work and is lifted.
    """
    for site in sites(model).values():
        positive, negated = (mask.bool() for mask in site.bank.masks())
        site.bank.literal_budget = None
        write_masks(site.bank, positive, negated)


@torch.no_grad()
def write_masks(bank: ClauseBank, positive: Tensor, negated: Tensor) -> None:
    """Give a bank these literals (C, F): x and not x."""
    bank.include_logits.copy_(FAR * (2 * torch.stack([positive, negated]).float() - 1))


def literals_of(site: ClauseModule, clause: int) -> list[int]:
    """Its literals, ascending: f for bit f, F + f for its negation."""
    masks: Any = torch.cat([mask[clause] for mask in site.bank.masks()])
    return [int(f) for f in masks.detach().nonzero().flatten()]


def _readable(path: str, others: Sequence[str]) -> str:
    """A bank's path without the words that say nothing; layers are numbered where there are several.

    Example:
        >>> paths = ["blocks.0.clauses.layer.bank", "core.layers.0.bank", "core.layers.1.bank", "head.core.layers.0.bank"]
        >>> [_readable(path, paths) for path in paths]
        ['blocks 1 clauses', 'layers 1', 'layers 2', 'head']
    """
    stem = path.removesuffix(".layers.0.bank")
    if stem != path and f"{stem}.layers.1.bank" not in others:
        path = stem
    plain = re.sub(r"\.(\d+)", lambda found: f" {int(found[1]) + 1}", f".{path}")
    words = [word for word in plain.split(".") if word and word not in {"core", "bank", "layer"}]
    return " ".join(words) or "clauses"
