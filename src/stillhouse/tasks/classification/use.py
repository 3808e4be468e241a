"""A saved student with classes, for photos, arrays and texts as they come.

Legend: B inputs, C channels, H height, W width, K classes, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from stillhouse.core import records
from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import parse
from stillhouse.core.folder import run_above
from stillhouse.core.predict import Inputs, Predictor, lines_of
from stillhouse.core.types import FeatureSpec, ImageSpec, TextSpec
from stillhouse.tasks.classification.card import TOKENIZER, read_card
from stillhouse.tasks.classification.photos import Classes, PhotoClasses

Prepare = Callable[[Tensor], Tensor]  # pixels (1, C, H, W) in [0, 1] -> what the student reads


def open_predictor(task: Any, folder: Path, prepare: Prepare | None = None, channels: int | None = None) -> Predictor:
    """The predictor of a saved student: of images or of texts.

    Args:
        task: whose student it is.
        folder: of the student.
        prepare: what is made of an image before the student reads it; None: nothing.
        channels: of the image, where that is not what the student reads.
    """
    _, input_spec = read_card(folder, task.Students)
    network = task.load(folder)
    if isinstance(input_spec, FeatureSpec):
        return FeatureClasses(folder, network, input_spec)
    if isinstance(input_spec, TextSpec):
        return TextClasses(folder, network, input_spec)
    return ImageClasses(folder, network, input_spec, prepare, channels or input_spec.shape[0])


class ImageClasses(PhotoClasses):
    """Images into classes, by the network itself."""

    def __init__(
        self, folder: Path, network: Any, input_spec: ImageSpec, prepare: Prepare | None, channels: int
    ) -> None:
        super().__init__(folder, input_spec.class_names, (channels, *input_spec.shape[1:]))
        self.network, self.input_spec, self.prepare = network, input_spec, prepare

    def transform(self, one: Any) -> Tensor:
        """What the network reads of an image: see `PhotoClasses.transform`."""
        pixels = torch.from_numpy(super().transform(one))
        return pixels if self.prepare is None else self.prepare(pixels[None])[0]

    def probabilities(self, rows: Sequence[Tensor]) -> Sequence[Sequence[float]]:
        """Of the network."""
        return probabilities_of(self.network, rows)


class TextClasses(Classes):
    """Texts into classes, cut into tokens as the run's data were."""

    takes: ClassVar[str] = "a text file (a line a text), a .csv, .tsv or .jsonl with a column of texts, or - for lines"

    def __init__(self, folder: Path, network: Any, input_spec: TextSpec) -> None:
        from stillhouse.tasks.classification.data.config import TextDataConfig
        from stillhouse.tasks.classification.data.rows import tokenizer_of

        self.folder, self.network, self.input_spec, self.classes = folder, network, input_spec, input_spec.class_names
        card, run = records.read_object(folder / records.CARD, {}), run_above(folder)
        data = None if run is None else records.read_json(run / records.RUN)["config"].get("data", {})
        if "texts" in card:
            tokens = {"tokenizer": str(folder / TOKENIZER)} if TOKENIZER in card["sha256"] else {}
            data = {"name": "texts", "root": str(folder), **card["texts"], **tokens}
        if not data or data.get("name") != "texts":  # a card from before cards named them
            raise InputError(f"{folder}: the tokens of its texts are named by its run, and it lies in none")
        self.config = parse(TextDataConfig, data)
        self.encode, _ = tokenizer_of(self.config)

    def probabilities(self, rows: Sequence[Tensor]) -> Sequence[Sequence[float]]:
        """Of the network."""
        return probabilities_of(self.network, rows)

    def transform(self, one: Any) -> Tensor:
        """(L) token ids of a text, cut or padded.

        Raises:
            InputError: no text, or one without tokens.
        """
        assert isinstance(self.input_spec, TextSpec)
        if not isinstance(one, str):
            raise InputError(f"text: expected a string, got {type(one).__name__}")
        ids = list(self.encode(one))[: self.input_spec.length]
        if not ids:
            raise InputError(f"text: expected at least one word, got {one[:40]!r}")
        return torch.tensor([*ids, *[self.input_spec.padding] * (self.input_spec.length - len(ids))])

    def read(self, source: str) -> Inputs:
        """Texts, by the number of their line."""
        return texts_of(source, self.config.text_column)


class FeatureClasses(Classes):
    """Texts by their words, or rows of a table, into classes; the card has the vocabulary or the thresholds."""

    takes: ClassVar[str] = "a .csv, .tsv, .jsonl or .parquet of rows; of words also lines of text, or a sentence"

    def __init__(self, folder: Path, network: Any, input_spec: FeatureSpec) -> None:
        self.folder, self.network, self.input_spec, self.classes = folder, network, input_spec, input_spec.class_names

    def probabilities(self, rows: Sequence[Tensor]) -> Sequence[Sequence[float]]:
        """Of the network."""
        return probabilities_of(self.network, rows)

    def rules(self, lines: int | None = None) -> str:
        """What a student of rules or a scorecard decides by, on a screen: `print(stillhouse.load(run).rules())`.

        Args:
            lines: at most so many; None: as they were written at the end of its run.

        Raises:
            InputError: a student of another kind, or one whose run and data are gone.
        """
        from stillhouse.tasks.classification.readable_run import rules_of_folder

        return rules_of_folder(self.folder, self.network, self.input_spec, lines)

    def transform(self, one: Any) -> Tensor:
        """(F) counts of the features in a text, or in a mapping from columns to values; none is known: all 0.

        Raises:
            InputError: another kind of input, or a row that lacks a column.
        """
        return self.transform_all([one])[0]

    def transform_all(self, several: Sequence[Any]) -> Sequence[Tensor]:
        """The same of several, which share the vocabulary's table."""
        from stillhouse.tasks.classification.data.readers import read_features

        counts = read_features(self.input_spec.reading, self.input_spec.names, several)
        return torch.from_numpy(counts).float().unbind()

    def read(self, source: str) -> Inputs:
        """Texts or rows, by the number of their line; what is no file is a sentence."""
        if self.input_spec.reading["kind"] == "words":
            return texts_of(source, self.input_spec.reading["text_column"])
        from stillhouse.tasks.classification.data.readers import rows_of

        if source == "-":
            raise InputError(f"expected a table, got standard input; this student reads {self.takes}")
        rows = rows_of(Path(source))
        return Inputs([str(number) for number in range(1, len(rows) + 1)], rows)


def texts_of(source: str, column: str) -> Inputs:
    """Texts of a file or of standard input (`-`), by the number of their line; what is no file is one text itself.

    Args:
        source: a table with a column of texts, a file of lines, `-`, or a sentence.
        column: of the texts, in a table.

    Raises:
        InputError: a file that cannot be read, or lacks the column.
    """
    if not source.strip():
        raise InputError("expected a table, a file of lines, - or a sentence, got an empty text")
    path = Path(source)
    if " " in source and not path.exists():
        return Inputs(["1"], [source])
    if source != "-" and path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".parquet"):
        from stillhouse.tasks.classification.data.readers import rows_of

        rows = rows_of(path)
        if column not in rows[0]:
            raise InputError(f"{path}: expected a column {column!r}; {nearest('text', map(str, rows[0]))}")
        texts = [str(row.get(column) or "") for row in rows]
    else:
        texts = lines_of(source)
    return Inputs([str(number) for number in range(1, len(texts) + 1)], texts)


@torch.no_grad()
def probabilities_of(network: Any, rows: Sequence[Tensor]) -> Sequence[Sequence[float]]:
    """(B, K) of a network in eval mode."""
    found: list[list[float]] = network(torch.stack(list(rows))).float().softmax(1).tolist()
    return found
