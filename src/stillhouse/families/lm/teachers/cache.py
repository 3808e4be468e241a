"""A language teacher as training asks it, live or by its answers to every training window, which `stillhouse.cache` keeps.

A cache holds the k largest logits of a token. At the temperatures of the key all log-probabilities are exact up to half precision.
Any other temperature (scheduled, learned) can be applied later: see `stillhouse.losses.tail` for its bounds.

Shapes: R rows, L tokens, k kept, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.cache.content import SEEN, Content, same, scores_of, seen
from stillhouse.cache.questions import Part, Questions
from stillhouse.cache.questions import write_cache as write_answers
from stillhouse.cache.stored import StoredTeacher, spot_check
from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.losses.tail import Scores

TRAIN = "train"


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

    @property
    def content(self) -> Content:
        """The same as what is kept."""
        return Content(False, self.k, (), self.temperatures)


class LogitCache:
    """The k largest logits of a finished cache.

    Args:
        folder: that `write_cache` or `stillhouse cache` filled.
        key: what it must be of; None: whatever it is of.

    Raises:
        InputError: no cache there, an unfinished or a changed one, or one of another teacher, other data or other settings.
    """

    def __init__(self, folder: Path, key: CacheKey | None = None) -> None:
        self.stored = StoredTeacher(folder)
        self.folder = folder
        if not self.stored.content.topk:
            raise InputError(
                f"cache {folder}: expected the largest logits (--content topk:K), it holds "
                f"{self.stored.plan.key['content']}; take lesson.source=live for a cache of all scores"
            )
        self.key = key_of(self.stored)
        self.vocab = self.stored.classes
        for name, want in asdict(key).items() if key is not None else ():
            if getattr(self.key, name) != want:
                shown = [str(x)[:12] if isinstance(x, str) else str(x) for x in (want, getattr(self.key, name))]
                raise InputError(
                    f"cache {folder}: it is of another {name}: expected {shown[0]}, got {shown[1]}; take another folder"
                )

    def exact_at(self, temperature: float) -> bool:
        """Whether the sum over all tokens was kept at this temperature."""
        return self._place(temperature) is not None

    def at(self, rows: NDArray[Any] | Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Tokens (B, L, k) int64 and their log-probabilities (B, L, k) at a temperature, as `losses.topk_kl` takes them.

        Raises:
            InputError: a temperature whose sum over all tokens was not kept.
        """
        place = self._place(temperature)
        if place is None:
            known = ", ".join(f"{t:g}" for t in self.key.temperatures)
            raise InputError(
                f"cache {self.folder}: expected a temperature of {known} (where its sums are exact), got {temperature:g}; "
                "`scores` take any"
            )
        kept = self._arrays(rows, "ids", "scores", "sums")
        logits, sums = (torch.from_numpy(kept[name].astype(np.float32)) for name in ("scores", "sums"))
        return torch.from_numpy(kept["ids"].astype(np.int64)), logits / temperature - sums[..., place].unsqueeze(-1)

    def scores(self, rows: NDArray[Any] | Tensor) -> Scores:
        """The same as scores of (B L) tokens, to which a temperature can be applied later."""
        return scores_of(self._arrays(rows, "ids", "scores", "rest"), self.vocab).flat()

    def check(self, batch: Batch) -> None:
        """Raise InputError unless the rows of a batch are the windows that the teacher was asked about."""
        rows = batch.index.cpu().numpy()
        wrong = ~same(self.stored.store.read(TRAIN, SEEN, rows), seen(batch.inputs))
        if wrong.any():
            raise InputError(
                f"cache {self.folder}: row {int(rows[wrong][0])} is of another window than that of the text ({int(wrong.sum())} of "
                f"{len(rows)} rows); delete it and write it again"
            )

    def _place(self, temperature: float) -> int | None:
        return next((i for i, t in enumerate(self.key.temperatures) if abs(t - temperature) < 1e-6), None)

    def _arrays(self, rows: NDArray[Any] | Tensor, *names: str) -> dict[str, NDArray[Any]]:
        return self.stored.arrays(TRAIN, names, np.asarray(rows, np.int64))


def key_of(stored: StoredTeacher) -> CacheKey:
    """What a cache of a language teacher is of; k is 0 where it holds all scores."""
    plan, content = stored.plan, stored.content
    length = plan.key["length"]
    return CacheKey(
        str(plan.key["teacher"]),
        str(plan.key["data"]),
        plan.parts[TRAIN],
        length,
        content.topk or 0,
        content.temperatures,
    )


def questions_of(teacher: Any, windows: Any, key: CacheKey, *, batch: int = 16, **facts: Any) -> Questions:
    """The windows as rows that a language teacher is asked about.

    Args:
        teacher: called with tokens.
        windows: the rows.
        key: which data they are of, and what is kept unless something else is asked for.
        batch: rows at a time.
        facts: kept beside.
    """

    def of(rows: Tensor) -> Batch:
        inputs, targets = windows(rows.numpy())
        return Batch(inputs, targets, rows)

    def asked(batch: Batch) -> Outputs:
        found: Outputs = teacher(batch.inputs)
        return found

    return Questions(
        asked,
        teacher.name,
        {TRAIN: Part(len(windows), of)},
        teacher.vocab_size,
        teacher.identity,
        f"{teacher.vocab_size} tokens",
        key.data,
        batch=batch,
        params=getattr(teacher, "params", 0),
        about=facts,
        content=key.content,
        further={"length": key.length},
    )


def write_cache(
    teacher: Any,
    windows: Any,
    key: CacheKey,
    folder: Path,
    *,
    batch: int = 16,
    shard_bytes: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> LogitCache:
    """Ask a teacher for every window and keep its k largest logits; continues where a stopped or killed run left off.

    Args:
        teacher: whose `identity` the key names.
        windows: the rows.
        key: what is kept.
        folder: for the files.
        batch: rows at a time.
        shard_bytes: size of a shard.
        on_progress: called with (rows done, rows).

    Raises:
        InputError: the folder holds a cache of something else, or the key is not of this teacher and these windows.
    """
    if key.teacher != teacher.identity or key.rows != len(windows) or key.k > teacher.vocab_size:
        raise InputError(
            f"cache: expected a key of teacher {teacher.identity[:12]}, {len(windows)} rows and k of at most "
            f"{teacher.vocab_size}, got {key.teacher[:12]}, {key.rows} and {key.k}"
        )
    questions = questions_of(teacher, windows, key, batch=batch)
    write_answers(questions, folder, key.content, wait=True, shard_bytes=shard_bytes, on_progress=on_progress)
    return LogitCache(folder, key)


def check_cache(cache: LogitCache, teacher: Any, windows: Any, *, rows: int = 4, seed: int | None = None) -> str:
    """Ask the teacher again for some rows of a cache, and compare; see `stillhouse.cache.stored.spot_check`.

    Raises:
        InputError: other windows, or answers that differ by more than half precision explains.
    """
    return spot_check(cache.stored, questions_of(teacher, windows, cache.key), rows=rows, seed=seed)


class StoredLanguageTeacher:
    """The cache of a language teacher in the teacher's place: it answers for the training windows and for nothing else.

    Args:
        folder: of a finished cache.

    Attributes:
        identity: of the teacher that was asked.
        vocab_size: V.
    """

    context: int | None = None

    def __init__(self, folder: Path) -> None:
        self.stored = StoredTeacher(folder)
        self.folder, self.name, self.params = folder, self.stored.name, self.stored.params
        self.identity, self.vocab_size = self.stored.identity(), self.stored.classes
        self.device = torch.device("cpu")

    @property
    def network(self) -> Any:
        """It is not here.

        Raises:
            InputError: always, with the way out.
        """
        raise InputError(
            f"cache {self.folder}: holds a teacher's answers and no network to take parts of; name the teacher itself, and the "
            "cache as teacher_cache"
        )

    def tap(self, features: Sequence[str]) -> None:
        """Give these features from now on.

        Raises:
            InputError: one that the cache does not hold.
        """
        live = self.stored.live
        self.stored = StoredTeacher(self.folder, features=tuple(features), live=live)

    def answer(self, batch: Batch) -> Outputs:
        """What the teacher put out for windows of the text."""
        return self.stored(batch)

    def __call__(self, tokens: Tensor) -> Outputs:
        """Windows without their row numbers cannot be looked up.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"cache {self.folder}: answers for training windows only; a curriculum that the teacher judges needs the "
            "teacher itself"
        )

    def logits(self, scores: Tensor) -> Tensor:
        """All scores, as they were kept."""
        return scores

    def member_logits(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """A single teacher has none."""
        return ()

    def spec(self, tokens: Tensor) -> OutputSpec:
        """The shapes of its features."""
        return self.stored.spec

    def to(self, device: torch.device) -> StoredLanguageTeacher:
        """Answers are read where they are, and moved with their batch."""
        return self


@dataclass(frozen=True, slots=True)
class HiddenOutputs(Outputs):
    """Outputs whose scores are made from `hidden` (B, L, D) in pieces; `logits` are scores only where a signal asks for them."""

    hidden: Tensor = field(kw_only=True)


@dataclass
class LanguageTutor:
    """A checked teacher as training asks it.

    Attributes:
        teacher: a `LanguageTeacher`, an assistant, or a group.
        cache: of its answers to the training windows, for the divergence of the lesson; None: it is asked live.
        spec: its classes, and the shapes of the features that it is tapped at.
        scores: whether signals compare its class scores.
    """

    teacher: Any
    cache: LogitCache | None = None
    spec: OutputSpec = field(default_factory=lambda: OutputSpec(2))
    scores: bool = False
    _last: tuple[Batch, HiddenOutputs] | None = None

    def listening(self, paths: Sequence[str], example: Tensor, *, scores: bool) -> LanguageTutor:
        """The same, tapped at these sub-modules of the teacher.

        Raises:
            InputError: no such path.
        """
        self.teacher.tap(paths)
        return replace(self, spec=self.teacher.spec(example), scores=scores, _last=None)

    def __call__(self, batch: Batch) -> HiddenOutputs:
        """What the teacher puts out for a batch; asked once, however many terms of a step read it."""
        if self._last is None or self._last[0] is not batch:
            if isinstance(self.teacher, StoredLanguageTeacher):
                kept = self.teacher.answer(batch)
                self._last = (batch, HiddenOutputs(kept.logits, kept.features, kept=kept.kept, hidden=kept.logits))
                return self._last[1]
            found = self.teacher.hidden(batch.inputs)
            hidden = logits = found.logits
            members: tuple[Outputs, ...] = ()
            if self.scores:
                members = tuple(map(Outputs, self.teacher.member_logits(hidden)))
                logits = self.teacher.logits(hidden)
            self._last = (batch, HiddenOutputs(logits, found.features, members, hidden=hidden))
        return self._last[1]

    def close(self) -> None:
        """Take the taps off and forget the last answer."""
        self.teacher.tap(())
        self._last = None
