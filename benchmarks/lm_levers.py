"""What each setting of a language student is worth: bits per byte of the valid split, one training a row, all of equal steps.

    python -m benchmarks.lm_levers --text data/wikitext-2 --out runs/levers
    python -m benchmarks.lm_levers --out runs/levers --table

Each row changes one thing of the row that it names as its base. CPU time of a step stands beside it: of most rows it is that of the
base within a tenth. Rows that are there already are not trained again. The test split is read with --test alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from stillhouse.tasks.lm.corpus import Corpus, Windows, load_corpus
from stillhouse.tasks.lm.job import LanguageJob, TrainSchedule
from stillhouse.tasks.lm.packed import pack_student
from stillhouse.tasks.lm.plan import LanguageTrainingConfig, LmRunConfig, LmScoreConfig
from stillhouse.tasks.lm.recipes import RECIPES
from stillhouse.tasks.lm.score import TestWindows, model_nll, score_text
from stillhouse.tasks.lm.students import NGramConfig, SpikingLMConfig
from stillhouse.tasks.lm.students.network import SpikingLM
from stillhouse.tasks.lm.students.prior import held_out_priors
from stillhouse.tasks.lm.students.trie import count_trie
from stillhouse.tasks.lm.teachers import LanguageTeacherConfig
from stillhouse.tasks.lm.teachers.cache import LanguageStageTeacher, cache_of, load_teacher
from stillhouse.tasks.lm.use import save_lm
from stillhouse.training.loop import fit

EPOCHS, SCORED, WINDOW = 5, 16_384, 128
Change = Callable[[LmRunConfig], LmRunConfig]


def student(**change: Any) -> Change:
    return lambda config: replace(config, student=replace(config.student, **change))


def loss(**change: Any) -> Change:
    return lambda config: replace(config, loss=replace(config.loss, **change))


def training(**change: Any) -> Change:
    return lambda config: replace(config, training=replace(config.training, **change))


OLD = SpikingLMConfig(width=96, layers=2, heads=3)
TAUGHT = ("kd", "taught", "four")  # rows that ask --teacher
COMPACT = ("wide",)  # rows that are scored again with compact floats
# row: (base, what changes, change)
ROWS: dict[str, tuple[str | None, str, Change]] = {
    "old": (None, "recipe until now: width 96, 2 layers, AdamW, decay 0.1", lambda config: config),
    "own": ("old", "n-gram residual, 200,000 sequences of up to 5", student(ngram=NGramConfig(held_out=1))),
    "ngram": (
        "old",
        "the same, learned beside n-grams of the other three quarters of the text",
        student(ngram=NGramConfig()),
    ),
    "factored": ("ngram", "embedding and readout of 64 channels", student(embedding_width=64)),
    "signed": ("factored", "x|x| into the down projection, not spiked", student(activation="signed-square")),
    "decay": ("signed", "weight decay 0", training(weight_decay=0.0)),
    "muon": ("decay", "Muon for the matrices", training(optimizer="muon")),
    "wide": ("muon", "one layer of width 192 in place of two of 96", student(width=192, layers=1, heads=6)),
    "deep": (
        "wide",
        "two layers of it, 250,000 sequences: the recipe's size and another layer",
        student(layers=2, ngram=NGramConfig(entries=250_000)),
    ),
    "taught": ("deep", "the same, taught by --teacher on the whole text", loss(kd_weight=1.0)),
    "four": (
        "taught",
        "sequences of up to 4, learning rate down to 0",
        lambda c: training(final_learning_rate=0.0)(student(ngram=NGramConfig(order=4, entries=250_000))(c)),
    ),
    "four-alone": ("four", "the same from the text alone", loss(kd_weight=0.0)),
    "end": ("wide", "learning rate down to 0", training(final_learning_rate=0.0)),
    "late": (
        "wide",
        "dense for the first 30 % of the steps",
        loss(weights_ramp=(0.3, 0.5), spikes_ramp=(0.3, 0.6)),
    ),
    "early": (
        "wide",
        "quantized by 20 % of the steps",
        loss(weights_ramp=(0.0, 0.1), spikes_ramp=(0.05, 0.2)),
    ),
    "dense": ("wide", "neither spikes nor ternary weights", student(spikes=None, ternary_weights=())),
    "spikes": ("wide", "ternary weights, no spikes", student(spikes=None)),
    "counts": (
        "wide",
        "counts up to 4 in place of one level",
        lambda c: student(spikes=replace(c.student.spikes, levels=4))(c),  # type: ignore[type-var]
    ),
    "vocabulary": (
        "wide",
        "a BPE of 4,096 tokens",
        lambda c: replace(c, corpus=replace(c.corpus, tokenizer="bpe:4096")),
    ),
    "teacher": (
        "dense",
        "dense, 2 layers of width 256, embedding of 128: a teacher for a row kd",
        student(width=256, layers=2, heads=8, embedding_width=128),
    ),
    "alone": ("wide", "the text of the row kd (--taught-bytes), from the labels alone", lambda config: config),
    "kd": ("alone", "taught by --teacher, from a cache of its 32 largest logits", loss(kd_weight=1.0)),
}


def config_of(row: str, text: str) -> LmRunConfig:
    base, _, change = ROWS[row]
    if base is not None:
        return change(config_of(base, text))
    start = RECIPES["wikitext-2"]()
    corpus = replace(start.corpus, source=text, tokenizer="bpe:2048", most_bytes=None)
    plain = replace(start.loss, kd_weight=0.0, label_weight=1.0, weights_ramp=(0.1, 0.4), spikes_ramp=(0.2, 0.5))
    adamw = replace(start.training, epochs=EPOCHS, optimizer="adamw", weight_decay=0.1)
    return replace(start, corpus=corpus, student=OLD, loss=plain, training=adamw, arms=("kd",))


def build(config: LmRunConfig, corpus: Corpus, tries: dict[Any, Any], seed: int = 0) -> SpikingLM:
    torch.manual_seed(seed)
    model = replace(config.student, vocab_size=corpus.tokenizer.vocab_size).build()
    if model.prior is not None and config.student.ngram is not None:
        key = (config.corpus.tokenizer, config.corpus.most_bytes, config.student.ngram)
        if key not in tries:
            tries[key] = count_trie(corpus.train, corpus.tokenizer.vocab_size, config.student.ngram)
        model.prior.fill(tries[key])
    return model


def train(
    model: SpikingLM,
    config: LmRunConfig,
    corpus: Corpus,
    stage_teacher: Any,
    steps: int,
    folder: Path,
    priors: Any,
    seed: int = 0,
) -> float:
    """CPU seconds."""
    epochs = EPOCHS
    plan = replace(config.loss, epoch_steps=steps // epochs, validation_tokens=4096)
    how: LanguageTrainingConfig = replace(config.training, epochs=epochs)
    course = TrainSchedule(how.batch_size, total_steps=epochs * plan.epoch_steps, seed=seed)
    job = LanguageJob(model, (corpus.train, corpus.valid), plan, course, stage_teacher=stage_teacher, priors=priors)
    started = time.process_time()
    folder.mkdir(parents=True, exist_ok=True)
    fit(job, how, seed=seed, folder=folder, resume=True)
    return time.process_time() - started


def bits(model: SpikingLM, corpus: Corpus, split: str = "valid", scored: int = SCORED) -> float:
    ids = np.asarray(getattr(corpus, split)[: scored + 1])
    model.eval()
    size = len(corpus.tokenizer.decode(ids[1:]).encode())
    return float(score_text(model_nll(model), ids, length=WINDOW).sum()) / np.log(2) / size


def streamed_bits(model: SpikingLM, corpus: Corpus) -> float:
    """Of the same test tokens, the state kept from window to window."""
    config = LmScoreConfig(tokens=4 * SCORED)
    return TestWindows.of(corpus.test, corpus.tokenizer, config, WINDOW).streamed(model)


def place_of(folder: Path, row: str, seed: int) -> Path:
    return folder / (row if seed == 0 else f"{row}-seed-{seed}")


def run(row: str, seed: int, options: argparse.Namespace, tries: dict[Any, Any]) -> None:
    place = place_of(options.out, row, seed)
    file = place.with_name(f"{place.name}.json")
    if file.is_file() or (row in TAUGHT and options.teacher is None):
        return
    config, stage_teacher = config_of(row, options.text), None
    if row in (*TAUGHT, "alone", "four-alone") and options.teacher is not None:
        # the teacher's tokens: a BPE of fewer bytes of the text has others, by which the teacher knows nothing
        config = replace(config, corpus=replace(config.corpus, tokenizer=str(options.teacher)))
    if row in ("alone", "kd"):
        config = replace(config, corpus=replace(config.corpus, most_bytes=options.taught_bytes))
    corpus = load_corpus(config.corpus)
    if row in TAUGHT:
        source = LanguageTeacherConfig(source=str(options.teacher))
        teacher = load_teacher(source, corpus)  # refused where it has other tokens
        config = replace(config, teacher=source)
        stage_teacher = LanguageStageTeacher(teacher, cache_of(config, corpus, teacher, options.out / "logits", print))
    steps = options.steps
    model = build(config, corpus, tries, seed)
    ngram, priors = config.student.ngram, ()
    if ngram is not None and ngram.held_out > 1:
        key = (config.corpus.tokenizer, config.corpus.most_bytes, ngram, "held out")
        if key not in tries:
            rows = len(Windows(corpus.train, WINDOW))
            tries[key] = held_out_priors(corpus.train, corpus.tokenizer.vocab_size, ngram, rows, WINDOW)
        priors = tries[key]
    seconds = train(model, config, corpus, stage_teacher, steps, place, priors, seed)
    model.quantize(1.0)
    found = {"steps": steps, "cpu_seconds": seconds, "bits_per_byte": bits(model, corpus)}
    if options.test:
        found |= {"test": bits(model, corpus, "test", 4 * SCORED), "test_streamed": streamed_bits(model, corpus)}
    found |= {"bytes": pack_student(model).bytes, "weights": sum(p.numel() for p in model.parameters())}
    if options.save:
        save_lm(place, model, corpus.tokenizer, window=WINDOW)
    model.config = replace(model.config, floats="compact")
    model.round_weights()
    found |= {"compact_bytes": pack_student(model).bytes}
    if row in COMPACT:
        found |= {"compact_bits_per_byte": bits(model, corpus)}
    file.write_text(json.dumps(found))
    print(row, found, flush=True)


def table(folder: Path) -> str:
    lines = [
        "| row | changes | what | bits per byte | saved | CPU s | weights | kB packed, compact |",
        "|---|---|---|---|---|---|---|---|",
    ]
    read = {row: json.loads((folder / f"{row}.json").read_text()) for row in ROWS if (folder / f"{row}.json").is_file()}
    for row, found in read.items():
        base, what, _ = ROWS[row]
        saved = f"{read[base]['bits_per_byte'] - found['bits_per_byte']:+.4f}" if base in read else ""
        lines.append(
            f"| {row} | {base or ''} | {what} | {found['bits_per_byte']:.4f} | {saved} | {found['cpu_seconds']:.0f} | "
            f"{found['weights']:,} | {found['compact_bytes'] / 1000:,.0f} |"
        )
    return "\n".join(lines)


def over_seeds(folder: Path, seeds: int) -> str:
    """Rows that have all seeds: mean of the test split, and what is saved against each other with a 95 % interval over seeds."""
    read: dict[str, list[float]] = {}
    for row in ROWS:
        files = [place_of(folder, row, seed) for seed in range(seeds)]
        files = [place.with_name(f"{place.name}.json") for place in files]
        if all(file.is_file() for file in files):
            read[row] = [json.loads(file.read_text()).get("test", float("nan")) for file in files]
    lines = [
        f"{row}: {np.mean(found):.4f} bits per byte of the test split, {seeds} seeds" for row, found in read.items()
    ]
    for row, found in read.items():
        for other in read:
            if row != other and seeds > 1:
                apart = np.subtract(read[other], found)
                half = stats.t.ppf(0.975, seeds - 1) * apart.std(ddof=1) / np.sqrt(seeds)
                lines.append(
                    f"{row} saves {apart.mean():+.4f} ({apart.mean() - half:+.4f} to {apart.mean() + half:+.4f}) against {other}"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", default="data/wikitext-2")
    parser.add_argument("--out", type=Path, default=Path("runs/levers"))
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps of a row, of 8 windows of 128 tokens")
    parser.add_argument("--only", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument(
        "--teacher", type=Path, help="folder of a teacher of the same tokenizer; left out: no rows kd and taught"
    )
    parser.add_argument("--taught-bytes", type=int, default=2_000_000, help="of the text of the rows kd and alone")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each row")
    parser.add_argument("--test", action="store_true", help="score the first 65,536 tokens of the test split too, once")
    parser.add_argument("--save", action="store_true", help="keep the student of each row: OUT/ROW can be a teacher")
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    tries: dict[Any, Any] = {}
    for seed in range(options.seeds):
        for row in [] if options.table else options.only:
            run(row, seed, options, tries)
    print(table(options.out))
    print(over_seeds(options.out, options.seeds))


if __name__ == "__main__":
    main()
