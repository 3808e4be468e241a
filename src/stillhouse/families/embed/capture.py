"""Sentence embeddings as a teacher: every text is encoded once, into a cache that is opened like any file of vectors.

OUT is a folder of `stillhouse.cache`, whose one part is `texts` and whose one feature is `vector`; beside it

    OUT/texts.jsonl      {"text": ...} a line, in order

`stillhouse.families.embed.data.vectors.open_vectors(OUT)` reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.cache.files import MANIFEST, PLAN, begin, write_shards
from stillhouse.cache.plan import Plan
from stillhouse.core.checks import InputError
from stillhouse.core.records import write_atomically
from stillhouse.core.sample import sample_rows
from stillhouse.core.types import Batch, Outputs
from stillhouse.families.embed.data.vector_stores import ROWS, VECTOR, capture_manifest

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TEXTS = "texts.jsonl"
SHARD_ROWS = 512  # a kill costs so many texts
HUB_SECONDS = 5.0
# what a model puts out depends on these; not on its README or on the same weights in other formats
DECISIVE = (".json", ".txt", ".model", ".safetensors", ".bin")
IGNORED = ("onnx", "openvino", ".cache")


@dataclass(frozen=True)
class Encoding:
    """How texts become vectors.

    Attributes:
        batch_size: texts at once in the model.
        normalize: scale vectors to unit length.
        device: as torch names it; the best there is where not given.
    """

    batch_size: int = 64
    normalize: bool = True
    device: str | None = None


USUAL = Encoding()


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
        The folder, finished: `stillhouse.families.embed.data.vectors.open_vectors` opens it, with its texts.

    Raises:
        InputError: blank or no texts, no such model (nor a hub that answers), a folder of something else, of another model or
            of other texts, NaN from the model, a disk that is full.

    Source: Reimers & Gurevych 2019, arXiv:1908.10084 (Sentence-BERT).
    """
    out, batch_size, normalize = Path(out).expanduser(), encoding.batch_size, encoding.normalize
    if batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, got {batch_size}")
    folder = model_folder(model)
    key = {
        "preprocessing": f"normalize: {normalize}",
        "teacher": _model_sha256(folder),
        "data": texts_sha256(texts),
    }
    if not _to_do(out, key, resume):
        return out
    encoder = _load(folder, encoding.device)
    plan, fill = _asked(texts, encoder, key, str(model), batch_size=batch_size, normalize=normalize, out=out)
    begin(out, plan)
    _write_texts(out / TEXTS, texts)
    with _bar(len(texts), progress) as on_progress:
        write_shards(out, plan, fill, wait=True, on_progress=on_progress)
    return out


def check_capture(
    folder: str | Path,
    model: str | Path | None = None,
    *,
    rows: int = 32,
    tolerance: float = 1e-3,
    seed: int | None = None,
    device: str | None = None,
) -> float:
    """Encode some texts of a capture again and compare: the model that is here is the one that was captured.

    Args:
        folder: a finished capture.
        model: folder or name; the one that the capture names where not given.
        rows: how many texts, drawn at random.
        tolerance: largest distance of a vector from the stored one, relative to its length (another batch or another device
            moves float32 vectors by about 1e-6).
        seed: draws the rows; None: anew each time.
        device: as torch names it.

    Returns:
        The largest relative distance that was found.

    Raises:
        InputError: not a finished capture, no such model, or vectors that differ by more than the tolerance.
    """
    folder = Path(folder).expanduser()
    manifest = capture_manifest(folder)
    if rows < 1:
        raise InputError(f"rows: expected at least 1, got {rows}")
    lines = [line for line in (folder / TEXTS).read_text(encoding="utf-8").split("\n") if line]
    picked = sample_rows(manifest["rows"], rows, seed=seed)
    encoder = _load(model_folder(model or manifest["model"]), device)
    texts = [json.loads(lines[row])["text"] for row in picked]
    live = _encode(encoder, texts, 0, batch_size=32, normalize=manifest["normalize"])
    if live.shape[1] != manifest["width"]:
        raise InputError(f"{folder}: expected vectors of width {manifest['width']}, got {live.shape[1]} from {model}")
    kept = np.concatenate([np.load(folder / name, mmap_mode="r") for name in manifest["shards"]])[picked]
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


def _to_do(out: Path, key: dict[str, Any], resume: bool) -> bool:
    """Whether there is something to encode into the folder, which is ours or new."""
    if not (out / PLAN).is_file():
        # a capture that was killed before its plan was named left a hidden file
        if out.exists() and (not out.is_dir() or any(not entry.name.startswith(".") for entry in out.iterdir())):
            raise InputError(f"cannot write {out}: it exists and is not a capture; choose another folder")
        return True
    if not resume:
        raise InputError(f"{out} holds a capture already; go on with resume, or choose another folder")
    was = Plan.read(out / PLAN).key
    names = {"teacher": "another model", "data": "other texts", "preprocessing": "another `normalize`"}
    changed = [words for name, words in names.items() if was.get(name) != key[name]]
    if changed:
        raise InputError(f"{out} holds a capture of {', '.join(changed)}; choose another folder")
    return not (out / MANIFEST).is_file()


def _asked(
    texts: Sequence[str], encoder: Any, key: dict[str, Any], model: str, *, batch_size: int, normalize: bool, out: Path
) -> tuple[Plan, Any]:
    """The plan of a capture, or that of the one that is continued, and what gives its rows."""
    from stillhouse.cache.content import Content
    from stillhouse.cache.questions import Part, Questions

    rows = Plan.read(out / PLAN).shard_rows[ROWS] if (out / PLAN).is_file() else SHARD_ROWS
    content = Content(False, None, (VECTOR,))

    def shown(at: Tensor) -> Batch:
        # a text is known again by the hash of its letters
        return Batch(torch.tensor([_numbers(texts[int(row)]) for row in at], dtype=torch.float64), at, at)

    def answered(batch: Batch) -> Outputs:
        first = int(batch.index[0])
        some = [texts[int(row)] for row in batch.index]
        vectors = torch.from_numpy(_encode(encoder, some, first, batch_size=batch_size, normalize=normalize))
        return Outputs(vectors.new_zeros(len(vectors), 0), {VECTOR: vectors})

    about = {"model": model, "normalize": normalize, "versions": _versions()}
    name = Path(model).name
    parts = {ROWS: Part(len(texts), shown)}
    questions = Questions(
        answered, name, parts, 0, key["teacher"], key["preprocessing"], key["data"], batch=rows, about=about
    )
    plan = questions.plan(content, shard_bytes=1)
    return plan, lambda part, start, stop: questions.answers(part, start, stop, content)


def _numbers(text: str) -> list[float]:
    raw = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return [int.from_bytes(raw[at : at + 4], "little") / 2**32 for at in range(0, 16, 4)]


def _write_texts(path: Path, texts: Sequence[str]) -> None:
    if not path.is_file():
        lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
        write_atomically(path, lambda file: file.write(lines.encode()))


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
        yield lambda done, total: bar.update(task, completed=done, total=total)


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
    if path.is_file():  # the hub would be asked for a model of its name
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
