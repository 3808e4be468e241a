"""A teacher's answers to every training window: its k largest logits, kept on disk so that it is asked once.

    FOLDER/ids.npy         (R, L, k) uint16 or uint32: the k most probable tokens, falling
    FOLDER/logits.npy      (R, L, k) float16: their logits, less the largest
    FOLDER/logsumexp.npy   (R, L, T) float32: of all V logits, less the largest, over each temperature of the key
    FOLDER/rest.npy        (R, L, G) float32: of the V - k logits that are not kept, over each of `TAIL_TEMPERATURES`
    FOLDER/cache.json      whose answers to which windows, and how many rows are done; written after the rows that it counts

At the temperatures of the key all log-probabilities are exact up to half precision. Any other temperature (scheduled, learned)
can be applied later: see `tail` for its bounds. A cache written before there was a `rest.npy` answers the key's alone.

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
from stillhouse.families.lm.teachers.tail import Scores
from stillhouse.families.lm.teachers.teacher import LanguageTeacher

FORMAT = "stillhouse-logits-1"
MANIFEST = "cache.json"
FLUSH_SECONDS = 10.0
TAIL_TEMPERATURES = (1.0, 2.0, 4.0)
TOLERANCE = (
    0.02  # nats between a kept log-probability and a live one: half precision of logits down to -20 errs by 0.008
)


Arrays = tuple[Any, Any, Any, Any]


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
        temperatures: at which the sum over all V is known, so that the answer is exact.
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
                f"cache {folder}: {manifest['rows_done']:,} of {self.key.rows:,} rows are done; continue with `stillhouse lm cache`"
            )
        self.vocab = int(manifest["vocab"])
        self.ids, self.logits, self.sums, self.rest = _arrays(folder, self.key, self.vocab, "r")

    def exact_at(self, temperature: float) -> bool:
        """Whether the sum over all tokens was kept at this temperature."""
        return self._place(temperature) is not None

    def at(self, rows: NDArray[Any] | Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Tokens (B, L, k) int64 and their log-probabilities (B, L, k) at a temperature, as `losses.topk_kl` takes them.

        Raises:
            InputError: a temperature whose sum over all tokens was not kept; rows that are damaged.
        """
        place = self._place(temperature)
        if place is None:
            known = ", ".join(f"{t:g}" for t in self.key.temperatures)
            raise InputError(
                f"cache {self.folder}: expected a temperature of {known} (where its sums are exact), got {temperature:g}; "
                "`scores` take any"
            )
        ids, logits = self._kept(rows)
        kept = logits / temperature - torch.from_numpy(self.sums[np.asarray(rows, np.int64), :, place]).unsqueeze(-1)
        self._check(ids, kept, rows)
        return ids, kept

    def scores(self, rows: NDArray[Any] | Tensor) -> Scores:
        """The same as scores of (B L) tokens, to which a temperature can be applied later.

        Raises:
            InputError: a cache of an earlier version, which holds no sums of the others; rows that are damaged.
        """
        if self.rest is None:
            raise InputError(
                f"cache {self.folder}: was written by an earlier version and answers temperature "
                f"{', '.join(f'{t:g}' for t in self.key.temperatures)} only; delete it and write it again"
            )
        ids, logits = self._kept(rows)
        rest = torch.from_numpy(self.rest[np.asarray(rows, np.int64)])
        others = self.vocab - self.key.k
        self._check(ids, torch.cat([logits, rest], -1) if others else logits, rows)
        return Scores(ids.flatten(0, 1), logits.flatten(0, 1), rest.flatten(0, 1), TAIL_TEMPERATURES, others)

    def _place(self, temperature: float) -> int | None:
        return next((i for i, t in enumerate(self.key.temperatures) if abs(t - temperature) < 1e-6), None)

    def _kept(self, rows: NDArray[Any] | Tensor) -> tuple[Tensor, Tensor]:
        at = np.asarray(rows, np.int64)
        return torch.from_numpy(self.ids[at].astype(np.int64)), torch.from_numpy(self.logits[at].astype(np.float32))

    def _check(self, ids: Tensor, values: Tensor, rows: NDArray[Any] | Tensor) -> None:
        if not bool(torch.isfinite(values).all()) or int(ids.max()) >= self.vocab:
            at = np.asarray(rows, np.int64)
            raise InputError(
                f"cache {self.folder}: expected finite log-probabilities of tokens below {self.vocab}, got others in rows "
                f"{at.min()} to {at.max()}: it is damaged; delete {self.folder} and write it again"
            )


def write_cache(
    teacher: LanguageTeacher,
    windows: Rows,
    key: CacheKey,
    folder: Path,
    *,
    batch: int = 16,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> LogitCache:
    """Ask a teacher for every window and keep its k largest logits; continues where a stopped or killed run left off.

    Args:
        teacher: whose `identity` the key names.
        windows: the rows.
        key: what is kept.
        folder: for the files.
        batch: rows at a time; decides nothing but speed and memory.
        on_progress: called with (rows done, rows).

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
        teacher: that should have filled it.
        windows: that it should have been asked about.
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
    if cache.rest is not None and cache.vocab > cache.key.k:
        ids, _ = cache.at(chosen, cache.key.temperatures[0])
        live = _sums_of_rest(teacher(windows(chosen)[0]).logits.cpu(), ids)
        worst = max(worst, float((live - torch.from_numpy(cache.rest[chosen])).abs().max()))
    if not worst <= TOLERANCE:
        raise InputError(
            f"cache {cache.folder}: its log-probabilities differ from the live teacher's by up to {worst:.3g} nats, expected at "
            f"most {TOLERANCE:g}; delete it and write it again"
        )
    return worst


def _fill(
    teacher: LanguageTeacher, windows: Rows, key: CacheKey, arrays: Arrays, start: int, batch: int
) -> Iterator[int]:
    """Write rows from `start` on; yields the number of rows that are safely on disk, now and then."""
    ids, logits, sums, rest = arrays
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
        if rest is not None:
            rest[rows] = _sums_of_rest(found, top.indices).cpu().numpy()
        end = int(rows[-1]) + 1
        if end == key.rows or time.monotonic() - flushed > FLUSH_SECONDS:
            for array in arrays:
                if array is not None:
                    array.flush()
            flushed = time.monotonic()
            yield end


def _sums_of_rest(logits: Tensor, kept: Tensor) -> Tensor:
    """(B, L, G) ln sum exp(z / T) over the logits that are not kept, less the largest."""
    z = logits - logits.amax(-1, keepdim=True)
    z = z.scatter(-1, kept, -torch.inf)
    return torch.stack([(z / temperature).logsumexp(-1) for temperature in TAIL_TEMPERATURES], -1)


def _arrays(folder: Path, key: CacheKey, vocab: int, mode: Literal["w+", "r+", "r"]) -> Arrays:
    """The files, `rest` last: None in a cache of an earlier version."""
    shapes = {
        "ids": ((key.rows, key.length, key.k), np.uint16 if vocab <= 2**16 else np.uint32),
        "logits": ((key.rows, key.length, key.k), np.float16),
        "logsumexp": ((key.rows, key.length, len(key.temperatures)), np.float32),
        "rest": ((key.rows, key.length, len(TAIL_TEMPERATURES)), np.float32),
    }
    found: list[Any] = []
    for name, (shape, kind) in shapes.items():
        path = folder / f"{name}.npy"
        if name == "rest" and mode != "w+" and not path.is_file():
            found.append(None)
            continue
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
    return found[0], found[1], found[2], found[3]


def _manifest(folder: Path) -> dict[str, Any] | None:
    if not (folder / MANIFEST).is_file():
        return None
    found = read_json(folder / MANIFEST)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(f"cache {folder}: expected format {FORMAT!r}, got something else")
    return found


def _key(manifest: dict[str, Any]) -> CacheKey:
    try:
        key = manifest["key"]
        return CacheKey(**{**key, "temperatures": tuple(key["temperatures"])})
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
