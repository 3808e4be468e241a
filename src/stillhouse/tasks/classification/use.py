"""A saved student with classes, for photos, arrays and texts as they come.

Legend: B inputs, C channels, H height, W width, K classes, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from stillhouse.core import records
from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import parse
from stillhouse.core.predict import Inputs, Predictor, lines_of
from stillhouse.core.types import FeatureSpec, TextSpec
from stillhouse.tasks.classification.card import TOKENIZER, read_card
from stillhouse.tasks.classification.data.boolean_features import BITS, boolean_features
from stillhouse.tasks.classification.data.config import TextDataConfig
from stillhouse.tasks.classification.data.readers import read_features, rows_of
from stillhouse.tasks.classification.data.rows import tokenizer_of
from stillhouse.tasks.classification.photos import Classes, PhotoClasses
from stillhouse.tasks.classification.readable import readable_of
from stillhouse.tasks.classification.students import has_clauses

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


def open_predictor(task: Any, folder: Path) -> Predictor:
    """The predictor of a saved student; one of boolean features reads those of the photo."""
    student, input_spec = read_card(folder, task.Students)
    network = task.load(folder)
    if isinstance(input_spec, FeatureSpec):
        return FeatureClasses(folder, network, input_spec)
    if isinstance(input_spec, TextSpec):
        return TextClasses(folder, network, input_spec)
    channels, rest = divmod(input_spec.shape[0], BITS)
    bits = has_clauses(student) and not rest and channels in (1, 3)
    shape = (channels if bits else input_spec.shape[0], *input_spec.shape[1:])
    return ImageClasses(folder, network, input_spec.class_names, shape, bits=bits)


class _OfNetwork(Classes):
    """By the network itself."""

    @torch.no_grad()
    def probabilities(self, rows: Sequence[Tensor]) -> Sequence[Sequence[float]]:
        """(B, K) of a network in eval mode."""
        found: list[list[float]] = self.network(torch.stack(list(rows))).float().softmax(1).tolist()
        return found


class ImageClasses(_OfNetwork, PhotoClasses):
    """Images into classes; `bits`: the network reads their boolean features."""

    def __init__(
        self, folder: Path, network: Any, classes: Sequence[str], shape: tuple[int, ...], *, bits: bool
    ) -> None:
        super().__init__(folder, classes, shape)
        self.network, self.bits = network, bits

    def transform(self, one: Any) -> Tensor:
        """What the network reads of an image: see `PhotoClasses.transform`."""
        pixels = torch.from_numpy(super().transform(one))
        return boolean_features(pixels[None]).float()[0] if self.bits else pixels


class TextClasses(_OfNetwork):
    """Texts into classes, cut into tokens as the run's data were."""

    hub_task = "text-classification"
    takes: ClassVar[str] = "a text file (a line a text), a .csv, .tsv or .jsonl with a column of texts, or - for lines"

    def __init__(self, folder: Path, network: Any, input_spec: TextSpec) -> None:
        self.folder, self.network, self.input_spec, self.classes = folder, network, input_spec, input_spec.class_names
        card = records.read_object(folder / records.CARD, {})
        if "texts" not in card:
            raise InputError(f"{folder}: its card does not name the tokens of its texts; train it again")
        tokens = {"tokenizer": str(folder / TOKENIZER)} if TOKENIZER in card["sha256"] else {}
        self.config = parse(TextDataConfig, {"name": "texts", "root": str(folder), **card["texts"], **tokens})
        self.encode, _ = tokenizer_of(self.config)

    def transform(self, one: Any) -> Tensor:
        """(L) token ids of a text, cut or padded.

        Raises:
            InputError: no text, or one without tokens.
        """
        ids = list(self.encode(one))[: self.input_spec.length] if isinstance(one, str) else []
        if not ids:
            raise InputError(f"text: expected a string with at least one word, got {one!r:.40}")
        return torch.tensor([*ids, *[self.input_spec.padding] * (self.input_spec.length - len(ids))])

    def read(self, source: str) -> Inputs:
        """Texts, by the number of their line."""
        return texts_of(source, self.config.text_column)


class FeatureClasses(_OfNetwork):
    """Texts by their words, or rows of a table, into classes; the card has the vocabulary or the thresholds."""

    takes: ClassVar[str] = "a .csv, .tsv, .jsonl or .parquet of rows; of words also lines of text, or a sentence"

    def __init__(self, folder: Path, network: Any, input_spec: FeatureSpec) -> None:
        self.folder, self.network, self.input_spec, self.classes = folder, network, input_spec, input_spec.class_names
        self.hub_task = f"{'text' if input_spec.reading['kind'] == 'words' else 'tabular'}-classification"

    def rules(self, lines: int | None = None) -> str:
        """What a student of rules or a scorecard decides by, on a screen: `print(stillhouse.load(run).rules())`.

        Args:
            lines: at most so many; None: as they were written at the end of its run.

        Raises:
            InputError: a student of another kind, or one whose run and data are gone.
        """
        from stillhouse.tasks.classification.exports import rules_of_folder

        return rules_of_folder(self.folder, self.network, self.input_spec, lines)

    def predict(self, inputs: Any) -> list[dict[str, Any]]:
        """As of other students; of one with rules `note` says where none of them holds."""
        found = super().predict(inputs)
        if hasattr(self.network, "readable") or hasattr(self.network, "points"):
            several = inputs if self.holds_several(inputs) else [inputs]
            model = readable_of(self.network, self.input_spec)
            holds = np.any(model.holds(read_features(model.reading, model.names, several)), axis=1)
            for row, some in zip(found, holds.tolist()):
                row["note"] = "" if some else "no rule holds: the default class"
        return found

    def transform(self, one: Any) -> Tensor:
        """(F) counts of the features in a text, or in a mapping from columns to values; none is known: all 0.

        Raises:
            InputError: another kind of input, or a row that lacks a column.
        """
        return self.transform_all([one])[0]

    def transform_all(self, several: Sequence[Any]) -> Sequence[Tensor]:
        """The same of several, which share the vocabulary's table."""
        counts = read_features(self.input_spec.reading, self.input_spec.names, several)
        return torch.from_numpy(counts).float().unbind()

    def read(self, source: str) -> Inputs:
        """Texts or rows, by the number of their line; what is no file is a sentence."""
        if self.input_spec.reading["kind"] == "words":
            return texts_of(source, self.input_spec.reading["text_column"])
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
    path = Path(source)
    if not source.strip():
        raise InputError("expected a table, a file of lines, - or a sentence, got an empty text")
    if " " in source and not path.exists():
        texts = [source]
    elif path.suffix.lower() in TABLES:
        rows = rows_of(path)
        if column not in rows[0]:
            raise InputError(f"{path}: expected a column {column!r}; {nearest(column, map(str, rows[0]))}")
        texts = [str(row.get(column) or "") for row in rows]
    else:
        texts = lines_of(source)
    return Inputs([str(number) for number in range(1, len(texts) + 1)], texts)
