"""A saved student with classes, for photos, arrays and texts as they come.

Legend: B inputs, C channels, H height, W width, K classes, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from stillhouse.classification.card import read_card
from stillhouse.core import records
from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import parse
from stillhouse.core.folder import run_above
from stillhouse.core.predict import Inputs, Predictor, array_of, check_finite, lines_of
from stillhouse.core.types import ImageTask, TextTask

BATCH = 256
IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
Prepare = Callable[[Tensor], Tensor]  # pixels (1, C, H, W) in [0, 1] -> what the student reads


def open_predictor(family: Any, folder: Path, prepare: Prepare | None = None, channels: int | None = None) -> Predictor:
    """The predictor of a saved student: of images or of texts.

    Args:
        family: whose student it is.
        folder: of the student.
        prepare: what is made of an image before the student reads it; None: nothing.
        channels: of the image, where that is not what the student reads.
    """
    _, task = read_card(folder, family.Students)
    network = family.load(folder)
    if isinstance(task, TextTask):
        return TextClasses(folder, network, task)
    return ImageClasses(folder, network, task, prepare, channels or task.shape[0])


class _Classes(Predictor):
    """What images and texts have in common."""

    def __init__(self, folder: Path, network: Any, task: ImageTask | TextTask) -> None:
        self.folder, self.network, self.task = folder, network, task
        self.classes = task.class_names

    def predict(self, inputs: Any) -> list[dict[str, Any]]:
        """For each input its class, that class's probability, and the probabilities of all."""
        several = inputs if isinstance(inputs, (list, tuple)) or _is_batch(inputs, self.task) else [inputs]
        found: list[dict[str, Any]] = []
        for start in range(0, len(several), BATCH):
            rows = torch.stack([self.transform(one) for one in several[start : start + BATCH]])
            with torch.no_grad():
                probabilities = self.network(rows).float().softmax(1).tolist()
            found += [self._answer(row) for row in probabilities]
        return found

    def _answer(self, row: Sequence[float]) -> dict[str, Any]:
        best = max(range(len(row)), key=row.__getitem__)
        return {"class": self.classes[best], "probability": row[best], "probabilities": dict(zip(self.classes, row))}


class ImageClasses(_Classes):
    """Images into classes."""

    takes: ClassVar[str] = "an image file, a folder of images, a .npy of images, or - for a list of image files"

    def __init__(self, folder: Path, network: Any, task: ImageTask, prepare: Prepare | None, channels: int) -> None:
        super().__init__(folder, network, task)
        self.prepare, self.shape = prepare, (channels, *task.shape[1:])
        if channels not in (1, 3):
            raise InputError(f"{folder}: expected a student of gray or RGB images, got one of {channels} channels")

    def transform(self, one: Any) -> Tensor:
        """(C, H, W) in [0, 1] of a file, a PIL image or an array; files are cut and resized as for training.

        Args:
            one: a path; a PIL image; an array (H, W), (H, W, C) or (C, H, W) of the student's size, uint8 or floats in [0, 1].

        Raises:
            InputError: not an image, another shape, NaN, or floats outside [0, 1].
        """
        pixels = self._pixels(one)
        return pixels if self.prepare is None else self.prepare(pixels[None])[0]

    def _pixels(self, one: Any) -> Tensor:
        channels, height, width = self.shape
        if isinstance(one, (str, Path)):
            from stillhouse.classification.data.decode import decode

            if not Path(one).is_file():
                raise InputError(f"image {one}: there is no such file")
            return torch.from_numpy(decode(Path(one), channels, height, width).copy()).float() / 255
        if hasattr(one, "convert"):  # a PIL image
            from PIL import ImageOps

            fitted = ImageOps.fit(one.convert("L" if channels == 1 else "RGB"), (width, height))
            one = np.asarray(fitted).reshape(height, width, channels)
        array = np.asarray(one)
        shaped = _channels_first(array, self.shape)
        if shaped is None:
            raise InputError(
                f"image: expected an array {(height, width, channels)} or {self.shape}, got {array.shape}; give a file or "
                "PIL image to have it resized"
            )
        if array.dtype == np.uint8:
            return torch.from_numpy(np.array(shaped)).float() / 255
        if array.dtype.kind != "f" or not np.isfinite(shaped).all() or shaped.min() < 0 or shaped.max() > 1:
            raise InputError(f"image: expected uint8, or finite floats from 0 to 1, got {_what(array)}")
        return torch.from_numpy(np.array(shaped)).float()

    def read(self, source: str) -> Inputs:
        """Image files, by name."""
        if source == "-":
            files = [Path(line.strip()) for line in lines_of(source) if line.strip()]
            return Inputs([str(file) for file in files], files)
        path = Path(source).expanduser()
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES and file.is_file())
            if not files:
                raise InputError(f"{path}: expected a folder with images ({', '.join(sorted(IMAGES))}), found none")
            return Inputs([str(file) for file in files], files)
        if path.suffix.lower() == ".npy":
            images = array_of(source)
            if images.ndim < 3 or not len(images) or _channels_first(images[0], self.shape) is None:
                raise InputError(
                    f"{path}: expected images (N, H, W[, C]) of {self.shape[1:]} pixels, got {images.shape}"
                )
            check_finite(images, str(path))
            return Inputs([str(number) for number in range(len(images))], list(images))
        return Inputs([source], [path])


class TextClasses(_Classes):
    """Texts into classes, cut into tokens as the run's data were."""

    takes: ClassVar[str] = "a text file (a line a text), a .csv, .tsv or .jsonl with a column of texts, or - for lines"

    def __init__(self, folder: Path, network: Any, task: TextTask) -> None:
        from stillhouse.classification.data.labelled_texts import tokenizer_of
        from stillhouse.classification.data.texts_config import TextDataConfig

        super().__init__(folder, network, task)
        run = run_above(folder)
        data = None if run is None else records.read_json(run / records.RUN)["config"].get("data", {})
        if not data or data.get("name") != "texts":
            raise InputError(f"{folder}: the tokens of its texts are named by its run, and it lies in none")
        self.config = parse(TextDataConfig, data)
        self.encode, _ = tokenizer_of(self.config)

    def transform(self, one: Any) -> Tensor:
        """(L) token ids of a text, cut or padded.

        Raises:
            InputError: no text, or one without tokens.
        """
        assert isinstance(self.task, TextTask)
        if not isinstance(one, str):
            raise InputError(f"text: expected a string, got {type(one).__name__}")
        ids = list(self.encode(one))[: self.task.length]
        if not ids:
            raise InputError(f"text: expected at least one word, got {one[:40]!r}")
        return torch.tensor([*ids, *[self.task.padding] * (self.task.length - len(ids))])

    def read(self, source: str) -> Inputs:
        """Texts, by the number of their line."""
        path = Path(source)
        if source != "-" and path.suffix.lower() in (".csv", ".tsv", ".jsonl"):
            from stillhouse.classification.data.labelled_texts import read_rows

            rows = read_rows(path)
            if self.config.text_column not in rows[0]:
                names = map(str, rows[0])
                raise InputError(f"{path}: expected a column {self.config.text_column!r}; {nearest('text', names)}")
            texts = [str(row.get(self.config.text_column) or "") for row in rows]
        else:
            texts = lines_of(source)
        return Inputs([str(number) for number in range(1, len(texts) + 1)], texts)


def _is_batch(inputs: Any, task: ImageTask | TextTask) -> bool:
    """Whether an array or tensor holds several inputs: (N, H, W[, C]) or (N, C, H, W)."""
    if not hasattr(inputs, "shape") or isinstance(task, TextTask):
        return False
    one_axes = 2 if tuple(inputs.shape[-2:]) == task.shape[1:] and task.shape[0] == 1 else 3
    return len(inputs.shape) > max(one_axes, 2) or (len(inputs.shape) == 3 and tuple(inputs.shape) not in _shapes(task))


def _shapes(task: ImageTask) -> set[tuple[int, ...]]:
    channels, height, width = task.shape
    return {(channels, height, width), (height, width, channels)}


def _channels_first(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """(C, H, W) of one image, or None where it has another shape."""
    channels, height, width = shape
    if array.shape == shape:
        return array
    if array.shape == (height, width, channels):
        return array.transpose(2, 0, 1)
    return array[None] if channels == 1 and array.shape == (height, width) else None


def _what(array: np.ndarray) -> str:
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            return "NaN or infinity"
        return f"floats from {array.min():.4g} to {array.max():.4g}"
    return str(array.dtype)
