"""Image files decoded once into one array on disk, so that the second run starts at once.

    CACHE/folders/ROOT-HASH/FILES-HASH-SIZE-CHANNELS.npy     (N, C, H, W) uint8
    CACHE/folders/ROOT-HASH/FILES-HASH-SIZE-CHANNELS.json    what it was made of; written last: without it the array is not used

CACHE is STILLHOUSE_CACHE or ~/.cache/stillhouse. A file that is added, removed, resized or touched changes FILES-HASH.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.classification.data.decode import Look, common_channels, common_size, decode, look
from stillhouse.core.checks import InputError
from stillhouse.core.hashes import sha256_of
from stillhouse.core.records import read_object, write_atomically, write_json

FORMAT = 3
AT_ONCE = 64
LEFTOVER_SECONDS = 3600


def decoded(
    root: Path,
    files: Sequence[Path],
    image_size: int | None,
    channels: int | None,
    *,
    before: Callable[[], None] = lambda: None,
) -> Tensor:
    """The images of all files in order, from the cache or else decoded into it.

    Args:
        root: the data folder; all of its caches lie in one folder.
        files: (N) under the root.
        image_size: see `load_folder`.
        channels: see `load_folder`.
        before: called before files are decoded: what it checks holds as long as they do not change.

    Returns:
        (N, C, H, W) uint8, mapped from the file: pages are read when they are used, writing to them does not reach the disk.

    Raises:
        InputError: an image that cannot be read, or a cache that cannot be written.
    """
    base = Path(os.environ.get("STILLHOUSE_CACHE") or "~/.cache/stillhouse").expanduser()
    folder = base / "folders" / hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    state = _state(root, files)
    array = folder / f"{state}-{image_size or 'any'}-{channels or 'any'}.npy"
    images = _read(array, len(files))
    if images is None:
        before()
        try:
            _build(array, root, files, image_size, channels)
        except InputError as error:
            if str(error).startswith("cannot write"):
                raise InputError(f"{error}; STILLHOUSE_CACHE can name another folder for decoded images") from None
            raise
        _remove_stale(folder, state)
        images = _read(array, len(files))
        if images is None:
            raise InputError(f"image cache {array}: expected what was written a moment ago, got something else")
    return images


def _state(root: Path, files: Sequence[Path]) -> str:
    digest = hashlib.sha256(f"format {FORMAT}\n".encode())
    for file in files:
        status = file.stat()
        line = f"{file.relative_to(root).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _read(array: Path, count: int) -> Tensor | None:
    """The cached array; None if it is missing, changed since it was written, or of another size: it is made again then."""
    manifest = array.with_suffix(".json")
    if not (manifest.is_file() and array.is_file()):
        return None
    try:
        about = read_object(manifest, {"shape": list[int], "sha256": str})
        if sha256_of(array) != about["sha256"]:
            return None
        images, expected = np.load(array, mmap_mode="c", allow_pickle=False), tuple(about["shape"])
    except (OSError, ValueError):
        return None
    right = images.dtype == np.uint8 and images.shape == expected and len(images) == count
    return torch.from_numpy(images) if right else None


def _build(array: Path, root: Path, files: Sequence[Path], image_size: int | None, channels: int | None) -> None:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        size: tuple[int, int] | None = (image_size, image_size) if image_size else None
        if size is None or channels is None:
            looks: list[Look] = list(_mapped(pool, look, files, "looking at images"))
            size = size or common_size(looks)
            channels = channels or common_channels(files, looks)
        height, width = size
        shape = (len(files), channels, height, width)

        def one(file: Path) -> bytes:
            return decode(file, channels, height, width).tobytes()

        def write(target: IO[bytes]) -> None:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(target, header)
            for pixels in _mapped(pool, one, files, "decoding images"):
                target.write(pixels)

        # The name holds all that decides the content, so two processes that build at once put the same bytes in place
        write_atomically(array, write)
    about = {"root": str(root.resolve()), "shape": shape, "format": FORMAT, "sha256": sha256_of(array)}
    write_json(array.with_suffix(".json"), about)


def _mapped(pool: ThreadPoolExecutor, function: Any, files: Sequence[Path], what: str) -> Iterator[Any]:
    """`function` of every file in order, a few at a time so that memory stays small, behind a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    groups = (files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE))
    done = (result for group in groups for result in pool.map(function, group))
    return iter(track(done, what, total=len(files), console=console, transient=True, disable=not console.is_terminal))


def _remove_stale(folder: Path, state: str) -> None:
    """Drop what was decoded from other states of the same root, and temporary files of builds that were killed."""
    for entry in folder.iterdir():
        try:
            killed = entry.name.startswith(".") and time.time() - entry.stat().st_mtime > LEFTOVER_SECONDS
            if killed or not entry.name.startswith((".", state)):
                entry.unlink()
        except OSError:  # in use (Windows) or gone already
            continue
