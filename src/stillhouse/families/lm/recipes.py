"""Language-model runs that are known to work, from a teacher of a few minutes to SmolLM2; no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from stillhouse.core.checks import nearest
from stillhouse.core.config import ConfigError, load_yaml, merge, parse, set_path, to_mapping
from stillhouse.core.schedules import Linear
from stillhouse.curricula import CurriculumConfig
from stillhouse.families.lm.data import CorpusConfig
from stillhouse.families.lm.data.tokenizer import TOKENIZER_FILE
from stillhouse.families.lm.lesson import LanguageLessonConfig, OnPolicyConfig
from stillhouse.families.lm.plan import (
    LanguageTrainingConfig,
    LmRunConfig,
    LmScoreConfig,
    LmTeacherRunConfig,
    TeacherTrainingConfig,
)
from stillhouse.families.lm.students import NGramConfig, SpikeConfig, SpikingLMConfig
from stillhouse.families.lm.teachers import LanguageTeacherConfig, SmallTransformerConfig
from stillhouse.signals import AttentionConfig, DynamicsConfig
from stillhouse.temperature import ScheduledTemperature

T = TypeVar("T")
TEXT = "data/wikitext-2"
TEACHER = "runs/wikitext-2-teacher"
SHAKESPEARE, SHAKESPEARE_TEACHER = "data/tinyshakespeare/input.txt", "runs/tiny-shakespeare-teacher"
SMOLLM2 = "models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


SHORT_SCORE = LmScoreConfig(tokens=16_384, position_windows=32)


def loop(epochs: int, batch_size: int, learning_rate: float) -> LanguageTrainingConfig:
    """The loop of these recipes: AdamW, warm-up of half an epoch, cosine to a tenth."""
    return LanguageTrainingConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        final_learning_rate=learning_rate / 10,
        threads=1,
    )


def teacher_loop(epochs: int, learning_rate: float) -> TeacherTrainingConfig:
    """The same for a teacher, which ends with its best epoch."""
    return TeacherTrainingConfig(
        epochs=epochs,
        batch_size=8,
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
        training=teacher_loop(epochs=12, learning_rate=2e-3),
    )


def small_student(width: int, heads: int, embedding: int, entries: int, layers: int = 1) -> SpikingLMConfig:
    """Wide layers with ternary spikes and weights, whose scores are added to an n-gram's; packed as it was scored."""
    return SpikingLMConfig(
        width=width,
        layers=layers,
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
    """Spiking students of the teacher wikitext-2-teacher, a megabyte each: 6000 steps of 8 windows, three seeds."""
    return LmRunConfig(
        name="wikitext-2",
        corpus=CorpusConfig(source=TEXT, tokenizer=TEACHER),
        teacher=LanguageTeacherConfig(source=TEACHER),
        student=small_student(width=192, heads=6, embedding=64, entries=235_000, layers=2),
        lesson=LanguageLessonConfig(window=128, epoch_steps=750, k=16),
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


def _alone() -> LmRunConfig:
    """Those students without the n-gram inside: what a technique is worth is seen where nothing else stands in for it."""
    plain = wikitext_2()
    return replace(
        plain, student=replace(plain.student, ngram=None, layers=1), lesson=replace(plain.lesson, epoch_steps=250)
    )


def wikitext_2_on_policy() -> LmRunConfig:
    """The same students, half of whose batches are texts that they write themselves, scored by the live teacher (GKD)."""
    plain = _alone()
    lesson = replace(plain.lesson, on_policy=OnPolicyConfig(share=0.5, ramp=(0.2, 0.5), prompt=32))
    return replace(plain, name="wikitext-2-on-policy", lesson=lesson)


def wikitext_2_bytes() -> LmRunConfig:
    """Students of bytes from the same teacher of 2048 tokens: sums over its tokens give the distribution of the next byte."""
    plain = _alone()
    corpus, teacher = replace(plain.corpus, tokenizer="bytes"), replace(plain.teacher, tokens="byte-marginals")
    return replace(plain, name="wikitext-2-bytes", corpus=corpus, teacher=teacher)


def wikitext_2_pocl() -> LmRunConfig:
    """The same students by POCL: windows that they continue best first, T from 1 to 2; the control has the same order."""
    plain = _alone()
    temperature = ScheduledTemperature(schedule=Linear(start=1.0, end=2.0, over="stages"))
    curriculum = CurriculumConfig(
        measures=("loss", "rouge-l"),
        by_class=False,
        replay=0.0,
        label_weights=(0.3, 0.2, 0.1, 0.0),
        signal_weights=(0.7, 0.8, 0.9, 1.0),
    )
    return replace(
        plain,
        name="wikitext-2-pocl",
        lesson=replace(plain.lesson, label_weight=1.0, temperature=temperature, epoch_steps=100),
        training=replace(plain.training, epochs=12),
        curriculum=curriculum,
        judge="student",
    )


def wikitext_2_inner() -> LmRunConfig:
    """The same students, led along the teacher's path through depth (FDD), and by relations of receptance, key and value."""
    plain = _alone()
    path = DynamicsConfig(
        student="blocks.{}",
        student_layers=2,
        teacher="model.layers.{}",
        teacher_layers=3,
        pool="none",
        student_layout="sequence",
        teacher_layout="sequence",
        space="logits",
        weight=0.3,
    )
    relations = AttentionConfig(
        student=tuple(f"blocks.1.mixer.{part}" for part in ("receptance", "key", "value")),
        teacher=tuple(f"model.layers.2.self_attn.{part}_proj" for part in "qkv"),
        relation_heads=6,
        causal=True,
    )
    return replace(plain, name="wikitext-2-inner", signals=(path, relations))


def tiny_shakespeare_teacher() -> LmTeacherRunConfig:
    """A transformer of 0.7 million weights on a megabyte of Shakespeare with a BPE of 1024 tokens: 900 steps by Muon."""
    return LmTeacherRunConfig(
        name="tiny-shakespeare-teacher",
        corpus=CorpusConfig(source=SHAKESPEARE, tokenizer="bpe:1024"),
        model=SmallTransformerConfig(width=128, layers=3, heads=4, context=256),
        window=128,
        epoch_steps=150,
        training=replace(teacher_loop(epochs=6, learning_rate=3e-3), optimizer="muon"),
        score=SHORT_SCORE,
    )


def tiny_shakespeare() -> LmRunConfig:
    """Spiking students of the teacher tiny-shakespeare-teacher, with and without it, and text that they write."""
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
        score=LmScoreConfig(tokens=2048, long_window=128, position_windows=16, batch=4),
        arms=("kd", "no-kd"),
        seeds=1,
    )


RECIPES: Mapping[str, Callable[[], LmRunConfig]] = {
    "wikitext-2": wikitext_2,
    "wikitext-2-counts": wikitext_2_counts,
    "wikitext-2-on-policy": wikitext_2_on_policy,
    "wikitext-2-bytes": wikitext_2_bytes,
    "wikitext-2-pocl": wikitext_2_pocl,
    "wikitext-2-inner": wikitext_2_inner,
    "tiny-shakespeare": tiny_shakespeare,
    "smollm2": smollm2,
}
TEACHER_RECIPES: Mapping[str, Callable[[], LmTeacherRunConfig]] = {
    "wikitext-2-teacher": wikitext_2_teacher,
    "tiny-shakespeare-teacher": tiny_shakespeare_teacher,
}


def load_lm_run(recipe: str, assignments: Sequence[str] = ()) -> LmRunConfig:
    """The configuration of a recipe name or YAML file, with `a.b=c` assignments carried out.

    A teacher that is named here brings its tokenizer, where its folder has one and `corpus.tokenizer` is not named too.

    Raises:
        ConfigError: no such recipe or file, unknown key, wrong value.

    Example:
        >>> load_lm_run("wikitext-2", ["student.mixer=gated"]).student.mixer
        'gated'
    """
    named = {assignment.partition("=")[0].strip() for assignment in assignments}
    return with_tokenizer(_load(recipe, assignments, LmRunConfig, RECIPES), named)


def with_tokenizer(config: LmRunConfig, named: AbstractSet[str]) -> LmRunConfig:
    """With the tokenizer of a teacher that was named; the same where it has none or a tokenizer was named too.

    Args:
        config: of a run.
        named: keys of the settings that were named beside its recipe or file.
    """
    own = (Path(config.teacher.source) / TOKENIZER_FILE).is_file() and config.teacher.tokens == "same"
    if own and "teacher.source" in named and not named & {"corpus", "corpus.tokenizer"}:
        return replace(config, corpus=replace(config.corpus, tokenizer=config.teacher.source))
    return config


def load_lm_teacher(recipe: str, assignments: Sequence[str] = ()) -> LmTeacherRunConfig:
    """The same for a recipe that trains a teacher."""
    return _load(recipe, assignments, LmTeacherRunConfig, TEACHER_RECIPES)


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
