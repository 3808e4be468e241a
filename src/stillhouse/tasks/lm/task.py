"""Language models: a transformer teaches a recurrent student with ternary spikes and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from stillhouse.cache.queries import TeacherQueries
from stillhouse.cache.stored import StoredTeacher
from stillhouse.core import processes
from stillhouse.core.callback import Callback
from stillhouse.core.checks import InputError
from stillhouse.core.exports import Target
from stillhouse.core.folder import SHIPPED, student_folder
from stillhouse.core.parts import Arm, Objective, Scores, TeacherCheck, use_of
from stillhouse.core.pipeline import StageContext, signal_set_of
from stillhouse.core.task import RunContext, Task
from stillhouse.core.types import OutputSpec
from stillhouse.core.verdict import mean_interval
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.tasks.lm import use
from stillhouse.tasks.lm.corpus import Corpus, Windows, load_corpus
from stillhouse.tasks.lm.energy import counted_energy
from stillhouse.tasks.lm.job import LanguageJob, TrainSchedule
from stillhouse.tasks.lm.plan import ARMS, LOGITS, LmRunConfig, LmTeacherRunConfig, taught
from stillhouse.tasks.lm.predict import TextPredictor
from stillhouse.tasks.lm.results import BITS, STREAMED, LanguageResults
from stillhouse.tasks.lm.score import TestWindows, model_nll, ngram_nll, score_text, window_difficulty
from stillhouse.tasks.lm.signals import build_language_signals
from stillhouse.tasks.lm.students import NGramConfig
from stillhouse.tasks.lm.students.prior import NGramPrior, held_out_priors
from stillhouse.tasks.lm.students.trie import Trie, count_trie
from stillhouse.tasks.lm.teachers import cache
from stillhouse.tasks.lm.teachers.cache import LanguageStageTeacher
from stillhouse.tasks.lm.teachers.teacher import LanguageTeacher, small_transformer, tapped
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.training.loop import Fit

NGRAM, INSIDE = "ngram", "ngram-inside"
CONTROLS = {"dense-no-kd": (("teacher, dense", "dense"),), "dense": (("spikes", "kd"),)}
ORDER = 5  # of the n-gram that a teacher is held against, where the run scores none
SPIKE_WINDOWS = 128  # their tokens' spikes are counted
MOST_EXPECTED = 20_000_000  # continuations that an n-gram counts of a teacher: about 3 GB while it does
LmContext = RunContext[LmRunConfig, Corpus]
Log = Callable[[str], None]


class LanguageTask(LanguageResults, Task[LmRunConfig, Corpus]):
    """Text in, the next token out; windows of the test text are what verdicts count."""

    Config = LmRunConfig
    # the first entry of a rank is how far the network is quantized, the same for all at one step
    objective = Objective("log-likelihood of a valid token (nats)", rank=-1)

    TeacherRun: ClassVar[type | None] = LmTeacherRunConfig

    def train_teacher(
        self, config: LmTeacherRunConfig, out: Path, *, resume: bool, callback: Callback
    ) -> Sequence[str]:
        """Train a small transformer on the text; the folder is then a teacher: config.json, model.safetensors, tokenizer.json."""
        from stillhouse.core import train_teacher as shared  # which writes pages

        how = shared.TeacherTraining(
            kind="lm-teacher",
            data=partial(_read, config),
            build=lambda corpus: small_transformer(config.model, corpus.tokenizer.vocab_size),
            job=partial(_teacher_job, config),
            save=partial(_save_teacher, config, out),
        )
        result = shared.train(self, config, out, how, resume=resume, callback=callback)
        found = result["metrics"]
        return (
            f"test: {found['bits_per_byte']:.4f} bits per byte, perplexity {found['perplexity']:.2f}",
            use_of(result, f"teacher.source={out} corpus.tokenizer={out}"),
        )

    # ------------------------------------------------------------------------------------------------ before training

    def data(self, config: LmRunConfig, log: Log) -> Corpus:
        """The text, cut into tokens; one shorter than a window is refused."""
        corpus = replace(_read(config, log), scored=(config.score.window or config.loss.window, config.score.tokens))
        _examination(config, corpus)
        Windows(corpus.valid[: config.loss.validation_tokens + 1], config.loss.window)
        return corpus

    def teachers(self, config: LmRunConfig, data: Corpus, given: Any, log: Log) -> Sequence[Any]:
        """Each teacher of the run, and where there are several all of them together as the last."""
        return cache.teachers_of(config, data, given, log)

    def teacher_check(self, teacher: Any, config: LmRunConfig | LmTeacherRunConfig, data: Corpus) -> TeacherCheck:
        """Log-likelihood of a token of the valid split, against that by the frequencies of tokens and that of an n-gram.

        The lower end is that of the gain over the frequencies on the same windows. Frequencies are far too easy: what a student
        gains by a teacher is what the teacher knows beyond an n-gram, which the student may have inside.
        """
        if isinstance(teacher, StoredTeacher):
            return TeacherCheck(**teacher.plan.about["teacher_check"])
        window, order = config.loss.window, config.score.ngram or ORDER
        ids = np.asarray(data.valid[: config.loss.validation_tokens + 1])
        batch = config.training.evaluation_batch_size
        ngrams = (ngram_nll(data.train, data.tokenizer.vocab_size, n) for n in (1, order))
        scores = [-score_text(nll, ids, length=window, batch=batch) for nll in (model_nll(teacher), *ngrams)]
        if not np.isfinite(scores[0]).all():
            raise InputError(f"teacher {teacher.name}: expected finite scores of the valid split, got NaN or infinity")
        score, chance, plain = (float(x.mean()) for x in scores)
        whole = len(scores[0]) // window * window
        gains = (scores[0] - scores[1])[:whole].reshape(-1, window).mean(1)
        found = mean_interval(gains[None]) if len(gains) > 1 else None
        low = score if found is None else score - (found.mean - found.low)
        facts, name = {"params": teacher.params}, f"a {order}-gram of the training text"
        return TeacherCheck(
            teacher.name, score, low, chance, "log-likelihood a token", facts, plain=plain, baseline_name=name
        )

    def stage_teachers(self, context: LmContext, assistants: Sequence[Any] = ()) -> Sequence[Any]:
        """In every stage the teacher, live or by its cache; in its place the last assistant, or all of them beside it, live."""
        config, taught_by = context.config, [_as_teacher(one, f"assistant {n}") for n, one in enumerate(assistants)]
        if taught_by:
            last = config.assistant_teachers == "last"
            teacher = taught_by[-1] if last else EnsembleTeacher([context.teacher, *taught_by])
            found = LanguageStageTeacher(tapped(teacher, cache.features_heard(config), config.loss.window))
        else:
            stored = None
            if config.loss.source == "cache" and config.loss.kd_weight > 0 and any(map(taught, config.arms)):
                stored = _stored(context)
            found = LanguageStageTeacher(context.teacher, stored)
        return (found,) * len(config.stages_of(True))

    def teacher_queries(
        self, config: LmRunConfig, data: Corpus, teacher: Any, features: Sequence[str] = ()
    ) -> TeacherQueries:
        """Training windows."""
        return cache.build_teacher_queries(config, data, teacher, features)

    # ------------------------------------------------------------------------------------------------ training

    def arms(self, config: LmRunConfig) -> Sequence[Arm]:
        """The chosen arms, and the n-grams below them."""
        arms = []
        for name in config.arms:
            assistants, controls = config.teacher_assistants if taught(name) else (), CONTROLS.get(name, ())
            student, about = config.student_of(name), ARMS[name]
            arms.append(Arm(name, student, taught(name), config.seeds, assistants, about=about, controls=controls))
        order, inside = config.score.ngram, config.student.ngram
        if order:
            about = f"{order}-gram with modified Kneser-Ney smoothing, counted on the students' text"
            arms.append(_plain(NGRAM, partial(_ngram, order), about, f"a {order}-gram", config))
        if inside is not None:
            about = "the text's n-gram as it is inside an untaught student, without it"
            whose = "the text's own n-gram" if inside.taught else "the n-gram inside it"
            arms.append(_plain(INSIDE, partial(_inside, inside), about, whose, config))
        return arms

    def student(self, arm: Arm, choice: Any, seed: int, context: LmContext) -> nn.Module:
        """The network for the corpus's tokens."""
        model = replace(choice, vocab_size=context.data.tokenizer.vocab_size).build()
        if model.prior is not None:
            model.prior.fill(_counted(context, choice.ngram, arm.taught)[0])
        return model

    def job(self, stage_context: StageContext[LmRunConfig, Corpus]) -> LanguageJob:
        """The job of one stage; ramps are placed in the run of all stages."""
        config, data, student = stage_context.context.config, stage_context.context.data, stage_context.student
        stage, stage_teacher, plan = stage_context.stage, stage_context.stage_teacher, config.loss
        before = config.stages_of(True)[: stage_context.number]
        first, total = sum(one.training.epochs for one in before) * plan.epoch_steps, config.total_steps
        windows = Windows(data.train, plan.window)
        example = windows(np.arange(min(2, len(windows))))[0].to(next(student.parameters()).device)
        network = None if stage_teacher is None else getattr(stage_teacher.teacher, "module", None)
        signal_set = signal_set_of(
            stage_context,
            example,
            partial(_spec, example=example),
            partial(build_language_signals, networks=(student, network)),
            seed=None,  # projectors were drawn after the student's weights from the first version on
        )
        return LanguageJob(
            student,
            (data.train, data.valid),
            plan,
            TrainSchedule(
                stage.training.batch_size, total, stage_context.job_seed, first, stage.training.evaluation_batch_size
            ),
            stage_teacher=stage_teacher,
            signal_set=signal_set,
            priors=()
            if student.prior is None
            else _counted(stage_context.context, student.config.ngram, stage_context.arm.taught)[1],
        )

    def difficulty(self, judge: Any, context: LmContext) -> tuple[np.ndarray, None]:
        """(rows,) how hard each training window is to a teacher or a student, high is hard; a teacher is asked once a run."""
        curriculum: Any = context.config.curriculum
        windows = Windows(context.data.train, context.config.loss.window)
        ask = partial(window_difficulty, windows=windows, measures=curriculum.measures, k=curriculum.fusion_k)
        if not isinstance(judge, LanguageStageTeacher):
            return ask(_as_teacher(judge, "judge")), None
        key = f"difficulty by {judge.teacher.identity()}"
        if key not in context.shared:
            context.callback.log("asking the teacher how hard each window is")
            context.shared[key] = ask(judge.teacher)
        return context.shared[key], None

    # ------------------------------------------------------------------------------------------------ afterwards

    def score(self, model: Any, arm: Arm | None, seed: int, context: LmContext) -> Scores | None:
        """Bits a byte of every window of the test text, and the counted spikes; a teacher's cache has no answers to them."""
        examination, config = _examination(context.config, context.data), context.config
        if arm is None:
            return None if isinstance(model, StoredTeacher) else _scores(examination, model_nll(model))
        if arm.fit is not None:
            return _scores(examination, model)
        tokens, teacher = Windows(examination.ids, examination.window).sample(SPIKE_WINDOWS), context.teacher
        energy = counted_energy(model.cpu().eval(), tokens, getattr(teacher, "params", 0))
        steps = sum(stage.training.epochs for stage in config.stages_of(arm.taught)) * config.loss.epoch_steps
        trained = steps * config.training.batch_size * config.loss.window
        facts = {"tokens_trained": trained, "cost": {"params": sum(p.numel() for p in model.parameters()), **energy}}
        scalars = {**model.figures(), STREAMED: examination.streamed(model)}
        return _scores(examination, model_nll(model), scalars, facts)

    def save(self, folder: Path, model: Any, choice: Any, context: LmContext) -> None:
        """Weights, card and tokenizer."""
        use.save_lm(folder, model, context.data.tokenizer, window=context.config.loss.window)

    def load(self, folder: Path) -> Any:
        """The network of a folder."""
        return use.load_lm(folder)[0]

    def finish(self, context: LmContext, summary: dict[str, Any]) -> None:
        """How the models were scored, and what the student writes."""
        examination = _examination(context.config, context.data)
        summary["window"], summary["tokens_scored"] = examination.window, len(examination.ids) - 1
        summary["samples"] = use.samples(context.folder.path / SHIPPED, examination.ids)

    def predictor(self, folder: Path) -> TextPredictor:
        """Lines of text into scores and continuations."""
        return TextPredictor(student_folder(folder))

    def evaluate(self, folder: Path, **choices: Any) -> dict[str, Any]:
        """Score a student, or the one that a run shipped, again: see `use.evaluate` for the choices."""
        return use.evaluate(student_folder(folder), **choices)

    def exports(self) -> Mapping[str, Target]:
        """Packed ternary weights with the tokenizer."""
        return {"packed": Target("ternary weights, five to a byte", "", use.write_packed, takes=())}


def _read(config: LmRunConfig | LmTeacherRunConfig, log: Log) -> Corpus:
    """The text, with a line on its size."""
    corpus = load_corpus(config.corpus)
    sizes = ", ".join(f"{count:,} {name}" for name, count in corpus.sizes.items())
    log(f"text: {corpus.name}, tokenizer {corpus.tokenizer.name} ({corpus.tokenizer.vocab_size:,} tokens): {sizes}")
    return corpus


def _examination(config: LmRunConfig, corpus: Corpus) -> TestWindows:
    """The windows that all are scored in."""
    return TestWindows.of(corpus.test, corpus.tokenizer, config.score, config.loss.window)


def _plain(name: str, fit: Any, about: str, plain: str, config: LmRunConfig) -> Arm:
    """An n-gram, which every network should be above."""
    return Arm(name, None, False, fit=fit, about=about, plain=plain, controls=tuple((name, arm) for arm in config.arms))


def _teacher_job(config: LmTeacherRunConfig, model: nn.Module, corpus: Corpus) -> LanguageJob:
    training = config.training
    steps = training.epochs * config.epoch_steps
    course = TrainSchedule(training.batch_size, steps, config.seed, scoring_rows=training.evaluation_batch_size)
    return LanguageJob(model, (corpus.train, corpus.valid), config.loss, course)


def _save_teacher(
    config: LmTeacherRunConfig, out: Path, model: Any, corpus: Corpus, done: Fit
) -> tuple[Any, dict[str, Any]]:
    """The folder as a teacher's; whoever is graded, and scores of the test text."""
    model.cpu()
    processes.run_on_first(lambda: model.save(out))
    corpus.tokenizer.save(out)
    nll, training = model_nll(model), config.training
    examination = TestWindows.of(corpus.test, corpus.tokenizer, config.score, config.window)
    return SimpleNamespace(name=config.name, params=sum(p.numel() for p in model.parameters()), nll=nll), {
        "metrics": examination.score(nll)[0],
        "tokens_trained": training.epochs * config.epoch_steps * training.batch_size * config.window,
    }


def _as_teacher(student: Any, name: str) -> LanguageTeacher:
    return LanguageTeacher(student, name, vocab_size=student.config.vocab_size)


def _stored(context: LmContext) -> StoredTeacher:
    """The teacher's answers to the training windows, asked for once a run."""
    if LOGITS not in context.shared:
        folder, log = context.folder.path / LOGITS, context.callback.log
        context.shared[LOGITS] = cache.cache_of(context.config, context.data, context.teacher, folder, log)
    found: StoredTeacher = context.shared[LOGITS]
    return found


def _counted(context: LmContext, config: NGramConfig, taught: bool = False) -> tuple[Trie, Sequence[NGramPrior]]:
    """The n-gram inside a student, and those of parts of the text that it learns beside; made once a run."""
    data, window, taught = context.data, context.config.loss.window, taught and config.taught
    key = f"n-gram inside {config}, {taught}"
    if key not in context.shared:
        whose = "taught student" if taught else "student"
        context.callback.log(
            f"counting the n-gram inside the {whose}: {config.entries:,} sequences of up to {config.order} tokens"
        )
        size, rows, text, expected = data.tokenizer.vocab_size, len(Windows(data.train, window)), data.train, None
        if taught:
            kept = _stored(context).scores("train", np.arange(rows)).flat()
            k = max(1, MOST_EXPECTED // (rows * window))  # memory; the likeliest come first
            told = kept.ids.numpy(), kept.log_probabilities(1.0)[0].exp().numpy()
            text, expected = text[: rows * window + 1], (told[0][:, :k], told[1][:, :k])
        parts = held_out_priors(text, size, config, rows, window, expected)
        context.shared[key] = count_trie(text, size, config, expected), parts
    found: tuple[Trie, Sequence[NGramPrior]] = context.shared[key]
    return found


def _ngram(order: int, context: LmContext, seed: int) -> Any:
    return ngram_nll(context.data.train, context.data.tokenizer.vocab_size, order)


def _inside(config: NGramConfig, context: LmContext, seed: int) -> Any:
    prior = NGramPrior(context.data.tokenizer.vocab_size, config)
    prior.fill(_counted(context, config)[0])
    return prior.nll


def _scores(
    examination: TestWindows,
    nll: Any,
    scalars: Mapping[str, float] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Scores:
    metrics, bits = examination.score(nll)
    del metrics[BITS]
    return Scores({BITS: bits}, {**metrics, **(scalars or {})}, facts=facts or {})


def _spec(model: Any, features: tuple[str, ...], example: torch.Tensor) -> OutputSpec:
    """Shapes of a student's features, without the batch axis."""
    extractor = FeatureExtractor(model, features, call=model.scores)
    found = OutputSpec(model.config.vocab_size, extractor.spec(example).features)
    extractor.close()
    for unit in model.spike_units().values():
        unit.rate = None  # of the example: no figure of the training
    return found


TASK = LanguageTask()
