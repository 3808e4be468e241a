"""A language teacher as training asks it, live or by its stored answers to every training window.

Shapes: B rows, L tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stillhouse.cache.content import Content
from stillhouse.cache.queries import Part, TeacherQueries
from stillhouse.cache.stored import StoredTeacher
from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec


def teacher_queries_of(
    teacher: Any, windows: Any, content: Content, *, data_sha256: str, batch: int = 16, **facts: Any
) -> TeacherQueries:
    """The windows of a text as rows that a language teacher is asked about.

    Args:
        teacher: called with tokens.
        windows: the rows.
        content: what is kept of its answers.
        data_sha256: of the token ids that the windows are cut from.
        batch: rows at a time.
        facts: kept beside.
    """

    def shown(rows: Tensor) -> Batch:
        inputs, targets = windows(rows.numpy())
        return Batch(inputs, targets, rows)

    def asked(batch: Batch) -> Outputs:
        found: Outputs = teacher(batch.inputs)
        return found

    return TeacherQueries(
        asked,
        teacher.name,
        {"train": Part(len(windows), shown)},
        teacher.vocab_size,
        teacher.identity,
        f"{teacher.vocab_size} tokens",
        data_sha256,
        batch=batch,
        params=teacher.params,
        about=facts,
        content=content,
        further={"length": windows.length},
    )


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
        self.stored = StoredTeacher(self.folder, features=tuple(features), live=self.stored.live)

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
class LanguageStageTeacher:
    """A checked teacher as training asks it.

    Attributes:
        teacher: a `LanguageTeacher`, an assistant, or a group.
        cache: its stored answers to the training windows, for the divergence of the loss; None: it is asked live.
        spec: its classes, and the shapes of the features that it is tapped at.
        scores: whether signals compare its class scores.
    """

    teacher: Any
    cache: StoredTeacher | None = None
    spec: OutputSpec = field(default_factory=lambda: OutputSpec(2))
    scores: bool = False
    _last: tuple[Batch, HiddenOutputs] | None = None

    def with_features(self, paths: Sequence[str], example: Tensor, *, scores: bool) -> LanguageStageTeacher:
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
                kept = self.teacher.stored(batch)
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
