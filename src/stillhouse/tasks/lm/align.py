"""Mixer alignment: each mixer of the student learns what the teacher's attention makes of the same inputs, layer by layer.

Shapes: B batch, L length, D width of the student, E width of the teacher.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.signals.layer_maps import uniform_map

NORMS = ("input_layernorm", "ln_1", "norm1", "attention_norm")
ATTENTIONS = ("self_attn", "attn", "attention")


class MixerAlignment(nn.Module):
    """Mean over layers of |out(mixer(in(x))) - attention(x)|^2 / var(attention(x)), x being the teacher's own inputs.

    Nothing of the vocabulary is touched, so a step costs a part of a distillation step. Widths that differ are joined by a
    learned linear map on each side, which are not kept; equal widths need none, and then the maps learned are the student's.

    Args:
        student: a `SpikingLM`.
        teacher: a network of transformers whose decoder layers have a norm and attention of the usual names.

    Raises:
        InputError: a teacher whose layers are not recognized, or that has fewer than the student.

    Source: Goldstein et al. 2025, arXiv:2505.03005 (RADLADS), step 1.
    """

    def __init__(self, student: Any, teacher: Any) -> None:
        super().__init__()
        pairs = attention_paths(teacher)
        width, other = int(student.config.width), int(teacher.get_input_embeddings().weight.shape[1])
        self.chosen = [pairs[k - 1] for _, k in uniform_map(len(student.blocks), len(pairs))]

        def joint(a: int, b: int) -> nn.Module:
            return nn.Identity() if width == other else nn.Linear(a, b, bias=False)

        self.inward = nn.ModuleList(joint(other, width) for _ in self.chosen)
        self.outward = nn.ModuleList(joint(width, other) for _ in self.chosen)

    @property
    def paths(self) -> tuple[str, ...]:
        """Sub-modules of the teacher that are listened to."""
        return tuple(dict.fromkeys(path for pair in self.chosen for path in pair))

    def forward(self, student: Any, teacher_features: Any) -> Tensor:
        """0-d: the share of the attentions' variance that is missed, over all layers.

        Args:
            student: the network whose mixers learn.
            teacher_features: by path, (B, L, E).
        """
        values = []
        for block, inward, outward, (norm, attention) in zip(student.blocks, self.inward, self.outward, self.chosen):
            target = teacher_features[attention].detach().float()
            found = outward(block.mixer(inward(teacher_features[norm].detach().float()))[0])
            values.append((found - target).square().mean() / target.var().clamp(min=1e-8))
        return torch.stack(values).mean()


def attention_paths(network: Any) -> list[tuple[str, str]]:
    """(norm before attention, attention) of every decoder layer, as `named_modules` spells them.

    Raises:
        InputError: no layer with both.
    """
    names = {name for name, _ in network.named_modules()}
    found = []
    for name in names:
        layer, _, last = name.rpartition(".")
        norm, number = next((f"{layer}.{n}" for n in NORMS if f"{layer}.{n}" in names), None), layer.rpartition(".")[2]
        if last in ATTENTIONS and norm is not None and number.isdigit():
            found.append((int(number), norm, name))
    if not found:
        raise InputError(
            f"align: expected decoder layers with {' or '.join(ATTENTIONS)} and a norm before it, found none in "
            f"{type(network).__name__}"
        )
    return [(norm, attention) for _, norm, attention in sorted(found)]
