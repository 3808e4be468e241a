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
from stillhouse.core.types import ImageSpec, TextSpec
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
        from stillhouse.tasks.classification.data.labelled_texts import tokenizer_of

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
        path = Path(source)
        if source != "-" and path.suffix.lower() in (".csv", ".tsv", ".jsonl"):
            from stillhouse.tasks.classification.data.labelled_texts import read_rows

            rows = read_rows(path)
            if self.config.text_column not in rows[0]:
                names = map(str, rows[0])
                raise InputError(f"{path}: expected a column {self.config.text_column!r}; {nearest('text', names)}")
            texts = [str(row.get(self.config.text_column) or "") for row in rows]
        else:
            texts = lines_of(source)
        return Inputs([str(number) for number in range(1, len(texts) + 1)], texts)


@torch.no_grad()
def probabilities_of(network: Any, rows: Sequence[Tensor]) -> Sequence[Sequence[float]]:
    """(B, K) of a network in eval mode."""
    found: list[list[float]] = network(torch.stack(list(rows))).float().softmax(1).tolist()
    return found
