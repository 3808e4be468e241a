"""Language models: a transformer teaches a recurrent student with ternary spikes and weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from stillhouse.cache.queries import TeacherQueries
from stillhouse.core.callback import Callback
from stillhouse.core.checks import InputError
from stillhouse.core.context import RunContext
from stillhouse.core.exports import Target
from stillhouse.core.folder import SHIPPED, student_folder
from stillhouse.core.pipeline import StageContext
from stillhouse.core.signal_set import signal_set_of
from stillhouse.core.task import Arm, Contrast, Scores, Task, TeacherCheck, use_of
from stillhouse.core.types import OutputSpec
from stillhouse.core.verdict import mean_interval
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.signals import teacher_features
from stillhouse.tasks.lm import use
from stillhouse.tasks.lm.align import MixerAlignment, inherit_embedding
from stillhouse.tasks.lm.data.corpus import Corpus, Windows, check_length
from stillhouse.tasks.lm.job import LanguageJob, TrainSchedule, window_difficulty
from stillhouse.tasks.lm.light import BITS, LanguageLight
from stillhouse.tasks.lm.material import CACHE, cache_of, fitted, load_text, questions_about, teachers_of
from stillhouse.tasks.lm.metrics.nll import model_nll, score_text, teacher_nll
from stillhouse.tasks.lm.metrics.spiking import measure_spikes, spike_summary
from stillhouse.tasks.lm.plan import ARMS, LmRunConfig, LmTeacherRunConfig, taught, unsupported_reason
from stillhouse.tasks.lm.saved import load_lm, save_lm
from stillhouse.tasks.lm.score import Scored, TestWindows, ngram_nll
from stillhouse.tasks.lm.students import NGramConfig
from stillhouse.tasks.lm.students.prior import NGramPrior, held_out_priors
from stillhouse.tasks.lm.students.trie import Trie, count_trie, pack_trie
from stillhouse.tasks.lm.teachers.cache import LanguageStageTeacher, StoredLanguageTeacher
from stillhouse.tasks.lm.teachers.group import AssistantTeacher, TeacherGroup
from stillhouse.tasks.lm.through_head import student_head, teacher_head
from stillhouse.tasks.lm.tokens import build_token_signals, by_token
from stillhouse.teachers.identity import weights_sha256

NGRAM, INSIDE = "ngram", "ngram-inside"
ORDER = 5  # of the n-gram that a teacher is held against, where the run scores none
SPIKE_WINDOWS = 128  # their tokens' spikes are counted
LmContext = RunContext[LmRunConfig, Corpus]
Log = Callable[[str], None]


class LanguageTask(LanguageLight, Task[LmRunConfig, Corpus]):
    """Text in, the next token out; windows of the test text are what verdicts count."""

    Config = LmRunConfig
    may_hold = (CACHE,)
    validated = "log-likelihood of a valid token (nats)"
    objective = -1  # the first entry of a rank is how far the network is quantized, the same for all at one step

    TeacherRun: ClassVar[type | None] = LmTeacherRunConfig

    def owns(self, mapping: Mapping[str, Any]) -> bool:
        """A run on a text: `corpus`."""
        return "corpus" in mapping

    def owns_teacher(self, mapping: Mapping[str, Any]) -> bool:
        """A transformer to be learned from a text: `corpus`."""
        return "corpus" in mapping

    def train_teacher(
        self, config: LmTeacherRunConfig, out: Path, *, resume: bool, callback: Callback
    ) -> Sequence[str]:
        """Train a small transformer on the text."""
        from stillhouse.tasks.lm.run import train_teacher

        result = train_teacher(config, out, resume=resume, callback=callback)
        found = result["metrics"]
        return (
            f"test: {found['bits_per_byte']:.4f} bits per byte, perplexity {found['perplexity']:.2f}",
            use_of(result, f"teacher.source={out} corpus.tokenizer={out}"),
        )

    # ------------------------------------------------------------------------------------------------ before training

    def data(self, config: LmRunConfig, log: Log) -> Corpus:
        """The text, cut into tokens."""
        return load_text(config.corpus, log)

    def facts(self, data: Corpus) -> dict[str, Any]:
        """Sizes and fingerprints of text and tokenizer."""
        return data.about

    def resolve_config(self, config: LmRunConfig, named: AbstractSet[str]) -> LmRunConfig:
        """A teacher brings its tokenizer."""
        from stillhouse.tasks.lm.recipes import with_tokenizer

        return with_tokenizer(config, named)

    def check(self, config: LmRunConfig, data: Corpus) -> None:
        """Refuse signals that cannot work, networks of another vocabulary, and texts shorter than a window."""
        for where, signal in config.signals_heard():
            if (why := self.unsupported_reason(signal)) is not None:
                raise InputError(f"{where} ({signal.kind}): {why}")
        for student in (*(config.student_of(arm) for arm in config.arms), *config.teacher_assistants):
            fitted(student, data.tokenizer.vocab_size)
        TestWindows.of(data, config.score, config.loss.window)
        check_length(min(len(data.valid), config.loss.validation_tokens + 1), config.loss.window)

    def unsupported_reason(self, signal: Any) -> str | None:
        """A recurrent student has neither attention maps, nor time steps, nor clauses."""
        return unsupported_reason(signal)

    def teachers(self, config: LmRunConfig, data: Corpus, given: Any, log: Log) -> Sequence[Any]:
        """Each teacher of the run, and where there are several all of them together as the last."""
        return teachers_of(config, data, given, log)

    def fingerprint(self, teacher: Any) -> str:
        """SHA-256 of its weights."""
        if isinstance(teacher, StoredLanguageTeacher):
            return teacher.identity
        if isinstance(teacher, TeacherGroup):
            return hashlib.sha256(" ".join(map(self.fingerprint, teacher.members)).encode()).hexdigest()
        return weights_sha256(teacher.network)

    def teacher_check(self, teacher: Any, config: LmRunConfig | LmTeacherRunConfig, data: Corpus) -> TeacherCheck:
        """Log-likelihood of a token of the valid split, against that by the frequencies of tokens and that of an n-gram.

        The lower end is that of the gain over the frequencies on the same windows. Frequencies are far too easy: what a student
        gains by a teacher is what the teacher knows beyond an n-gram, which the student may have inside.
        """
        if isinstance(teacher, StoredLanguageTeacher):
            return TeacherCheck(**teacher.stored.plan.about["teacher_check"])
        window, order = config.loss.window, config.score.ngram or ORDER
        ids = np.asarray(data.valid.ids[: config.loss.validation_tokens + 1])
        whole = (len(ids) - 1) // window * window
        scores = [
            -score_text(nll, ids, length=window, batch=config.training.evaluation_batch_size)
            for nll in (teacher_nll(teacher), ngram_nll(data, 1), ngram_nll(data, order))
        ]
        if not np.isfinite(scores[0]).all():
            raise InputError(f"teacher {teacher.name}: expected finite scores of the valid split, got NaN or infinity")
        score, chance, plain = (float(x.mean()) for x in scores)
        gains = (scores[0] - scores[1])[:whole].reshape(-1, window).mean(1)
        found = mean_interval(gains[None]) if len(gains) > 1 else None
        low = score if found is None else score - (found.mean - found.low)
        facts = {"params": teacher.params}
        name = f"a {order}-gram of the training text"
        return TeacherCheck(
            teacher.name, score, low, chance, "log-likelihood a token", facts, plain=plain, baseline_name=name
        )

    def prepare(self, context: LmContext) -> None:
        """The windows that all are scored in, and the cache of the teacher's answers where arms learn from one."""
        config = context.config
        context.shared["examination"] = TestWindows.of(context.data, config.score, config.loss.window)
        if config.loss.source == "cache" and config.loss.kd_weight > 0 and any(map(taught, config.arms)):
            context.shared["cache"] = cache_of(
                config, context.data, context.teacher, context.folder.path / CACHE, context.callback.log
            )

    def stage_teachers(self, context: LmContext) -> Sequence[Any]:
        """The teacher, live or by its cache, in every stage."""
        stage_teacher = LanguageStageTeacher(context.teacher, context.shared.get("cache"))
        return (stage_teacher,) * len(context.config.stages_of(True))

    def teacher_queries(
        self, config: LmRunConfig, data: Corpus, teacher: Any, features: Sequence[str] = ()
    ) -> TeacherQueries:
        """Training windows."""
        return questions_about(config, data, teacher, features)

    # ------------------------------------------------------------------------------------------------ training

    def arms(self, config: LmRunConfig) -> Sequence[Arm]:
        """The chosen arms, and the n-gram below them."""
        arms = [
            Arm(
                name,
                config.student_of(name),
                taught(name),
                config.seeds,
                config.teacher_assistants * taught(name),
                None,
                ARMS[name],
            )
            for name in config.arms
        ]
        order = config.score.ngram
        if order:
            about = f"{order}-gram with modified Kneser-Ney smoothing, counted on the students' text"
            fit = lambda context, seed: ngram_nll(context.data, order)  # noqa: E731
            arms.append(Arm(NGRAM, None, False, fit=fit, about=about, plain=f"a {order}-gram"))
        if (inside := config.student.ngram) is not None:
            about = "the n-gram inside the student, without it"
            arms.append(
                Arm(
                    INSIDE,
                    None,
                    False,
                    fit=lambda context, seed: _inside(context, inside),
                    about=about,
                    plain="the n-gram inside it",
                )
            )
        return arms

    def contrasts(self, config: LmRunConfig) -> Sequence[Contrast]:
        """What the teacher, spikes and the recurrence do, and whether a network passes the n-gram."""
        return (
            Contrast("teacher", "kd", "no-kd", BITS, always=True),
            Contrast("teacher, dense", "dense", "dense-no-kd", BITS),
            Contrast("spikes", "kd", "dense", BITS),
            Contrast("recurrence", "kd", "scalar", BITS),
            *(Contrast(NGRAM, arm, NGRAM, BITS) for arm in config.arms),
            *(Contrast(INSIDE, arm, INSIDE, BITS) for arm in config.arms if config.student.ngram is not None),
        )

    def student(self, arm: Arm, choice: Any, seed: int, context: LmContext) -> nn.Module:
        """The network for the corpus's tokens; taught ones may begin with the teacher's embedding."""
        model = fitted(choice, context.data.tokenizer.vocab_size).build()
        if arm.taught and context.config.loss.embedding == "teacher":
            inherit_embedding(model.embedding, context.teacher.network.get_input_embeddings().weight)
        if model.prior is not None:
            model.prior.fill(_trie(context, choice.ngram))
        return model

    def job(self, stage_context: StageContext[LmRunConfig, Corpus]) -> LanguageJob:
        """The job of one stage; ramps are placed in the run of all stages."""
        config, data, student = stage_context.context.config, stage_context.context.data, stage_context.student
        plan, training = config.loss, stage_context.stage.training
        before = config.stages_of(True)[: stage_context.number]
        first, total = sum(stage.training.epochs for stage in before) * plan.epoch_steps, config.total_steps
        stage_teacher, align = stage_context.stage_teacher, None
        windows = Windows(data.train.ids, plan.window)
        example = windows(np.arange(min(2, len(windows))))[0].to(next(student.parameters()).device)
        if stage_teacher is not None:
            if first / total < plan.align:
                align = MixerAlignment(student, stage_teacher.teacher.network)
            paths = (*teacher_features(stage_context.stage.signals), *(align.paths if align else ()))
            stage_teacher = stage_teacher.with_features(
                paths, example, scores=any(map(by_token, stage_context.stage.signals))
            )

        def spec_of(model: nn.Module, features: tuple[str, ...]) -> OutputSpec:
            return _spec(model, features, example)

        heard = replace(stage_context, stage_teacher=stage_teacher)
        # no seed of their own: projectors were drawn after the student's weights from the first version on
        build = partial(
            build_token_signals,
            heads=lambda: (student_head(student), teacher_head(stage_teacher and stage_teacher.teacher)),
        )
        signal_set = signal_set_of(heard, example, spec_of, build, seed=None)
        return LanguageJob(
            student,
            (data.train, data.valid),
            plan,
            TrainSchedule(training.batch_size, total, stage_context.job_seed, first, training.evaluation_batch_size),
            stage_teacher=stage_teacher,
            signal_set=signal_set,
            align=align,
            priors=_priors(stage_context.context, student, len(windows)),
        )

    def difficulty(self, judge: Any, context: LmContext) -> tuple[np.ndarray, None]:
        """(rows,) how hard each training window is to a teacher or a student, high is hard; a teacher is asked once a run."""
        curriculum = context.config.curriculum
        assert curriculum is not None
        windows = Windows(context.data.train.ids, context.config.loss.window)
        how: dict[str, Any] = {"measures": curriculum.measures, "k": curriculum.fusion_k}
        if not isinstance(judge, LanguageStageTeacher):
            return window_difficulty(AssistantTeacher(judge, "judge"), windows, **how), None
        make = partial(window_difficulty, judge.teacher, windows, **how)
        line = "asking the teacher how hard each window is"
        return _once(context, f"difficulty by {judge.teacher.identity}", line, make), None

    def as_stage_teacher(self, students: Sequence[Any], context: LmContext) -> LanguageStageTeacher:
        """The last assistant, or all of them together with the teacher, asked live."""
        assistants = [AssistantTeacher(one.eval(), f"assistant {n}") for n, one in enumerate(students)]
        if context.config.assistant_teachers == "last":
            return LanguageStageTeacher(assistants[-1])
        return LanguageStageTeacher(TeacherGroup([context.teacher, *assistants]))

    # ------------------------------------------------------------------------------------------------ afterwards

    def score(self, model: Any, arm: Arm, seed: int, context: LmContext) -> Scores:
        """Bits a byte of every window of the test text, and the counted spikes."""
        examination = context.shared["examination"]
        if arm.fit is not None:
            inside = isinstance(model, NGramPrior)
            facts = {"bytes": len(pack_trie(model.trie)), "entries": model.trie.used} if inside else {}
            return _scores(examination.score(_prior_nll(model) if inside else model), "nll.npz", facts=facts)
        model.cpu()
        scored = examination.score(model_nll(model))
        spikes = _spikes(model, examination)
        epochs = sum(stage.training.epochs for stage in context.config.stages_of(arm.taught))
        tokens = (
            epochs * context.config.loss.epoch_steps * context.config.training.batch_size * context.config.loss.window
        )
        params = sum(p.numel() for p in model.parameters())
        facts = {
            "spikes": spikes,
            "tokens_trained": tokens,
            "cost": {"params": params},
        }
        shown = {name: value for name, value in spikes.items() if name in ("density", "dead_channels")}
        return _scores(scored, "nll.npz", shown, facts)

    def score_teacher(self, context: LmContext) -> Scores | None:
        """The teacher in the same windows; a cache has no answers to them."""
        if isinstance(context.teacher, StoredLanguageTeacher):
            return None
        from stillhouse.tasks.lm.blocks import TEACHER_NLL

        examination = context.shared["examination"]
        return _scores(examination.score(teacher_nll(context.teacher), most=context.teacher.context), TEACHER_NLL)

    def save(self, folder: Path, model: Any, choice: Any, context: LmContext) -> None:
        """Weights, card and tokenizer."""
        save_lm(folder, model, context.data.tokenizer, window=context.config.loss.window)

    def load(self, folder: Path) -> Any:
        """The network of a folder."""
        return load_lm(folder)[0]

    def on_run_end(self, context: LmContext, summary: dict[str, Any]) -> None:
        """How the models were scored, and what spikes cost in all."""
        examination: TestWindows = context.shared["examination"]
        means = {name: arm[BITS]["mean"] for name, arm in summary["arms"].items()}
        summary["gap"] = means["kd"] / means["dense"] - 1 if {"kd", "dense"} <= set(means) else None
        summary["window"], summary["stride"] = examination.window, examination.stride
        summary["tokens_scored"] = len(examination.ids) - 1
        summary["tokens_scored_sliding"] = len(examination.sliding_ids) - 1
        summary["samples"] = use.samples(context.folder.path / SHIPPED, examination.ids)

    def cost(self, folder: Path) -> dict[str, float]:
        """Weights; of a spiking student also the counted energy of a token of the valid split."""
        return use.cost(folder)

    def predictor(self, folder: Path) -> Any:
        """Lines of text into scores and continuations."""
        return use.TextPredictor(student_folder(folder))

    def evaluate(self, folder: Path, **choices: Any) -> dict[str, Any]:
        """Score a student, or the one that a run shipped, again: see `use.evaluate` for the choices."""
        given = {name: value for name, value in choices.items() if value is not None}
        unknown = sorted(set(given) - {"source", "tokens", "window"})
        if unknown:
            raise InputError(
                f"evaluate: expected source, tokens or window for a language model, got {', '.join(unknown)}"
            )
        return use.evaluate(student_folder(folder), **given)

    def exports(self) -> Mapping[str, Target]:
        """Packed ternary weights with the tokenizer; the network for windows."""
        return {
            "packed": Target("ternary weights, five to a byte", "", use.write_packed, takes=()),
            "torch": Target("whole windows, for torch.export.load", ".pt2", use.write_program, takes=()),
        }


def _once(context: LmContext, key: str, line: str, make: Callable[[], Any]) -> Any:
    """What is made once a run, with a line that says so."""
    if key not in context.shared:
        context.callback.log(line)
        context.shared[key] = make()
    return context.shared[key]


def _trie(context: LmContext, config: NGramConfig) -> Trie:
    """The n-gram inside a student."""
    line = f"counting the n-gram inside the student: {config.entries:,} sequences of up to {config.order} tokens"
    make = partial(count_trie, context.data.train.ids, context.data.tokenizer.vocab_size, config)
    found: Trie = _once(context, f"n-gram inside {config}", line, make)
    return found


def _priors(context: LmContext, student: Any, rows: int) -> Sequence[NGramPrior]:
    """The n-grams that a student learns beside."""
    config, data = student.config.ngram, context.data
    if config is None or config.held_out == 1:
        return ()
    line = f"counting {config.held_out} n-grams, each without a part of the text"
    window = context.config.loss.window
    make = partial(held_out_priors, data.train.ids, data.tokenizer.vocab_size, config, rows, window)
    found: Sequence[NGramPrior] = _once(context, f"n-grams of parts {config}", line, make)
    return found


def _inside(context: LmContext, config: NGramConfig) -> NGramPrior:
    prior = NGramPrior(context.data.tokenizer.vocab_size, config)
    prior.fill(_trie(context, config))
    return prior


def _prior_nll(prior: NGramPrior) -> Any:
    def nll(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return -prior(inputs, prior.initial_state(len(inputs)))[0].gather(-1, targets.unsqueeze(-1)).squeeze(-1)

    return nll


def _scores(
    scored: Scored, file: str, scalars: Mapping[str, float] | None = None, facts: Mapping[str, Any] | None = None
) -> Scores:
    plain = {name: value for name, value in scored.metrics.items() if name != BITS}
    arrays = {file: {"windows": scored.windows, "positions": scored.positions}}
    return Scores({BITS: scored.bits}, {**plain, **(scalars or {})}, arrays, facts or {})


def _spikes(model: Any, examination: TestWindows) -> dict[str, float]:
    """Density, dead and saturated channels over windows of the test tokens; {} for a dense network."""
    if not model.spike_units():
        return {}
    pieces = Windows(examination.ids, examination.window).sample(SPIKE_WINDOWS)
    return spike_summary(measure_spikes(model, pieces, call=model.hidden))


def _spec(model: Any, features: tuple[str, ...], example: torch.Tensor) -> OutputSpec:
    """Shapes of a student's features, without the batch axis."""
    extractor = FeatureExtractor(model, features, call=lambda tokens: model.hidden(tokens)[0])
    try:
        return OutputSpec(len(model.readout.weight), extractor.spec(example).features)
    finally:
        extractor.close()
        for unit in model.spike_units().values():
            unit.rate = None  # of the example: no figure of the training


TASK = LanguageTask()
