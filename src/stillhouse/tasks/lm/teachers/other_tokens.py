"""A teacher that cuts text into other tokens than its student does.

Shapes: B windows, L tokens of the student, V tokens of the teacher, D width, N rows, Q questions (a row, and the bytes that are
known of its token).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.types import Outputs, OutputSpec
from stillhouse.tasks.lm.data.tokenizer import Tokenizer, cut_bytes, token_bytes
from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher

BYTES = 256
LEAST = 1e-12  # probability of a byte that no token goes on with: below it, differences of running sums are rounding


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


@dataclass(frozen=True)
class Cut:
    """A text as the teacher reads it.

    Attributes:
        data: its bytes.
        ids: (K,) tokens of the teacher.
        ends: (K,) bytes up to the end of each.
        probabilities: (K + 1, V): of each token before it is read, and of the one after the last.
    """

    data: bytes
    ids: list[int]
    ends: np.ndarray
    probabilities: Tensor

    @property
    def starts(self) -> np.ndarray:
        """(K,) bytes before each token."""
        return np.concatenate([[0], self.ends[:-1]])


class OtherTokensTeacher(LanguageTeacher):
    """A teacher with a tokenizer of its own; it is given the student's tokens, and reads the same text in its own.

    A line break is read before each window, so that its first token is predicted too. Where a text is not whole UTF-8 (a
    window may begin inside a letter), single bytes are read.

    Args:
        teacher: of its own tokens.
        theirs: its tokenizer, byte-level.
        ours: the student's, byte-level.

    Raises:
        InputError: another kind of vocabulary, or a tokenizer that changes texts.
    """

    def __init__(self, teacher: LanguageTeacher, theirs: Tokenizer, ours: Tokenizer) -> None:
        super().__init__(teacher.network, teacher.name)
        self.own, self.theirs = teacher, theirs
        self.prefixes = Prefixes(token_bytes(theirs))
        self.pieces = [text or b"" for text in token_bytes(ours)]
        self.lengths = {number: len(text) for text, number in self.prefixes.numbers.items()}
        self.begin = self.prefixes.numbers[b"\n"]
        self.vocab_size = ours.vocab_size
        self._fingerprint = f"{theirs.fingerprint} {ours.fingerprint}"

    @property
    def context(self) -> int | None:
        """That of the teacher less the line break: at worst every byte is a token."""
        longest = max(map(len, self.pieces))
        return None if self.own.context is None else (self.own.context - 1) // longest

    @property
    def identity(self) -> str:
        """SHA-256 of the teacher's, of both tokenizers, and of how they are joined."""
        return hashlib.sha256(f"{self.own.identity} {type(self).__name__} {self._fingerprint}".encode()).hexdigest()

    def tap(self, features: Sequence[str]) -> None:
        """Refuse to: features are of its own tokens.

        Raises:
            InputError: any feature.
        """
        if features:
            raise InputError(
                f"feature {features[0]!r}: the teacher cuts text into other tokens than the student, and its features have "
                "other positions; only its distribution can be learned from"
            )

    def spec(self, tokens: Tensor) -> OutputSpec:
        """Classes of the student."""
        return OutputSpec(self.vocab_size)

    @torch.no_grad()
    def read(self, data: bytes) -> Cut:
        """What the teacher expects along a text, in its own tokens.

        Raises:
            InputError: its tokenizer changes the text.
        """
        ids = cut_bytes(self.theirs, data)
        ends = np.cumsum([self.lengths.get(i, 0) for i in ids])
        if not len(ids) or ends[-1] != len(data):
            raise InputError(
                f"tokenizer {self.theirs.name}: expected one that keeps a text's bytes, got {ends[-1] if len(ids) else 0} for "
                f"{len(data)} of {data[:20]!r}"
            )
        row = torch.tensor([[self.begin, *ids]])
        probabilities = self.own.logits(self.own.hidden(row).logits)[0].softmax(-1)
        return Cut(data, ids, ends, probabilities)

    def nats(self, data: bytes) -> np.ndarray:
        """(bytes - 1,) nats of a text after its first byte, of its own cut; the nats of a token are shared out among its bytes.

        Other cuts of the text would add a little probability: an upper bound, and what the teacher's own score is.
        """
        cut = self.read(data)
        right = cut.probabilities[torch.arange(len(cut.ids)), torch.tensor(cut.ids)].double()
        zero, root = torch.zeros(1, dtype=torch.int64), torch.tensor([self.prefixes.node(b"")])
        first = self.prefixes.next_byte(cut.probabilities[:1], zero, root)[0, data[0]]
        found = np.zeros(len(data))
        for k, (start, end) in enumerate(zip(cut.starts, cut.ends)):
            value = -float((right[k] / (first if k == 0 else 1.0)).clamp(min=1e-300).log())
            counted = slice(1, max(end, 2)) if k == 0 else slice(start, end)
            found[counted] += value / (counted.stop - counted.start)
        return found[1:]

    def nll(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """(B, L) nats of the student's targets, as `metrics.nll` asks for: those of their bytes."""
        rows = torch.cat([inputs[:, :1], targets], 1).tolist()
        found = []
        for row in rows:
            parts = [self.pieces[i] for i in row]
            nats = np.concatenate([[0.0], self.nats(b"".join(parts))])
            ends = np.cumsum([len(part) for part in parts])
            found.append([nats[a:b].sum() for a, b in pairwise(ends)])
        return torch.tensor(found, dtype=torch.float32)


class ByteMarginals(OtherTokensTeacher):
    """Its distribution of the next byte, for a student of bytes: sums over the tokens that go on with each byte.

    Inside a token of the text's cut, only tokens that go on count; at its end, the first byte of the next one. So the teacher
    knows where the tokens of the text end. Averaged over texts, as learning by forward KL does, that is exact: the mean over
    the cuts that the known bytes leave open, by their probability, is the distribution of the next byte itself. At the last byte
    of a window, where the cut says nothing, both are added up.

    Raises:
        InputError: a student of other tokens.
    """

    def __init__(self, teacher: LanguageTeacher, theirs: Tokenizer, ours: Tokenizer) -> None:
        super().__init__(teacher, theirs, ours)
        if self.pieces != [bytes([b]) for b in range(BYTES)]:
            raise InputError(
                f"teacher.tokens byte-marginals: expected corpus.tokenizer bytes, got {ours.name}; a student of other tokens can "
                "learn by tokens: uld"
            )

    @torch.no_grad()
    def hidden(self, tokens: Tensor) -> Outputs:
        """(B, L, 256) log-probabilities of the next byte, in the place of hidden states."""
        rows = [self.next_bytes(bytes(row)) for row in tokens.tolist()]
        return Outputs(torch.stack(rows).to(self.device))

    def next_bytes(self, data: bytes) -> Tensor:
        """(L, 256) float32, the logarithm of the probability of each byte after each of L."""
        cut, size = self.read(data), len(data)
        place = np.arange(1, size)  # of the byte that is predicted
        of = np.searchsorted(cut.ends, place, side="right")
        nodes = [self.prefixes.node(data[cut.starts[k] : n]) for n, k in zip(place, of)]
        known = data[cut.starts[-1] :]
        last = len(cut.ids) - 1
        rows = torch.tensor([*of, last, last + 1])
        mass = self.prefixes.next_byte(
            cut.probabilities, rows, torch.tensor([*nodes, self.prefixes.node(known), self.prefixes.node(b"")])
        )
        ended = cut.probabilities[last, cut.ids[-1]].double() * mass[-1] / mass[-1].sum()
        mass = torch.cat([mass[:-2], mass[-2:-1] + ended])
        share = (mass / mass.sum(1, keepdim=True)).clamp(min=LEAST)
        return (share / share.sum(1, keepdim=True)).log().float()

    def logits(self, hidden: Tensor) -> Tensor:
        """The same: they are log-probabilities already."""
        return hidden


class SortedTokens(OtherTokensTeacher):
    """The sizes of its probabilities, largest first, wherever a token of both begins at the same byte; what ULD compares.

    The published form compares the t-th token of one with the t-th of the other, wherever these are in the text.

    Source: Boizard et al. 2024, arXiv:2402.12030.
    """

    @torch.no_grad()
    def hidden(self, tokens: Tensor) -> Outputs:
        """(B, L, student's tokens) probabilities from the largest on, in the place of hidden states; 0 where no token begins."""
        return Outputs(torch.stack([self._sorted(row) for row in tokens.tolist()]).to(self.device))

    def logits(self, hidden: Tensor) -> Tensor:
        """Refuse: sizes without their tokens are no distribution of the student's tokens.

        Raises:
            InputError: always.
        """
        raise InputError("teacher.tokens uld: sizes of probabilities have no tokens; only loss.kd_weight compares them")

    def _sorted(self, row: list[int]) -> Tensor:
        ends = np.cumsum([len(self.pieces[i]) for i in row])
        cut = self.read(b"".join(self.pieces[i] for i in row))
        starts = {int(end): k + 1 for k, end in enumerate(cut.ends[:-1])}
        found = torch.zeros(len(row), self.vocab_size)
        width = min(self.vocab_size, cut.probabilities.shape[1])
        for i, end in enumerate(ends):
            if int(end) in starts:
                found[i, :width] = cut.probabilities[starts[int(end)]].sort(descending=True).values[:width]
        return found
