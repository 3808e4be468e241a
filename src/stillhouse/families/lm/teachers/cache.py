"""What a teacher said of every training window: its k largest logits, kept on disk so that it is asked once.

    FOLDER/ids.npy         (R, L, k) uint16 or uint32: the k most probable tokens, falling
    FOLDER/logits.npy      (R, L, k) float16: their logits, less the largest
    FOLDER/logsumexp.npy   (R, L, T) float32: of all V logits, less the largest, over each temperature
    FOLDER/cache.json      whose answers to which windows, and how many rows are done; written after the rows that it counts

Shapes: R rows, L tokens, k kept, T temperatures, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_json, write_json
from stillhouse.families.lm.teachers.teacher import LanguageTeacher

FORMAT = "stillhouse-logits-1"
MANIFEST = "cache.json"
FLUSH_SECONDS = 10.0
TOLERANCE = (
    0.02  # nats between a kept log-probability and a live one: half precision of logits down to -20 errs by 0.008
)


class Rows(Protocol):
    """Windows of a text: `len`, and rows (B,) to inputs and targets (B, L)."""

    def __len__(self) -> int: ...

    def __call__(self, rows: NDArray[Any]) -> tuple[Tensor, Tensor]:
        """Inputs and targets."""
        ...


@dataclass(frozen=True)
class CacheKey:
    """What a cache is of.

    Attributes:
        teacher: SHA-256 of its weights.
        data: SHA-256 of the token ids that the windows are cut from.
        rows: R.
        length: L.
        k: logits kept of each token.
        temperatures: for which the sum over all V is known.
    """

    teacher: str
    data: str
    rows: int
    length: int
    k: int
    temperatures: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.k < 1 or not self.temperatures or min(self.temperatures) <= 0:
            raise InputError(
                f"cache: expected k from 1 and temperatures above 0, got k {self.k} and {self.temperatures}"
            )


class LogitCache:
    """A finished cache, memory-mapped.

    Args:
        folder: that `write_cache` filled.
        key: what it must be of; None: whatever it is of.

    Raises:
        InputError: no cache there, an unfinished one, or one of another teacher, other data or other settings.
    """

    def __init__(self, folder: Path, key: CacheKey | None = None) -> None:
        self.folder = folder
        manifest = _manifest(folder)
        if manifest is None:
            raise InputError(f"cache {folder}: there is none; write it with `stillhouse lm cache`")
        self.key = _key(manifest)
        if key is not None:
            _check_key(folder, self.key, key)
        if manifest["rows_done"] < self.key.rows:
            raise InputError(
                f"cache {folder}: {manifest['rows_done']:,} of {self.key.rows:,} rows are done; go on with `stillhouse lm cache`"
            )
        self.vocab = int(manifest["vocab"])
        self.ids, self.logits, self.sums = _arrays(folder, self.key, self.vocab, "r")

    def at(self, rows: NDArray[Any] | Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Tokens (B, L, k) int64 and their log-probabilities (B, L, k) at a temperature, as `losses.topk_kl` takes them.

        Raises:
            InputError: a temperature whose sum over all tokens was not kept; rows that are damaged.
        """
        known = self.key.temperatures
        match = [i for i, t in enumerate(known) if abs(t - temperature) < 1e-6]
        if not match:
            raise InputError(
                f"cache {self.folder}: expected a temperature of {', '.join(f'{t:g}' for t in known)} (the mass of all other "
                f"tokens is known there only), got {temperature:g}"
            )
        at = np.asarray(rows, np.int64)
        logits = torch.from_numpy(self.logits[at].astype(np.float32))
        sums = torch.from_numpy(self.sums[at, :, match[0]])
        ids, kept = torch.from_numpy(self.ids[at].astype(np.int64)), logits / temperature - sums.unsqueeze(-1)
        if not bool(torch.isfinite(kept).all()) or int(ids.max()) >= self.vocab:
            raise InputError(
                f"cache {self.folder}: expected finite log-probabilities of tokens below {self.vocab}, got others in rows "
                f"{at.min()} to {at.max()}: it is damaged; delete {self.folder} and write it again"
            )
        return ids, kept


def write_cache(
    teacher: LanguageTeacher,
    windows: Rows,
    key: CacheKey,
    folder: Path,
    *,
    batch: int = 16,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> LogitCache:
    """Ask a teacher for every window and keep its k largest logits; goes on where a stopped or killed run left off.

    Args:
        teacher: whose `identity` the key names.
        windows: the rows.
        key: what is kept.
        folder: for the files.
        batch: rows at a time; decides nothing but speed and memory.
        on_progress: told (rows done, rows).

    Raises:
        InputError: the folder holds a cache of something else, or the key is not of this teacher and these windows.
    """
    if key.teacher != teacher.identity or key.rows != len(windows) or key.k > teacher.vocab_size:
        raise InputError(
            f"cache: expected a key of teacher {teacher.identity[:12]}, {len(windows)} rows and k of at most "
            f"{teacher.vocab_size}, got {key.teacher[:12]}, {key.rows} and {key.k}"
        )
    manifest = _manifest(folder)
    if manifest is not None:
        _check_key(folder, _key(manifest), key)
    done = 0 if manifest is None else int(manifest["rows_done"])
    facts = {"format": FORMAT, "key": asdict(key), "name": teacher.name, "vocab": teacher.vocab_size}
    if done < key.rows:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror}") from None
        arrays = _arrays(folder, key, teacher.vocab_size, "w+" if manifest is None else "r+")
        if manifest is None:
            write_json(folder / MANIFEST, {**facts, "rows_done": 0})
        for rows in _fill(teacher, windows, key, arrays, done, batch):
            write_json(folder / MANIFEST, {**facts, "rows_done": rows})
            on_progress(rows, key.rows)
    return LogitCache(folder, key)


def check_cache(cache: LogitCache, teacher: LanguageTeacher, windows: Rows, *, rows: int = 4) -> float:
    """Ask the teacher again for some rows of a cache, and compare.

    Args:
        cache: to be checked.
        teacher: said to have filled it.
        windows: said to be what it was asked about.
        rows: how many, spread over the cache.

    Returns:
        The largest difference of log-probabilities in nats, over the kept tokens of more than e^-20.

    Raises:
        InputError: they differ by more than half precision explains.
    """
    chosen = np.unique(np.linspace(0, len(windows) - 1, rows).astype(np.int64))
    worst = 0.0
    for temperature in cache.key.temperatures:
        ids, kept = cache.at(chosen, temperature)
        live = torch.log_softmax(teacher(windows(chosen)[0]).logits.cpu() / temperature, -1).gather(-1, ids)
        near = (live - kept).abs()[kept > -20]
        worst = max(worst, float(near.max()) if len(near) else 0.0)
    if not worst <= TOLERANCE:
        raise InputError(
            f"cache {cache.folder}: its log-probabilities differ from the live teacher's by up to {worst:.3g} nats, expected at "
            f"most {TOLERANCE:g}; delete it and write it again"
        )
    return worst


def _fill(
    teacher: LanguageTeacher, windows: Rows, key: CacheKey, arrays: tuple[Any, Any, Any], start: int, batch: int
) -> Iterator[int]:
    """Write rows from `start` on; yields the number of rows that are safely on disk, now and then."""
    ids, logits, sums = arrays
    flushed = time.monotonic()
    for begin in range(start, key.rows, batch):
        rows = np.arange(begin, min(begin + batch, key.rows))
        found = teacher(windows(rows)[0]).logits
        top = found.topk(key.k, dim=-1)
        largest = top.values[..., :1]
        ids[rows] = top.indices.cpu().numpy()
        logits[rows] = (top.values - largest).clamp(min=-6e4).half().cpu().numpy()
        for place, temperature in enumerate(key.temperatures):
            sums[rows, :, place] = ((found - largest) / temperature).logsumexp(-1).cpu().numpy()
        end = int(rows[-1]) + 1
        if end == key.rows or time.monotonic() - flushed > FLUSH_SECONDS:
            for array in arrays:
                array.flush()
            flushed = time.monotonic()
            yield end


def _arrays(folder: Path, key: CacheKey, vocab: int, mode: Literal["w+", "r+", "r"]) -> tuple[Any, Any, Any]:
    shapes = {
        "ids": ((key.rows, key.length, key.k), np.uint16 if vocab <= 2**16 else np.uint32),
        "logits": ((key.rows, key.length, key.k), np.float16),
        "logsumexp": ((key.rows, key.length, len(key.temperatures)), np.float32),
    }
    found = []
    for name, (shape, kind) in shapes.items():
        path = folder / f"{name}.npy"
        try:
            if mode == "w+":
                array = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
            else:
                array = np.load(path, mmap_mode=mode, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"cache {path}: cannot be opened: {error}") from None
        if array.shape != shape or array.dtype != kind:
            raise InputError(f"cache {path}: expected {shape} {np.dtype(kind)}, got {array.shape} {array.dtype}")
        found.append(array)
    return found[0], found[1], found[2]


def _manifest(folder: Path) -> dict[str, Any] | None:
    if not (folder / MANIFEST).is_file():
        return None
    found = read_json(folder / MANIFEST)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(f"cache {folder}: expected format {FORMAT!r}, got something else")
    return found


def _key(manifest: dict[str, Any]) -> CacheKey:
    try:
        said = manifest["key"]
        return CacheKey(**{**said, "temperatures": tuple(said["temperatures"])})
    except (KeyError, TypeError) as error:
        raise InputError(f"cache: its {MANIFEST} is damaged ({error}); delete the folder and write it again") from None


def _check_key(folder: Path, got: CacheKey, expected: CacheKey) -> None:
    for name, want in asdict(expected).items():
        is_ = getattr(got, name)
        if is_ != want:
            shown = [str(x)[:12] if isinstance(x, str) else str(x) for x in (want, is_)]
            raise InputError(
                f"cache {folder}: it is of another {name}: expected {shown[0]}, got {shown[1]}; take another folder"
            )
