"""What is each technique worth for a spiking student of bytes? One student, the same seeds, at a size that two cores bear.

    python -m benchmarks.techniques.language --text data/wikitext-2 --out runs/techniques

Two small transformers are trained as teachers (of bytes, and of 1024 tokens), then every technique is a run folder under
OUT/language; a killed run goes on with the same command. At the end (or with --table, from what is there) the section "Language"
of benchmarks/results/techniques.md is written anew: bits per byte of the test text, differences from plain KD and from no KD with
95 % intervals over seeds and windows.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core import records
from stillhouse.core.callback import NULL_CALLBACK
from stillhouse.core.config import merge, parse
from stillhouse.core.experiment import run
from stillhouse.core.folder import RunFolder
from stillhouse.core.records import arm_folder, read_json
from stillhouse.core.verdict import Comparison, compare, mean_interval
from stillhouse.tasks.lm.plan import LmRunConfig, LmTeacherRunConfig
from stillhouse.tasks.lm.task import TASK

RESULT = Path(__file__).parents[1] / "results" / "techniques.md"
TOKENIZERS = {"bytes": "bytes", "tokens": "bpe:1024"}
STEPS, EPOCH = 320, 20
LAYERS = {
    "student": "blocks.{}", "student_layers": 2, "teacher": "model.layers.{}", "teacher_layers": 2, "pool": "none",
    "student_layout": "sequence", "teacher_layout": "sequence",
}  # fmt: skip
QKV = {
    "kind": "attention",
    "student": [f"blocks.1.mixer.{part}" for part in ("receptance", "key", "value")],
    "teacher": [f"model.layers.1.self_attn.{part}_proj" for part in "qkv"],
    "student_heads": 4,
    "teacher_heads": 4,
    "causal": True,
}
POCL = {
    "difficulty_model": "student",
    "curriculum": {
        "by_class": False,
        "measures": ["loss", "rouge-l"],
        "replay": 0.0,
        "label_weights": [0.3, 0.2, 0.1, 0.0],
        "signal_weights": [0.7, 0.8, 0.9, 1.0],
    },
    "loss": {
        "label_weight": 1.0,
        "temperature": {
            "kind": "scheduled",
            "schedule": {"kind": "linear", "start": 1.0, "end": 2.0, "over": "stages"},
        },
    },
}
FEWER = {"curriculum": {"budget": "rows"}}
NO_KD = {"arms": ["no-kd"]}


def techniques(tokens_teacher: Path) -> dict[str, Mapping[str, Any]]:
    """Name -> what it changes of the plain run."""
    other = {"source": str(tokens_teacher)}
    return {
        "no-kd": NO_KD,
        "kd": {},
        "kd, JS": {"loss": {"kd_weight": 0.0}, "signals": [{"kind": "logits", "loss": "js"}]},
        "kd, reverse KL": {"loss": {"kd_weight": 0.0}, "signals": [{"kind": "logits", "loss": "reverse-kl"}]},
        "teacher of 1024 tokens: byte marginals": {
            "teacher": {**other, "tokens": "byte-marginals"}, "loss": {"source": "cache", "k": 64}
        },
        "POCL, equal steps": POCL,
        "POCL, equal steps, no-kd": merge(POCL, NO_KD),
        "kd, five eighths of the steps": {"training": {"epochs": STEPS // EPOCH * 5 // 8}},
        "POCL, fewer steps": merge(POCL, FEWER),
        "POCL, fewer steps, no-kd": merge(merge(POCL, FEWER), NO_KD),
        "FDD through the head": {"signals": [{**LAYERS, "kind": "dynamics", "space": "logits", "start": 0.0, "weight": 0.3}]},
        "receptance-key and value relations (MiniLM)": {
            "signals": [{**QKV, "what": "probabilities", "name": "looks"}, {**QKV, "what": "values", "name": "values"}]
        },
        "receptance, key, value relations (MiniLMv2)": {"signals": [{**QKV, "what": "qkv-relations"}]},
    }  # fmt: skip


def plain(options: argparse.Namespace) -> dict[str, Any]:
    """The run that all are changes of."""
    return {
        "corpus": {"source": options.text, "tokenizer": "bytes", "most_bytes": 1_000_000},
        "teacher": {"source": str(options.out / "language-teachers" / "bytes")},
        "student": {"width": 64, "layers": 2, "heads": 4},
        "loss": {"window": 96, "epoch_steps": EPOCH, "source": "live", "validation_tokens": 4096},
        "training": {"epochs": STEPS // EPOCH, "batch_size": 8, "learning_rate": 5e-3, "final_learning_rate": 5e-4, "threads": 1},
        "score": {"tokens": 24_576, "ngram": 0},
        "arms": ["kd"],
        "seeds": options.seeds,
    }  # fmt: skip


def teachers(options: argparse.Namespace) -> None:
    """Both teachers, of the same text and design."""
    for name, tokenizer in TOKENIZERS.items():
        plan = {
            "name": f"teacher-{name}",
            "corpus": {"source": options.text, "tokenizer": tokenizer, "most_bytes": 4_000_000},
            "model": {"width": 128, "layers": 2, "heads": 4, "context": 256},
            "window": 96,
            "epoch_steps": 200,
            "validation_tokens": 4096,
            "training": {"epochs": 5, "batch_size": 16, "learning_rate": 3e-3, "final_learning_rate": 3e-4, "threads": 1},
            "score": {"tokens": 8192, "ngram": 0},
        }  # fmt: skip
        out = options.out / "language-teachers" / name
        resume = (out / records.RUN).is_file()
        TASK.train_teacher(parse(LmTeacherRunConfig, plan), out, resume=resume, callback=NULL_CALLBACK)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True, help="folder with train.txt, valid.txt, test.txt")
    parser.add_argument("--out", type=Path, required=True, help="where run folders go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[], help="names of techniques; all if left out")
    parser.add_argument("--table", action="store_true", help="train nothing, make the table from what is there")
    options = parser.parse_args()
    changes = techniques(options.out / "language-teachers" / "tokens")
    if unknown := set(options.only) - set(changes):
        parser.error(f"unknown techniques: {', '.join(sorted(unknown))}; there are {', '.join(changes)}")
    if not options.table:
        teachers(options)
        for name, change in changes.items():
            place = options.out / "language" / slug(name)
            if (options.only and name not in options.only) or (place / records.SUMMARY).is_file():
                continue
            started = time.perf_counter()
            config = parse(LmRunConfig, merge({**plain(options), "name": slug(name)}, change))
            run(TASK, config, place, resume=(place / records.RUN).is_file())
            print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    text = section(options.out / "language", list(changes), options.out / "language-teachers")
    replace_section(RESULT, "## Language", text)
    print(text)


def section(folder: Path, names: list[str], teachers_folder: Path) -> str:
    """The page's section: a row a technique that was run."""
    found = {name: bits(folder / slug(name)) for name in names if (folder / slug(name) / records.SUMMARY).is_file()}
    scores = [read_json(teachers_folder / name / records.RESULT)["metrics"]["bits_per_byte"] for name in TOKENIZERS]
    lines = [
        "## Language: a transformer to a spiking student of bytes\n",
        "    python -m benchmarks.techniques.language --text data/wikitext-2 --out runs/techniques\n",
        f"Teachers of 2 layers and width 128 on 4 MB of WikiText-2: {scores[0]:.3f} bits per byte (of bytes), {scores[1]:.3f} (of "
        f"1024 tokens). Student: width 64, 2 layers, ternary spikes and weights, {STEPS} steps of 8 windows of 96 bytes, 1 MB: far "
        "from what more steps would give, so this compares techniques under a small budget. Less is better; a difference below "
        "zero is a gain. POCL and its rows without a teacher give the labels the weights 0.3, 0.2, 0.1 and 0 in turn (without a "
        "teacher: 1). Rows that the command knows and this table lacks were not run for want of CPU; several trainings and test "
        "suites shared the two cores, so the seconds say little.\n",
        "| technique | bits per byte | against plain KD | | against no KD | | steps | s |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, values in found.items():
        cells = [against(values, found.get(control)) if control != name else "|" for control in ("kd", "no-kd")]
        steps, seconds = spent(folder / slug(name))
        lines.append(
            f"| {name} | {mean_interval(values).mean:.3f} | {cells[0]} | {cells[1]} | {steps} | {seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


def against(values: np.ndarray, control: np.ndarray | None) -> str:
    """Difference, interval and verdict, two cells."""
    if control is None:
        return "|"
    found: Comparison = compare(-values, -control)
    return f"{-found.difference:+.3f} ({-found.high:+.3f} to {-found.low:+.3f}) | {found.verdict}"


def bits(place: Path) -> np.ndarray:
    """(seeds, windows) bits a byte of the test text."""
    arm, seeds = _arm(place)
    return np.stack([RunFolder(place).scores(arm, seed)["bits_per_byte"] for seed in range(seeds)])


def spent(place: Path) -> tuple[int, float]:
    """Steps of a training, and its seconds in the mean."""
    arm, seeds = _arm(place)
    results = [read_json(arm_folder(place, arm, seed) / records.RESULT) for seed in range(seeds)]
    return int(results[0]["steps"]), float(np.mean([result["seconds"] for result in results]))


def _arm(place: Path) -> tuple[str, int]:
    config = read_json(place / records.RUN)["config"]
    return config["arms"][0], config["seeds"]


def slug(name: str) -> str:
    """A folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def replace_section(page: Path, head: str, text: str) -> None:
    """Put a section in the place of the one that begins with `head`, or before "## Reading"."""
    old = page.read_text(encoding="utf-8")
    parts = re.split(r"(?m)^(?=## )", old)
    kept = [part for part in parts if not part.startswith(head)]
    at = next((n for n, part in enumerate(kept) if part.startswith("## Reading")), len(kept))
    page.write_text("".join([*kept[:at], text.rstrip() + "\n\n", *kept[at:]]), encoding="utf-8")


if __name__ == "__main__":
    main()
