"""The n-gram that a language student adds its scores to: a trie in buffers, asked for whole texts.

Shapes: B batch, L length, V vocabulary, K entries, n longest context.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from stillhouse.tasks.lm.students import NGramConfig
from stillhouse.tasks.lm.students.trie import Expected, Trie, count_trie, tables_of


class NGramPrior(nn.Module):
    """Log-probabilities of a pruned n-gram model, with an explicit state; nothing of it learns by gradients.

    A new one knows nothing: all tokens are alike. Its arrays are buffers of a fixed size, so that they are saved, loaded and
    continued as the network's weights are.

    Args:
        vocab_size: V.
        config: longest sequence, and how many are kept.

    Example:
        >>> prior = NGramPrior(4, NGramConfig(order=2, entries=8))
        >>> scores, nodes = prior(torch.tensor([[1, 2, 3]]), prior.initial_state(1))
        >>> tuple(scores.shape), round(scores.exp().sum(-1).mean().item(), 4)
        ((1, 3, 4), 1.0)

    Source: Li et al. 2022, arXiv:2210.14431.
    """

    words: Tensor
    codes: Tensor
    fanout: Tensor

    def __init__(self, vocab_size: int, config: NGramConfig) -> None:
        super().__init__()
        self.vocab_size, self.contexts = vocab_size, config.order - 1
        empty = Trie.empty(vocab_size, config.entries)
        for name in ("words", "codes", "fanout"):
            self.register_buffer(name, torch.from_numpy(getattr(empty, name)))
        self._tables: dict[str, Tensor] | None = None
        self.register_load_state_dict_post_hook(_forget_tables)

    @property
    def trie(self) -> Trie:
        """Its arrays."""
        return Trie(*(getattr(self, name).cpu().numpy() for name in ("words", "codes", "fanout")))

    def fill(self, trie: Trie) -> None:
        """Take the arrays of a trie of this size."""
        for name in ("words", "codes", "fanout"):
            getattr(self, name).copy_(torch.from_numpy(getattr(trie, name)))
        self._tables = None

    def initial_state(self, batch: int) -> Tensor:
        """(B, n) of -1: no token yet."""
        return torch.full((batch, self.contexts), -1, device=self.words.device)

    @torch.no_grad()
    def nodes(self, tokens: Tensor, state: Tensor) -> Tensor:
        """(B, L, n): the nodes of the last 1, 2, ... tokens at each place of (B, L), -1 where they are not kept."""
        here, found = tokens, [tokens]
        for n in range(1, self.contexts):
            here = self._child(torch.cat([state[:, n - 1 : n], here[:, :-1]], 1), tokens)
            found.append(here)
        return torch.stack(found, -1)

    @torch.no_grad()
    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, L, V) of the token after each of (B, L), and the state after the last one."""
        t, V = self.tables(), self.vocab_size
        nodes = self.nodes(tokens, state)
        flat = nodes.flatten(0, 1)
        keep = torch.ones(flat.shape[0], device=tokens.device)
        places, values = [], []
        for node in reversed(flat.unbind(-1)):  # the longest context first
            rows = ((node >= 0) & (t["fanout"][node.clamp(min=0)] > 0)).nonzero()[:, 0]
            chosen = node[rows]
            count = t["fanout"][chosen]
            ends = count.cumsum(0)
            row = rows.repeat_interleave(count)
            at = torch.arange(row.shape[0], device=row.device) + (t["first"][chosen] - ends + count).repeat_interleave(
                count
            )
            places.append(row * V + t["words"][at])
            values.append(t["share"][at] * keep[row])
            keep[rows] *= t["rest"][chosen]
        p = keep.unsqueeze(-1) * t["single"]
        p.view(-1).index_add_(0, torch.cat(places), torch.cat(values))
        return p.log_().view(*tokens.shape, V), nodes[:, -1]

    def nll(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Nats (B, L) of the token after each of (B, L)."""
        return -self(inputs, self.initial_state(len(inputs)))[0].gather(-1, targets.unsqueeze(-1)).squeeze(-1)

    def tables(self) -> dict[str, Tensor]:
        """`tables_of` as tensors on the device of the buffers, made when they are first asked for."""
        if self._tables is None or self._tables["keys"].device != self.words.device:
            arrays = {name: torch.from_numpy(x) for name, x in tables_of(self.trie).items()}
            self._tables = {
                name: (x.float() if x.is_floating_point() else x).to(self.words.device) for name, x in arrays.items()
            }
        return self._tables

    def _child(self, node: Tensor, token: Tensor) -> Tensor:
        keys = self.tables()["keys"]
        if len(keys) == 0:
            return torch.full_like(node, -1)
        key = node * self.vocab_size + token  # below 0 without a node: found nowhere
        at = torch.searchsorted(keys, key.contiguous()).clamp(max=len(keys) - 1)
        return torch.where(keys[at] == key, self.vocab_size + at, -1)

    def __getstate__(self) -> dict[str, Any]:
        """Copies make tables of their own."""
        return {**self.__dict__, "_tables": None}


def held_out_priors(
    ids: ArrayLike, vocab_size: int, config: NGramConfig, rows: int, length: int, expected: Expected | None = None
) -> list[NGramPrior]:
    """For each part of a text's training rows, the n-gram counted on all other parts; none where the text is one part.

    A text's own n-gram predicts it far better than any other text (0.17 bits per byte on WikiText-2): a student that learns
    beside it learns to trust it too much.

    Args:
        ids: (N,) token ids; rows length + 1 of them with a teacher.
        vocab_size: V.
        config: of the n-gram, and into how many parts the text is cut.
        rows: training rows; row i is of part `part_of_rows(i)`.
        length: tokens of a row.
        expected: (rows length, k) tokens and probabilities of a teacher: see `count_trie`.
    """
    text, parts, priors = np.asarray(ids), min(config.held_out, rows), []
    for part in range(parts if parts > 1 else 0):
        mine = np.flatnonzero(part_of_rows(np.arange(rows), rows, parts) == part)
        cut = slice(mine[0] * length, (mine[-1] + 1) * length)
        others, *theirs = (np.delete(array, cut, 0) for array in (text, *(expected or ())))
        prior = NGramPrior(vocab_size, config)
        prior.fill(count_trie(others, vocab_size, config, (theirs[0], theirs[1]) if theirs else None))
        priors.append(prior)
    return priors


def part_of_rows(rows: Any, count: int, parts: int) -> Any:
    """Which part of the text each of some rows is of, an array or a tensor.

    Example:
        >>> part_of_rows(np.arange(5), 5, 2).tolist()
        [0, 0, 0, 1, 1]
    """
    return rows * parts // count


def _forget_tables(module: nn.Module, keys: Any) -> None:
    module._tables = None  # type: ignore[assignment]
