"""One image file to pixels: its header, then its bytes. What would lose something in silence is refused. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
GRAY_MODES = {"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N"}
ORIENTATION, TURNED = 0x0112, {5, 6, 7, 8}  # the EXIF tag, and its values that swap the sides


def header(file: Path) -> tuple[tuple[int, int], bool]:
    """(H, W) of an image file as it is to be looked at, and whether it is gray."""
    with _opened(file) as image:
        width, height = image.size
        turned = image.getexif().get(ORIENTATION) in TURNED
        return ((width, height) if turned else (height, width)), image.mode in GRAY_MODES


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


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from PIL import Image

    if not file.is_file():  # a named pipe would be waited for without end
        raise InputError(f"image {file}: expected a file; remove it")
    try:
        with Image.open(file) as image:
            yield image
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise InputError(f"image {file}: cannot be read ({error}); repair or remove it") from None


def images_under(folder: Path) -> list[Path]:
    """Image files of a folder and of its sub-folders, hidden ones left out, by path."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))
