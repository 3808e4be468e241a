"""Sentence embeddings as a teacher: every text is encoded once, into a folder that is opened like any file of vectors.

OUT/vectors.npy      (N, D) float32
OUT/texts.jsonl      {"text": ...} a line, in order
OUT/labels.txt       of several files: the name of each text's file
OUT/manifest.json    model, texts, how many rows are done; hashes, once all are
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillhouse.core.checks import CannotWrite, InputError
from stillhouse.core.hashes import with_hashes
from stillhouse.core.lock import RunLock
from stillhouse.core.records import read_object, write_atomically, write_json
from stillhouse.tasks.embed.data.formats import LABELS, MANIFEST, TEXTS, VECTORS
from stillhouse.tasks.embed.data.texts import gather
from stillhouse.teachers.encoder import USUAL, Encoding, encode, load_encoder, model_folder, model_sha256

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CHUNK_ROWS = 512  # a kill costs so many texts


def capture_sources(
    sources: Sequence[str],
    model: str,
    out: Path,
    *,
    min_chars: int = 1,
    max_chars: int | None = None,
    limit: int | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """`gather`, then `capture` with the rest of the settings, with the names of files as labels.

    Returns:
        `folder`, `rows`, `width`, `files` (texts of each).
    """
    from collections import Counter

    texts, names = gather(sources, min_chars=min_chars, max_chars=max_chars, limit=limit)
    folder = capture(texts, model, out, **settings)
    lines = "".join(f"{name}\n" for name in names)
    write_atomically(folder / LABELS, lambda file: file.write(lines.encode()))
    about = read_object(folder / MANIFEST, {"width": int})
    return {"folder": folder, "rows": len(texts), "width": about["width"], "files": dict(Counter(names))}


def capture(
    texts: Sequence[str],
    model: str | Path,
    out: str | Path,
    *,
    encoding: Encoding = USUAL,
    resume: bool = True,
    progress: bool = True,
) -> Path:
    """Encode texts with a sentence-transformers model into a folder; what is there already is not encoded again.

    Args:
        texts: (N) none of them blank.
        model: a folder with modules.json, or a name on the hub ("all-MiniLM-L6-v2"), looked for on this machine first.
        out: the folder, new, empty or of the same capture.
        encoding: batches, length of the vectors, device.
        resume: go on where a killed capture stopped, and return at once where it is finished; else refuse a folder in use.
        progress: a bar on stderr, where that is a terminal.

    Returns:
        The folder, finished: `stillhouse.tasks.embed.data.vectors.open_vectors` opens it, with its texts.

    Raises:
        InputError: blank or no texts, no such model (nor a hub that answers), a folder of something else, of another model or
            of other texts, NaN from the model, a disk that is full.

    Source: Reimers & Gurevych 2019, arXiv:1908.10084 (Sentence-BERT).
    """
    out = Path(out).expanduser()
    if encoding.batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, got {encoding.batch_size}")
    folder = model_folder(model)
    key = {"texts_sha256": texts_sha256(texts), "model_sha256": model_sha256(folder), "normalize": encoding.normalize}
    known = _begun(out, key, resume)
    if "sha256" in known:  # finished
        return out
    encoder = load_encoder(folder, encoding.device)
    with RunLock(out):
        known = known or {
            **key,
            "model": str(model),
            "rows": len(texts),
            "done": 0,
            "chunk": CHUNK_ROWS,
            "versions": _versions(),
        }
        if not known["done"]:
            lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
            write_atomically(out / TEXTS, lambda file: file.write(lines.encode()))
        try:
            _encode_all(texts, encoder, out, known, encoding, progress)
        except OSError as error:
            raise CannotWrite(f"cannot write {out}: {error.strerror}; capture again to go on") from None
        write_json(out / MANIFEST, with_hashes(known, out, (VECTORS, TEXTS)))
    return out


def texts_sha256(texts: Sequence[str]) -> str:
    """SHA-256 of texts in order.

    Raises:
        InputError: none, a blank one, one that is not a string or not Unicode text.
    """
    if isinstance(texts, str) or not len(texts):
        raise InputError(f"texts: expected a list of texts, got {'one string' if isinstance(texts, str) else 'none'}")
    digest = hashlib.sha256()
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"texts: row {row}: expected a text, got {text!r}")
        try:
            raw = text.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"texts: row {row}: expected Unicode text, got half a surrogate pair in {text!r:.60}"
            ) from None
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


def _begun(out: Path, key: dict[str, Any], resume: bool) -> dict[str, Any]:
    """The manifest of the capture that is in the folder; {} where the folder is new."""
    if not (out / MANIFEST).is_file():
        # a capture that was killed before its manifest was named left hidden files and texts
        ours = (TEXTS, VECTORS)
        if out.exists() and (not out.is_dir() or any(e.name[0] != "." and e.name not in ours for e in out.iterdir())):
            raise InputError(f"cannot write {out}: it exists and is not a capture; choose another folder")
        return {}
    if not resume:
        raise InputError(f"{out} holds a capture already; go on with resume, or choose another folder")
    was = read_object(out / MANIFEST, {})
    names = {"model_sha256": "another model", "texts_sha256": "other texts", "normalize": "another `normalize`"}
    changed = [words for name, words in names.items() if was.get(name) != key[name]]
    if changed:
        raise InputError(f"{out} holds a capture of {', '.join(changed)}; choose another folder")
    return was


def _encode_all(
    texts: Sequence[str],
    encoder: SentenceTransformer,
    out: Path,
    known: dict[str, Any],
    encoding: Encoding,
    progress: bool,
) -> None:
    """Write the rows that are not done, a chunk at a time, and after each how many are."""
    path = out / VECTORS
    with _bar(len(texts), progress) as on_progress, path.open("r+b" if known["done"] else "w+b") as file:
        for start in range(known["done"], len(texts), known["chunk"]):
            vectors = encode(encoder, texts[start : start + known["chunk"]], start, encoding)
            if not start:
                known["width"] = vectors.shape[1]
                header = {"descr": "<f4", "fortran_order": False, "shape": (len(texts), known["width"])}
                np.lib.format.write_array_header_1_0(file, header)
                known["offset"] = file.tell()
            file.seek(known["offset"] + start * known["width"] * 4)
            file.write(vectors.tobytes())
            file.flush()
            known["done"] = start + len(vectors)
            write_json(out / MANIFEST, known)
            on_progress(known["done"])


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("sentence-transformers", "transformers", "torch")}


@contextmanager
def _bar(total: int, progress: bool) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not (progress and console.is_terminal)) as bar:
        task = bar.add_task("encoding", total=total)
        yield lambda done: bar.update(task, completed=done)
