"""Lines of text into how many bits a byte they take, and what a student would write after them. No torch."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.predict import Inputs, Predictor, lines_of
from stillhouse.tasks.lm.data.tokenizer import Tokenizer, load_tokenizer
from stillhouse.tasks.lm.light import PACKED


class LineScores(Predictor):
    """Lines of text, scored and continued.

    Attributes:
        tokens: how many to write after each line; 0: none.
    """

    takes: ClassVar[str] = "a text file, a line a text, or - for lines"

    def __init__(self, folder: Path, tokenizer: Tokenizer, tokens: int = 0) -> None:
        self.folder, self.tokenizer, self.tokens = folder, tokenizer, tokens

    @abstractmethod
    def nats(self, ids: Any) -> float:
        """Of all tokens (L) after the first."""

    @abstractmethod
    def written(self, ids: Any, count: int) -> list[int]:
        """The likeliest tokens after some."""

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
        return np.asarray(ids).astype(np.int64)

    def predict(self, inputs: Any) -> list[dict[str, Any]]:
        """For each text: its tokens, the bits of each byte after the first token (None for a text of one), a continuation."""
        found = []
        for text in [inputs] if isinstance(inputs, str) else inputs:
            ids = self.transform(text)
            row: dict[str, Any] = {"text": text, "tokens": len(ids), "bits_per_byte": None}
            if len(ids) > 1:
                size = len(self.tokenizer.decode(np.asarray(ids[1:])).encode())
                row["bits_per_byte"] = self.nats(ids) / float(np.log(2)) / max(1, size)
            if self.tokens:
                row["continuation"] = self.tokenizer.decode(self.written(ids, self.tokens))
            found.append(row)
        return found

    def read(self, source: str) -> Inputs:
        """Lines, by number."""
        lines = lines_of(source)
        empty = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
        if empty is not None:
            raise InputError(f"{source}, line {empty}: expected text, got an empty line")
        return Inputs([str(number) for number in range(1, len(lines) + 1)], lines)


class PackedPredictor(LineScores):
    """Lines of text, by the packed student of `export --to packed`: numba and numpy.

    Raises:
        InputError: numba or tokenizers is not installed, or files that were changed.
    """

    def __init__(self, folder: Path) -> None:
        from stillhouse.tasks.lm.export.spiking_generator import SpikingGenerator

        super().__init__(folder, load_tokenizer(str(folder)))
        self.generator = SpikingGenerator.load(folder / PACKED)

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
        return self.generator.generate([int(token) for token in ids], count)
