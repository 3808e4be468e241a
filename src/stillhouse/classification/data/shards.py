"""Tar shards as WebDataset lays them out: KEY.jpg (or .png ...) beside KEY.cls or KEY.json, in any number of tar files.

    ROOT/train/*.tar, and where they are there ROOT/test/*.tar and ROOT/val (valid, validation)/*.tar
    ROOT/*.tar, from which a test split is taken
    ROOT/classes.txt          a class name a line; the numbers as words where it is missing

KEY.cls holds the number of the class as text, KEY.json an object with `label` (or `cls`); `core.labels` says which are missing.
Links are followed within ROOT, never out of it. Tars are read in place and never unpacked: their tables of contents are read once
and kept in CACHE/shards (STILLHOUSE_CACHE or ~/.cache/stillhouse), so that rows can be picked in any order.
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
from stillhouse.classification.data.leaks import Image, check_apart
from stillhouse.classification.data.sources import Loaded, Rows
from stillhouse.classification.data.streamed import Part, Streamed
from stillhouse.core.checks import InputError
from stillhouse.core.labels import MISSING, missing_labels, require_labels
from stillhouse.core.records import check_object, read_json, write_json
from stillhouse.core.walk import File, Passed, follow, once

FORMAT = 1


def load_shards(root: Path, image_size: int | None, channels: int | None) -> Loaded:
    """The images of all shards under a root, behind their tar files.

    Args:
        root: see above for the layout.
        image_size: side in pixels that images are decoded to.
        channels: 1 or 3 [3].

    Raises:
        InputError: no shards, a sample without image or label, one in two splits, no side.
    """
    if image_size is None:
        raise InputError("data: images that are streamed need one size for all; give data.image_size")
    if not root.is_dir():
        raise InputError(f"shards {root} (data.root): expected a folder with .tar files, got none")
    passed = Passed()
    tars = {name: _tars(root / name, root, passed) for name in ("train", "test", *VALIDATION_NAMES)}
    splits = {"train": tars["train"] or _tars(root, root, passed)}
    passed.warn(root)
    validation = next((tars[name] for name in VALIDATION_NAMES if tars[name]), None)
    if tars["test"]:
        splits["test"] = tars["test"]
    if validation is not None:
        splits["validation" if tars["test"] else "test"] = validation
    shape = (channels or 3, image_size, image_size)
    if not splits["train"]:
        more = f"; {passed}" if str(passed) else ""
        raise InputError(f"shards {root}: expected .tar files, got none{more}")
    samples = {name: [one for shard in shards for one in _samples(shard)] for name, shards in splits.items()}
    rows = {name: _rows(root, name, some, shape) for name, some in samples.items()}
    check_apart({name: [image for image, _ in some] for name, some in samples.items()}, same_names=True)
    most = max(int(split.labels.max()) for split in rows.values()) + 1
    return Loaded(root.resolve().name, _names(root, most), rows["train"], rows.get("validation"), rows.get("test"))


def _tars(place: Path, root: Path, passed: Passed) -> list[File]:
    """The tars in a folder, each once."""
    if not place.is_dir() or not follow(place, root, passed):
        return []
    return list(once((File.at(path) for path in sorted(place.glob("*.tar")) if follow(path, root, passed)), passed))


def _samples(shard: File) -> list[tuple[Image, int]]:
    """Every image of a shard with its label."""
    return [
        (Image(Part(shard.path, start, size), key, size, (shard.identity, start)), label)
        for key, start, size, label in _contents(shard.path)
    ]


def _rows(root: Path, split: str, samples: Sequence[tuple[Image, int]], shape: tuple[int, int, int]) -> Rows:
    names = [f"{image.part.file.relative_to(root).as_posix()}/{image.name}" for image, _ in samples]
    labels = [label for _, label in samples]
    require_labels(missing_labels(labels), f"shards {root}", split, called=names.__getitem__)
    sized = [f"{name} {image.size}" for name, (image, _) in zip(names, samples)]
    return Rows(Streamed([image.part for image, _ in samples], shape, sized), torch.tensor(labels, dtype=torch.int64))


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
        if ending == "cls" and missing_labels([content.decode()])[0]:
            return MISSING
        found = json.loads(content)
        label = found.get("label", found.get("cls")) if ending == "json" else found
        if missing_labels([label])[0]:
            return MISSING
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
