"""Tar shards as WebDataset lays them out: KEY.jpg (or .png ...) beside KEY.cls or KEY.json, in any number of tar files.

    ROOT/train/*.tar, and where they are there ROOT/test/*.tar and ROOT/val (valid, validation)/*.tar
    ROOT/*.tar, from which a test split is taken
    ROOT/classes.txt          a class name a line; the numbers as words where it is missing

KEY.cls holds the number of the class as text, KEY.json an object with `label` (or `cls`). Tars are read in place and never
unpacked: their tables of contents are read once and kept in CACHE/shards (STILLHOUSE_CACHE or ~/.cache/stillhouse), so that rows
can be picked in any order.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stillhouse.classification.data.folder import SUFFIXES, VALIDATION_NAMES
from stillhouse.classification.data.sources import Loaded, Rows
from stillhouse.classification.data.streamed import Part, Streamed
from stillhouse.core.checks import InputError
from stillhouse.core.records import check_object, read_json, write_json

FORMAT = 1


def load_shards(root: Path, image_size: int | None, channels: int | None) -> Loaded:
    """The images of all shards under a root, behind their tar files.

    Args:
        root: see above for the layout.
        image_size: side in pixels that images are decoded to.
        channels: 1 or 3 [3].

    Raises:
        InputError: no shards, a sample without image or label, no side.
    """
    if image_size is None:
        raise InputError("data: images that are streamed need one size for all; give image_size (--data-image-size)")
    if not root.is_dir():
        raise InputError(f"shards {root} (--data-root): expected a folder with .tar files, got none")
    places = {name: root / name for name in ("train", "test", *VALIDATION_NAMES) if list((root / name).glob("*.tar"))}
    splits: dict[str, Path] = {"train": places.get("train", root)}
    validation = next((places[name] for name in VALIDATION_NAMES if name in places), None)
    if "test" in places:
        splits["test"] = places["test"]
    if validation is not None:
        splits["validation" if "test" in places else "test"] = validation
    shape = (channels or 3, image_size, image_size)
    rows = {name: _rows(root, sorted(place.glob("*.tar")), place, shape) for name, place in splits.items()}
    most = max(int(split.labels.max()) for split in rows.values()) + 1
    return Loaded(root.resolve().name, _names(root, most), rows["train"], rows.get("validation"), rows.get("test"))


def _rows(root: Path, shards: Sequence[Path], place: Path, shape: tuple[int, int, int]) -> Rows:
    if not shards:
        raise InputError(f"shards {place}: expected .tar files, got none")
    parts: list[Part] = []
    labels: list[int] = []
    names: list[str] = []
    for shard in shards:
        for key, start, size, label in _contents(shard):
            parts.append(Part(shard, start, size))
            labels.append(label)
            names.append(f"{shard.relative_to(root).as_posix()}/{key} {size}")
    return Rows(Streamed(parts, shape, names), torch.tensor(labels, dtype=torch.int64))


def _contents(shard: Path) -> list[list[Any]]:
    """[key, first byte, bytes, label] of every sample of a shard, in its order; kept on disk."""
    status = shard.stat()
    state = f"{FORMAT} {shard.resolve()} {status.st_size} {status.st_mtime_ns}"
    base = Path(os.environ.get("STILLHOUSE_CACHE") or "~/.cache/stillhouse").expanduser()
    kept = base / "shards" / f"{hashlib.sha256(state.encode()).hexdigest()[:24]}.json"
    if kept.is_file():
        held: list[list[Any]] = check_object(read_json(kept), {"rows": list[list[str | int]]}, str(kept))["rows"]
        return held
    rows = _read(shard)
    write_json(kept, {"shard": str(shard.resolve()), "rows": rows})
    return rows


def _read(shard: Path) -> list[list[Any]]:
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                if f".{ending.lower()}" in SUFFIXES:
                    images[key] = (member.offset_data, member.size)
                elif ending in {"cls", "json"}:
                    labels[key] = _label(tar.extractfile(member), ending, f"{shard}, {member.name}")
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"shard {shard}: expected an uncompressed tar, got {error}") from None
    alone = sorted(images.keys() ^ labels.keys())
    if alone or not images:
        raise InputError(
            f"shard {shard}: expected an image and a .cls or .json for each key, got "
            f"{f'only one of them for {alone[0]!r} ({len(alone)} such keys)' if alone else 'no samples'}"
        )
    return [[key, *images[key], labels[key]] for key in images]


def _label(file: Any, ending: str, where: str) -> int:
    content = file.read()
    try:
        found = json.loads(content)
        label = found.get("label", found.get("cls")) if ending == "json" else found
        if type(label) is not int or label < 0:
            raise ValueError
    except (ValueError, AttributeError, RecursionError):
        expected = "the number of a class" if ending == "cls" else 'an object with "label": the number of a class'
        raise InputError(f"{where}: expected {expected}, got {content[:40]!r}") from None
    return label


def _names(root: Path, most: int) -> tuple[str, ...]:
    file = root / "classes.txt"
    if not file.is_file():
        return tuple(map(str, range(most)))
    names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    if len(names) < most:
        raise InputError(f"{file}: expected at least {most} class names, one a line, got {len(names)}")
    return names
