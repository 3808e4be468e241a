"""A teacher that cuts text into other tokens than its student, whose tokens are bytes: its probability of the next byte.

Shapes: B windows, L bytes, V tokens of the teacher, K of them in a text, N rows, Q questions (a row, and what is known of its
token).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher
from stillhouse.tasks.lm.tokenizer import Tokenizer, cut_bytes, token_bytes
from stillhouse.teachers.teacher import Teacher

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


class ByteMarginals(Teacher):
    """A teacher of other tokens in the place of a `LanguageTeacher` of bytes: it is given bytes, and reads them in its own tokens.

    The probability of a byte is the sum over the tokens that agree with what is known of the current one and go on with that byte;
    averaged over texts this is the teacher's own distribution of the next byte. A line break is read before each window, so that
    its first token is predicted too. Where a text is not whole UTF-8 (a window may begin inside a letter), single bytes are read.

    Args:
        teacher: of its own tokens.
        theirs: its tokenizer, byte-level.

    Raises:
        InputError: another kind of vocabulary.
    """

    spec = OutputSpec(BYTES)

    def __init__(self, teacher: LanguageTeacher, theirs: Tokenizer) -> None:
        self.own, self.theirs, self.name, self.module = teacher, theirs, teacher.name, teacher.module
        self.context = None if teacher.context is None else teacher.context - 1  # at worst every byte is a token
        self.prefixes = Prefixes(token_bytes(theirs))
        self.lengths = {number: len(text) for text, number in self.prefixes.numbers.items()}
        self.begin = self.prefixes.numbers[b"\n"]

    @property
    def params(self) -> int:
        """Of the teacher."""
        return self.own.params

    def identity(self) -> str:
        """SHA-256 of the teacher's, and of its tokenizer."""
        return hashlib.sha256(f"{self.own.identity()} byte-marginals {self.theirs.fingerprint}".encode()).hexdigest()

    def with_features(self, features: Sequence[str], window: int) -> ByteMarginals:
        """Itself, asked for no features: those are of its own tokens.

        Raises:
            InputError: any feature.
        """
        if features:
            raise InputError(
                f"feature {features[0]!r}: the teacher cuts text into other tokens than the student, and its features have "
                "other positions; only its distribution can be learned from"
            )
        return self

    def __call__(self, batch: Batch) -> Outputs:
        """(B, L, 256) log-probabilities of the next byte."""
        self.module.to(batch.inputs.device)
        return Outputs(torch.stack([self.next_bytes(bytes(row)) for row in batch.inputs.tolist()]))

    def read(self, data: bytes) -> tuple[list[int], np.ndarray, Tensor]:
        """A text in the teacher's tokens: ids (K,), the bytes up to the end of each (K,), probabilities (K + 1, V) before each.

        Raises:
            InputError: its tokenizer changes the text.
        """
        ids = cut_bytes(self.theirs, data)
        ends = np.cumsum([self.lengths.get(i, 0) for i in ids])
        if ends[-1] != len(data):
            raise InputError(
                f"tokenizer {self.theirs.name}: expected one that keeps the bytes of a text, got others for {data[:20]!r}"
            )
        tokens = torch.tensor([[self.begin, *ids]], device=next(iter(self.module.parameters())).device)
        return ids, ends, self.own(Batch(tokens, tokens, torch.zeros(1))).logits[0].softmax(-1)

    def next_bytes(self, data: bytes) -> Tensor:
        """(L, 256) float32, the logarithm of the probability of each byte after each of L."""
        ids, ends, probabilities = self.read(data)
        starts, node, last = [0, *ends], self.prefixes.node, len(ids) - 1
        places = np.arange(1, len(data))  # of the byte that is predicted
        of = np.searchsorted(ends, places, side="right")
        nodes = [node(data[starts[k] : n]) for n, k in zip(places, of)]
        rows = torch.tensor([*of, last, last + 1])
        mass = self.prefixes.next_byte(
            probabilities, rows, torch.tensor([*nodes, node(data[starts[last] :]), node(b"")])
        )
        ended = probabilities[last, ids[-1]].double() * mass[-1] / mass[-1].sum()
        mass = torch.cat([mass[:-2], mass[-2:-1] + ended])
        share = (mass / mass.sum(1, keepdim=True)).clamp(min=LEAST)
        return (share / share.sum(1, keepdim=True)).log().float()

    def nats(self, data: bytes) -> np.ndarray:
        """(bytes - 1,) nats of a text after its first byte, of its own cut; the nats of a token are shared out among its bytes.

        Other cuts of the text would add a little probability: an upper bound, and what the teacher's own score is.
        """
        ids, ends, probabilities = self.read(data)
        right = probabilities[torch.arange(len(ids)), torch.tensor(ids)].double()
        root = torch.tensor([self.prefixes.node(b"")])
        first = self.prefixes.next_byte(probabilities[:1], torch.zeros(1, dtype=torch.int64), root)[0, data[0]]
        found = np.zeros(len(data))
        for k, (start, end) in enumerate(zip([0, *ends], ends)):
            value = -float((right[k] / (first if k == 0 else 1.0)).clamp(min=1e-300).log())
            counted = slice(1, max(end, 2)) if k == 0 else slice(start, end)
            found[counted] += value / (counted.stop - counted.start)
        return found[1:]

    def nll(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """(B, L) nats of target bytes."""
        rows = torch.cat([inputs[:, :1], targets], 1).tolist()
        return torch.from_numpy(np.stack([self.nats(bytes(row)) for row in rows])).float()
