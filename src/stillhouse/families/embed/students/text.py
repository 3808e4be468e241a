"""Text -> code without the teacher: a table of token vectors, their weighted sum scaled to length 1, a small network, and votes.

Shapes: B texts, T tokens of all of them, V vocabulary, h numbers a token, m hidden width, d numbers of a code, F word features.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.layers.part import Student


class StaticTextStudent(Student):
    """u = sum_t w_t e_t over the tokens; x = u / ||u||; z = skip x + bias + w2 gelu(w1 x + b1) + sum_f r_f v_f / ||r||.

    The sum is scaled to length 1, so that a long text does not lie further out, and a weight can be folded into its vector. All
    texts without tokens have x = 0, and one code. v_f is the vote of a word feature f of the text, r_f how rare it is.

    Args:
        table: (V, h) the first token vectors.
        weight: (V,) the first token weights, positive.
        levels: numbers of each level of the code.
        hidden: m; 0 leaves the network out.
        output: of the first level: `euclidean` as it is, `sphere` of length 1, `tanh` in the box.
        scale: of output tanh: tanh(z / scale).
        features: F; 0: no votes.

    Example:
        >>> student = StaticTextStudent(torch.eye(3), torch.ones(3), levels=(2,), hidden=0)
        >>> student(torch.tensor([0, 1, 1]), torch.tensor([0, 2, 3])).shape  # tokens 0 1, token 1, none
        torch.Size([3, 2])

    Source: Arora et al. 2017 (weights by rarity, SIF); van Dongen, Tulkens 2024 (model2vec: static tables from a transformer).
    """

    def __init__(
        self,
        table: Tensor,
        weight: Tensor,
        *,
        levels: tuple[int, ...],
        hidden: int,
        output: str = "euclidean",
        scale: float | None = None,
        features: int = 0,
    ) -> None:
        super().__init__()
        if table.ndim != 2 or weight.shape != table.shape[:1] or not bool((weight > 0).all()):
            raise InputError(
                f"table: expected (V, h) and (V,) weights above 0, got {tuple(table.shape)} and {tuple(weight.shape)}"
            )
        if output not in ("euclidean", "sphere", "tanh") or (output == "tanh" and not (scale or 0) > 0):
            raise InputError(
                f"output: expected euclidean, sphere, or tanh with a scale above 0, got {output!r}, {scale}"
            )
        d, h = sum(levels), table.shape[1]
        self.levels, self.output, self.scale = levels, output, scale
        self.box = scale or 1.0  # read by tanh only, which has a scale
        self.table = nn.Parameter(table.clone())
        self.log_weight = nn.Parameter(weight.log())
        self.skip = nn.Parameter(torch.zeros(d, h))
        self.bias = nn.Parameter(torch.zeros(d))
        self.w1 = nn.Parameter(torch.empty(hidden, h))
        self.b1 = nn.Parameter(torch.zeros(hidden))
        self.w2 = nn.Parameter(torch.zeros(d, hidden))  # 0: the network starts as its linear map
        self.votes: Tensor | None
        self.rarity: Tensor | None
        # fitted in closed form, never trained: more steps would fit them to the last word
        self.register_buffer("votes", torch.zeros(features, d) if features else None)
        self.register_buffer("rarity", torch.zeros(features) if features else None)
        if hidden:
            nn.init.normal_(self.w1)  # x has length 1, so that each entry of w1 x has variance 1

    def forward(self, ids: Tensor, starts: Tensor, voted: Tensor | None = None) -> Tensor:
        """Tokens (T,) and where each text's begin (B,), and the votes (B, d) on these texts -> codes (B, d)."""
        return self.coded(self.pooled(ids, starts), voted)

    def voted(self, ids: Tensor, starts: Tensor) -> Tensor:
        """Word features (T,) and where each text's begin (B,) -> the sum of their votes (B, d)."""
        assert self.votes is not None
        assert self.rarity is not None
        rarity = self.rarity[ids]
        length = F.embedding_bag(ids, self.rarity.square()[:, None], starts, mode="sum").sqrt()
        total = F.embedding_bag(ids, self.votes, starts, mode="sum", per_sample_weights=rarity)
        return total / length.clamp_min(1e-12)

    def pooled(self, ids: Tensor, starts: Tensor) -> Tensor:
        """(B, h) of length 1; 0 for a text without tokens."""
        weights = self.log_weight[ids].exp()
        return F.normalize(F.embedding_bag(ids, self.table, starts, mode="sum", per_sample_weights=weights), dim=1)

    def coded(self, x: Tensor, voted: Tensor | None = None) -> Tensor:
        """(B, h) and what was voted (B, d) -> (B, d)."""
        hidden = F.gelu(F.linear(x, self.w1, self.b1), approximate="tanh")
        z = F.linear(x, self.skip, self.bias) + F.linear(hidden, self.w2)
        z = z if voted is None else z + voted
        first, rest = z[:, : self.levels[0]], z[:, self.levels[0] :]
        if self.output == "sphere":
            first = F.normalize(first, dim=1)
        elif self.output == "tanh":
            first = torch.tanh(first / self.box)
        return torch.cat([first, rest], dim=1)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Matrices of the network decay; the table does not, or tokens that no text holds would fade away."""
        decayed = [self.skip, self.w1, self.w2]
        return [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": [self.table, self.log_weight, self.bias, self.b1], "weight_decay": 0.0},
        ]

    @torch.no_grad()
    def fit_linear(self, x: Tensor, codes: Tensor, *, ridge: float = 1e-2) -> None:
        """Set the linear map to the ridge regression of codes on pooled rows: the student then starts at that anchor.

        Args:
            x: (n, h) pooled rows.
            codes: (n, d).
            ridge: penalty, as a share of the mean variance of x's columns.
        """
        x, codes = x.double(), self.before_output(codes.double())
        middle, target = x.mean(0), codes.mean(0)
        gram = (x - middle).T @ (x - middle)
        gram += (
            ridge * gram.diagonal().mean().clamp_min(1e-12) * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        )
        skip = torch.linalg.solve(gram, (x - middle).T @ (codes - target)).T
        self.skip.copy_(skip.to(self.skip.dtype))
        self.bias.copy_((target - skip @ middle).to(self.bias.dtype))

    def before_output(self, codes: Tensor) -> Tensor:
        """What the linear map has to put out for these codes: tanh undone in the first level."""
        if self.output != "tanh":
            return codes
        first = self.levels[0]
        inner = torch.atanh(codes[:, :first].clamp(-0.999, 0.999)) * self.box
        return torch.cat([inner, codes[:, first:]], dim=1)
