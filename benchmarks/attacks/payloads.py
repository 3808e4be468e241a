"""Files that try to run code or to reach beyond their place, wherever a file of another hand is read. None may succeed.

Each payload would make a file (the canary) if it ran; a report must not hold a live script; no name may lead out of its folder.

    python -m benchmarks.attacks.payloads --work /tmp/attacks
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from benchmarks.attacks.arena import Field, Outcome, Tally, command, fields, options

SCRIPTS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{7*7}}",
)
LEADING_OUT = ("../../escaped", "/tmp/escaped-by-name", "..", "a/../../escaped", "..\\escaped", "~/escaped")
LIVE = ("<script>alert", "<img src=x", "<svg onload")


class Bomb:
    """Unpickled, it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


def pickles(canary: Path, place: Path) -> Iterator[Path]:
    """The same bomb in every clothing that a reader may open."""
    import numpy as np

    raw = pickle.dumps(Bomb(canary))
    for name in (
        "weights.pt",
        "weights.pth",
        "weights.safetensors",
        "weights.npy",
        "weights.npz",
        "weights.pkl",
        "x.bin",
    ):
        path = place / name
        path.write_bytes(raw)
        yield path
    array = np.empty(1, object)
    array[0] = Bomb(canary)
    np.save(place / "objects.npy", array, allow_pickle=True)
    yield place / "objects.npy"
    np.savez(place / "objects.npz", images=array, labels=array, embeddings=array)
    yield place / "objects.npz"
    with zipfile.ZipFile(place / "torch.pt", "w") as archive:
        archive.writestr("archive/data.pkl", raw)
        archive.writestr("archive/version", "3\n")
    yield place / "torch.pt"


def readers(field: Field, path: Path) -> list[tuple[str, list[Any]]]:
    """Commands of a family that open a file of another hand."""
    word = str(path)
    if field.kind == "images":
        return [
            ("teacher", ["distill", field.yaml, "--set", f"teacher.source=ckpt:{word}"]),
            (
                "checkpoint",
                ["distill", field.yaml, "--set", "teacher.source=timm:test_resnet", f"teacher.checkpoint={word}"],
            ),
            ("data", ["distill", field.yaml, "--set", f"data.root={word}"]),
        ]
    if field.kind == "sar":
        return [("teacher", ["distill", field.yaml, "--set", f"teacher_checkpoint={word}"])]
    if field.kind == "embed":
        return [("vectors", ["embed", "distill", word]), ("given", ["embed", "evaluate", field.run, "--vectors", word])]
    return []


def judge(row: str, what: str, done: Outcome, canary: Path, tally: Tally) -> None:
    """Refused or harmless; never carried out."""
    fell = f"{what}: {done.fault}" if done.fault else None
    if canary.exists():
        fell = f"{what}: THE PAYLOAD RAN"
        canary.unlink()
    tally.add(row, "refused" if done.status else "harmless", fell=fell)


def files_of(field: Field, canary: Path, tally: Tally) -> None:
    """Pickles wherever a family reads weights, arrays or data."""
    place, new = field.root.parent / "payloads", field.root.parent / "new"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for path in pickles(canary, place):
        for what, words in readers(field, path):
            shutil.rmtree(new, ignore_errors=True)
            out = [] if words[1] == "evaluate" else ["--out", new]
            judge(f"{field.kind}, pickles", f"{path.name} as {what}", command(*words, *out), canary, tally)


def of_ours(field: Field, canary: Path, tally: Tally) -> None:
    """The same in the place of our own files."""
    raw = pickle.dumps(Bomb(canary))
    for glob in ("run/student/*.safetensors", "run/arms/*/seed-0/checkpoint.pt", "run/arms/*/seed-0/scores.npz"):
        field.restore()
        path = next(iter(sorted(field.root.glob(glob))), None)
        if path is None:
            continue
        path.write_bytes(raw)
        if path.name == "checkpoint.pt":
            (path.parent / "result.json").unlink()
        words = (
            ["evaluate", field.run]
            if "student" in path.parent.name
            else ["distill", field.yaml, "--out", field.run, "--resume"]
        )
        judge(f"{field.kind}, own files", path.name, command(*words), canary, tally)
    field.restore()


def recipes(field: Field, canary: Path, tally: Tally) -> None:
    """Tags of YAML, and settings that name code or files."""
    file = field.root.parent / "payload.yaml"
    tags = (
        f"!!python/object/apply:os.system ['touch {canary}']",
        f"!!python/object/new:os.system ['touch {canary}']",
        "!!python/name:os.system",
        "!!python/module:os",
        f"!!python/object/apply:subprocess.check_output [['touch', '{canary}']]",
    )
    for tag in tags:
        file.write_text(f"name: {tag}\n")
        judge(
            f"{field.kind}, YAML tags",
            tag[:40],
            command("distill", file, "--out", field.root.parent / "new"),
            canary,
            tally,
        )
        words = ["distill", field.yaml, "--set", f"name={tag}", "--out", field.root.parent / "new", "--print-config"]
        judge(f"{field.kind}, YAML tags", f"--set {tag[:34]}", command(*words), canary, tally)


def cards(field: Field, canary: Path, tally: Tally) -> None:
    """Cards, hashed anew by the attacker, whose arguments open files."""
    from stillhouse.core import records
    from stillhouse.core.hashes import with_hashes

    bomb = field.root.parent / "bomb.pt"
    bomb.write_bytes(pickle.dumps(Bomb(canary)))
    changes: list[dict[str, Any]] = [
        {"student": {"kind": "timm", "architecture": "test_resnet", "arguments": {key: str(bomb)}}}
        for key in ("checkpoint_path", "pretrained_cfg", "cache_dir", "pretrained_cfg_overlay")
    ]
    changes += [
        {"student": {"kind": "timm", "architecture": "test_resnet", "arguments": {"pretrained": True}}},
        {"student": {"kind": "timm", "architecture": f"local-dir:{bomb.parent}"}},
        {"student": {"kind": "timm", "architecture": "hf-hub:nobody/nothing"}},
        {"class": "os.system"},
        {"model_kwargs": {"checkpoint_path": str(bomb)}},
    ]
    for change in changes:
        field.restore()
        path = field.run / "student" / records.CARD
        card = {**records.read_json(path), **change}
        records.write_json(path, with_hashes(card, path.parent, [records.STUDENT]))
        judge(f"{field.kind}, cards", str(change)[:60], command("evaluate", field.run), canary, tally)
    field.restore()
    card = records.read_json(field.run / "student" / records.CARD)
    for name in LEADING_OUT[:2]:
        hashes = {**card["sha256"], name: "0" * 64}
        (field.run / "student" / records.CARD).write_text(json.dumps({**card, "sha256": hashes}))
        judge(f"{field.kind}, cards", f"hashes of {name}", command("evaluate", field.run), canary, tally)
    field.restore()


def pages(field: Field, tally: Tally, scripts: Sequence[str] = SCRIPTS) -> None:
    """Script in what a report prints."""
    from stillhouse.core import records

    for script in scripts:
        field.restore()
        run = records.read_json(field.run / records.RUN)
        records.write_json(field.run / records.RUN, {**run, "command": script, "data": {**run["data"], "name": script}})
        summary = records.read_json(field.run / records.SUMMARY)
        arms = {f"{name}{script}": value for name, value in summary["arms"].items()}
        records.write_json(field.run / records.SUMMARY, {**summary, "arms": arms, "verdict": script, "command": script})
        done = command("report", field.run)
        text = (field.run / records.REPORT).read_text()
        live = [word for word in LIVE if word in text]
        fell = done.fault or (f"{script}: live in the page" if live else None)
        tally.add(f"{field.kind}, pages", "refused" if done.status else "harmless", fell=fell)
    field.restore()


def models(field: Field, canary: Path, tally: Tally) -> None:
    """Folders of models that bring their own code."""
    source, place, new = field.root / "teacher", field.root.parent / "model", field.root.parent / "new"
    code = f"import os\nos.system('touch {canary}')\nclass Model: pass\n"
    for key in ("AutoModelForCausalLM", "AutoConfig", "AutoTokenizer"):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(source, place)
        (place / "evil.py").write_text(code)
        config = json.loads((place / "config.json").read_text())
        kind = {"model_type": "evil"} if key == "AutoConfig" else {}
        (place / "config.json").write_text(json.dumps({**config, **kind, "auto_map": {key: "evil.Model"}}))
        words = ["distill", field.yaml, "--set", f"teacher.source={place}", "--out", new]
        judge("lm, models", key, command(*words), canary, tally)
        judge("lm, models", f"{key}, evaluated", command("lm", "evaluate", place), canary, tally)
    for name in ("pytorch_model.bin", "model.pt"):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(source, place)
        (place / "model.safetensors").unlink()
        (place / name).write_bytes(pickle.dumps(Bomb(canary)))
        judge("lm, models", name, command("lm", "evaluate", place), canary, tally)
        words = ["distill", field.yaml, "--set", f"teacher.source={place}", "--out", new]
        judge("lm, models", f"{name} as teacher", command(*words), canary, tally)
    shutil.rmtree(new, ignore_errors=True)


def sentence_models(field: Field, canary: Path, tally: Tally) -> None:
    """Sentence models whose modules name classes of their own."""
    place, texts = field.root.parent / "sentence", field.root.parent / "t.txt"
    texts.write_text("one text\nanother text\n")
    for kind in ("evil.Model", "os.system", "sentence_transformers.models.Transformer"):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "evil.py").write_text(f"import os\nos.system('touch {canary}')\nclass Model: pass\n")
        (place / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}]))
        (place / "config.json").write_text(json.dumps({"model_type": "bert", "auto_map": {"AutoModel": "evil.Model"}}))
        out = field.root.parent / "captured"
        shutil.rmtree(out, ignore_errors=True)
        judge("embed, models", kind, command("embed", "capture", texts, "--model", place, "--out", out), canary, tally)


def names(field: Field, tally: Tally) -> None:
    """Names of runs that lead out of `runs/`."""
    home = field.root.parent / "home"
    file = field.root.parent / "name.yaml"
    for name in LEADING_OUT:
        shutil.rmtree(home, ignore_errors=True)
        (home / "inside" / "deep").mkdir(parents=True)
        file.write_text(yaml.safe_dump({**yaml.safe_load(field.yaml.read_text()), "name": name}))
        here = Path.cwd()
        os.chdir(home / "inside" / "deep")
        try:
            done = command("distill", file, "--quiet")
        finally:
            os.chdir(here)
        outside = [p for p in home.rglob("run.json") if home / "inside" / "deep" / "runs" not in p.parents]
        fell = done.fault or (f"{name}: written to {outside}" if outside else None)
        tally.add(f"{field.kind}, names", "refused" if done.status else "inside", fell=fell)
        if Path("/tmp/escaped-by-name").exists():
            tally.add(f"{field.kind}, names", "", fell="an absolute name was followed")


def attack(field: Field, tally: Tally) -> None:
    """All payloads of a family."""
    canary = field.root.parent / "canary"
    canary.unlink(missing_ok=True)
    field.saved()
    files_of(field, canary, tally)
    of_ours(field, canary, tally)
    if field.kind in ("clauses", "lm"):
        recipes(field, canary, tally)
    if field.kind == "images":
        cards(field, canary, tally)
        names(field, tally)
    if field.kind in ("images", "embed"):
        pages(field, tally)
    if field.kind == "lm":
        models(field, canary, tally)
    if field.kind == "embed":
        sentence_models(field, canary, tally)


def main() -> int:
    """Try all."""
    chosen, work = options(__doc__)
    tally = Tally("payloads")
    for field in fields(chosen.families, work):
        attack(field, tally)
        for row in tally.counts:
            if row.startswith(f"{field.kind},"):
                tally.show(row)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
