"""A small teacher learned from a text."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import nn

from stillhouse.core import processes
from stillhouse.core import train_teacher as shared
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.tasks.lm.data.corpus import Corpus
from stillhouse.tasks.lm.job import LanguageJob, TrainSchedule
from stillhouse.tasks.lm.material import load_text
from stillhouse.tasks.lm.metrics.nll import model_nll
from stillhouse.tasks.lm.plan import LmTeacherRunConfig
from stillhouse.tasks.lm.score import TestWindows
from stillhouse.training.loop import Fit


def train_teacher(
    config: LmTeacherRunConfig, out: Path, *, resume: bool = False, callback: Callback = NULL_CALLBACK
) -> dict[str, Any]:
    """Train a small transformer; the folder is then a teacher: config.json, model.safetensors, tokenizer.json.

    See `core.train_teacher.train`.
    """
    from stillhouse.tasks.lm.task import TASK  # whose check is the grade; it imports this module

    how = shared.TeacherTraining(
        kind="lm-teacher",
        data=partial(load_text, config.corpus),
        facts=lambda corpus: corpus.about,
        build=lambda corpus: config.model.build(corpus.tokenizer.vocab_size),
        job=partial(_job, config),
        save=partial(_save, config, out),
    )
    return shared.train(TASK, config, out, how, resume=resume, callback=callback)


def _job(config: LmTeacherRunConfig, model: nn.Module, corpus: Corpus) -> LanguageJob:
    course = TrainSchedule(
        config.training.batch_size,
        total_steps=config.training.epochs * config.epoch_steps,
        seed=config.seed,
        scoring_rows=config.training.evaluation_batch_size,
    )
    return LanguageJob(model, (corpus.train, corpus.valid), config.loss, course)


def _save(config: LmTeacherRunConfig, out: Path, model: Any, corpus: Corpus, done: Fit) -> tuple[Any, dict[str, Any]]:
    """The folder as a teacher's; whoever is graded, and scores of the test text."""
    model.cpu()
    processes.on_first(lambda: model.save(out))
    corpus.tokenizer.save(out)
    nll = model_nll(model)
    examination = TestWindows.of(corpus, config.score, config.window)
    training = config.training
    return SimpleNamespace(name=config.name, params=sum(p.numel() for p in model.parameters()), nll=nll), {
        "metrics": examination.score(nll, most=config.model.context).metrics,
        "tokens_trained": training.epochs * config.epoch_steps * training.batch_size * config.window,
    }
