"""A student of images as an ONNX file, in use: onnxruntime and numpy, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.classification.photos import PhotoClasses, softmax
from stillhouse.core.checks import InputError

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
