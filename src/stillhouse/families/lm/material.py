"""What a run is made of: the corpus, the teachers that cut text as it does, the cache of a teacher's answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stillhouse.core.checks import InputError
from stillhouse.families.lm.data import CorpusConfig
from stillhouse.families.lm.data.corpus import Corpus
from stillhouse.families.lm.data.tokenizer import Tokenizer, check_same_tokenizer, load_tokenizer
from stillhouse.families.lm.data.windows import Windows
from stillhouse.families.lm.plan import LmRunConfig
from stillhouse.families.lm.students import SpikingLMConfig
from stillhouse.families.lm.teachers import LanguageTeacherConfig
from stillhouse.families.lm.teachers.cache import CacheKey, LogitCache, check_cache, write_cache
from stillhouse.families.lm.teachers.group import TeacherGroup
from stillhouse.families.lm.teachers.teacher import HUB, LanguageTeacher

Log = Callable[[str], None]
CACHE = "logits"
CACHE_BATCH = 16


def teachers_of(config: LmRunConfig, corpus: Corpus, given: Any, log: Log) -> Sequence[Any]:
    """The teachers of a run, and where there are several all of them together as the last.

    Raises:
        InputError: a tokenizer other than the corpus's, windows longer than a context.
    """
    first = load_teacher(config.teacher, corpus) if given is None else given
    members = [first, *(load_teacher(one, corpus) for one in config.more_teachers)]
    for teacher in members:
        for name, window in (("lesson.window", config.lesson.window), ("score.window", config.score.window or 0)):
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
    """The teacher, if its tokenizer is the corpus's.

    Raises:
        InputError: it cuts text otherwise, or has fewer logits than there are tokens.
    """
    if config.source.startswith(HUB):
        theirs = _hub_tokenizer(config.source.removeprefix(HUB))
    else:
        theirs = load_tokenizer(config.source)
    check_same_tokenizer(corpus.tokenizer, theirs)
    return config.build(vocab_size=corpus.tokenizer.vocab_size)


def cache_of(config: LmRunConfig, corpus: Corpus, teacher: Any, folder: Path, log: Log) -> LogitCache:
    """The cache of a run, whole and checked against the live teacher on a few rows.

    Raises:
        InputError: the folder holds answers of another teacher, to another text, or others than the live ones.
    """
    windows = Windows(corpus.train.ids, config.lesson.window)
    key = CacheKey(
        teacher=teacher.identity,
        data=corpus.train.sha256,
        rows=len(windows),
        length=config.lesson.window,
        k=min(config.lesson.k, teacher.vocab_size),
        temperatures=config.lesson.temperatures,
    )
    log(f"cache: {key.rows:,} rows of {key.length} tokens, {key.k} logits each, in {folder}")
    logged = {"tenth": -1}

    def on_progress(done: int, total: int) -> None:
        tenth = 10 * done // total
        if tenth > logged["tenth"]:
            logged["tenth"] = tenth
            log(f"cache: {done:,} of {total:,} rows")

    cache = write_cache(teacher, windows, key, folder, batch=CACHE_BATCH, on_progress=on_progress)
    log(f"cache: within {check_cache(cache, teacher, windows):.4f} nats of the live teacher on 4 rows")
    return cache


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


def _hub_tokenizer(name: str) -> Tokenizer:
    from transformers import AutoTokenizer

    try:
        return Tokenizer(AutoTokenizer.from_pretrained(name).backend_tokenizer, name)
    except Exception as error:  # the hub, the network and the files fail in many ways
        raise InputError(f"teacher hub:{name}: its tokenizer cannot be fetched: {error}") from None
