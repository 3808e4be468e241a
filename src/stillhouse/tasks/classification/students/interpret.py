"""Which clauses vote most for a class, and where in the image they do.

A clause of any block reaches a class only through what follows it, so its vote is measured as activation times gradient:
`c_j(token) * d logit_k / d c_j(token)`. To first order these votes add up to what the clauses contribute to the logit
(Shrikumar et al. 2017, arXiv:1704.02685; Simonyan et al. 2014, arXiv:1312.6034).

Shapes: B images, N patch tokens, C clauses, K classes, L blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.sample import sample_rows
from stillhouse.tasks.classification.data.split import Split
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer


def block_votes(model: UnifiedTMTransformer, pixels: Tensor, class_number: int) -> dict[str, Tensor]:
    """Signed votes (B, N, C) of every clause at every patch for one class, by block; class token left out.

    Args:
        model: in eval mode, with clause feed-forwards.
        pixels: (B, channels, H, W) in [0, 1].
        class_number: k.

    Raises:
        InputError: a model without clause feed-forwards.
    """
    kept: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[[torch.nn.Module, object, Tensor], None]:
        def keep(module: torch.nn.Module, args: object, strength: Tensor) -> None:
            strength.retain_grad()
            kept[name] = strength

        return keep

    parts = model.feed_forwards()
    if not parts:
        raise InputError("clause votes: expected a transformer with clauses, this one has none")
    hooks = [part.bank.register_forward_hook(keeper(name)) for name, part in parts.items()]
    try:
        with torch.enable_grad():
            model(pixels)[:, class_number].sum().backward()
    finally:
        for hook in hooks:
            hook.remove()
    first = int(model.class_token is not None)
    votes = {name: (x.detach() * x.grad)[:, first:] for name, x in kept.items() if x.grad is not None}
    model.zero_grad(set_to_none=True)
    return votes


def strongest_clauses(
    model: UnifiedTMTransformer,
    split: Split,
    class_names: tuple[str, ...],
    *,
    per_class: int = 3,
    examples: int = 3,
    rows: int = 64,
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """The clauses that vote most for each class, with images and vote maps to draw.

    Args:
        model: a trained student with clauses.
        split: images to choose from: the validation split.
        class_names: K names.
        per_class: clauses shown for a class.
        examples: images shown for a clause.
        rows: images of the class that are averaged over, drawn by a fixed seed.

    Returns:
        The index (see `records`: clauses.json), images (E, channels, H, W) uint8, maps (E, H, W) float32.
    """
    model.eval()
    parts = model.feed_forwards()
    names = list(parts)
    classes: list[dict[str, Any]] = []
    pictures: list[np.ndarray] = []
    maps: list[np.ndarray] = []
    for number, name in enumerate(class_names):
        of_class = torch.nonzero(split.labels == number).flatten()
        if not len(of_class):
            continue
        chosen = split.batch(of_class[sample_rows(len(of_class), rows)]).inputs
        height, width = chosen.shape[-2:]
        votes = list(block_votes(model, chosen, number).values())  # L times (B, N, C)
        positive = torch.cat([v.sum(1).mean(0).clamp(min=0) for v in votes])
        share = positive / positive.sum().clamp(min=1e-12)
        owners = [(block, clause) for block, v in enumerate(votes) for clause in range(v.shape[2])]
        entries = []
        for flat in share.topk(min(per_class, share.numel())).indices.tolist():
            block, clause = owners[flat]
            own = votes[block][:, :, clause]  # (B, N)
            best = own.sum(1).topk(min(examples, len(chosen))).indices
            first = len(pictures)
            for image in best.tolist():
                pictures.append((chosen[image] * 255).round().to(torch.uint8).numpy())
                maps.append(_spread(own[image], model, height, width, names[block]))
            masks = parts[names[block]].bank.masks()
            entries.append(
                {
                    "block": block,
                    "clause": clause,
                    "share": float(share[flat]),
                    "positive_literals": int(masks[0][clause].sum()),
                    "negated_literals": int(masks[1][clause].sum()),
                    "images": list(range(first, len(pictures))),
                }
            )
        classes.append({"class": name, "clauses": entries})
    return {"classes": classes}, np.stack(pictures), np.stack(maps).astype(np.float32)


def _spread(votes: Tensor, model: UnifiedTMTransformer, height: int, width: int, block: str) -> np.ndarray:
    """(N) votes of a block's tokens as (H, W): every pixel of a token carries its vote; padding is left out."""
    stages = model.config.stages()
    stage = int(block.removeprefix("stage").partition("_")[0]) - 1 if model.swin else 0
    grid, side = stages[stage].grid, model.patch_size * 2**stage
    pixels = votes.reshape(grid).repeat_interleave(side, 0).repeat_interleave(side, 1)
    return pixels[:height, :width].numpy()
