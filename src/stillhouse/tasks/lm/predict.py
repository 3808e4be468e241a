"""A student in use: lines of text into how many bits a byte they take, and what it would write after them. No torch by itself."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.predict import Inputs, Predictor, lines_of
from stillhouse.tasks.lm.results import PACKED
from stillhouse.tasks.lm.tokenizer import Tokenizer, load_tokenizer


class LinePredictor(Predictor):
    """Lines of text, scored and continued.

    Attributes:
        tokens: how many to write after each line; 0: none.
    """

    hub_task = "text-generation"
    takes: ClassVar[str] = "a text file, a line a text, or - for lines"

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        self.folder, self.tokenizer, self.tokens = folder, tokenizer, 0

    @abstractmethod
    def nats(self, ids: Any) -> float:
        """Of all tokens (L) after the first."""

    @abstractmethod
    def written(self, ids: Any, count: int) -> list[int]:
        """So many tokens after some, the likeliest each time."""

    def transform(self, one: Any) -> Any:
        """(L) token ids of a text.

        Raises:
            InputError: no text, or one without tokens.
        """
        if not isinstance(one, str):
            raise InputError(f"text: expected a string, got {type(one).__name__}")
        ids = self.tokenizer.encode(one)
        if not len(ids):
            raise InputError("text: expected at least one token, got an empty line")
        return ids

    def predict(self, inputs: Any) -> list[dict[str, Any]]:
        """For each text: its tokens, the bits of each byte after the first token (None for a text of one), a continuation."""
        found = []
        for text in [inputs] if isinstance(inputs, str) else inputs:
            ids = self.transform(text)
            row: dict[str, Any] = {"text": text, "tokens": len(ids), "bits_per_byte": None}
            if len(ids) > 1:
                size = len(self.tokenizer.decode(ids[1:]).encode())
                row["bits_per_byte"] = self.nats(ids) / float(np.log(2)) / max(1, size)
            if self.tokens:
                row["continuation"] = self.tokenizer.decode(self.written(ids, self.tokens))
            found.append(row)
        return found

    def read(self, source: str) -> Inputs:
        """Lines, by number."""
        lines = lines_of(source)
        return Inputs([str(number) for number in range(1, len(lines) + 1)], lines)


class PackedPredictor(LinePredictor):
    """By the packed student of `export --to packed`: numba and numpy.

    Raises:
        InputError: numba or tokenizers is not installed, or files that were changed.
    """

    def __init__(self, folder: Path) -> None:
        from stillhouse.tasks.lm.generator import SpikingGenerator
        from stillhouse.tasks.lm.packed import load_packed

        super().__init__(folder, load_tokenizer(str(folder)))
        self.generator = SpikingGenerator(load_packed(folder / PACKED))

    def nats(self, ids: Any) -> float:
        """A token at a time, from an empty state."""
        self.generator.reset()
        total = 0.0
        for token, following in pairwise(ids):
            logits = self.generator.step(int(token)).astype(np.float64)
            logits -= logits.max()
            total += float(np.log(np.exp(logits).sum()) - logits[following])
        return total

    def written(self, ids: Any, count: int) -> list[int]:
        """From an empty state."""
        self.generator.reset()
        return self.generator.generate(ids, count)


class TextPredictor(LinePredictor):
    """By the network itself, in torch."""

    def __init__(self, folder: Path) -> None:
        from stillhouse.tasks.lm.use import load_lm

        network, tokenizer, _ = load_lm(folder)
        super().__init__(folder, tokenizer)
        self.network = network

    def transform(self, one: Any) -> Any:
        """(L) token ids of a text as a tensor."""
        import torch

        return torch.from_numpy(super().transform(one))

    def nats(self, ids: Any) -> float:
        """In one pass."""
        import torch

        from stillhouse.tasks.lm.score import model_nll

        with torch.no_grad():
            return float(model_nll(self.network)(ids[None, :-1], ids[None, 1:]).sum())

    def written(self, ids: Any, count: int) -> list[int]:
        """By its own steps."""
        found = self.network.generate(ids[None], count)
        made: list[int] = found[0, len(ids) :].tolist()
        return made
