"""The signal of attention. Shapes: B batch, L positions, D width of queries, keys or values, H heads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.losses.attention import attention_kl, attention_score_mse, attention_scores, relation_kl
from stillhouse.signals.config.attention import PARTS, AttentionConfig


class AttentionSignal(nn.Module):
    """Attention, or relations of queries, keys and values, of one layer against another's; (B,) unweighted.

    Raises:
        InputError: a path that is not there, tensors that are not (B, L, D) or not three widths side by side, heads that do not
            divide a width, or lengths that differ.
    """

    def __init__(self, config: AttentionConfig, student: OutputSpec, teacher: OutputSpec) -> None:
        super().__init__()
        self.config, self.weight = config, config.weight
        between = "->".join("+".join(config.paths(side)) for side in ("student", "teacher"))
        self.name = f"attention:{config.what}:{between}"
        lengths = [self._length(side, spec) for side, spec in (("student", student), ("teacher", teacher))]
        if lengths[0] != lengths[1]:
            raise InputError(
                f"attention {between}: expected as many tokens on both sides, got {lengths[0]} and {lengths[1]} after "
                f"student_skip {config.student_skip} and teacher_skip {config.teacher_skip}"
            )

    def forward(self, said: Outputs, told: Outputs, batch: Batch, progress: Progress) -> Tensor:
        """(B,) of each sample."""
        ours = self._parts("student", said.features)
        theirs = {part: x.detach() for part, x in self._parts("teacher", told.features).items()}
        heads, causal = self.config.heads, self.config.causal
        mask = self._mask(batch, next(iter(ours.values())).shape[1])
        if self.config.what in ("values", "qkv-relations"):
            found = [relation_kl(ours[part], theirs[part], heads=heads, mask=mask, causal=causal) for part in ours]
            return torch.stack(found).mean(dim=0)
        scores = [attention_scores(side["q"], side["k"], heads=heads) for side in (ours, theirs)]
        compare = attention_kl if self.config.what == "probabilities" else attention_score_mse
        return compare(*scores, mask=mask, causal=causal)

    def _length(self, side: str, spec: OutputSpec) -> int:
        """Tokens left of a side; everything about its shapes that can be wrong is told here."""
        skip = self.config.student_skip if side == "student" else self.config.teacher_skip
        packed = len(self.config.paths(side)) == 1
        widths, lengths = {}, {}
        for part, path in self.config.read(side).items():
            if path not in spec.features:
                raise InputError(f"{side} feature {path!r} is not among its outputs; {nearest(path, spec.features)}")
            shape = spec.features[path]
            if len(shape) != 2 or (packed and shape[1] % 3):
                form = "(L, 3 D), queries, keys and values side by side" if packed else "(L, D)"
                raise InputError(f"{side} feature {path!r}: expected {form}, got {shape}")
            lengths[part], widths[part] = shape[0] - skip, shape[1] // 3 if packed else shape[1]
            if widths[part] % self.config.heads:
                raise InputError(
                    f"{side} feature {path!r}: expected heads that divide the width {widths[part]} of each of q, k and v, got "
                    f"{self.config.heads}"
                )
        if len(set(lengths.values())) > 1:
            raise InputError(f"{side}: expected queries, keys and values of one length, got {lengths}")
        if PARTS[self.config.what] == "qk" and widths["q"] != widths["k"]:
            raise InputError(
                f"{side}: expected queries and keys of one width, got {widths['q']} and {widths['k']}; keys that several query "
                "heads share are for what: qkv-relations"
            )
        length = next(iter(lengths.values()))
        if length < 1:
            raise InputError(f"{side}_skip: expected less than its {length + skip} tokens, got {skip}")
        if length < 2 and self.config.what != "scores":
            raise InputError(
                f"{side}: expected at least 2 tokens, got {length} after {side}_skip {skip}: a softmax over one is always 1"
            )
        return length

    def _parts(self, side: str, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """q, k, v (B, L, D), as far as they are read, without the leading tokens left out."""
        packed = len(self.config.paths(side)) == 1
        skip = self.config.student_skip if side == "student" else self.config.teacher_skip
        found = {}
        for part, path in self.config.read(side).items():
            x = features[path][:, skip:]
            found[part] = x.chunk(3, dim=2)["qkv".index(part)] if packed else x
        return found

    def _mask(self, batch: Batch, length: int) -> Tensor | None:
        """(B, L), true where there is a token; None where no padding is named."""
        if self.config.padding is None:
            return None
        ids = batch.inputs
        if ids.ndim != 2 or ids.is_floating_point():
            raise InputError(f"padding: expected token ids (B, L) as inputs, got {tuple(ids.shape)} of {ids.dtype}")
        there = ids != self.config.padding
        return there if there.shape[1] == length else there[:, self.config.student_skip :]
