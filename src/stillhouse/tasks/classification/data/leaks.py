"""No image in two splits: neither the same file by two names, nor the same bytes in two files."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import sha256_of


@dataclass(frozen=True, slots=True)
class Image:
    """An encoded image and what tells it from others.

    Attributes:
        file: where it lies.
        size: in bytes.
        identity: equal for the same image of the same file, by whatever name.
    """

    file: Path
    size: int
    identity: Hashable


def check_apart(splits: Mapping[str, Sequence[Image]], *, same_names: bool = False) -> None:
    """Refuse an image that is in two splits: a student would be tested on what it was trained on.

    Bytes are compared of images of equal size, which reads those that could be equal, and no others.

    Args:
        splits: the images of each.
        same_names: compare bytes only of images that are also called alike, where reading all of equal size would take hours.

    Raises:
        InputError: the first such pair, and how many there are.
    """
    if len(splits) < 2:
        return
    every = [(split, image) for split, images in splits.items() for image in images]
    twice = _shared([(image.identity, split, image.file) for split, image in every])
    if not twice:
        keys = [(image.size, image.file.name if same_names else "") for _, image in every]
        both = _keys_of_several(zip(keys, (split for split, _ in every)))
        twice = _shared([(sha256_of(x.file), split, x.file) for key, (split, x) in zip(keys, every) if key in both])
    if twice:
        one, file, other, same = twice[0]
        more = f" ({len(twice):,} such images)" if len(twice) > 1 else ""
        raise InputError(
            f"image {same} of the {other} split is also in the {one} split, as {file}{more}: each image belongs to one "
            "split; take it out of the others"
        )


def _keys_of_several(images: Iterable[tuple[Hashable, str]]) -> set[Hashable]:
    """Keys that images of more than one split have."""
    splits: dict[Hashable, str] = {}
    return {key for key, split in images if splits.setdefault(key, split) != split}


def _shared(images: Sequence[tuple[Hashable, str, Path]]) -> list[tuple[str, Path, str, Path]]:
    """Pairs of one key and two splits, each later image with the first."""
    first: dict[Hashable, tuple[str, Path]] = {}
    found = []
    for key, split, file in images:
        one, same = first.setdefault(key, (split, file))
        if one != split:
            found.append((one, same, split, file))
    return found
