"""What a run is made of: the corpus, the teachers that cut text as it does, the cache of a teacher's answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stillhouse.cache.content import Content
from stillhouse.cache.queries import TeacherQueries, write_cache
from stillhouse.cache.stored import SOURCE, StoredTeacher, spot_check
from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.signals import teacher_features
from stillhouse.tasks.lm.data import CorpusConfig
from stillhouse.tasks.lm.data.corpus import Corpus, Windows
from stillhouse.tasks.lm.data.tokenizer import check_same_tokenizer, load_tokenizer
from stillhouse.tasks.lm.plan import LmRunConfig
from stillhouse.tasks.lm.saved import load_lm
from stillhouse.tasks.lm.students import SpikingLMConfig
from stillhouse.tasks.lm.teachers import LanguageTeacherConfig
from stillhouse.tasks.lm.teachers.cache import StoredLanguageTeacher, teacher_queries_of
from stillhouse.tasks.lm.teachers.group import AssistantTeacher, TeacherGroup
from stillhouse.tasks.lm.teachers.other_tokens import ByteMarginals, SortedTokens
from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher

Log = Callable[[str], None]
CACHE = "logits"
CACHE_BATCH = 16


def teachers_of(config: LmRunConfig, corpus: Corpus, given: Any, log: Log) -> Sequence[Any]:
    """The teachers of a run, and where there are several all of them together as the last.

    Raises:
        InputError: a tokenizer other than the corpus's, windows longer than a context.
    """
    stored = [one for one in (config.teacher, *config.more_teachers) if one.source.startswith(SOURCE)]
    if stored and given is None:
        if config.more_teachers:
            raise InputError(
                "more_teachers: several teachers are asked together, and a cache is of one; name the teachers themselves"
            )
        return [_stored(config, corpus, log)]
    first = load_teacher(config.teacher, corpus) if given is None else given
    members = [first, *(load_teacher(one, corpus) for one in config.more_teachers)]
    for teacher in members:
        for name, window in (("loss.window", config.loss.window), ("score.window", config.score.window or 0)):
            if teacher.context is not None and window > teacher.context:
                raise InputError(
                    f"{name}: expected at most the teacher's context of {teacher.context} tokens, got {window}"
                )
        log(f"teacher: {teacher.name}, {teacher.params:,} weights, {teacher.identity[:12]}")
    return members if len(members) == 1 else [*members, TeacherGroup(members)]


def load_text(config: CorpusConfig, log: Log) -> Corpus:
    """The corpus, with a line on its size."""
    corpus = config.build()
    sizes = ", ".join(f"{count:,} {name}" for name, count in corpus.about["sizes"].items())
    log(f"text: {corpus.name}, tokenizer {corpus.tokenizer.name} ({corpus.tokenizer.vocab_size:,} tokens): {sizes}")
    return corpus


def load_teacher(config: LanguageTeacherConfig, corpus: Corpus) -> LanguageTeacher:
    """The teacher, if its tokenizer is the corpus's, or a way is named to learn from another's; a student's folder makes it one.

    Raises:
        InputError: it cuts text otherwise, or has fewer logits than there are tokens.
    """
    theirs = load_tokenizer(config.source)
    if config.tokens != "same":
        kind = ByteMarginals if config.tokens == "byte-marginals" else SortedTokens
        return kind(config.build(vocab_size=theirs.vocab_size), theirs, corpus.tokenizer)
    check_same_tokenizer(corpus.tokenizer, theirs)
    if (Path(config.source) / records.CARD).is_file():
        return AssistantTeacher(load_lm(Path(config.source))[0], Path(config.source).name)
    return config.build(vocab_size=corpus.tokenizer.vocab_size)


def _stored(config: LmRunConfig, corpus: Corpus, log: Log) -> StoredLanguageTeacher:
    """The cache that is named as the teacher, if it is of these windows."""
    teacher = StoredLanguageTeacher(Path(config.teacher.source.removeprefix(SOURCE)))
    expected = {"data": corpus.train.sha256, "length": config.loss.window, "classes": corpus.tokenizer.vocab_size}
    teacher.stored.require(expected)
    if config.loss.source == "live" and config.loss.kd_weight > 0 and not teacher.stored.content.scores:
        raise InputError(
            f"cache {teacher.folder}: loss.source live needs all logits, it holds {teacher.stored.plan.key['content']}; take "
            "loss.source=cache, or keep --content scores"
        )
    theirs = teacher.stored.plan.about.get("tokenizer_sha256")
    if theirs != corpus.tokenizer.fingerprint:
        raise InputError(
            f"cache {teacher.folder}: it is of another tokenizer: expected {corpus.tokenizer.fingerprint}, got {theirs}"
        )
    log(f"teacher: {teacher.name}, from the cache {teacher.folder}, {teacher.identity[:12]}")
    return teacher


def questions_about(config: LmRunConfig, corpus: Corpus, teacher: Any, features: Sequence[str]) -> TeacherQueries:
    """Training windows, and as content what the run learns from: its k largest logits, and the features that its signals tap."""
    wanted = tuple(dict.fromkeys((*features, *teacher_features([signal for _, signal in config.signals_heard()]))))
    teacher.tap(wanted)
    largest = config.loss.source == "cache" and config.loss.kd_weight > 0
    return _questions(
        config, corpus, teacher, _largest(config, teacher, wanted) if largest else Content(features=wanted)
    )


def _largest(config: LmRunConfig, teacher: Any, features: tuple[str, ...] = ()) -> Content:
    return Content(False, min(config.loss.k, teacher.vocab_size), features, config.loss.temperatures)


def _questions(config: LmRunConfig, corpus: Corpus, teacher: Any, content: Content) -> TeacherQueries:
    windows = Windows(corpus.train.ids, config.loss.window)
    facts = {"tokenizer_sha256": corpus.tokenizer.fingerprint, "data": corpus.name}
    return teacher_queries_of(teacher, windows, content, data_sha256=corpus.train.sha256, batch=CACHE_BATCH, **facts)


def cache_of(config: LmRunConfig, corpus: Corpus, teacher: Any, folder: Path, log: Log) -> StoredTeacher:
    """The stored answers that a run learns from, whole and checked against the live teacher on a few rows.

    Raises:
        InputError: the folder holds answers of another teacher, to another text, or others than the live ones.
    """
    if isinstance(teacher, StoredLanguageTeacher):
        stored = teacher.stored
    else:
        content = _largest(config, teacher)
        teacher_queries = _questions(config, corpus, teacher, content)
        if config.teacher_cache is None:
            rows = teacher_queries.parts["train"].rows
            log(f"cache: {rows:,} rows of {config.loss.window} tokens, {content.topk} logits each, in {folder}")
            write_cache(teacher_queries, folder, content, wait=True, on_progress=_tenths(log))
        # a cache may hold more of the largest logits than the run would have asked for, and be exact elsewhere
        stored = StoredTeacher(Path(config.teacher_cache or folder))
        stored.require(teacher_queries.key)
        log(spot_check(stored, teacher_queries))
    if not stored.content.topk:
        raise InputError(
            f"cache {stored.folder}: expected the largest logits (--content topk:K), it holds {stored.plan.key['content']}; "
            "take loss.source=live for a cache of all scores"
        )
    return stored


def _tenths(log: Log) -> Callable[[int, int], None]:
    """Log how far a cache is, ten times at most."""
    logged = set[int]()

    def on_progress(done: int, total: int) -> None:
        if (tenth := 10 * done // total) not in logged:
            logged.add(tenth)
            log(f"cache: {done:,} of {total:,} rows")

    return on_progress


def fitted(student: SpikingLMConfig, vocab_size: int) -> SpikingLMConfig:
    """The student for a tokenizer.

    Raises:
        InputError: the configuration names another vocabulary.
    """
    default = type(student)().vocab_size
    if student.vocab_size not in (default, vocab_size):
        raise InputError(
            f"student.vocab_size: expected the tokenizer's {vocab_size}, got {student.vocab_size}; leave it out"
        )
    return replace(student, vocab_size=vocab_size)
