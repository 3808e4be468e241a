"""Language-model runs from configuration to report: train a teacher, cache what it says, distill students, say what helped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.config import to_mapping
from stillhouse.core.records import arm_folder, open_run_folder, read_json, write_arrays, write_json
from stillhouse.core.types import Progress
from stillhouse.families.lm.data.corpus import Corpus
from stillhouse.families.lm.job import LanguageJob
from stillhouse.families.lm.lesson import complete
from stillhouse.families.lm.material import CACHE, Material, ask_teacher, cache_of, fitted, load_text, teacher_of
from stillhouse.families.lm.metrics.nll import cut_windows, model_nll, score_text, teacher_nll
from stillhouse.families.lm.metrics.spiking import measure_spikes, spike_summary
from stillhouse.families.lm.plan import LmRunConfig, LmTeacherRunConfig, taught
from stillhouse.families.lm.report import write_lm_report
from stillhouse.families.lm.saved import save_lm
from stillhouse.families.lm.score import Examination, Scored, ngram_nll
from stillhouse.families.lm.students.network import SpikingLM
from stillhouse.families.lm.summary import NGRAM, NLL, summarize
from stillhouse.families.lm.teachers.cache import LogitCache
from stillhouse.families.lm.teachers.teacher import LanguageTeacher
from stillhouse.training.config import TrainingConfig
from stillhouse.training.device import check_device
from stillhouse.training.loop import Fit, fit

OnProgress = Callable[[str, int, Progress, Mapping[str, float | None]], None]
Say = Callable[[str], None]
SPIKE_PIECES = 8  # of 16 windows: tokens whose spikes are counted


def train_teacher(
    config: LmTeacherRunConfig,
    out: Path,
    *,
    resume: bool = False,
    command: str | None = None,
    say: Say = lambda line: None,
    on_progress: OnProgress = lambda arm, seed, progress, news: None,
) -> dict[str, Any]:
    """Train a small transformer; the folder is then a teacher: config.json, model.safetensors, tokenizer.json.

    Args:
        config: the run as one value.
        out: run folder.
        resume: go on from the checkpoint.
        command: what to print as the command that reproduces the run.
        say: told a line for each stage.
        on_progress: told the progress of the training.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: text or folder do not fit.
        Interrupted: stopped on request, state saved.
    """
    open_run_folder(out, to_mapping(config), resume=resume)
    training = complete(config.training)
    check_device(training.device)
    corpus = load_text(config.corpus, say)
    _check_same_text(out, corpus)
    examination = Examination.of(corpus, config.score, config.window)
    write_json(out / records.RUN, _about("lm-teacher", config, corpus, command))
    if resume and (out / records.RESULT).is_file():
        return dict(read_json(out / records.RESULT))
    torch.manual_seed(config.seed)
    model = config.model.build(corpus.tokenizer.vocab_size)
    job = LanguageJob(
        model,
        corpus.train,
        corpus.valid,
        config.lesson,
        batch_size=training.batch_size,
        total_steps=training.epochs * config.epoch_steps,
        seed=config.seed,
    )
    done = fit(
        job,
        training,
        seed=config.seed,
        folder=out,
        resume=resume,
        on_progress=partial(on_progress, "teacher", config.seed),
    )
    model.cpu().save(out)
    corpus.tokenizer.save(out)
    scored = examination.score(model_nll(model), most=config.model.context)
    result = {
        **_result("teacher", config.seed, model, done, scored),
        "tokens_trained": _tokens(training, config.lesson),
    }
    write_json(out / records.RESULT, result)
    return result


def cache(config: LmRunConfig, folder: Path, *, say: Say = lambda line: None) -> LogitCache:
    """Ask a run's teacher for its cache and nothing else; a killed one goes on.

    Raises:
        InputError: see `material.teacher_of` and `material.cache_of`.
    """
    corpus = load_text(config.corpus, say)
    return cache_of(config, corpus, teacher_of(config, corpus, say), folder, say)


def distill(
    config: LmRunConfig,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    command: str | None = None,
    say: Say = lambda line: None,
    on_progress: OnProgress = lambda arm, seed, progress, news: None,
) -> dict[str, Any]:
    """Train every arm and seed on the same tokens, score all in the same windows, say whether the teacher helped.

    Args:
        config: the run as one value.
        out: run folder.
        force: distill although the teacher is no better than the frequencies of tokens.
        resume: skip finished arms, go on inside the unfinished one and inside an unfinished cache.
        command: what to print as the command that reproduces the run.
        say: told a line for each stage.
        on_progress: told the progress of each training.

    Returns:
        What `summary.json` holds.

    Raises:
        InputError: text, teacher, cache or folder do not fit; the teacher has nothing to teach and `force` is off.
        Interrupted: stopped on request, state saved.
    """
    open_run_folder(out, to_mapping(config), resume=resume, may_grow=("seeds", "arms"), may_hold=(CACHE,))
    training = complete(config.training)
    check_device(training.device)
    corpus = load_text(config.corpus, say)
    _check_same_text(out, corpus)
    for arm in config.arms:
        fitted(config.student_of(arm), corpus.tokenizer.vocab_size)
    examination = Examination.of(corpus, config.score, config.lesson.window)
    teacher = teacher_of(config, corpus, say)
    # from here on the folder is a run: what can be refused was refused, and a run killed inside the cache can go on
    write_json(out / records.RUN, _about("lm-distill", config, corpus, command))
    _score_references(config, corpus, teacher, examination, out, say)
    if not force:
        _check_teacher(corpus, examination, read_json(out / records.TEACHER)["metrics"]["nll"])
    material = ask_teacher(config, corpus, teacher, out, say)
    for seed in range(config.seeds):
        for arm in config.arms:
            if not (arm_folder(out, arm, seed) / records.RESULT).is_file():
                _train_arm(
                    config, training, arm, seed, material, examination, out, resume=resume, on_progress=on_progress
                )
    summary = summarize(config, out, corpus, examination, command or records.command_line())
    say(f"report: {write_lm_report(out)}")
    return summary


def _check_same_text(out: Path, corpus: Corpus) -> None:
    """Refuse to go on with a run on another text: its arms and its references would not be of the same tokens."""
    if not (out / records.RUN).is_file():
        return
    was = read_json(out / records.RUN).get("data", {})
    for what in ("sha256", "tokenizer_sha256"):
        if was.get(what) != corpus.about[what]:
            raise InputError(
                f"{out}: --resume needs the text of the run; {what} was {was.get(what)}, is {corpus.about[what]}; "
                "take another --out for another text"
            )


def _score_references(
    config: LmRunConfig, corpus: Corpus, teacher: LanguageTeacher, examination: Examination, out: Path, say: Say
) -> None:
    """The teacher above and the n-gram below, once a run."""
    known = read_json(out / records.TEACHER)["identity"] if (out / records.TEACHER).is_file() else None
    if known not in (None, teacher.identity) and (out / "arms").exists():
        raise InputError(
            f"{out}: --resume needs the teacher of the run, {known[:12]}, got {teacher.identity[:12]} from "
            f"{config.teacher.source}; take another --out for another teacher"
        )
    if known != teacher.identity:
        say("scoring the teacher on the test tokens")
        scored = examination.score(teacher_nll(teacher), most=teacher.context)
        write_arrays(out / f"teacher-{NLL}", windows=scored.windows, positions=scored.positions)
        about = {"name": teacher.name, "source": config.teacher.source, "identity": teacher.identity}
        write_json(out / records.TEACHER, {**about, "params": teacher.params, "metrics": scored.metrics})
    if config.score.ngram and not (out / f"{NGRAM}.json").is_file():
        say(f"counting {config.score.ngram}-grams of the train split")
        scored = examination.score(ngram_nll(corpus, config.score.ngram))
        write_arrays(out / f"{NGRAM}-{NLL}", windows=scored.windows, positions=scored.positions)
        write_json(out / f"{NGRAM}.json", {"order": config.score.ngram, "metrics": scored.metrics})


def _check_teacher(corpus: Corpus, examination: Examination, nll: float) -> None:
    """Refuse a teacher that knows no more than how frequent each token is."""
    known = ngram_nll(corpus, 1)
    frequencies = float(score_text(known, examination.ids, length=examination.window).mean())
    if nll >= frequencies:
        raise InputError(
            f"teacher: expected one that is better than the frequencies of tokens ({frequencies:.3f} nats a token), got {nll:.3f}: "
            "it has nothing to teach; train it longer, or take --force"
        )


def _train_arm(
    config: LmRunConfig,
    training: TrainingConfig,
    arm: str,
    seed: int,
    material: Material,
    examination: Examination,
    out: Path,
    *,
    resume: bool,
    on_progress: OnProgress,
) -> None:
    """All arms of a seed see the same rows in the same order; those of one architecture start from the same weights."""
    folder, corpus = arm_folder(out, arm, seed), material.corpus
    torch.manual_seed(seed)
    model = fitted(config.student_of(arm), corpus.tokenizer.vocab_size).build()
    job = LanguageJob(
        model,
        corpus.train,
        corpus.valid,
        config.lesson,
        batch_size=training.batch_size,
        total_steps=training.epochs * config.lesson.epoch_steps,
        seed=seed,
        teacher=material.teacher if taught(arm) else None,
        cache=material.cache if taught(arm) else None,
        difficulty=material.difficulty,
    )
    done = fit(job, training, seed=seed, folder=folder, resume=resume, on_progress=partial(on_progress, arm, seed))
    model.cpu()
    scored = examination.score(model_nll(model), model=model)
    save_lm(folder, model, corpus.tokenizer, window=config.lesson.window)
    write_arrays(folder / NLL, windows=scored.windows, positions=scored.positions)
    result = _result(arm, seed, model, done, scored)
    result |= {"spikes": _spikes(model, examination), "tokens_trained": _tokens(training, config.lesson)}
    write_json(folder / records.RESULT, result)


def _spikes(model: SpikingLM, examination: Examination) -> dict[str, float]:
    """Density, dead and saturated channels over the beginning of the test tokens; {} for a dense network."""
    if not model.spike_units():
        return {}
    pieces = (piece[0] for piece in cut_windows(examination.ids, examination.window, stride=None, batch=16))
    return spike_summary(measure_spikes(model, islice(pieces, SPIKE_PIECES), call=model.hidden))


def _result(arm: str, seed: int, model: torch.nn.Module, done: Fit, scored: Scored) -> dict[str, Any]:
    return {
        "arm": arm,
        "seed": seed,
        "metrics": scored.metrics,
        "epochs": done.epochs,
        "steps": done.step,
        "seconds": done.seconds,
        "params": sum(p.numel() for p in model.parameters()),
    }


def _tokens(training: TrainingConfig, lesson: Any) -> int:
    return int(training.epochs * lesson.epoch_steps * training.batch_size * lesson.window)


def _about(kind: str, config: Any, corpus: Corpus, command: str | None) -> dict[str, Any]:
    return {
        "kind": kind,
        "config": to_mapping(config),
        "command": command or records.command_line(),
        "versions": records.versions(),
        "machine": {**records.machine(), "threads": torch.get_num_threads()},
        "data": corpus.about,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
