"""Data. Labelled images: bundled digits, torchvision's sets, a folder, `.npz`, arrays. No torch until built.

    DataConfig(name="mnist").build()            -> ImageData: train, validation, test, task, sha256
    ImageData.from_arrays(images, labels, ...)  -> the same from NumPy arrays or tensors

A new source is one file with a `load_...` function that returns `sources.Loaded`, and one line in `DataConfig`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stillhouse.classification.data.config import DataConfig

if TYPE_CHECKING:
    from stillhouse.classification.data.images import ImageData, ImageSplit

__all__ = ["DataConfig", "ImageData", "ImageSplit"]


def __getattr__(name: str) -> Any:
    # These two hold tensors; `stillhouse list` and `--help` read DataConfig and must not wait for torch.
    if name in {"ImageData", "ImageSplit"}:
        from stillhouse.classification.data import images

        return getattr(images, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
