"""What is read back is what was written: hashes of files in a card, and inside a safetensors file. No torch.

A folder with a card: `card.json` holds `"sha256": {"student.safetensors": "...", "card.json": "..."}`, made by `with_hashes`,
checked by `verify_files` before anything is loaded. A lone safetensors file: `sealed` writes the hash into its metadata,
`read_sealed` checks it; any safetensors reader reads it as before.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stillhouse.core.checks import InputError
from stillhouse.core.records import CARD, as_json, check_object

KEY = "sha256"


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal; read in pieces, so its size does not matter.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def hash_of(content: Mapping[str, Any], hashes: Mapping[str, str] | None = None) -> str:
    """The sha256 of plain data, whatever the order of its keys, together with hashes of files."""
    text = json.dumps([content, hashes or {}], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def with_hashes(card: Mapping[str, Any], folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """A card with the hashes of files that lie beside it, and of itself; to be written with `write_json`.

    Args:
        card: entries of the card.
        folder: where the files are, already written.
        names: the files that the card is about.
    """
    hashes = {name: sha256_of(folder / name) for name in names}
    content = {key: value for key, value in card.items() if key != KEY}
    return {**content, KEY: {**hashes, CARD: hash_of(as_json(content), hashes)}}


def verify_files(folder: Path, card: Any, names: Iterable[str] = ()) -> None:
    """See that a card and the files that it names are as they were written.

    Args:
        folder: where `card.json` and the files are.
        card: what was read from `card.json`.
        names: files that the card must name; those that it names beside are checked too.

    Raises:
        InputError: a card without hashes, a file that is missing, a card or file that was changed.
    """
    path = folder / CARD
    hashes = dict(check_object(card, {KEY: dict[str, str]}, str(path))[KEY])
    if missing := sorted(set(names) - set(hashes)):
        raise InputError(f"{path}: expected the sha256 of {', '.join(missing)}, got none")
    own = hashes.pop(CARD, None)
    if own != hash_of(as_json({key: value for key, value in card.items() if key != KEY}), hashes):
        raise InputError(f"{path} was changed after it was written: its sha256 is not the one in it")
    for name, expected in hashes.items():
        if Path(name).name != name or sha256_of(folder / name) != expected:
            raise InputError(f"{folder / name} was changed after it was written: its sha256 is not the one in {path}")


def sealed(packed: bytes) -> bytes:
    """A safetensors file, as `safetensors.torch.save` gives it, with the hash of all of it in its metadata.

    Raises:
        InputError: it is not a safetensors file.
    """
    try:
        size = struct.unpack("<Q", packed[:8])[0]
        header, data = json.loads(packed[8 : 8 + size]), memoryview(packed)[8 + size :]
        about = {key: value for key, value in header.pop("__metadata__", {}).items() if key != KEY}
    except (struct.error, ValueError, RecursionError, AttributeError, TypeError) as error:
        raise InputError(f"expected a safetensors file, got something else: {error}") from None
    digest = hashlib.sha256(_header({"__metadata__": about, **header}))
    digest.update(data)
    return b"".join([_header({"__metadata__": {**about, KEY: digest.hexdigest()}, **header}), data])


def read_sealed(path: Path) -> bytes:
    """The bytes of a file that `sealed` made, for `safetensors.torch.load`.

    Raises:
        InputError: it cannot be read, was changed after it was written, or has no hash.
    """
    try:
        packed = path.read_bytes()
        whole = sealed(packed) == packed
    except (OSError, InputError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    if not whole:
        raise InputError(f"{path} was changed after it was written, or was written without a sha256 in its metadata")
    return packed


def _header(entries: Mapping[str, Any]) -> bytes:
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8 bytes
    return struct.pack("<Q", len(text)) + text
