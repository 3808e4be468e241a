"""Language-model runs that are known to work, from a teacher of a few minutes to SmolLM2; no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from stillhouse.core.checks import nearest
from stillhouse.core.config import ConfigError, load_yaml, merge, parse, set_path, to_mapping
from stillhouse.families.lm.data import CorpusConfig
from stillhouse.families.lm.lesson import LanguageLessonConfig
from stillhouse.families.lm.plan import LanguageTrainingConfig, LmRunConfig, LmScoreConfig, LmTeacherRunConfig
from stillhouse.families.lm.students import NGramConfig, SpikeConfig, SpikingLMConfig
from stillhouse.families.lm.teachers import LanguageTeacherConfig, SmallTransformerConfig

T = TypeVar("T")
TEXT = "data/wikitext-2"
TEACHER = "runs/wikitext-2-teacher"
SHAKESPEARE, SHAKESPEARE_TEACHER = "data/tinyshakespeare/input.txt", "runs/tiny-shakespeare-teacher"
SMOLLM2 = "models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


SHORT_SCORE = LmScoreConfig(tokens=16_384, sliding_tokens=4096, position_windows=32)


def loop(epochs: int, batch_size: int, learning_rate: float) -> LanguageTrainingConfig:
    """The loop of these recipes: AdamW, warm-up of half an epoch, cosine to a tenth."""
    return LanguageTrainingConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        final_learning_rate=learning_rate / 10,
        threads=1,
    )


def wikitext_2_teacher() -> LmTeacherRunConfig:
    """A transformer of 1.7 million weights on WikiText-2 with a BPE of 2048 tokens: 6000 steps, six million tokens."""
    return LmTeacherRunConfig(
        name="wikitext-2-teacher",
        corpus=CorpusConfig(source=TEXT, tokenizer="bpe:2048"),
        model=SmallTransformerConfig(width=192, layers=3, heads=6, context=512),
        window=128,
        epoch_steps=500,
        training=loop(epochs=12, batch_size=8, learning_rate=2e-3),
    )


def small_student(width: int, heads: int, embedding: int, entries: int) -> SpikingLMConfig:
    """A wide layer with ternary spikes and weights, whose scores are added to an n-gram's; packed as it was scored."""
    return SpikingLMConfig(
        width=width,
        layers=1,
        heads=heads,
        mixer="delta",
        activation="signed-square",
        embedding_width=embedding,
        ngram=NGramConfig(entries=entries),
        floats="compact",
    )


def student_loop(epochs: int) -> LanguageTrainingConfig:
    """Muon for the matrices, and no decay, which would only shrink a ternary weight's scale."""
    return replace(loop(epochs, 8, 5e-3), optimizer="muon", weight_decay=0.0)


def wikitext_2() -> LmRunConfig:
    """Spiking students of that teacher, under a megabyte each: 2000 steps of 8 windows, three seeds, CPU."""
    return LmRunConfig(
        name="wikitext-2",
        corpus=CorpusConfig(source=TEXT, tokenizer=TEACHER),
        teacher=LanguageTeacherConfig(source=TEACHER),
        student=small_student(width=192, heads=6, embedding=64, entries=250_000),
        lesson=LanguageLessonConfig(window=128, epoch_steps=250, k=16),
        training=student_loop(epochs=8),
    )


def wikitext_2_counts() -> LmRunConfig:
    """The same students with integer spike counts up to 4 in place of one level, quantized earlier; weights stay ternary."""
    ternary = wikitext_2()
    student = replace(ternary.student, spikes=SpikeConfig(levels=4))
    lesson = replace(
        ternary.lesson, weights_ramp=(0.0, 0.1), spikes_ramp=(0.1, 0.3)
    )  # a long polish is worth 0.03 bits
    return replace(ternary, name="wikitext-2-counts", student=student, lesson=lesson)


def tiny_shakespeare_teacher() -> LmTeacherRunConfig:
    """A transformer of 0.7 million weights on a megabyte of Shakespeare with a BPE of 1024 tokens: 900 steps by Muon."""
    return LmTeacherRunConfig(
        name="tiny-shakespeare-teacher",
        corpus=CorpusConfig(source=SHAKESPEARE, tokenizer="bpe:1024"),
        model=SmallTransformerConfig(width=128, layers=3, heads=4, context=256),
        window=128,
        epoch_steps=150,
        training=replace(loop(epochs=6, batch_size=8, learning_rate=3e-3), optimizer="muon"),
        score=SHORT_SCORE,
    )


def tiny_shakespeare() -> LmRunConfig:
    """Spiking students of that teacher, with and without it, and text that they write: under 5 minutes on two cores."""
    return LmRunConfig(
        name="tiny-shakespeare",
        corpus=CorpusConfig(source=SHAKESPEARE, tokenizer=SHAKESPEARE_TEACHER),
        teacher=LanguageTeacherConfig(source=SHAKESPEARE_TEACHER),
        student=small_student(width=128, heads=4, embedding=48, entries=100_000),
        lesson=LanguageLessonConfig(window=128, epoch_steps=75, k=16, validation_tokens=8192),
        training=student_loop(epochs=6),
        score=SHORT_SCORE,
        arms=("kd", "no-kd"),
        seeds=1,
    )


def smollm2() -> LmRunConfig:
    """SmolLM2-135M from its GGUF file, its logits cached: a few thousand tokens, to see that all of it works."""
    return LmRunConfig(
        name="smollm2",
        corpus=CorpusConfig(source=TEXT, tokenizer=SMOLLM2, most_bytes=30_000, most_test_bytes=12_000),
        teacher=LanguageTeacherConfig(source=SMOLLM2),
        student=SpikingLMConfig(width=128, layers=2, heads=4, mixer="delta"),
        lesson=LanguageLessonConfig(window=64, epoch_steps=20, k=64, embedding="teacher", validation_tokens=1024),
        training=loop(epochs=3, batch_size=4, learning_rate=3e-3),
        score=LmScoreConfig(tokens=2048, sliding_tokens=1024, long_window=128, position_windows=16, batch=4),
        arms=("kd", "no-kd"),
        seeds=1,
    )


RECIPES: Mapping[str, Callable[[], LmRunConfig]] = {
    "wikitext-2": wikitext_2,
    "wikitext-2-counts": wikitext_2_counts,
    "tiny-shakespeare": tiny_shakespeare,
    "smollm2": smollm2,
}
TEACHERS: Mapping[str, Callable[[], LmTeacherRunConfig]] = {
    "wikitext-2-teacher": wikitext_2_teacher,
    "tiny-shakespeare-teacher": tiny_shakespeare_teacher,
}


def load_lm_run(recipe: str, assignments: Sequence[str] = ()) -> LmRunConfig:
    """The configuration of a recipe name or YAML file, with `a.b=c` assignments carried out.

    Raises:
        ConfigError: no such recipe or file, unknown key, wrong value.

    Example:
        >>> load_lm_run("wikitext-2", ["student.mixer=gated"]).student.mixer
        'gated'
    """
    return _load(recipe, assignments, LmRunConfig, RECIPES)


def load_lm_teacher(recipe: str, assignments: Sequence[str] = ()) -> LmTeacherRunConfig:
    """The same for a recipe that trains a teacher."""
    return _load(recipe, assignments, LmTeacherRunConfig, TEACHERS)


def _load(recipe: str, assignments: Sequence[str], kind: type[T], known: Mapping[str, Callable[[], T]]) -> T:
    path = Path(recipe)
    mapping: dict[str, Any]
    if recipe in known:
        mapping = dict(to_mapping(known[recipe]()))
    elif path.is_file():
        mapping = load_yaml(path)
        mapping.setdefault("name", path.stem)
        if (base := mapping.pop("recipe", None)) is not None:
            if base not in known:
                raise ConfigError(f"{recipe}: recipe {base!r} is not known; {nearest(str(base), known)}")
            mapping = merge(to_mapping(known[base]()), mapping)
    else:
        raise ConfigError(f"recipe {recipe!r} is not known and is no YAML file; {nearest(recipe, known)}")
    for assignment in assignments:
        set_path(mapping, assignment)
    return parse(kind, mapping)
