"""Photos and arrays as a student of images reads them, and its answers as rows: numpy and Pillow, no torch.

Legend: B inputs, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.predict import Inputs, Predictor, array_of, check_finite, lines_of
from stillhouse.tasks.classification.data.decode import SUFFIXES, decode, images_under

BATCH = 256
KEY = "stillhouse"  # of an ONNX file's metadata: class names and the shape of an image


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

    hub_task = "image-classification"
    takes: ClassVar[str] = "an image file, a folder of images, a .npy of images, or - for a list of image files"

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
            return np.asarray(decode(Path(one), channels, height, width), dtype=np.float32) / np.float32(255)
        if hasattr(one, "convert"):  # a PIL image
            from PIL import ImageOps

            fitted = ImageOps.fit(one.convert("L" if channels == 1 else "RGB"), (width, height))
            one = np.asarray(fitted).reshape(height, width, channels)
        array = np.asarray(one)
        shaped = self._channels_first(array)
        if shaped is None:
            raise InputError(
                f"image: expected an array {(height, width, channels)} or {self.shape}, got {array.shape}; give a file or "
                "PIL image to have it resized"
            )
        if array.dtype == np.uint8:
            return np.asarray(shaped, dtype=np.float32) / np.float32(255)
        if array.dtype.kind != "f" or not (shaped.min() >= 0 and shaped.max() <= 1):  # NaN is neither
            got = f"{array.dtype} from {shaped.min():.4g} to {shaped.max():.4g}"
            raise InputError(f"image: expected uint8, or finite floats from 0 to 1, got {got}")
        return np.array(shaped, dtype=np.float32)

    def _channels_first(self, array: Any) -> Any:
        """(C, H, W) of one image, or None where it has another shape."""
        channels, height, width = self.shape
        if array.shape == self.shape:
            return array
        if array.shape == (height, width, channels):
            return array.transpose(2, 0, 1)
        return array[None] if channels == 1 and array.shape == (height, width) else None

    def holds_several(self, inputs: Any) -> bool:
        """Also an array or tensor (N, H, W[, C]) or (N, C, H, W)."""
        if not hasattr(inputs, "shape"):
            return super().holds_several(inputs)
        array = np.asarray(inputs)
        return array.ndim > 2 and self._channels_first(array) is None

    def read(self, source: str) -> Inputs:
        """Image files, by name."""
        path = Path(source).expanduser()
        if source == "-":
            files = [Path(line.strip()) for line in lines_of(source) if line.strip()]
        elif path.is_dir():
            files = images_under(path)
            if not files:
                raise InputError(f"{path}: expected a folder with images ({', '.join(sorted(SUFFIXES))}), found none")
        elif path.suffix.lower() == ".npy":
            images = array_of(source)
            if images.ndim < 3 or not len(images) or self._channels_first(images[0]) is None:
                raise InputError(
                    f"{path}: expected images (N, H, W[, C]) of {self.shape[1:]} pixels, got {images.shape}"
                )
            check_finite(images, str(path))
            return Inputs([str(number) for number in range(len(images))], list(images))
        else:
            files = [path]
        return Inputs([str(file) for file in files], files)


def softmax(logits: np.ndarray) -> np.ndarray:
    """(B, K) probabilities.

    Example:
        >>> softmax(np.array([[0.0, 0.0, 1000.0]])).tolist()
        [[0.0, 0.0, 1.0]]
    """
    raised: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


class ExportedClasses(PhotoClasses):
    """Images into classes by an export, without torch.

    Args:
        place: the file or folder.
        about: `class_names` and `shape` of an image.
        logits: (B, K) of images (B, C, H, W).
    """

    def __init__(self, place: Path, about: Mapping[str, Any], logits: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__(place, about["class_names"], tuple(about["shape"]))
        self.logits = logits

    def probabilities(self, rows: Sequence[Any]) -> Sequence[Sequence[float]]:
        """Of the logits."""
        found: list[list[float]] = softmax(self.logits(np.stack(rows))).tolist()
        return found


def open_exported(place: Path) -> ExportedClasses | None:
    """A machine of clauses as `export --to packed` wrote it, or an ONNX file; None where it is none.

    Raises:
        InputError: it is one, and was changed since it was written, or onnxruntime is not installed.
    """
    if place.suffix == ".onnx" and place.is_file():
        return _open_onnx(place)
    if place.suffix != ".safetensors" or not place.is_file():
        return None
    from stillhouse.logic.packed import load_packed

    machine = load_packed(place)
    about = {"class_names": machine.class_names, "shape": machine.image_shape}
    return ExportedClasses(place, about, lambda images: machine.scores(images) / machine.scale)


def _open_onnx(file: Path) -> ExportedClasses:
    try:
        from onnxruntime import InferenceSession
    except ImportError:
        raise InputError(f"{file}: onnxruntime is not installed; pip install onnxruntime") from None
    try:
        session = InferenceSession(str(file), providers=["CPUExecutionProvider"])
        about = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    except Exception as error:  # of a class for each of onnxruntime's error codes
        raise InputError(
            f"{file}: expected an ONNX file with class names in it, as `stillhouse export --to onnx` writes for images: "
            f"{str(error).splitlines()[0]}"
        ) from None
    return ExportedClasses(file, about, lambda images: session.run(["logits"], {"inputs": images})[0])
