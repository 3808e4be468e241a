"""Which clauses vote most for a class, and where in the image they do.

A clause of any block reaches a class only through what follows it, so its vote is measured as activation times gradient:
`c_j(token) * d logit_k / d c_j(token)`. To first order these votes add up to what the clauses contribute to the logit
(Shrikumar et al. 2017, arXiv:1704.02685; Simonyan et al. 2014, arXiv:1312.6034).

Shapes: B images, N patch tokens, C clauses, K classes, L blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.students.tsetlin.feed_forward import ClauseFeedForward
from stillhouse.students.tsetlin.transformer import UnifiedTMTransformer


def clause_votes(model: UnifiedTMTransformer, pixels: Tensor, class_number: int) -> Tensor:
    """Signed votes (L, B, N, C) of every clause of every block at every patch for one class; class token left out.

    Args:
        model: in eval mode, with clause feed-forwards.
        pixels: (B, channels, H, W) in [0, 1].
        class_number: k.
    """
    kept: list[Tensor] = []

    def keep(module: torch.nn.Module, args: object, strength: Tensor) -> None:
        strength.retain_grad()
        kept.append(strength)

    banks = [b.feed_forward.bank for b in model.blocks if isinstance(b.feed_forward, ClauseFeedForward)]
    hooks = [bank.register_forward_hook(keep) for bank in banks]
    try:
        with torch.enable_grad():
            model(pixels)[:, class_number].sum().backward()
    finally:
        for hook in hooks:
            hook.remove()
    votes = [strength.detach() * strength.grad for strength in kept if strength.grad is not None]
    model.zero_grad(set_to_none=True)
    first = int(model.class_token is not None)
    return torch.stack(votes)[:, :, first:]


def strongest_clauses(
    model: UnifiedTMTransformer,
    images: Tensor,
    labels: Tensor,
    class_names: tuple[str, ...],
    *,
    per_class: int = 3,
    examples: int = 3,
    rows: int = 64,
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """The clauses that vote most for each class, with images and vote maps to draw.

    Args:
        model: a trained student with clauses.
        images: (M, channels, H, W) in [0, 1], from the validation split.
        labels: (M) their classes.
        class_names: K names.
        per_class: clauses shown for a class.
        examples: images shown for a clause.
        rows: images of the class that are averaged over.

    Returns:
        The index (see `records`: clauses.json), images (E, channels, H, W) uint8, maps (E, H, W) float32.
    """
    model.eval()
    height, width = images.shape[-2:]
    classes: list[dict[str, Any]] = []
    pictures: list[np.ndarray] = []
    maps: list[np.ndarray] = []
    for number, name in enumerate(class_names):
        chosen = images[labels == number][:rows]
        if not len(chosen):
            continue
        votes = clause_votes(model, chosen, number)  # (L, B, N, C)
        mean = votes.sum(2).mean(1)  # (L, C)
        positive = mean.clamp(min=0)
        share = positive / positive.sum().clamp(min=1e-12)
        entries = []
        for flat in share.flatten().topk(min(per_class, share.numel())).indices.tolist():
            block, clause = divmod(flat, share.shape[1])
            own = votes[block, :, :, clause]  # (B, N)
            best = own.sum(1).topk(min(examples, len(chosen))).indices
            first = len(pictures)
            for image in best.tolist():
                pictures.append((chosen[image] * 255).round().to(torch.uint8).numpy())
                maps.append(_spread(own[image], model, height, width))
            bank = model.blocks[block].feed_forward.bank
            masks = bank.masks()
            entries.append(
                {
                    "block": block,
                    "clause": clause,
                    "share": float(share[block, clause]),
                    "positive_literals": int(masks[0][clause].sum()),
                    "negated_literals": int(masks[1][clause].sum()),
                    "images": list(range(first, len(pictures))),
                }
            )
        classes.append({"class": name, "clauses": entries})
    return {"classes": classes}, np.stack(pictures), np.stack(maps).astype(np.float32)


def _spread(votes: Tensor, model: UnifiedTMTransformer, height: int, width: int) -> np.ndarray:
    """(N) votes of the patches as (H, W): every pixel of a patch carries the patch's vote; padding is left out."""
    grid = votes.reshape(model.grid).repeat_interleave(model.patch_size, 0).repeat_interleave(model.patch_size, 1)
    return grid[:height, :width].numpy()
