"""What is made beside a run: a teacher's cache, captured vectors, exports, a sweep. Killed, on a full disk, damaged, with
payloads in their files.

Killed or full: the same command again leaves what it would have left, to the bit. Damaged: whoever reads it gets a named error or
the same answer.

    python -m benchmarks.attacks.beside --work /tmp/attacks              # every rename and flush, 20 damages a kind of file
    python -m benchmarks.attacks.beside --only cache --families lm --every 3 --count 5
"""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.attacks.arena import Field, Outcome, Tally, call, command, fields, options
from benchmarks.attacks.damage import Reading, damages, judge, put, refused
from benchmarks.attacks.full_disk import filled
from benchmarks.attacks.kills import counted, timeless
from benchmarks.attacks.payloads import Bomb

FORMS = ("packed", "json", "numpy", "rules", "c")
PATIENCE = 400.0  # seconds: two workers of a busy machine
RATES = "training.learning_rate=0.001,0.002"


@dataclass(frozen=True)
class Made:
    """A thing beside a run.

    Attributes:
        name: of it.
        words: the command that makes it.
        place: file or folder that it makes.
        again: the command after a kill.
        content: what must be equal.
        until: a file, after whose writing the command is killed: what it left is damaged and read, not stopped further.
    """

    name: str
    words: list[Any]
    place: Path
    again: list[Any]
    content: Callable[[Path], Any]
    until: str = ""

    def make(self, kill_at: int | None = None, full_at: int | None = None, note: Path | None = None) -> int:
        """In this process."""
        from stillhouse.cli.main import main

        renames, flushes = [0], [0]
        if self.until:
            killed_after(self.until)
        counted(renames, kill_at)
        filled(full_at, flushes)
        status = main([str(word) for word in self.words])
        if note is not None:
            note.write_text(json.dumps([renames[0], flushes[0]]))
        return status

    def remove(self) -> None:
        """As before the first."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.unlink(missing_ok=True)


def killed_after(name: str) -> None:
    """In this process, die when a file whose path ends so was written."""
    original = os.replace

    def instead(source: Any, target: Any, **more: Any) -> None:
        original(source, target, **more)
        if str(target).endswith(name):
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = instead  # type: ignore[assignment]


def files(place: Path) -> dict[str, bytes]:
    """Every file that is to be seen."""
    paths = [place] if place.is_file() else sorted(place.rglob("*"))
    return {p.name: p.read_bytes() for p in paths if p.is_file() and not p.name.startswith(".")}


def study(place: Path) -> Any:
    """What a sweep found, without times."""
    return timeless(json.loads((place / "sweep.json").read_text()))


def things(field: Field) -> list[Made]:
    """Those of a family."""
    found, base = [], field.root.parent / "beside"
    base.mkdir(exist_ok=True)
    if field.kind != "embed":  # its vectors are the teacher
        words = ["cache", field.yaml, "--out", base / "cache", "--quiet"]
        found.append(Made("cache", words, base / "cache", words, files))
        shares = [base / "share-1", base / "share-2"]
        written = [
            ["cache", field.yaml, "--out", share, "--shard", f"{n}/2", "--quiet"] for n, share in enumerate(shares, 1)
        ]
        merge = ["cache", "merge", *shares, "--out", base / "merged"]
        for share, words in zip(shares, written):
            if not share.exists() and (done := command(*words)).status:
                raise RuntimeError(f"{field.kind}, a share of a cache: {done.err}")
        found.append(Made("merged caches", merge, base / "merged", merge, files))
        found.append(
            Made("share of a cache", written[0], shares[0], written[0], files)
        )  # last: it takes its share away
    else:
        words = ["embed", "capture", texts(base), "--model", sentences(base / "sentences"), "--out", base / "vectors"]
        found.append(Made("capture", [*words, "--quiet"], base / "vectors", [*words, "--quiet"], files))
    words = ["sweep", field.yaml, "--set", RATES, "--out", base / "sweep"]
    found.append(Made("sweep", words, base / "sweep", [*words, "--resume"], study))
    half = ["sweep", field.yaml, "--set", RATES, "--out", base / "half"]
    last = f"trial-0001/arms/{field.case().taught}/seed-0/checkpoint.pt"
    found.append(Made("half a sweep", half, base / "half", [*half, "--resume"], study, last))
    student, forms = (
        field.run,
        {"lm": ["packed"], "sar": ["onnx"], "embed": ["numpy"], "images": ["torch"]}.get(field.kind),
    )
    if forms is None:
        student, forms = flat(base / "flat" / "student"), list(FORMS)
    for form in forms:
        out = base / f"export-{form}"
        words = ["export", student, "--to", form, "--out", out]
        if field.kind == "clauses":
            words += ["--data", "digits"]
        found.append(Made(f"export {form}", words, out, words, files))
    return found


def texts(base: Path) -> Path:
    """Of more than one shard."""
    from stillhouse.families.embed.capture import SHARD_ROWS

    draw, words = (
        random.Random(0),
        ("the", "man", "woman", "dog", "cat", "plays", "eats", "sees", "red", "green", "small", "old"),
    )
    lines = {" ".join(draw.choices(words, k=7)): None for _ in range(2 * SHARD_ROWS)}
    (base / "texts.txt").write_text("\n".join(lines) + "\n")
    return base / "texts.txt"


def sentences(folder: Path) -> Path:
    """A model of sentences with random weights: that of the tests."""
    from tests.teachers.test_sentence_teacher import make_model

    if not folder.exists() and (made := call(lambda: make_model(folder, 0) and None)).status:
        raise RuntimeError(made.err)
    return folder


def flat(folder: Path) -> Path:
    """A student that is clauses alone, which every form takes."""

    def save() -> None:
        import torch

        from stillhouse.classification.card import save_student
        from stillhouse.classification.data import DataConfig
        from stillhouse.families.clauses.students.model_configs import FlatTMConfig

        task = DataConfig(name="digits").build().task
        torch.manual_seed(0)
        choice = FlatTMConfig(clauses=40, levels=3)
        folder.mkdir(parents=True)
        save_student(folder, choice.build(task).eval(), choice, task, family="clauses")

    if not folder.exists() and (made := call(save)).status:
        raise RuntimeError(made.err)
    return folder


def stopped(field: Field, made: Made, tally: Tally, every: int) -> None:
    """Killed before each rename, and on a disk that is full at each flush; then the same command again."""
    made.remove()
    note = field.root.parent / "note"
    whole = call(lambda: made.make(note=note))
    if whole.status:
        raise RuntimeError(f"{field.kind}, {made.name}: fails undisturbed\n{whole.err}")
    expected = made.content(made.place)
    made.remove()
    call(made.make)
    if made.content(made.place) != expected:
        print(f"  {field.kind}, {made.name}: two undisturbed ones differ, so only the names of its files are compared")
        tally.add(f"{field.kind}, {made.name}, undisturbed", "differs by itself")
        names: Callable[[Path], Any] = lambda place: sorted(files(place))  # noqa: E731
        made = Made(made.name, made.words, made.place, made.again, names)
        expected = names(made.place)
    renames, flushes = json.loads(note.read_text())
    attempts = [("killed", n, None) for n in range(1, renames + 1, every)]
    attempts += [("full", None, n) for n in range(1, flushes + 1, every)]
    for what, kill_at, full_at in attempts:
        made.remove()
        row, where = (
            f"{field.kind}, {made.name}, {what}",
            f"at {kill_at or full_at} of {renames if kill_at else flushes}",
        )
        done = call(lambda k=kill_at, f=full_at: made.make(k, f))
        if done.fault and full_at:
            tally.add(row, "", fell=f"{where}: {done.fault}")
            continue
        again = command(*made.again, limit=PATIENCE)
        there = again.status == 2 and ("expected a new or empty folder" in again.err or "has no trial" in again.err)
        if again.status and not there:
            tally.add(row, "", fell=f"{where}: the same command again: {again.fault or again.err.strip()[:200]}")
            continue
        same = made.content(made.place) == expected
        tally.add(
            row, "equal", fell=None if same else f"{where}: another content, statuses {done.status}, {again.status}"
        )
        hidden = [p.name for p in made.place.parent.glob(f".{made.place.name}.*")]
        if hidden and made.name.startswith("export"):
            tally.add(f"{field.kind}, {made.name}, left over", "a hidden folder")
            for name in hidden:
                shutil.rmtree(made.place.parent / name)
    for what in ("killed", "full"):
        tally.show(f"{field.kind}, {made.name}, {what}")


def reader(field: Field, made: Made) -> Reading | None:
    """Who reads it, and what of it must not change."""
    new = field.root.parent / "new"
    if made.name == "cache":
        key = "teacher_checkpoint" if field.kind == "sar" else "teacher.source"

        def learn(_: Field) -> Outcome:
            shutil.rmtree(new, ignore_errors=True)
            words = ["--set", f"{key}=cache:{made.place}", "--set", "arms=[kd]", "--out", new, "--quiet"]
            return command("distill", field.yaml, *words)

        def learned(_: Field, done: Outcome) -> Any:
            return [p.read_bytes() for p in sorted(new.glob("student/*.safetensors"))], timeless(
                json.loads((new / "teacher.json").read_text())
            )

        return Reading(made.name, learn, learned, ())
    if made.name == "capture":

        def distil(_: Field) -> Outcome:
            shutil.rmtree(new, ignore_errors=True)
            return command("distill", field.yaml, "--set", f"data.path={made.place}", "--out", new, "--quiet")

        def distilled(_: Field, done: Outcome) -> Any:
            return [p.read_bytes() for p in sorted(new.glob("student/*.safetensors"))]

        return Reading(made.name, distil, distilled, ())
    if made.name == "share of a cache":  # who merges reads it
        out, beside = made.place.with_name("of-shares"), made.place.with_name("share-2")

        def merge(_: Field) -> Outcome:
            shutil.rmtree(out, ignore_errors=True)
            return command("cache", "merge", made.place, beside, "--out", out)

        return Reading(made.name, merge, lambda _, done: files(out), ())
    if made.name in ("sweep", "half a sweep"):
        return Reading(made.name, lambda _: command(*made.again, limit=PATIENCE), lambda _, done: study(made.place), ())
    images = field.root.parent / "images.npy"
    if not images.exists():
        np.save(images, np.random.default_rng(0).integers(256, size=(40, 1, 8, 8)).astype(np.uint8))

    def act() -> int:
        from stillhouse.core.checks import InputError

        try:
            print(answer(made, np.load(images)))
        except (InputError, ValueError) as error:
            return refused(error)
        return 0

    if made.name.split()[-1] in ("packed", "json", "numpy", "rules") and field.kind == "clauses":
        return Reading(made.name, lambda _: call(act), lambda _, done: done.out, ())
    return None


def answer(made: Made, images: Any) -> str:
    """Of an exported clause machine."""
    form = made.name.split()[1]
    if form == "rules":
        from stillhouse.families.clauses.rules_file import read_rules

        found = read_rules(made.place / "rules.json")
        return repr((found.index, {name: array.tobytes() for name, array in found.arrays.items()}))
    if form == "numpy":
        from stillhouse.families.clauses.numpy_machine import ClauseMachine

        return repr(ClauseMachine(made.place).scores(images).tolist())
    from stillhouse.logic.packed import load_packed
    from stillhouse.logic.targets.json_file import read_json

    machine = (load_packed if form == "packed" else read_json)(made.place)
    return repr(machine.scores(images).tolist())


def harmed(field: Field, made: Made, tally: Tally, count: int, draw: random.Random) -> None:
    """Flip and cut every kind of file, then let it be read; then a pickle in its place."""
    reading = reader(field, made)
    if reading is None:
        return
    made.remove()
    call(made.make)
    if made.until and not any(made.place.rglob(Path(made.until).name)):
        raise RuntimeError(f"{field.kind}, {made.name}: it was not killed after {made.until}")
    saved = made.place.with_name(made.place.name + ".whole")
    shutil.rmtree(saved, ignore_errors=True)
    saved.unlink(missing_ok=True)
    keep(made.place, saved)
    whole = reading.act(field)
    if whole.status:
        raise RuntimeError(f"{field.kind}, {made.name}: cannot be read undamaged\n{whole.err}")
    expected = reading.answer(field, whole)
    canary = field.root.parent / "canary"
    for kind, paths in kinds(saved).items():
        row = f"{field.kind}, {made.name}, {kind}"
        for number in range(count):
            path = paths[number % len(paths)]
            raw = path.read_bytes()
            what, content = list(damages(raw, count, draw))[number]
            made.remove()
            keep(saved, made.place)
            put(made.place / path.relative_to(saved) if saved.is_dir() else made.place, content)
            judge(field, reading, reading.act(field), expected, row, f"{path.name}: {what}", tally, kind)
        made.remove()
        keep(saved, made.place)
        path = made.place / paths[0].relative_to(saved) if saved.is_dir() else made.place
        path.write_bytes(pickle.dumps(Bomb(canary)))
        done = reading.act(field)
        fell = "THE PAYLOAD RAN" if canary.exists() else done.fault
        canary.unlink(missing_ok=True)
        tally.add(f"{field.kind}, {made.name}, pickles", "refused" if done.status else "harmless", fell=fell)
        tally.show(row)
    made.remove()


def keep(source: Path, place: Path) -> None:
    """Copy a file or folder."""
    shutil.copytree(source, place, symlinks=True) if source.is_dir() else shutil.copyfile(source, place)


def kinds(place: Path) -> dict[str, list[Path]]:
    """Files by what they are: numbers in their names do not count."""
    if place.is_file():
        return {place.name: [place]}
    found: dict[str, list[Path]] = {}
    for path in sorted(place.rglob("*")):
        if (
            path.is_file()
            and path.stat().st_size
            and not path.name.startswith(".")
            and path.suffix not in (".html", ".log")
        ):
            found.setdefault("".join(c for c in path.name if not c.isdigit()), []).append(path)
    return found


def attack(field: Field, tally: Tally, every: int, count: int, draw: random.Random, only: str = "") -> None:
    """All of one family."""
    for made in things(field):
        if re.search(only, f"{field.kind}, {made.name}"):
            if every and not made.until:
                stopped(field, made, tally, every)
            if count:
                harmed(field, made, tally, count, draw)


def main() -> int:
    """Make, stop, damage, judge."""
    chosen, work = options(__doc__, count=20, every=1)
    tally, draw = Tally("beside runs"), random.Random(chosen.seed)
    for field in fields(chosen.families, work):
        attack(field, tally, chosen.every, chosen.count, draw, chosen.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
