"""Sentence embeddings as a teacher: every text is encoded once, into a folder that is opened like any file of vectors.

    OUT/
      plan.json            which model and texts (hashes), written first: what a killed capture goes on with
      texts.jsonl          {"text": ...} a line, in order
      vectors-00000.npy    (SHARD_ROWS, D) float32, and so on; each written atomically
      .vectors-00000.begun.npy   rows of the shard that is being made, so that a kill costs FLUSH_SECONDS at most
      manifest.json        written last: the plan, the shards, D, versions; without it the capture is not finished

`stillhouse.families.embed.data.vectors.open_vectors(OUT)` reads it.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import sha256_of
from stillhouse.core.records import read_object, write_atomically, write_json
from stillhouse.families.embed.data.vector_stores import capture_manifest

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FORMAT = 2
PLAN, MANIFEST, TEXTS = "plan.json", "manifest.json", "texts.jsonl"
SHARD_ROWS = 2048
FLUSH_SECONDS = 30.0
HUB_SECONDS = 5.0
# what a model puts out depends on these; not on its README or on the same weights in other formats
DECISIVE = (".json", ".txt", ".model", ".safetensors", ".bin")
IGNORED = ("onnx", "openvino", ".cache")


def capture(
    texts: Sequence[str],
    model: str | Path,
    out: str | Path,
    *,
    batch_size: int = 64,
    normalize: bool = True,
    resume: bool = True,
    progress: bool = True,
    device: str | None = None,
) -> Path:
    """Encode texts with a sentence-transformers model into a folder; what is there already is not encoded again.

    Args:
        texts: (N) none of them blank.
        model: a folder with modules.json, or a name on the hub ("all-MiniLM-L6-v2"), looked for on this machine first.
        out: the folder, new, empty or of the same capture.
        batch_size: texts at once in the model.
        normalize: scale vectors to unit length.
        resume: go on where a killed capture stopped, and return at once where it is finished; else refuse a folder in use.
        progress: a bar on stderr, where that is a terminal.
        device: as torch names it; the best there is where not given.

    Returns:
        The folder, finished: `stillhouse.families.embed.data.vectors.open_vectors` opens it, with its texts.

    Raises:
        InputError: blank or no texts, no such model (nor a hub that answers), a folder of something else, of another model or
            of other texts, NaN from the model, a disk that is full.

    Source: Reimers & Gurevych 2019, arXiv:1908.10084 (Sentence-BERT).
    """
    out = Path(out).expanduser()
    if batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, got {batch_size}")
    folder = model_folder(model)
    plan: dict[str, Any] = {
        "format": FORMAT,
        "model_sha256": _model_sha256(folder),
        "texts_sha256": texts_sha256(texts),
        "rows": len(texts),
        "normalize": normalize,
        "shard_rows": SHARD_ROWS,
    }
    plan = _open(out, plan, resume)
    if (out / MANIFEST).is_file():
        return out
    _write_texts(out / TEXTS, texts)
    step: int = plan["shard_rows"]
    starts = range(0, len(texts), step)
    shards = [out / f"vectors-{number:05d}.npy" for number in range(len(starts))]
    todo = [(s, start) for s, start in zip(shards, starts) if not _whole(s, min(step, len(texts) - start))]
    encoder = _load(folder, device) if todo else None
    with _bar(len(texts), progress) as advance:
        advance(len(texts) - sum(min(step, len(texts) - start) for _, start in todo))
        for shard, start in todo:
            begun = shard.with_name(f".{shard.stem}.begun.npy")
            pieces = _begun(begun, min(step, len(texts) - start))
            done = start + sum(map(len, pieces))
            advance(done - start)
            saved = time.monotonic()
            for first in range(done, min(start + step, len(texts)), 8 * batch_size):
                some = list(texts[first : min(first + 8 * batch_size, start + step)])
                pieces.append(_encode(encoder, some, first, batch_size=batch_size, normalize=normalize))
                advance(len(some))
                if time.monotonic() - saved >= FLUSH_SECONDS:
                    _write(begun, pieces)
                    saved = time.monotonic()
            _write(shard, pieces)
            begun.unlink(missing_ok=True)
    width = np.load(shards[0], mmap_mode="r").shape[1]
    hashes = {path.name: sha256_of(path) for path in (*shards, out / TEXTS)}
    about = {"model": str(model), "width": width, "shards": [shard.name for shard in shards], "versions": _versions()}
    about |= {"sha256": hashes}
    write_json(out / MANIFEST, {**plan, **about})
    for leftover in out.glob(".vectors-*"):
        leftover.unlink(missing_ok=True)
    return out


def check_capture(
    folder: str | Path,
    model: str | Path | None = None,
    *,
    rows: int = 32,
    tolerance: float = 1e-3,
    seed: int = 0,
    device: str | None = None,
) -> float:
    """Encode some texts of a capture again and compare: the model that is here is the one that was captured.

    Args:
        folder: a finished capture.
        model: folder or name; the one that the capture names where not given.
        rows: how many texts, drawn at random.
        tolerance: largest distance of a vector from the stored one, relative to its length (another batch or another device
            moves float32 vectors by about 1e-6).
        seed: draws the rows.
        device: as torch names it.

    Returns:
        The largest relative distance that was found.

    Raises:
        InputError: not a finished capture, no such model, or vectors that differ by more than the tolerance.
    """
    folder = Path(folder).expanduser()
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder}: expected a finished capture ({MANIFEST} in it), got none")
    manifest = capture_manifest(folder)
    if rows < 1:
        raise InputError(f"rows: expected at least 1, got {rows}")
    lines = [line for line in (folder / TEXTS).read_text(encoding="utf-8").split("\n") if line]
    picked = np.sort(np.random.default_rng(seed).permutation(manifest["rows"])[:rows])
    encoder = _load(model_folder(model or manifest["model"]), device)
    texts = [json.loads(lines[row])["text"] for row in picked]
    live = _encode(encoder, texts, 0, batch_size=32, normalize=manifest["normalize"])
    if live.shape[1] != manifest["width"]:
        raise InputError(f"{folder}: expected vectors of width {manifest['width']}, got {live.shape[1]} from {model}")
    step = manifest["shard_rows"]
    files = {name: np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in manifest["shards"]}
    kept = np.stack([files[manifest["shards"][row // step]][row % step] for row in picked])
    apart = np.linalg.norm(live - kept, axis=1) / np.maximum(np.linalg.norm(kept, axis=1), 1e-12)
    if apart.max() > tolerance:
        raise InputError(
            f"{folder}: expected the vectors of {manifest['model']} again, got row {picked[apart.argmax()]} "
            f"{apart.max():.3g} of its length away (tolerance {tolerance:g}): another model, or another text"
        )
    return float(apart.max())


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


# ------------------------------------------------------------------------------------------------------------ folder


def _open(out: Path, plan: dict[str, Any], resume: bool) -> dict[str, Any]:
    """The plan of the folder, which is ours or is made so."""
    if not (out / PLAN).is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"cannot write {out}: it exists and is not a capture; choose another folder")
        write_json(out / PLAN, plan)
        return plan
    if not resume:
        raise InputError(f"{out} holds a capture already; go on with resume, or choose another folder")
    was = read_object(out / PLAN, {"shard_rows": int})
    names = {"model_sha256": "another model", "texts_sha256": "other texts", "normalize": "another `normalize`"}
    changed = [words for key, words in names.items() if was.get(key) != plan[key]]
    if was.get("format") != FORMAT or changed:
        raise InputError(f"{out} holds a capture of {', '.join(changed) or 'another format'}; choose another folder")
    return was


def _write_texts(path: Path, texts: Sequence[str]) -> None:
    if not path.is_file():
        lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
        write_atomically(path, lambda file: file.write(lines.encode()))


def _write(path: Path, pieces: Sequence[NDArray[np.float32]]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(pieces))
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))
    write_json(_beside(path), {"sha256": hashlib.sha256(buffer.getbuffer()).hexdigest()})


def _beside(path: Path) -> Path:
    """Where the hash of a shard lies until the manifest has it."""
    return path.with_name(f".{path.stem.lstrip('.')}.json")


def _as_written(path: Path) -> bool:
    """Whether a shard is there and is what was written; one that is not is encoded again."""
    try:
        return read_object(_beside(path), {"sha256": str})["sha256"] == sha256_of(path)
    except InputError:
        return False


def _begun(path: Path, rows: int) -> list[NDArray[np.float32]]:
    """What a killed capture left of a shard, if that is sound."""
    if not _as_written(path):
        return []
    found = np.load(path, allow_pickle=False)
    return [found] if found.ndim == 2 and found.dtype == np.float32 and 0 < len(found) <= rows else []


def _whole(shard: Path, rows: int) -> bool:
    return _as_written(shard) and len(np.load(shard, mmap_mode="r", allow_pickle=False)) == rows


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
        yield lambda count: bar.advance(task, count)


# ------------------------------------------------------------------------------------------------------------- model


def _encode(
    encoder: SentenceTransformer | None, texts: list[str], first: int, *, batch_size: int, normalize: bool
) -> NDArray[np.float32]:
    assert encoder is not None
    found = encoder.encode(
        texts, batch_size=batch_size, normalize_embeddings=normalize, convert_to_numpy=True, show_progress_bar=False
    )
    vectors = np.asarray(found, np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(bad):
        raise InputError(f"model: expected finite vectors, got NaN or infinite ones for text {first + bad[0]}")
    return vectors


def _load(folder: Path, device: str | None) -> SentenceTransformer:
    with _quiet():
        from sentence_transformers import SentenceTransformer

        try:
            return SentenceTransformer(str(folder), device=device, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            raise InputError(
                f"{folder}: expected a sentence-transformers model, got one that does not load: {error}"
            ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars for the reading of weights that takes a second."""
    try:
        from transformers.utils import logging
    except ImportError:
        raise InputError("sentence embeddings need sentence-transformers: pip install 'stillhouse[text]'") from None
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def model_folder(model: str | Path) -> Path:
    """The folder of a model: as given, or of a name in the local cache, or fetched into it."""
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "modules.json").is_file():
            raise InputError(f"{path}: expected a sentence-transformers folder, got one without modules.json")
        return path
    if path.exists():  # never asked of the hub
        raise InputError(f"{path}: expected a sentence-transformers folder, got a file")
    name = str(model)
    if isinstance(model, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"{path}: expected a sentence-transformers folder, got nothing there")
    return _from_hub(name if "/" in name else f"sentence-transformers/{name}")


def _from_hub(name: str) -> Path:
    with _quiet():
        from huggingface_hub import HfApi, snapshot_download

    def fetched(**more: Any) -> Path | None:
        folder = Path(snapshot_download(name, **more))
        return folder if (folder / "modules.json").is_file() else None

    try:
        if here := fetched(local_files_only=True):
            return here
    except Exception:  # whatever the error is, it is not here
        pass
    try:
        # asked first, with a limit: a download retries for minutes where there is no network
        files = [entry.rfilename for entry in HfApi().model_info(name, timeout=HUB_SECONDS).siblings or []]
        weights = "*.safetensors" if any(file.endswith(".safetensors") for file in files) else "*.bin"
        there = fetched(
            allow_patterns=["*.json", "*.txt", "*.model", weights], ignore_patterns=["onnx/*", "openvino/*"]
        )
    except Exception as error:  # the client's errors change with its versions
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(
            f"model {name!r}: expected a folder, a model in the local cache or a name on the hub, got neither: {reason}"
        ) from None
    if there is None:
        raise InputError(f"model {name!r}: expected a sentence-transformers model, got one without modules.json")
    return there


def _model_sha256(folder: Path) -> str:
    """Of all files that decide what the model puts out, by name and content."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.suffix in DECISIVE]
    files = [file for file in files if not set(file.relative_to(folder).parts[:-1]) & set(IGNORED)]
    if any(file.suffix == ".safetensors" for file in files):
        files = [file for file in files if file.suffix != ".bin"]  # the same weights, which are then not read
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
