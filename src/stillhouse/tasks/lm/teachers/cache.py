"""Whom a run learns from: its teachers, live or by their stored answers to every training window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from stillhouse.tasks.lm.teachers.teacher import load_language_teacher, tapped
from stillhouse.tasks.lm.tokenizer import byte_tokenizer, check_same_tokenizer, load_tokenizer
from stillhouse.teachers.ensemble import EnsembleTeacher

Log = Callable[[str], None]


@dataclass
class LanguageStageTeacher:
    """A checked teacher as training asks it: once a batch, however many terms of a step read the answer.

    Attributes:
        teacher: called with a `Batch`.
        cache: its stored answers to the training windows, for the divergence of the loss; None: it is asked live.
    """

    teacher: Any
    cache: StoredTeacher | None = None
    _last: tuple[Batch, Outputs] | None = None

    @property
    def spec(self) -> OutputSpec:
        """Its classes, and the shapes of the features that it is tapped at."""
        spec: OutputSpec = self.teacher.spec
        return spec

    def __call__(self, batch: Batch) -> Outputs:
        """What the teacher puts out for a batch."""
        if self._last is None or self._last[0] is not batch:
            self._last = (batch, self.teacher(batch))
        return self._last[1]


def teachers_of(config: LmRunConfig, corpus: Corpus, given: Any, log: Log) -> Sequence[Any]:
    """The teachers of a run, and where there are several all of them together as the last, tapped as its signals want them.

    Raises:
        InputError: a tokenizer other than the corpus's, windows longer than a context, a cache of something else, no such path.
    """
    if given is None:
        stored = config.teacher.source.startswith(CACHE)
        given = _stored(config, corpus) if stored else load_teacher(config.teacher, corpus)
    members = [given, *(load_teacher(one, corpus) for one in config.more_teachers)]
    window = max(config.loss.window, config.score.window or 0)
    for teacher in members:
        context = getattr(teacher, "context", None)
        if context is not None and window > context:
            raise InputError(
                f"loss.window, score.window: expected at most the teacher's context of {context} tokens, got {window}"
            )
        log(f"teacher: {teacher.name}, {teacher.params:,} weights, {teacher.identity()[:12]}")
    features, whole = features_heard(config), members[0] if len(members) == 1 else EnsembleTeacher(members)
    found = tapped(whole, features, config.loss.window)
    return [found] if len(members) == 1 else [*members, found]


def features_heard(config: LmRunConfig) -> tuple[str, ...]:
    """Paths of the teacher that the signals of a run read."""
    return teacher_features([signal for _, signal in config.signals_heard()])


def load_teacher(config: LanguageTeacherConfig, corpus: Corpus) -> Any:
    """The teacher, if its tokenizer is the corpus's, or the corpus is of bytes and it gives their marginals.

    Raises:
        InputError: it cuts text otherwise, or has fewer logits than there are tokens.
    """
    theirs = load_tokenizer(config.source)
    check_same_tokenizer(corpus.tokenizer, theirs if config.tokens == "same" else byte_tokenizer())
    teacher = load_language_teacher(config, vocab_size=theirs.vocab_size)
    return teacher if config.tokens == "same" else ByteMarginals(teacher, theirs)


def _stored(config: LmRunConfig, corpus: Corpus) -> StoredTeacher:
    """The cache that is named as the teacher, if it is of these windows."""
    teacher = StoredTeacher(Path(config.teacher.source.removeprefix(CACHE)))
    expected = {"data": corpus.hashes["train"], "length": config.loss.window, "classes": corpus.tokenizer.vocab_size}
    teacher.require(expected)
    if config.loss.source == "live" and config.loss.kd_weight > 0 and not teacher.content.scores:
        raise InputError(f"cache {teacher.folder}: loss.source live needs all logits (--content scores)")
    return teacher


def teacher_queries_of(
    teacher: Any, windows: Windows, content: Content, *, data_sha256: str, **facts: Any
) -> TeacherQueries:
    """The windows of a text as rows that a language teacher is asked about.

    Args:
        teacher: called with a `Batch`.
        windows: the rows.
        content: what is kept of its answers.
        data_sha256: of the token ids that the windows are cut from.
        facts: kept beside.
    """
    tokens = teacher.spec.num_classes
    return TeacherQueries(
        teacher,
        teacher.name,
        {"train": Part(len(windows), lambda rows: Batch(*windows(rows.numpy()), rows))},
        tokens,
        teacher.identity(),
        f"{tokens} tokens",
        data_sha256,
        batch=16,
        params=teacher.params,
        about=facts,
        content=content,
        further={"length": windows.length},
    )


def build_teacher_queries(
    config: LmRunConfig, corpus: Corpus, teacher: Any, features: Sequence[str] | None
) -> TeacherQueries:
    """Training windows, and as content what the run learns from: its k largest logits, and the features that its signals tap.

    Args:
        config: of the run.
        corpus: its text.
        teacher: who is asked.
        features: beside those of the signals; None: no features at all, as for the run's own cache.
    """
    paths, loss = () if features is None else tuple(dict.fromkeys((*features, *features_heard(config)))), config.loss
    if features:
        teacher = tapped(teacher, paths, loss.window)
    content = Content(features=paths)
    if loss.source == "cache" and loss.kd_weight > 0:
        content = Content(False, min(loss.k, teacher.spec.num_classes), paths, loss.temperatures)
    facts = {"tokenizer_sha256": corpus.tokenizer.fingerprint, "data": corpus.name}
    windows = Windows(corpus.train, loss.window)
    return teacher_queries_of(teacher, windows, content, data_sha256=corpus.hashes["train"], **facts)


def cache_of(config: LmRunConfig, corpus: Corpus, teacher: Any, folder: Path, log: Log) -> StoredTeacher:
    """The stored answers that a run learns from, whole and checked against the live teacher on a few rows.

    Raises:
        InputError: the folder holds answers of another teacher, to another text, or others than the live ones.
    """
    if isinstance(teacher, StoredTeacher):
        stored = teacher
    else:
        queries = build_teacher_queries(config, corpus, teacher, None)
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
