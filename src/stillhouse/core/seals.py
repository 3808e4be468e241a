"""Hashes inside of files, so that what is read back is what was written: plain data of JSON, archives of arrays. No torch.

JSON: an object has the key `seal`, the sha256 of all else in it. npz: the comment of the archive holds the sha256 of all before
it, which every reader of zip files skips. Older files without them are believed, since a changed bit cannot take a seal off
and change the content too.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

SEAL, HASHES = "seal", "sha256"
MARK = b"stillhouse sha256 "
END = b"PK\x05\x06"  # of the last record of a zip file: 22 bytes, the last two of which are the length of its comment


def hash_of(content: Mapping[str, Any], hashes: Mapping[str, str]) -> str:
    """The sha256 of plain data, whatever the order of its keys, together with hashes of files."""
    text = json.dumps([content, hashes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def with_seal(content: dict[str, Any], name: str) -> dict[str, Any]:
    """A JSON object with its own hash, unless it is a card that has it under the name of its file.

    Example:
        >>> is_whole(with_seal({"step": 3}, "run.json"), "run.json")
        True
        >>> is_whole({**with_seal({"step": 3}, "run.json"), "step": 4}, "run.json")
        False
    """
    if name in _hashes(content):
        return content
    bare = {key: value for key, value in content.items() if key != SEAL}
    return {**bare, SEAL: hash_of(bare, {})}


def is_whole(content: Mapping[str, Any], name: str) -> bool:
    """Whether a JSON object is what was written, as far as it says: by its seal, or by its own hash in a card."""
    hashes = _hashes(content)
    if name in hashes:
        bare = {key: value for key, value in content.items() if key != HASHES}
        return hashes[name] == hash_of(bare, {key: value for key, value in hashes.items() if key != name})
    return SEAL not in content or content[SEAL] == hash_of({k: v for k, v in content.items() if k != SEAL}, {})


def with_comment(archive: bytes) -> bytes:
    """A zip file with the hash of all of it in its comment."""
    size = len(MARK) + 64
    body = archive[:-2] + struct.pack("<H", size)
    return body + MARK + hashlib.sha256(body).hexdigest().encode()


def comment_fits(archive: bytes) -> bool:
    """Whether a zip file is what `with_comment` made."""
    body, comment = archive[: -(len(MARK) + 64)], archive[-(len(MARK) + 64) :]
    return comment == MARK + hashlib.sha256(body).hexdigest().encode() and body[-22:-18] == END


def _hashes(content: Mapping[str, Any]) -> Mapping[str, Any]:
    found = content.get(HASHES)
    return found if isinstance(found, Mapping) else {}
