"""Whom a run learns from: its teachers, live or by their stored answers to every training window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stillhouse.cache.content import Content
from stillhouse.cache.queries import Part, TeacherQueries, write_cache
from stillhouse.cache.stored import StoredTeacher, spot_check
from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.signals import teacher_features
from stillhouse.tasks.lm.corpus import Corpus, Windows
from stillhouse.tasks.lm.plan import CACHE, LmRunConfig
from stillhouse.tasks.lm.teachers import LanguageTeacherConfig
from stillhouse.tasks.lm.teachers.other_tokens import ByteMarginals
from stillhouse.tasks.lm.teachers.teacher import TeacherGroup, load_language_teacher
from stillhouse.tasks.lm.tokenizer import byte_tokenizer, check_same_tokenizer, load_tokenizer

Log = Callable[[str], None]


class StoredLanguageTeacher:
    """The cache of a language teacher in the teacher's place: it answers for the training windows and for nothing else.

    Args:
        folder: of a finished cache.
    """

    context = network = None

    def __init__(self, folder: Path) -> None:
        self.stored = StoredTeacher(folder)
        self.folder, self.name, self.params = folder, self.stored.name, self.stored.params
        self.identity, self.vocab_size = self.stored.identity(), self.stored.classes

    def tap(self, features: Sequence[str]) -> None:
        """Give these features from now on.

        Raises:
            InputError: one that the cache does not hold.
        """
        self.stored = StoredTeacher(self.folder, features=tuple(features), live=self.stored.live)

    def spec(self, tokens: Tensor) -> OutputSpec:
        """The shapes of its features."""
        return self.stored.spec

    def to(self, device: torch.device) -> None:
        """Answers are read where they are, and moved with their batch."""


@dataclass
class LanguageStageTeacher:
    """A checked teacher as training asks it.

    Attributes:
        teacher: a `LanguageTeacher`, a group, or a cache.
        cache: its stored answers to the training windows, for the divergence of the loss; None: it is asked live.
        spec: its classes, and the shapes of the features that it is tapped at.
    """

    teacher: Any
    cache: StoredTeacher | None = None
    spec: OutputSpec = field(default_factory=lambda: OutputSpec(2))
    _last: tuple[Batch, Outputs] | None = None

    def with_features(self, paths: Sequence[str], example: Tensor) -> LanguageStageTeacher:
        """The same, tapped at these sub-modules of the teacher.

        Raises:
            InputError: no such path.
        """
        self.teacher.tap(paths)
        return replace(self, spec=self.teacher.spec(example), _last=None)

    def __call__(self, batch: Batch) -> Outputs:
        """What the teacher puts out for a batch; asked once, however many terms of a step read it."""
        if self._last is None or self._last[0] is not batch:
            stored = isinstance(self.teacher, StoredLanguageTeacher)
            self._last = (batch, self.teacher.stored(batch) if stored else self.teacher(batch.inputs))
        return self._last[1]

    def close(self) -> None:
        """Take the taps off and forget the last answer."""
        self.teacher.tap(())
        self._last = None


def teachers_of(config: LmRunConfig, corpus: Corpus, given: Any, log: Log) -> Sequence[Any]:
    """The teachers of a run, and where there are several all of them together as the last.

    Raises:
        InputError: a tokenizer other than the corpus's, windows longer than a context, a cache of something else.
    """
    if given is None:
        given = (
            _stored(config, corpus) if config.teacher.source.startswith(CACHE) else load_teacher(config.teacher, corpus)
        )
    members = [given, *(load_teacher(one, corpus) for one in config.more_teachers)]
    window = max(config.loss.window, config.score.window or 0)
    for teacher in members:
        if teacher.context is not None and window > teacher.context:
            raise InputError(
                f"loss.window, score.window: expected at most the teacher's context of {teacher.context} tokens, got {window}"
            )
        log(f"teacher: {teacher.name}, {teacher.params:,} weights, {teacher.identity[:12]}")
    return members if len(members) == 1 else [*members, TeacherGroup(members)]


def load_teacher(config: LanguageTeacherConfig, corpus: Corpus) -> Any:
    """The teacher, if its tokenizer is the corpus's, or the corpus is of bytes and it gives their marginals.

    Raises:
        InputError: it cuts text otherwise, or has fewer logits than there are tokens.
    """
    theirs = load_tokenizer(config.source)
    check_same_tokenizer(corpus.tokenizer, theirs if config.tokens == "same" else byte_tokenizer())
    teacher = load_language_teacher(config, vocab_size=theirs.vocab_size)
    return teacher if config.tokens == "same" else ByteMarginals(teacher, theirs)


def _stored(config: LmRunConfig, corpus: Corpus) -> StoredLanguageTeacher:
    """The cache that is named as the teacher, if it is of these windows."""
    teacher = StoredLanguageTeacher(Path(config.teacher.source.removeprefix(CACHE)))
    expected = {"data": corpus.hashes["train"], "length": config.loss.window, "classes": corpus.tokenizer.vocab_size}
    teacher.stored.require(expected)
    if config.loss.source == "live" and config.loss.kd_weight > 0 and not teacher.stored.content.scores:
        raise InputError(f"cache {teacher.folder}: loss.source live needs all logits (--content scores)")
    return teacher


def teacher_queries_of(
    teacher: Any, windows: Windows, content: Content, *, data_sha256: str, **facts: Any
) -> TeacherQueries:
    """The windows of a text as rows that a language teacher is asked about.

    Args:
        teacher: called with tokens.
        windows: the rows.
        content: what is kept of its answers.
        data_sha256: of the token ids that the windows are cut from.
        facts: kept beside.
    """
    return TeacherQueries(
        lambda batch: teacher(batch.inputs),
        teacher.name,
        {"train": Part(len(windows), lambda rows: Batch(*windows(rows.numpy()), rows))},
        teacher.vocab_size,
        teacher.identity,
        f"{teacher.vocab_size} tokens",
        data_sha256,
        batch=16,
        params=teacher.params,
        about=facts,
        content=content,
        further={"length": windows.length},
    )


def questions_about(
    config: LmRunConfig, corpus: Corpus, teacher: Any, features: Sequence[str] | None
) -> TeacherQueries:
    """Training windows, and as content what the run learns from: its k largest logits, and the features that its signals tap.

    Args:
        config: of the run.
        corpus: its text.
        teacher: who is asked.
        features: beside those of the signals; None: no features at all, as for the run's own cache.
    """
    paths: tuple[str, ...] = ()
    if features is not None:
        tapped = teacher_features([signal for _, signal in config.signals_heard()])
        paths = tuple(dict.fromkeys((*features, *tapped)))
        teacher.tap(paths)
    content, loss = Content(features=paths), config.loss
    if loss.source == "cache" and loss.kd_weight > 0:
        content = Content(False, min(loss.k, teacher.vocab_size), paths, loss.temperatures)
    facts = {"tokenizer_sha256": corpus.tokenizer.fingerprint, "data": corpus.name}
    windows = Windows(corpus.train, loss.window)
    return teacher_queries_of(teacher, windows, content, data_sha256=corpus.hashes["train"], **facts)


def cache_of(config: LmRunConfig, corpus: Corpus, teacher: Any, folder: Path, log: Log) -> StoredTeacher:
    """The stored answers that a run learns from, whole and checked against the live teacher on a few rows.

    Raises:
        InputError: the folder holds answers of another teacher, to another text, or others than the live ones.
    """
    if isinstance(teacher, StoredLanguageTeacher):
        stored = teacher.stored
    else:
        queries = questions_about(config, corpus, teacher, None)
        if config.teacher_cache is None:
            log(f"cache: {queries.parts['train'].rows:,} windows, {queries.content.topk} logits a token, in {folder}")
            write_cache(queries, folder, queries.content)
        # a cache may hold more of the largest logits than the run would have asked for, and be exact elsewhere
        stored = StoredTeacher(Path(config.teacher_cache or folder))
        stored.require(queries.key)
        log(spot_check(stored, queries))
    if not stored.content.topk:
        raise InputError(
            f"cache {stored.folder}: expected the largest logits (--content topk:K), it holds {stored.plan.key['content']}; "
            "take loss.source=live for a cache of all scores"
        )
    return stored
