"""Whom the taught arms listen to: a language teacher, live or by its cache.

Shapes: B windows, L tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.families.lm.teachers.cache import LogitCache, StoredLanguageTeacher


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
