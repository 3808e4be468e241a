"""Data. Labelled images: bundled digits, torchvision's sets, a folder, `.npz`, arrays; labelled texts. No torch until built.

    DataConfig(name="mnist").build()            -> ImageData: train, validation, test, task, sha256
    ImageData.from_arrays(images, labels, ...)  -> the same from NumPy arrays or tensors

A new source is one file with a `load_...` function that returns `streamed.Loaded`, and one line in `DataConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainValidator, TypeAdapter

from stillhouse.core.config import settings
from stillhouse.tasks.classification.data.config import DataConfig, TextDataConfig

if TYPE_CHECKING:
    from stillhouse.tasks.classification.data.images import ImageData, ImageSplit


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _as_named(value: Any) -> Any:
    """Texts where they are named, else images; settings that one lacks go, where they are as nobody set them.

    So `data.name=texts` over a recipe of images is read as a file that names texts.
    """
    if not isinstance(value, Mapping):
        kind: Any = TextDataConfig if isinstance(value, TextDataConfig) else DataConfig
        return _reader(kind).validate_python(value)
    both: Any = DataConfig, TextDataConfig
    here, other = both[::-1] if value.get("name") == "texts" else both
    lacking = {key: info.default for key, info in settings(other).items() if key not in settings(here)}
    given = {key: one for key, one in value.items() if key not in lacking or one != lacking[key]}
    return _reader(here).validate_python(given)


ClassesDataConfig = Annotated[DataConfig | TextDataConfig, PlainValidator(_as_named)]
__all__ = ["ClassesDataConfig", "DataConfig", "ImageData", "ImageSplit", "TextDataConfig"]


def __getattr__(name: str) -> Any:
    # These two hold tensors; `stillhouse list` and `--help` read DataConfig and must not wait for torch.
    if name in {"ImageData", "ImageSplit"}:
        from stillhouse.tasks.classification.data import images

        return getattr(images, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
