"""Photos and arrays as a student of images reads them, and its answers as rows: numpy and Pillow, no torch.

Legend: B inputs, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import csv
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.predict import Inputs, Predictor, array_of, check_finite, lines_of
from stillhouse.core.walk import Passed, files_under

BATCH = 256
IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


class Classes(Predictor):
    """Inputs into classes."""

    @abstractmethod
    def probabilities(self, rows: Sequence[Any]) -> Sequence[Sequence[float]]:
        """(B, K) of inputs as `transform` gives them."""

    def transform_all(self, several: Sequence[Any]) -> Sequence[Any]:
        """What `transform` gives of each."""
        return [self.transform(one) for one in several]

    def holds_several(self, inputs: Any) -> bool:
        """Whether `inputs` are several, and not one."""
        return isinstance(inputs, (list, tuple))

    def predict(self, inputs: Any) -> list[dict[str, Any]]:
        """For each input its class, that class's probability, and the probabilities of all."""
        several = inputs if self.holds_several(inputs) else [inputs]
        found: list[dict[str, Any]] = []
        for start in range(0, len(several), BATCH):
            rows = self.transform_all(several[start : start + BATCH])
            found += [self._answer(row) for row in self.probabilities(rows)]
        return found

    def _answer(self, row: Sequence[float]) -> dict[str, Any]:
        best = max(range(len(row)), key=row.__getitem__)
        return {"class": self.classes[best], "probability": row[best], "probabilities": dict(zip(self.classes, row))}


class PhotoClasses(Classes):
    """Images into classes.

    Args:
        folder: of the student.
        classes: names, in the order of its scores.
        shape: (C, H, W) of the images that it takes.

    Raises:
        InputError: neither gray nor RGB.
    """

    takes: ClassVar[str] = (
        "an image file, a folder of images, a .npy of images, a .csv with a column of image files, or - for a list of them"
    )

    def __init__(self, folder: Path, classes: Sequence[str], shape: tuple[int, ...]) -> None:
        self.folder, self.classes, self.shape = folder, tuple(classes), shape
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InputError(f"{folder}: expected a student of gray or RGB images, got one of {shape[0]} channels")

    def transform(self, one: Any) -> Any:
        """(C, H, W) float32 in [0, 1] of a file, a PIL image or an array; files are cut and resized as for training.

        Args:
            one: a path; a PIL image; an array (H, W), (H, W, C) or (C, H, W) of the student's size, uint8 or floats in [0, 1].

        Raises:
            InputError: not an image, another shape, NaN, or floats outside [0, 1].
        """
        channels, height, width = self.shape
        if isinstance(one, (str, Path)):
            from stillhouse.tasks.classification.data.decode import decode

            if not Path(one).is_file():
                raise InputError(f"image {one}: there is no such file")
            return _in_unit(decode(Path(one), channels, height, width))
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
            return _in_unit(shaped)
        if array.dtype.kind != "f" or not np.isfinite(shaped).all() or shaped.min() < 0 or shaped.max() > 1:
            raise InputError(f"image: expected uint8, or finite floats from 0 to 1, got {_what(array)}")
        return np.array(shaped, dtype=np.float32)

    def holds_several(self, inputs: Any) -> bool:
        """Also an array or tensor (N, H, W[, C]) or (N, C, H, W)."""
        if super().holds_several(inputs) or not hasattr(inputs, "shape"):
            return super().holds_several(inputs)
        channels, height, width = self.shape
        one_axes = 2 if tuple(inputs.shape[-2:]) == (height, width) and channels == 1 else 3
        shapes = {(channels, height, width), (height, width, channels)}
        return len(inputs.shape) > max(one_axes, 2) or (len(inputs.shape) == 3 and tuple(inputs.shape) not in shapes)

    def read(self, source: str) -> Inputs:
        """Image files, by name."""
        if source == "-":
            files = [Path(line.strip()) for line in lines_of(source) if line.strip()]
            return Inputs([str(file) for file in files], files)
        path = Path(source).expanduser()
        if path.is_dir():
            return _of_folder(path)
        if path.suffix.lower() in (".csv", ".tsv"):
            return _listed(path)
        if path.suffix.lower() == ".npy":
            images = array_of(source)
            if images.ndim < 3 or not len(images) or _channels_first(images[0], self.shape) is None:
                raise InputError(
                    f"{path}: expected images (N, H, W[, C]) of {self.shape[1:]} pixels, got {images.shape}"
                )
            check_finite(images, str(path))
            return Inputs([str(number) for number in range(len(images))], list(images))
        return Inputs([source], [path])


def _of_folder(folder: Path) -> Inputs:
    """The image files of a folder and its sub-folders, each once.

    Raises:
        InputError: there are none.
    """
    passed = Passed()
    found = files_under(folder, folder, lambda name: Path(name).suffix.lower() in IMAGES, passed)
    if not found:
        more = f"; {passed}" if str(passed) else ""
        raise InputError(f"{folder}: expected a folder with images ({', '.join(sorted(IMAGES))}), found none{more}")
    passed.warn(folder)
    return Inputs([str(file.path) for file in found], [file.path for file in found])


def _listed(table: Path) -> Inputs:
    """The image files of the first column of a table that names any: beside the table, or from where the command runs.

    Raises:
        InputError: no such column, or a row without a file.
    """
    rows = list(csv.DictReader(lines_of(str(table)), delimiter="," if table.suffix.lower() == ".csv" else "\t"))
    head = [name for name in rows[0] if name is not None] if rows else []  # cells beyond the head have none
    column = next((name for name in head if Path(rows[0][name] or "").suffix.lower() in IMAGES), None)
    if column is None:
        got = f"the columns {', '.join(map(str, head))}" if rows else "no row under the head"
        raise InputError(f"{table}: expected a head, and a column of image files (photo.png, ...) under it; got {got}")
    names = [(row[column] or "").strip() for row in rows]
    if "" in names:
        raise InputError(
            f"{table}, row {names.index('') + 1}: expected an image file in column {column!r}, got nothing"
        )
    beside = [table.parent / Path(name).expanduser() for name in names]
    return Inputs(names, [near if near.is_file() else Path(name) for near, name in zip(beside, names)])


def softmax(logits: np.ndarray) -> np.ndarray:
    """(B, K) probabilities.

    Example:
        >>> softmax(np.array([[0.0, 0.0, 1000.0]])).tolist()
        [[0.0, 0.0, 1.0]]
    """
    raised: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def _in_unit(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(pixels, dtype=np.float32) / np.float32(255)


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


KEY = "stillhouse"  # of the file's metadata: class names and the shape of an image


class OnnxClasses(PhotoClasses):
    """Images into classes by onnxruntime.

    Args:
        file: the ONNX file.
        session: of onnxruntime.
        about: `class_names` and `shape`.
    """

    def __init__(self, file: Path, session: Any, about: Mapping[str, Any]) -> None:
        super().__init__(file, about["class_names"], tuple(about["shape"]))
        self.session = session

    def probabilities(self, rows: Sequence[Any]) -> Sequence[Sequence[float]]:
        """Of the file's network."""
        (logits,) = self.session.run(["logits"], {"inputs": np.stack(rows)})
        found: list[list[float]] = softmax(logits).tolist()
        return found


def open_onnx(file: Path) -> OnnxClasses:
    """A file of `stillhouse export --to onnx`.

    Raises:
        InputError: onnxruntime is not installed, no ONNX file, or one that names no classes.
    """
    try:
        from onnxruntime import InferenceSession
    except ImportError:
        raise InputError(f"{file}: onnxruntime is not installed; pip install onnxruntime") from None
    try:
        session = InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # of a class for each of its error codes
        raise InputError(f"{file}: expected an ONNX file, got another: {str(error).splitlines()[0]}") from None
    about = session.get_modelmeta().custom_metadata_map.get(KEY)
    if about is None:
        raise InputError(
            f"{file}: expected class names in it, as `stillhouse export --to onnx` writes for images; got none"
        )
    return OnnxClasses(file, session, json.loads(about))
