"""Spiking language models on WikiText-2, like for like: the runs, each resumable, and the table that is made of them.

    python -m benchmarks.spiking_lm --text data/wikitext-2 --smollm2 models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    python -m benchmarks.spiking_lm --table                    only the page, from what there is

Writes benchmarks/results/spiking-lm.md. What has not been run is named there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULT = HERE / "results" / "spiking-lm.md"
TEACHER, RUN, COUNTS, SMOLLM2 = "wikitext-2-teacher", "wikitext-2", "wikitext-2-counts", "smollm2"
PROMPT = "The river was first described in the nineteenth century , when"
WRITTEN = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", default="data/wikitext-2", help="folder with train.txt, valid.txt, test.txt")
    parser.add_argument("--smollm2", help="GGUF file of SmolLM2-135M; left out: that run is skipped")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    runs: Path = options.runs
    if not options.table:
        text = f"corpus.source={options.text}"
        teacher = str(runs / TEACHER)
        stillhouse("train-teacher", TEACHER, "--set", text, out=runs / TEACHER)
        student = ["--set", text, "--set", f"corpus.tokenizer={teacher}", "--set", f"teacher.source={teacher}"]
        for run in (RUN, COUNTS):
            stillhouse("distill", run, *student, out=runs / run)
        levers = ["--text", options.text, "--out", str(runs / "levers"), "--teacher", teacher]
        subprocess.run([sys.executable, "-m", "benchmarks.lm_levers", *levers], check=True)
        if options.smollm2:
            model = ["--set", f"corpus.tokenizer={options.smollm2}", "--set", f"teacher.source={options.smollm2}"]
            stillhouse("distill", SMOLLM2, "--set", text, *model, out=runs / SMOLLM2)
        further(runs)
    RESULT.write_text(page(runs), encoding="utf-8")
    print(RESULT)


def stillhouse(command: str, recipe: str, *flags: str, out: Path) -> None:
    finished = out / ("result.json" if command == "train-teacher" else "summary.json")
    if finished.is_file():
        return
    resume = ["--resume"] if (out / "run.json").is_file() else []
    words = [sys.executable, "-m", "stillhouse", "lm", command, recipe, *flags, "--out", str(out), *resume, "--quiet"]
    subprocess.run(words, check=True)


def further(runs: Path) -> None:
    """Speed of the first taught student, kept beside the run."""
    file = runs / RUN / "further.json"
    if file.is_file():
        return
    file.write_text(json.dumps({"speed": speed(runs)}, indent=2))


def speed(runs: Path) -> dict[str, float]:
    """Tokens a second of the packed student and of its teacher's `generate`, on this machine, in turn."""
    import torch

    from stillhouse.tasks.lm.saved import load_lm
    from stillhouse.tasks.lm.teachers import LanguageTeacherConfig
    from stillhouse.tasks.lm.use import generate

    student = runs / RUN / "arms" / "kd" / "seed-0"
    _, tokenizer, _ = load_lm(student)
    teacher = LanguageTeacherConfig(source=str(runs / TEACHER)).build()
    prompt = torch.from_numpy(tokenizer.encode(PROMPT)).unsqueeze(0)
    torch.set_num_threads(1)
    rates: dict[str, list[float]] = {"student": [], "teacher": []}
    for _ in range(5):
        found = generate(student, PROMPT, WRITTEN)
        rates["student"].append(found["tokens_per_second"])
        started = time.perf_counter()
        teacher.network.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=WRITTEN,
            min_new_tokens=WRITTEN,
            do_sample=False,
            pad_token_id=0,
        )
        rates["teacher"].append((prompt.shape[1] + WRITTEN) / (time.perf_counter() - started))
    further = {name: found[name] for name in ("state_bytes", "weight_bytes", "silent_share")}
    return {**{name: statistics.median(values) for name, values in rates.items()}, **further}


# ------------------------------------------------------------------------------------------------------ the page


def page(runs: Path) -> str:
    parts = ["# Spiking language models: what was measured (2026-11-21)\n", INTRO]
    parts.append(section_main(runs, RUN, "WikiText-2, spikes of one level"))
    parts.append(section_main(runs, COUNTS, "WikiText-2, spike counts up to 4"))
    parts.append(section_levers(runs))
    parts.append(section_further(runs))
    parts.append(section_smollm2(runs))
    return "\n".join(parts)


INTRO = """Command (goes on after a kill; `--table` makes this page again from the run folders):

    python -m benchmarks.spiking_lm --text data/wikitext-2 --smollm2 models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

Bits per byte are comparable between tokenizers, perplexities are not: those below are of a token of the named tokenizer. All
models of a table are scored on the same tokens in the same windows, of the test split, from its start. Intervals are 95 %: of a
score over seeds, of a difference over seeds and windows. Budgets are small and stated; several trainings shared the two cores, so
seconds say little.
"""


def section_main(runs: Path, run: str, title: str) -> str:
    summary = read(runs / run / "summary.json")
    teacher = read(runs / TEACHER / "result.json")
    config, of_teacher = (read(runs / one / "run.json").get("config", {}) for one in (run, TEACHER))
    if not summary:
        left = f"Not finished (the command above goes on): {done(runs / run)}\n"
        return f"## {title}\n\n{trained_teacher(teacher, of_teacher)}\n{left}"
    data, machine = summary["data"], summary["machine"]
    model = config["student"]
    lines = [
        f"## {title}",
        "",
        f"Tokenizer: a BPE of {data['vocabulary']:,} tokens. Machine: {machine['cpu']}, one thread. Teacher: a transformer of "
        f"{summary['teacher']['params']:,} weights, {teacher.get('tokens_trained', 0):,} tokens of "
        f"training on the whole train split. Students: {model['layers']} layers of width {model['width']}, mixer {model['mixer']}, "
        f"from the first "
        f"{data['bytes']['train']:,} bytes of it, {len(summary['seeds'])} seeds. The n-gram is counted on the students' text. "
        f"Scored: {summary['tokens_scored']:,} tokens, windows of {summary['window']}, "
        f"sliding by {summary['stride']}{first_tokens(config)}.",
        "",
        "| | bits per byte | perplexity | perplexity, sliding | spike density | dead channels | weights | kB packed | tokens | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    test = summary["teacher"]["test"]
    lines.append(
        row("teacher", test, summary["teacher"]["params"], teacher.get("tokens_trained"), teacher.get("seconds"))
    )
    for arm, found in summary["arms"].items():
        means = {name: values["mean"] for name, values in found.items()}
        bits, params = found["bits_per_byte"], summary["costs"].get(arm, {}).get("params")
        result = read(runs / run / "arms" / arm / "seed-0" / "result.json")
        tokens = result.get("tokens_trained")
        size = summary["costs"].get(arm, {}).get("packed_bytes") or result.get("bytes")
        interval = "" if bits["low"] is None else f" ({bits['low']:.4f} to {bits['high']:.4f})"
        lines.append(row(arm, means, params, tokens, means["seconds"], interval, size))
    lines += ["", "| question | arm | against | bits per byte saved | verdict |", "|---|---|---|---|---|"]
    for entry in summary["comparisons"]:
        if entry["difference"] is not None:
            lines.append(
                f"| {entry['name']} | {entry['arm']} | {entry['control']} | {entry['difference']:+.4f} ({entry['low']:+.4f} to "
                f"{entry['high']:+.4f}) | {entry['verdict']} |"
            )
    if summary["gap"] is not None:
        lines += [
            "",
            f"Spikes and ternary weights cost {summary['gap']:+.2%} bits per byte against the dense student of equal size.",
        ]
    return "\n".join([*lines, "", *positions(runs / run), ""])


def section_levers(runs: Path) -> str:
    from benchmarks.lm_levers import table

    head = "## What each setting is worth\n\nBits per byte of the valid split; a row a training, all of equal steps.\n"
    return f"{head}\n{table(runs / 'levers')}\n" if (runs / "levers").is_dir() else f"{head}\nNot run.\n"


def trained_teacher(result: dict[str, Any], config: dict[str, Any]) -> str:
    """The teacher's own figures, for a page without a finished run."""
    if not result:
        return "The teacher is not trained."
    found = result["metrics"]
    return (
        f"Teacher (`lm train-teacher {TEACHER}`): {result['params']:,} weights, {result['tokens_trained']:,} tokens, "
        f"{result['seconds']:.0f} s: {found['bits_per_byte']:.4f} bits per byte, perplexity {found['perplexity']:.2f} "
        f"({found['sliding_perplexity']:.2f} with sliding windows{first_tokens(config)}).\n"
    )


def first_tokens(config: dict[str, Any]) -> str:
    """Which tokens were scored with sliding windows, where they are fewer than the others."""
    tokens = config.get("score", {}).get("sliding_tokens")
    return "" if tokens is None else f" on the first {tokens:,} tokens alone"


def positions(run: Path) -> list[str]:
    """Loss against position, over ranges of the long window."""
    files = {"teacher": [run / "teacher-nll.npz"]}
    for path in sorted(run.glob("arms/*/seed-*/nll.npz")):
        files.setdefault(path.parent.parent.name, []).append(path)
    every = {name: np.mean([np.load(path)["positions"] for path in paths], 0) for name, paths in files.items()}
    edges = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    longest = max(map(len, every.values()))
    ranges = [(a, min(b - 1, longest)) for a, b in pairwise(edges) if a <= longest]
    head = " | ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in ranges)
    lines = ["Loss against position: mean nats a token at places of a window, twice as long as those of training.", ""]
    lines += [f"| | {head} |", "|---" * (len(ranges) + 1) + "|"]
    for name, values in every.items():
        cells = [f"{statistics.fmean(values[a - 1 : b]):.3f}" if len(values) >= a else "" for a, b in ranges]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def section_further(runs: Path) -> str:
    found = read(runs / RUN / "further.json")
    if not found:
        return "## Speed\n\nNot run.\n"
    speed_ = found["speed"]
    lines = [
        "## Speed",
        "",
        f"{WRITTEN} tokens after a prompt, one thread, medians of 5 in turn, same machine and run: packed student "
        f"{speed_['student']:,.0f} tokens a second, teacher's `generate` {speed_['teacher']:,.0f} "
        f"(ratio {speed_['student'] / speed_['teacher']:.1f}). State "
        f"{speed_['state_bytes']:,} bytes, weights in memory {speed_['weight_bytes']:,} bytes, "
        f"{speed_['silent_share']:.1%} of the weight rows skipped.",
        "",
    ]
    return "\n".join(lines)


def section_smollm2(runs: Path) -> str:
    summary = read(runs / SMOLLM2 / "summary.json")
    if not summary:
        return f"## SmolLM2-135M\n\nNot finished (the command above goes on): {done(runs / SMOLLM2)}\n"
    cache = read(runs / SMOLLM2 / "logits" / "cache.json")
    teacher = summary["teacher"]["test"]
    trained = read(runs / SMOLLM2 / "arms/kd/seed-0/result.json")["tokens_trained"]
    lines = [
        "## SmolLM2-135M from its GGUF file, logits cached",
        "",
        f"To see that all of it works, not to see how good it gets: {trained:,} tokens of "
        f"training, {cache['key']['rows']:,} windows of {cache['key']['length']} tokens cached with "
        f"{cache['key']['k']} logits each, "
        f"{summary['tokens_scored']:,} tokens scored, {len(summary['seeds'])} seed. Vocabulary {summary['data']['vocabulary']:,}.",
        "",
        "| | bits per byte | perplexity |",
        "|---|---|---|",
        f"| SmolLM2-135M (Q4_1) | {teacher['bits_per_byte']:.4f} | {teacher['perplexity']:.2f} |",
    ]
    for arm, found in summary["arms"].items():
        lines.append(f"| {arm} | {found['bits_per_byte']['mean']:.4f} | {found['perplexity']['mean']:.1f} |")
    return "\n".join([*lines, ""])


def row(
    name: str, found: dict[str, Any], params: Any, tokens: Any, seconds: Any, interval: str = "", size: Any = None
) -> str:
    density = f"{found['density']:.3f}" if "density" in found else ""
    dead = f"{found['dead_channels']:.2%}" if "dead_channels" in found else ""
    weights, trained = ("" if x is None else f"{x:,}" for x in (params, tokens))
    took = "" if seconds is None else f"{seconds:.0f}"
    return (
        f"| {name} | {found['bits_per_byte']:.4f}{interval} | {found['perplexity']:.2f} | {found['sliding_perplexity']:.2f} | "
        f"{density} | {dead} | {weights} | {'' if size is None else f'{size / 1000:,.0f}'} | {trained} | {took} |"
    )


def done(run: Path) -> str:
    """What there is of an unfinished run."""
    teacher = read(run / "teacher.json").get("test")
    found = {"teacher": teacher} if teacher else {}
    for path in sorted(run.glob("arms/*/seed-*/result.json")):
        found[f"{path.parent.parent.name}, {path.parent.name}"] = read(path)["metrics"]
    if not found:
        return "nothing so far"
    rows = [f"| {name} | {m['bits_per_byte']:.4f} | {m['perplexity']:.2f} |" for name, m in found.items()]
    return "\n".join(["so far there is", "", "| | bits per byte | perplexity |", "|---|---|---|", *rows, ""])


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


if __name__ == "__main__":
    main()
