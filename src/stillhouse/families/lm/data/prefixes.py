"""The next byte under a distribution over tokens: sums over all tokens that go on with it.

Shapes: N rows, V tokens, Q questions (a row, and the bytes that are known of its token).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BYTES = 256


class Prefixes:
    """Sums of probabilities over the tokens that begin with given bytes, for all of them at once.

    Tokens are sorted by their bytes, so those with a common beginning stand side by side, and their sum is the difference of two
    running sums.

    Args:
        tokens: the bytes of each token; None for one that stands for no text.

    Example:
        Of a, ab and ac, with probabilities 1/2, 1/3, 1/6: after a, if the token goes on, b has 1/3 and c 1/6.

        >>> prefixes = Prefixes([b"a", b"ab", b"ac"])
        >>> p = torch.tensor([[1 / 2, 1 / 3, 1 / 6]])
        >>> found = prefixes.next_byte(p, torch.tensor([0]), torch.tensor([prefixes.node(b"a")]))
        >>> [round(found[0, b].item(), 4) for b in b"bc"]
        [0.3333, 0.1667]
    """

    def __init__(self, tokens: Sequence[bytes | None]) -> None:
        listed = sorted((text, number) for number, text in enumerate(tokens) if text)
        self.order = torch.tensor([number for _, number in listed])
        self.numbers = dict(listed)
        first: dict[bytes, int] = {}
        counts: dict[bytes, np.ndarray] = {}
        for place, (text, _) in enumerate(listed):
            for end in range(len(text)):
                known = text[:end]
                if known not in first:
                    first[known], counts[known] = place, np.zeros(BYTES, np.int64)
                counts[known][text[end]] += 1
        self._nodes = {known: number for number, known in enumerate(first)}
        self.nowhere = len(first)  # no token goes on from here
        edges = np.zeros((len(first) + 1, BYTES + 1), np.int64)
        for known, number in self._nodes.items():
            edges[number] = first[known]
            edges[number, 1:] += np.cumsum(counts[known])
        self.edges = torch.from_numpy(edges)

    def node(self, known: bytes) -> int:
        """The number of a beginning; that of a whole token, or of no token's beginning, may be `nowhere`."""
        return self._nodes.get(known, self.nowhere)

    def next_byte(self, probabilities: Tensor, rows: Tensor, nodes: Tensor) -> Tensor:
        """(Q, 256) float64, for each byte the sum over the tokens that go on with it: not normalized.

        Args:
            probabilities: (N, V) over tokens.
            rows: (Q,) which of them.
            nodes: (Q,) what is known of the token, by `node`.
        """
        device = probabilities.device
        ordered = probabilities[:, self.order.to(device)].double()
        summed = torch.nn.functional.pad(ordered.cumsum(1), (1, 0))
        found: Tensor = summed[rows.to(device)[:, None], self.edges.to(device)[nodes.to(device)]].diff(dim=1)
        return found.clamp_(min=0)
