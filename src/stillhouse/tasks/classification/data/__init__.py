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
from stillhouse.tasks.classification.data.feature_config import TableDataConfig, WordDataConfig

if TYPE_CHECKING:
    from stillhouse.tasks.classification.data.images import ImageData, ImageSplit


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _as_named(value: Any) -> Any:
    """Texts, words or a table where they are named, else images; settings that a kind lacks go, where nobody set them.

    So `data.name=texts` over a recipe of images is read as a file that names texts.
    """
    if not isinstance(value, Mapping):
        kind: Any = type(value) if type(value) in KINDS.values() else DataConfig
        return _reader(kind).validate_python(value)
    here: Any = KINDS.get(str(value.get("name")), DataConfig)
    others: Any = [other for other in (DataConfig, *KINDS.values()) if other is not here]
    known = settings(here)
    lacking = {key: info.default for other in others for key, info in settings(other).items() if key not in known}
    given = {key: one for key, one in value.items() if key not in lacking or one != lacking[key]}
    return _reader(here).validate_python(given)


KINDS: dict[str, Any] = {"texts": TextDataConfig, "words": WordDataConfig, "table": TableDataConfig}  # else images
ClassesDataConfig = Annotated[DataConfig | TextDataConfig | WordDataConfig | TableDataConfig, PlainValidator(_as_named)]
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
