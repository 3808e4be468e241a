"""Data: labelled images, texts and tables, in three splits. No torch until built.

DataConfig(name="mnist").build()            -> ImageData: train, validation, test, input_spec, sha256
ImageData.from_arrays(images, labels, ...)  -> the same from NumPy arrays or tensors
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stillhouse.tasks.classification.data.config import (
    ClassesDataConfig,
    DataConfig,
    TableDataConfig,
    TextDataConfig,
    WordDataConfig,
)

if TYPE_CHECKING:
    from stillhouse.tasks.classification.data.images import ImageData, ImageSplit

__all__ = [
    "ClassesDataConfig",
    "DataConfig",
    "ImageData",
    "ImageSplit",
    "TableDataConfig",
    "TextDataConfig",
    "WordDataConfig",
]


def __getattr__(name: str) -> Any:
    # These two hold tensors; `stillhouse list` and `--help` read DataConfig and must not wait for torch.
    if name in {"ImageData", "ImageSplit"}:
        from stillhouse.tasks.classification.data import images

        return getattr(images, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
