"""One image file to pixels: its size and kind, then its bytes. What would lose something in silence is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError

DEFAULT_SIDE = 64
GRAY_MODES = {"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N"}
TURNED = {5, 6, 7, 8}  # values of the EXIF orientation tag that swap the sides
ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The header of an image file: (H, W) as it is to be looked at, and whether it is gray."""

    size: tuple[int, int]
    gray: bool


def look(file: Path) -> ImageHeader:
    """Read the header of an image file.

    Raises:
        InputError: not an image, or cut off.
    """
    with _opened(file) as image:
        width, height = image.size
        turned = image.getexif().get(ORIENTATION) in TURNED
        return ImageHeader((width, height) if turned else (height, width), image.mode in GRAY_MODES)


def common_size(looks: Sequence[ImageHeader]) -> tuple[int, int]:
    """(H, W) that all images have, or else the default square."""
    sizes = {seen.size for seen in looks}
    return sizes.pop() if len(sizes) == 1 else (DEFAULT_SIDE, DEFAULT_SIDE)


def common_channels(files: Sequence[Path], looks: Sequence[ImageHeader]) -> int:
    """3 if the first image has colours, 1 if none has.

    Raises:
        InputError: the first is gray and a later one is not: its colours would be lost unasked.
    """
    if not looks[0].gray:
        return 3
    coloured = [file for file, seen in zip(files, looks) if not seen.gray]
    if coloured:
        raise InputError(
            f"expected gray images like the first ({files[0]}), got colours in {coloured[0]} ({len(coloured)} such files); "
            f"give data.channels=3 to keep the colours, 1 to drop them"
        )
    return 1


def decode(file: Path, channels: int, height: int, width: int) -> np.ndarray:
    """The pixels of an image file, turned upright; where the size differs, the middle is cut out and resized.

    Args:
        file: any image that Pillow reads with 8 or 16 bits a channel.
        channels: 1 or 3.
        height: H.
        width: W.

    Returns:
        (C, H, W) uint8.

    Raises:
        InputError: the file is no image, is cut off, or has 32-bit pixels of unknown range.
    """
    from PIL import Image, ImageOps

    with _opened(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            # Pillow's own conversion to 8 bits cuts everything above 255 to white
            image = Image.fromarray((np.asarray(image).astype(np.uint32) * 255 // 65535).astype(np.uint8))
        elif image.mode in {"I", "F"}:
            raise InputError(f"image {file}: expected 8 or 16 bits a channel, got 32 (mode {image.mode})")
        image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (width, height):
            image = ImageOps.fit(image, (width, height), method=Image.Resampling.BILINEAR)
        pixels = np.asarray(image).reshape(height, width, channels)
    return np.array(pixels.transpose(2, 0, 1), order="C")  # a copy: Pillow's own memory cannot be written to


def check_file(file: Path) -> None:
    """See that an image is a file: a named pipe would be waited for without end, and a link may lead nowhere.

    Raises:
        InputError: it is neither.
    """
    if not file.is_file():
        what = "a link to nothing" if not file.exists() else "a folder" if file.is_dir() else "a pipe or device"
        raise InputError(f"image {file}: expected a file, got {what}; remove it")


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    check_file(file)
    try:
        with Image.open(file) as image:
            yield image
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"image {file}: expected an image file, got something that Pillow cannot identify") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise InputError(f"image {file}: cannot be read ({error}); repair or remove it") from None
