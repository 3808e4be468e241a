"""What is made before a run: a small teacher learned from a text, and the cache of a teacher's answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from stillhouse.core import processes, records
from stillhouse.core.config import to_mapping
from stillhouse.core.experiment import about, graded
from stillhouse.core.machine import command_line
from stillhouse.core.records import read_object, write_json
from stillhouse.core.watch import SILENT, Watch
from stillhouse.families.lm.job import Course, LanguageJob
from stillhouse.families.lm.material import load_text
from stillhouse.families.lm.metrics.nll import model_nll
from stillhouse.families.lm.plan import LmTeacherRunConfig
from stillhouse.families.lm.score import Examination
from stillhouse.training.kept import kept_in_words
from stillhouse.training.loop import fit
from stillhouse.training.opening import only_first, open_run
from stillhouse.training.size import check_size


def train_teacher(
    config: LmTeacherRunConfig,
    out: Path,
    *,
    resume: bool = False,
    command: str | None = None,
    watch: Watch = SILENT,
) -> dict[str, Any]:
    """Train a small transformer; the folder is then a teacher: config.json, model.safetensors, tokenizer.json.

    Args:
        config: the run as one value.
        out: run folder.
        resume: continue from the checkpoint.
        command: shown as the command that reproduces the run.
        watch: kept informed.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: text or folder do not fit.
        Interrupted: stopped on request, state saved.
    """
    from stillhouse.families.lm.family import FAMILY  # whose check is the grade; it imports this module

    out, training = Path(out), config.training
    with open_run(out, to_mapping(config), training, resume=resume) as folder:
        watch = only_first(watch)
        corpus = processes.first_then_others(lambda: load_text(config.corpus, watch.log))
        folder.same("data", corpus.about, keys=("sha256", "tokenizer_sha256"))
        examination = Examination.of(corpus, config.score, config.window)
        check_size(partial(config.model.build, corpus.tokenizer.vocab_size), "model")
        command = command or command_line()
        folder.begin({**about("lm-teacher", config, command), "data": corpus.about})
        if resume and (out / records.RESULT).is_file():
            return dict(read_object(out / records.RESULT, records.FIGURES))
        torch.manual_seed(config.seed)
        model = config.model.build(corpus.tokenizer.vocab_size)
        course = Course(
            training.batch_size,
            total_steps=training.epochs * config.epoch_steps,
            seed=config.seed,
            scoring_rows=training.evaluation_batch_size,
        )
        job = LanguageJob(model, (corpus.train, corpus.valid), config.lesson, course)
        progress = partial(watch.on_progress, "teacher", config.seed)
        done = fit(job, training, seed=config.seed, folder=out, resume=resume, on_progress=progress)
        kept = kept_in_words(done, "nll")
        watch.log(kept)
        processes.on_first(lambda: model.cpu().save(out))
        model.cpu()
        corpus.tokenizer.save(out)
        params = sum(p.numel() for p in model.parameters())
        asked = SimpleNamespace(name=config.name, params=params, nll=model_nll(model))
        result = {
            "arm": "teacher",
            "seed": config.seed,
            "metrics": examination.score(model_nll(model), most=config.model.context).metrics,
            "validation": done.best,
            "best_epoch": done.best_epoch,
            "kept": kept,
            "epochs": done.epochs,
            "steps": done.step,
            "seconds": done.seconds,
            "params": params,
            "grade": graded(FAMILY, asked, config, corpus, watch=watch),
            "tokens_trained": training.epochs * config.epoch_steps * training.batch_size * config.window,
        }
        write_json(out / records.RESULT, result)
    return result
