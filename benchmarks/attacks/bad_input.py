"""Senseless flags, YAML and files: one clear line and status 2, or a run that makes sense; never a traceback, never no end.

python -m benchmarks.attacks.bad_input --work /tmp/attacks               # about 200
python -m benchmarks.attacks.bad_input --only embed --count 10
"""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from benchmarks.attacks.arena import LIMIT, Field, Outcome, Tally, call, command, fields, options

ABSURD = (-1, 0, 3_000_000_000, 10**12, 10**30, 1e308, -1e308, float("nan"), "abc", [1, 2], {"a": 1}, True)
ENDLESS = (
    "epochs",
    "seeds",
    "steps",
    "tokens",
    "patience",
)  # large numbers of these are a long run, not a senseless one
NAMES = ("a" * 300, "x\0y", "\ud800", "../escape", "/etc", "..", ".", "", " ", "a/../../b", ".hidden", "a\nb")


def numbers(config: Any) -> list[tuple[str, ...]]:
    """Paths of the numbers of a configuration that decide sizes and settings."""
    from stillhouse.core.config import to_mapping

    def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
        entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, entry in entries:
            yield from leaves(entry, (*path, str(key)))
        if not isinstance(value, (dict, list)):
            yield path, value

    return [
        path
        for path, value in leaves(to_mapping(config))
        if isinstance(value, (int, float))
        and not isinstance(value, bool)
        and not any(word in path[-1] for word in ENDLESS)
    ]


def settings(field: Field, count: int, draw: random.Random) -> Iterator[tuple[str, list[str]]]:
    """Numbers of a run's file that are out of all bounds, as `--set`."""

    def paths() -> int:
        from stillhouse.recipes import load_run

        print(json.dumps(numbers(load_run(str(field.yaml)))))
        return 0

    known = [tuple(path) for path in json.loads(call(paths).out)]
    student = [path for path in known if path[0] == "student"]
    for number in range(count):
        path = ".".join(draw.choice(student if student and number % 2 else known))
        value = draw.choice(ABSURD)
        yield f"{path}={value}", ["--set", f"{path}={json.dumps(value) if not isinstance(value, str) else value}"]


def texts(field: Field) -> Iterator[tuple[str, str]]:
    """Recipe files that are broken or say something else."""
    whole = field.yaml.read_text()
    config = yaml.safe_load(whole)
    yield "empty", ""
    yield "a list", "[1, 2]"
    yield "a number", "3"
    yield "null", "null"
    yield "unclosed", "data: {name: digits"
    yield "3000 nested lists", "a: " + "[" * 3000 + "]" * 3000
    yield "a key twice", "seeds: 1\nseeds: 2\n" + whole
    yield "a tab", "data:\n\tname: digits"
    yield (
        "an anchor bomb",
        "a: &a [x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\nname: *c\n" + whole.replace("name:", "nome:"),
    )
    yield "30 February", "name: 2026-02-30\n" + whole.replace("name: case", "")
    yield "binary", "\x00\x01\x02"
    yield "data null", yaml.safe_dump({**config, "data": None})
    yield "student a list", yaml.safe_dump({**config, "student": [1]})
    yield "training a text", yaml.safe_dump({**config, "training": "fast"})
    yield "no arms", yaml.safe_dump({**config, "arms": []})
    yield "an arm twice", yaml.safe_dump({**config, "arms": ["kd", "kd"]})
    yield "an unknown arm", yaml.safe_dump({**config, "arms": ["zzz"]})
    yield "an unknown key", yaml.safe_dump({**config, "zzz": 1})
    yield "name leads elsewhere", yaml.safe_dump({**config, "name": "../../../escaped"})
    yield "a long name", yaml.safe_dump({**config, "name": "n" * 300})
    yield "name a number", yaml.safe_dump({**config, "name": 17})
    yield "warmup 1e308", yaml.safe_dump({**config, "training": {**config["training"], "warmup_epochs": 1e308}})
    yield "threads 100000", yaml.safe_dump({**config, "training": {**config["training"], "threads": 100000}})
    yield "device moon", yaml.safe_dump({**config, "training": {**config["training"], "device": "moon"}})
    yield "batch 10^15", yaml.safe_dump({**config, "training": {**config["training"], "batch_size": 10**15}})


def spoiled(field: Field) -> Iterator[tuple[str, Callable[[Path], Any], str]]:
    """Files of a run that parse and say something else: (name, change of the file, glob of the file)."""
    for name in ("run.json", "summary.json", "teacher.json", "arms/*/seed-0/result.json", "student/card.json"):
        for text in (
            "[]",
            "{}",
            "null",
            '{"config": 3}',
            '{"metrics": 3}',
            '{"kind": 5}',
            "[" * 3000,
            "3",
            '"x"',
            "\xff",
        ):
            yield f"{name.split('/')[-1]} is {text[:12]}", lambda p, t=text: p.write_text(t, encoding="latin1"), name


COMMANDS = {
    "clauses": [
        ["vision", "--student-embed-dim", "3000000000"],
        ["vision", "student.patch_size=99"],
        ["vision", "model.tm.clauses=1000000000000"],
        ["vision", "--epochs", "-1"],
        ["vision", "--models", "zzz"],
        ["vision", "--batch-size", "0"],
        ["vision", "--distill-teacher-checkpoint", "{text}"],
        ["vision", "--distill-teacher-checkpoint", "{root}"],
        ["distill", "digits", "--threads", "100000"],
        ["distill", "digits", "student.patch_size=99"],
        ["distill", "digits", "student.clauses=1000000000000"],
        ["distill", "digits", "training.warmup_epochs=1e308"],
    ],
    "images": [
        ["distill", "{yaml}", "--set", "teacher.source=ckpt:{text}"],
        ["distill", "{yaml}", "--set", "teacher.source=ckpt:{root}"],
        ["distill", "{yaml}", "--set", "teacher.source=ckpt:/nowhere"],
        ["distill", "{yaml}", "--set", "teacher.source=timm:zzz"],
        ["distill", "{yaml}", "--set", "teacher.source=zzz"],
        ["distill", "{yaml}", "--set", "data.root={text}"],
        ["distill", "{yaml}", "--set", "data.root={root}"],
        ["distill", "{yaml}", "--set", "data.name=folder"],
        ["distill", "{yaml}", "--set", "student.architecture=zzz"],
        ["train-teacher", "{yaml}"],
        ["train-teacher", "{text}"],
        ["distill", "{text}"],
        ["distill", "{root}"],
        ["check", "{text}"],
        ["evaluate", "{root}"],
        ["evaluate", "{text}"],
        ["evaluate", "/nowhere"],
        ["evaluate", "{run}", "--data", "zzz"],
        ["evaluate", "{run}", "--data-root", "/nowhere"],
        ["report", "{root}"],
        ["report", "{text}"],
        ["report", "/nowhere"],
        ["zzz"],
        ["distill", "--zzz"],
    ],
    "embed": [
        ["embed", "explore", "{run}", "--limit", "-5"],
        ["embed", "explore", "{run}", "--limit", "0"],
        ["embed", "explore", "{run}", "--neighbors", "100000"],
        ["embed", "explore", "{run}", "--neighbors", "-1"],
        ["embed", "explore", "{run}", "--out", "/proc/x/y.html"],
        ["embed", "evaluate", "{run}", "--limit", "-1"],
        ["embed", "evaluate", "{run}", "--limit", "0"],
        ["embed", "evaluate", "{run}", "--vectors", "{text}"],
        ["embed", "evaluate", "{run}", "--key", "zzz"],
        ["embed", "distill", "{text}"],
        ["embed", "distill", "{root}"],
        ["embed", "distill", "{root}/x.npy", "--teacher_checkpoint", "{text}"],
        ["embed", "distill", "{root}/x.npy", "--set", "data.key=zzz"],
        ["embed", "capture", "{text}", "--model", "{text}", "--out", "{new}"],
        ["embed", "capture", "{text}", "--model", "{root}", "--out", "{new}"],
        ["embed", "capture", "{text}", "--model", "{root}", "--out", "{new}", "--batch-size", "0"],
        ["embed", "capture", "{text}", "--model", "{root}", "--out", "{new}", "--limit", "-3"],
        ["embed", "capture", "{text}", "--model", "{root}", "--out", "{new}", "--max-chars", "-3"],
        ["export", "{root}", "--to", "numpy", "--out", "{new}"],
        ["export", "{run}", "--to", "numpy", "--out", "{root}"],
        ["export", "{run}", "--to", "numpy", "--out", "/proc/x"],
    ],
    "lm": [
        ["lm", "evaluate", "{run}/student", "--tokens", "-1"],
        ["lm", "evaluate", "{run}/student", "--window", "0"],
        ["lm", "evaluate", "{run}/student", "--dynamic", "nan"],
        ["lm", "evaluate", "{run}/student", "--source", "/nowhere"],
        ["lm", "evaluate", "{root}"],
        ["lm", "evaluate", "{text}"],
        ["lm", "evaluate", "{pickled}"],
        ["lm", "generate", "{run}/student", "--prompt", ""],
        ["lm", "generate", "{run}/student", "--prompt", "the", "--tokens", "0"],
        ["lm", "generate", "{run}/student", "--prompt", "the", "--temperature", "-1"],
        ["lm", "generate", "{run}/student", "--prompt", "the", "--temperature", "1e-300"],
        ["lm", "generate", "{run}/student", "--prompt", "the", "--seed", "-1"],
        ["lm", "generate", "{run}/student", "--prompt", "\ud800"],
        ["export", "{run}/student", "--to", "packed", "--out", "{text}"],
        ["export", "{root}", "--to", "packed", "--out", "{new}"],
        ["distill", "{yaml}", "--set", "corpus.tokenizer=bpe:x"],
        ["distill", "{yaml}", "--set", "corpus.tokenizer={text}"],
        ["distill", "{yaml}", "--set", "teacher.source={text}"],
        ["distill", "{yaml}", "--set", "teacher.source={pickled}"],
        ["distill", "{yaml}", "--set", "corpus.source={text}"],
    ],
    "sar": [
        ["sar", "stream", "{run}", "--lines", "-1"],
        ["sar", "stream", "{run}", "--lines", "0"],
        ["sar", "stream", "{run}", "--input", "{text}"],
        ["sar", "stream", "{run}", "--input", "{root}/x.npy"],
        ["sar", "stream", "{run}", "--lines", "100", "--output", "/proc/x.npy"],
        ["sar", "compare", "{root}"],
        ["sar", "compare", "{text}"],
        ["sar", "compare", "--length", "-1"],
        ["sar", "evaluate", "{text}"],
        ["sar", "simulate", "--out", "{new}.npz", "--preset", "zzz"],
        ["sar", "train", "--config", "{text}"],
        ["distill", "{yaml}", "--set", "teacher_checkpoint={text}"],
        ["distill", "{yaml}", "--set", "teacher_checkpoint={root}"],
        ["distill", "{yaml}", "--set", "data.length=-5"],
        ["distill", "{yaml}", "--set", "data.train=1000000000000"],
        ["distill", "{yaml}", "--set", "data.preset=zzz"],
    ],
}


def judge(row: str, what: str, done: Outcome, tally: Tally) -> None:
    """Refused in few words, or carried out."""
    fell = f"{what}: {done.fault}" if done.fault else None
    if not fell and done.status and len(done.err.strip().splitlines()) > 24:
        fell = f"{what}: {len(done.err.splitlines())} lines instead of one: {done.err[:200]!r}"
    tally.add(row, "refused" if done.status else "carried out", fell=fell)


def main() -> int:
    """Try all."""
    chosen, work = options(__doc__, count=16)
    tally, draw = Tally("bad input"), random.Random(chosen.seed)
    for field in fields(chosen.families, work):
        attempts(field, tally, chosen.count, draw, chosen.only)
        for row in tally.counts:
            if row.startswith(f"{field.kind},"):
                tally.show(row)
    return tally.finish()


def attempts(field: Field, tally: Tally, count: int, draw: random.Random, only: str = "") -> None:
    """All bad input of one family."""
    new = field.root.parent / "new"
    text, pickled = field.root.parent / "text.safetensors", field.root.parent / "pickled"
    text.write_text("a text, and nothing else\n" * 3)
    pickled.mkdir(exist_ok=True)
    if (field.root / "teacher" / "config.json").is_file():
        shutil.copytree(field.root / "teacher", pickled, dirs_exist_ok=True)
        (pickled / "model.safetensors").unlink(missing_ok=True)
        (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04cposix\nsystem\n.")
    names = {"root": field.root, "run": field.run, "yaml": field.yaml, "text": text, "new": new, "pickled": pickled}
    changed = field.root.parent / "bad.yaml"

    def fresh() -> None:
        shutil.rmtree(new, ignore_errors=True)

    def wanted(row: str) -> bool:
        return re.search(only, row) is not None

    if wanted(row := f"{field.kind}, settings"):
        for what, words in settings(field, count, draw):
            fresh()
            judge(row, what, field.distill(new, *words, limit=60), tally)
    if wanted(row := f"{field.kind}, YAML"):
        for what, content in texts(field) if field.kind in ("clauses", "lm") else list(texts(field))[-14:]:
            fresh()
            changed.write_text(content)
            judge(row, what, command("distill", changed, "--out", new, "--quiet", limit=60), tally)
    if wanted(row := f"{field.kind}, commands"):
        for words in COMMANDS[field.kind]:
            fresh()
            given = [word.format(**names) if "{" in word else word for word in words]
            if words[0] in ("distill", "vision", "train-teacher") or words[:2] == ["embed", "distill"]:
                given += ["--out" if words[0] != "vision" else "--output-dir", str(new)]
            judge(row, " ".join(words), command(*given, limit=60), tally)
    if wanted(row := f"{field.kind}, names") and field.kind == "clauses":
        for name in NAMES:
            if name.strip() and "\0" not in name and not name.startswith(("..", "/", ".")):
                judge(row, f"--out {name[:20]!a}", field.distill(field.root.parent / name, limit=60), tally)
            changed.write_text(yaml.safe_dump({**yaml.safe_load(field.yaml.read_text()), "name": name}))
            there = set(field.root.parent.rglob("run.json"))
            judge(row, f"name: {name[:20]!a}", command("distill", changed, "--quiet", limit=60), tally)
            shutil.rmtree("runs", ignore_errors=True)
            if found := set(field.root.parent.rglob("run.json")) - there:
                tally.add(row, "", fell=f"name {name!a} was written to {found}")
    if wanted(row := f"{field.kind}, files"):
        field.saved()
        for number, (what, change, glob) in enumerate(spoiled(field)):
            if number % 50 >= count * 3:
                continue
            paths = sorted(field.run.glob(glob))
            if not paths:
                continue
            change(paths[0])
            done = command("report", field.run) if number % 3 == 2 else field.distill(field.run, "--resume")
            if number % 3 == 1:
                done = command("evaluate", field.run)
            judge(row, what, done, tally)
            field.restore()


if __name__ == "__main__":
    assert LIMIT
    sys.exit(main())
