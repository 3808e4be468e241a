"""Sentence encoders of sentence-transformers: where one lies, what it is, and the vectors of texts.

Shapes: n texts, D numbers of a vector.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.records import write_atomically

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

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


def stored_vectors(texts: Sequence[str], model: str | Path, how: Encoding = USUAL) -> NDArray[np.float32]:
    """(n, D) of texts; computed once and kept by the content of texts and model in the cache (STILLHOUSE_CACHE).

    Args:
        texts: (n).
        model: a folder with modules.json, or a name on the hub ("all-MiniLM-L6-v2"), looked for on this machine first.
        how: batches, length of the vectors, device.

    Raises:
        InputError: no such model (nor a hub that answers), or NaN from it.
    """
    folder = model_folder(model)
    digest = hashlib.sha256(f"{model_sha256(folder)} {how.normalize}".encode())
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    cache = Path(os.environ.get("STILLHOUSE_CACHE") or "~/.cache/stillhouse").expanduser() / "vectors"
    path = cache / f"{digest.hexdigest()}.npy"
    try:
        found: NDArray[np.float32] = np.load(path, allow_pickle=False)
        if found.ndim == 2 and len(found) == len(texts):
            return found
    except (OSError, ValueError, EOFError):
        pass  # not there, or damaged: made again
    vectors = encode(load_encoder(folder, how.device), texts, 0, how)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: np.save(file, vectors))
    return vectors


def encode(encoder: SentenceTransformer, texts: Sequence[str], first: int, how: Encoding) -> NDArray[np.float32]:
    """(n, D) of some texts, the first of them number `first`; NaN is refused."""
    found = encoder.encode(
        list(texts), batch_size=how.batch_size, normalize_embeddings=how.normalize, show_progress_bar=False
    )
    vectors = np.asarray(found, "<f4")
    bad = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(bad):
        raise InputError(f"model: expected finite vectors, got NaN or infinite ones for text {first + bad[0]}")
    return vectors


def load_encoder(folder: Path, device: str | None) -> SentenceTransformer:
    """The model of a folder."""
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
    path, name = Path(model).expanduser(), str(model)
    if not path.exists() and not (isinstance(model, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1):
        path = _from_hub(name if "/" in name else f"sentence-transformers/{name}")
    if not (path / "modules.json").is_file():
        got = "a file" if path.is_file() else "one without modules.json" if path.is_dir() else "nothing there"
        raise InputError(f"{path}: expected a sentence-transformers folder, got {got}")
    return path


def _from_hub(name: str) -> Path:
    with _quiet():
        from huggingface_hub import HfApi, snapshot_download

    try:
        here = Path(snapshot_download(name, local_files_only=True))
        if (here / "modules.json").is_file():
            return here
    except Exception:  # whatever the error is, it is not here
        pass
    try:
        # asked first, with a limit: a download retries for minutes where there is no network
        files = [entry.rfilename for entry in HfApi().model_info(name, timeout=HUB_SECONDS).siblings or []]
        weights = "*.safetensors" if any(file.endswith(".safetensors") for file in files) else "*.bin"
        wanted = ["*.json", "*.txt", "*.model", weights]
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=["onnx/*", "openvino/*"]))
    except Exception as error:  # the client's errors change with its versions
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(
            f"model {name!r}: expected a folder, a model in the local cache or a name on the hub, got neither: {reason}"
        ) from None


def model_sha256(folder: Path) -> str:
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
