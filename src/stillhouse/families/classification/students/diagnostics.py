"""What the parts of a clause transformer put out on the way: read-outs per part, clause and head activity.

Shapes: B batch, N tokens, D width, C clauses, H heads, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stillhouse.families.classification.students.geometry import Stage


@dataclass(slots=True)
class Diagnostics:
    """What one forward pass showed, keyed by part: "patch_embed", "block_1" or "stage1_block1", "stage1_out", "pre_head".

    Attributes:
        logits: (B, K) of the read-out of each part and of each head ("block_1_head1"), and "final_decision"; only the last
            without `diagnostic_heads`.
        clause_mean: (C) mean strength of every clause of each block.
        head_mean: (H) how much of the clause activity goes with each head of each block (see `head_activity`).
    """

    logits: dict[str, Tensor] = field(default_factory=dict)
    clause_mean: dict[str, Tensor] = field(default_factory=dict)
    head_mean: dict[str, Tensor] = field(default_factory=dict)


class DiagnosticHeads(nn.Module):
    """A linear read-out after every part and after every attention head: how much of the answer is there already?

    By default they read detached features, so they learn and the trunk does not notice them. With `detached` off, their
    loss reaches the trunk (auxiliary heads).

    Args:
        stages: sizes of the model.
        num_classes: K.
        swin: name parts by stage and block, with one read-out more after each stage.
        detached: keep their loss from the trunk.
    """

    def __init__(self, stages: tuple[Stage, ...], num_classes: int, *, swin: bool, detached: bool = True) -> None:
        super().__init__()
        self.detached = detached
        self.parts = nn.ModuleDict({"patch_embed": nn.Linear(stages[0].width, num_classes)})
        self.heads = nn.ModuleDict()
        for stage_number, stage in enumerate(stages, start=1):
            for number in range(1, stage.depth + 1):
                name = part_name(stage_number, number, swin=swin)
                self.parts[name] = nn.Linear(stage.width, num_classes)
                narrow = stage.width // stage.heads
                self.heads[name] = nn.ModuleList(nn.Linear(narrow, num_classes) for _ in range(stage.heads))
            if swin:
                self.parts[f"stage{stage_number}_out"] = nn.Linear(stage.width, num_classes)
        self.parts["pre_head"] = nn.Linear(stages[-1].width, num_classes)

    def part(self, name: str, pooled: Tensor) -> Tensor:
        """Logits (B, K) of pooled tokens (B, D) after a part."""
        logits: Tensor = self.parts[name](pooled.detach() if self.detached else pooled)
        return logits

    def of_heads(self, name: str, context: Tensor) -> dict[str, Tensor]:
        """Logits (B, K) of each head of a block, from its pooled contexts (B, D)."""
        readers = self.heads[name]
        assert isinstance(readers, nn.ModuleList)
        parts = (context.detach() if self.detached else context).chunk(len(readers), dim=-1)
        return {f"{name}_head{j}": reader(p) for j, (reader, p) in enumerate(zip(readers, parts), start=1)}


def part_name(stage: int, block: int, *, swin: bool) -> str:
    """The usual name of a block, counted from 1.

    Example:
        >>> part_name(1, 2, swin=False), part_name(3, 2, swin=True)
        ('block_2', 'stage3_block2')
    """
    return f"stage{stage}_block{block}" if swin else f"block_{block}"


@torch.no_grad()
def head_activity(context: Tensor, strength: Tensor, heads: int) -> Tensor:
    """(H) clause activity that goes with each head: mean over clauses of mean strength times |correlation over tokens|
    between the clause's strength and the length of the head's context.

    The documents pair clauses with heads by cutting the list of clauses in H pieces, which pairs nothing with nothing.

    Args:
        context: (B, N, D) contexts of the heads side by side.
        strength: (B, N, C).
        heads: H.

    Example:
        A clause that fires exactly where head 0 is loud goes with head 0 alone:

        >>> loud = torch.tensor([0.0, 1.0, 0.0, 1.0]); other = torch.tensor([1.0, 1.0, 0.0, 0.0])
        >>> head_activity(torch.stack([loud, other], -1)[None], loud[None, :, None], 2).tolist()
        [0.5, 0.0]
    """
    lengths = context.float().unflatten(-1, (heads, -1)).norm(dim=-1).flatten(0, 1)  # (BN, H)
    activity = strength.float().flatten(0, 1)  # (BN, C)
    usage = activity.mean(0)
    lengths, activity = lengths - lengths.mean(0), activity - activity.mean(0)
    spread = lengths.norm(dim=0)[:, None] * activity.norm(dim=0)[None, :]
    correlation = (lengths.T @ activity).abs() / spread.clamp(min=1e-12)
    return (correlation * usage).mean(1)
