"""Sentence embeddings as a teacher: every text is encoded once, into a folder that is opened like any file of vectors.

OUT/vectors.npy      (N, D) float32
OUT/texts.jsonl      {"text": ...} a line, in order
OUT/labels.txt       of several files: the name of each text's file
OUT/manifest.json    model, texts, how many rows are done; hashes, once all are
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.folder import locked
from stillhouse.core.hashes import hash_of, with_hashes
from stillhouse.core.machine import versions
from stillhouse.core.records import read_object, write_atomically, write_json
from stillhouse.tasks.embed.data import LABELS, MANIFEST, TEXTS, VECTORS
from stillhouse.teachers.encoder import USUAL, Encoding, encode, load_encoder, model_folder, model_sha256

CHUNK_ROWS = 512  # a kill costs so many texts


def capture(
    texts: Sequence[str],
    model: str | Path,
    out: str | Path,
    *,
    names: Sequence[str] = (),
    encoding: Encoding = USUAL,
    progress: bool = False,
) -> Path:
    """Encode texts with a sentence-transformers model into a folder; what is there already is not encoded again.

    Args:
        texts: (N) none of them blank.
        model: a folder with modules.json, or a name on the hub ("all-MiniLM-L6-v2"), looked for on this machine first.
        out: the folder, new, empty or of the same capture, which goes on where it stopped.
        names: (N) of the files that the texts come from; they become labels.
        encoding: batches, length of the vectors, device.
        progress: a bar on stderr.

    Returns:
        The folder, finished: `open_vectors` opens it, with its texts.

    Raises:
        InputError: blank or no texts, no such model (nor a hub that answers), a folder of something else, of another model or
            of other texts, NaN from the model, a disk that is full.

    Source: Reimers & Gurevych 2019, arXiv:1908.10084 (Sentence-BERT).
    """
    out = Path(out).expanduser()
    if encoding.batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, got {encoding.batch_size}")
    blank = [row for row, text in enumerate(texts) if not isinstance(text, str) or not text.strip()]
    if blank or not len(texts):
        raise InputError(f"texts: expected texts, got {f'{texts[blank[0]]!r} in row {blank[0]}' if blank else 'none'}")
    folder = model_folder(model)
    key = {
        "texts_sha256": hash_of({"texts": list(texts), "names": list(names)}),
        "model_sha256": model_sha256(folder),
        "normalize": encoding.normalize,
    }
    known = _read_partial_manifest(out, key)
    if "sha256" in known:  # finished
        return out
    encoder = load_encoder(folder, encoding.device)
    with locked(out):
        try:
            known = known or {**key, "model": str(model), "rows": len(texts), "done": 0, "versions": versions()}
            _write_lines(out / TEXTS, [json.dumps({"text": text}) for text in texts])
            if names:
                _write_lines(out / LABELS, names)
            chunks, to = range(known["done"], len(texts), CHUNK_ROWS), Console(stderr=True)
            for start in track(chunks, "encoding", console=to, transient=True, disable=not progress):
                vectors = encode(encoder, texts[start : start + CHUNK_ROWS], start, encoding)
                with (out / VECTORS).open("r+b" if start else "w+b") as file:  # a map of a full disk ends the process
                    if not start:
                        header = {"descr": "<f4", "fortran_order": False, "shape": (len(texts), vectors.shape[1])}
                        np.lib.format.write_array_header_1_0(file, header)
                        known |= {"width": vectors.shape[1], "offset": file.tell()}
                    file.seek(known["offset"] + start * known["width"] * 4)
                    file.write(vectors.tobytes())
                known["done"] = start + len(vectors)
                write_json(out / MANIFEST, known)
        except OSError as error:
            raise CannotWrite(f"cannot write {out}: {error.strerror}; capture again to go on") from None
        write_json(out / MANIFEST, with_hashes(known, out, (VECTORS, TEXTS)))
    return out


def _read_partial_manifest(out: Path, key: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the capture that is in the folder; {} where the folder is new."""
    if (out / MANIFEST).is_file():
        was = read_object(out / MANIFEST, {})
        names = {"model_sha256": "another model", "texts_sha256": "other texts", "normalize": "another `normalize`"}
        if changed := [words for name, words in names.items() if was.get(name) != key[name]]:
            raise InputError(f"{out} holds a capture of {', '.join(changed)}; choose another folder")
        return was
    # a capture that was killed before its manifest was named left hidden files and texts
    ours = (TEXTS, LABELS, VECTORS)
    if out.exists() and (not out.is_dir() or any(e.name[0] != "." and e.name not in ours for e in out.iterdir())):
        raise InputError(f"cannot write {out}: it exists and is not a capture; choose another folder")
    return {}


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    raw = "".join(f"{line}\n" for line in lines).encode()
    write_atomically(path, lambda file: file.write(raw))
