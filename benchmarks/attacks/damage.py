"""Flip bits in files, cut them off, delete them, then read: a named error, or provably the same answer, never another one.

Files of a finished run and of one that was killed half-way; readers are --resume, report, evaluate, predict, export, compare.

python -m benchmarks.attacks.damage --work /tmp/attacks            # 20 damages of every kind of file of every family
python -m benchmarks.attacks.damage --families lm --count 3 --only ids
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.attacks.arena import Field, Outcome, Tally, call, command, fields, options
from benchmarks.attacks.kills import timeless

Answer = Callable[[Field, Outcome], Any]
UNDAMAGED = 3  # readings that show what of an answer is measured anew each time; the last under clocks that run faster
FASTER = 7
NUMBER = re.compile(r"[-\d.e+ ]+")


@dataclass(frozen=True)
class Reading:
    """A way to read files of a run: a command, what it answers, and which files it reads.

    Attributes:
        name: of the way.
        act: reads.
        answer: what must not change.
        files: globs under the root of the field.
        before: made ready once, before anything is damaged.
        measure: makes ready a further undamaged reading, in which what is measured may be measured anew.
        may_note: a page that names the damaged file and leaves it out is right too, where all else is as it was.
    """

    name: str
    act: Callable[[Field], Outcome]
    answer: Answer
    files: tuple[str, ...]
    before: Callable[[Field], Any] = lambda field: None
    measure: Callable[[Field], Any] = lambda field: None
    may_note: bool = False


def evaluate() -> Reading:
    """The shipped student on its test split."""
    files = ("run/student/*.safetensors", "run/student/card.json", "run/student/*.json", "run/run.json", "data.npz")
    return Reading(
        "evaluate",
        lambda field: command("evaluate", field.run),
        lambda field, done: json.loads(done.out.strip().splitlines()[-1]),
        (*files, "x.npy", "ids/*/*", "text/test.txt", "run/*/*/*/predictions.npz"),
    )


def resume() -> Reading:
    """A finished run, put together again from its files."""
    files = ("run.json", "teacher.json", "graph.npz", "arms/*/seed-0/*.json", "arms/*/seed-0/*.npz")
    more = ("arms/*/seed-0/student.safetensors", "arms/*/seed-0/records.jsonl", "*.npz", "arms/*/seed-0/tokenizer.json")
    return Reading(
        "resume",
        lambda field: field.distill(field.run, "--resume"),
        lambda field, done: (
            timeless(json.loads((field.run / "summary.json").read_text())),
            page(field),
            *(p.read_bytes() for p in sorted(field.run.glob("student/*")) if p.suffix != ".json"),
        ),
        (
            *(f"run/{name}" for name in (*files, *more)),
            "teacher/*.safetensors",
            "teacher/*.json",
            "logits/*",
            "ids/*/*",
        ),
        measure=retrain,
        may_note=True,
    )


def retrain(field: Field) -> None:
    """Let what is finished be scored again."""
    for result in field.run.glob("arms/*/seed-0/result.json"):
        result.unlink()


def restart() -> Reading:
    """An arm whose training is done and whose result is missing: its checkpoint is read."""

    def unfinish(field: Field) -> None:
        for arm in field.run.glob("arms/*/seed-0"):
            if (arm / "checkpoint.pt").is_file():
                (arm / "result.json").unlink()

    return Reading(
        "checkpoint",
        lambda field: field.distill(field.run, "--resume"),
        lambda field, done: (
            timeless(json.loads((field.run / "summary.json").read_text())),
            records_of(field),
            *(p.read_bytes() for p in sorted(field.run.glob("student/*.safetensors"))),
        ),
        ("run/arms/*/seed-0/checkpoint.pt", "run/arms/*/seed-0/records.jsonl"),
        unfinish,
    )


def halfway() -> Reading:
    """A run that was killed inside its last training, when the first checkpoint of it was there; any file of it."""

    def killed(field: Field) -> None:
        def act() -> int:
            import os
            import signal

            from stillhouse.cli.main import main

            last, replace = field.case().config().arms[-1] if field.kind != "embed" else "student", os.replace

            def instead(source: Any, target: Any, **more: Any) -> None:
                replace(source, target, **more)
                if str(target).endswith(f"arms/{last}/seed-0/checkpoint.pt"):
                    os.kill(os.getpid(), signal.SIGKILL)

            os.replace = instead  # type: ignore[assignment]
            return main(["distill", str(field.yaml), "--out", str(field.run), "--quiet"])

        shutil.rmtree(field.run)
        done = call(act)
        if done.status != -9 or (field.run / "summary.json").exists():
            raise RuntimeError(f"{field.kind}: it was not killed half-way: {done}")

    return Reading(
        "half a run",
        lambda field: field.distill(field.run, "--resume"),
        lambda field, done: (
            figures(field),
            page(field),
            *(p.read_bytes() for p in shipped(field) if p.suffix != ".json"),
        ),
        ("run/**/*", "teacher/*.safetensors", "teacher/*.json", "logits/*"),
        killed,
        measure=retrain,
        may_note=True,
    )


def figures(field: Field) -> dict[str, Any]:
    """Weights and figures of every training, and the summary."""
    found: dict[str, Any] = {"summary": timeless(json.loads((field.run / "summary.json").read_text()))}
    for path in sorted(field.run.glob("arms/**/*")):
        if path.name == "result.json":
            found[str(path)] = timeless(json.loads(path.read_text()))
        elif path.suffix == ".safetensors":
            found[str(path)] = path.read_bytes()
    return found


def shipped(field: Field) -> list[Path]:
    """The files of the student that a run ships."""
    return [p for p in sorted((field.run / "student").glob("*")) if p.is_file()]


def predict() -> Reading:
    """The shipped student asked about inputs as a user has them."""
    import numpy as np

    def ask(field: Field) -> Outcome:
        return command("predict", field.run, field.root / inputs(field), "--out", field.root / answers(field))

    def answers(field: Field) -> str:
        return "answers.npy" if field.kind in ("embed", "sar") else "answers.jsonl"

    def inputs(field: Field) -> str:
        return "asked.txt" if field.kind == "lm" else "asked.npy"

    def write(field: Field) -> None:
        draw = np.random.default_rng(0)
        if field.kind == "lm":
            (field.root / "asked.txt").write_text("the river sang over a stone .\nand the river ran\n")
        elif field.kind == "embed":
            np.save(field.root / "asked.npy", np.load(field.root / "x.npy")[:20])
        elif field.kind == "sar":
            lines = draw.normal(size=(2, 160, 2)).astype(np.float32)
            np.save(field.root / "asked.npy", lines.view(np.complex64)[..., 0])
        else:
            np.save(field.root / "asked.npy", draw.integers(256, size=(9, 8, 8)).astype(np.uint8))

    def answer(field: Field, done: Outcome) -> Any:
        return ((field.root / answers(field)).read_bytes(),)

    return Reading("predict", ask, answer, ("run/student/*", "run/run.json"), write)


def export() -> Reading:
    """The shipped student written for other programs."""
    forms = {"lm": "packed", "sar": "onnx", "embed": "numpy", "images": "torch", "clauses": "torch"}

    def write(field: Field) -> Outcome:
        for place in field.root.glob("exported*"):
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        return command("export", field.run, "--to", forms[field.kind], "--out", field.root / "exported")

    def answer(field: Field, done: Outcome) -> Any:
        paths = [p for p in sorted(field.root.rglob("*")) if "exported" in p.relative_to(field.root).parts[0]]
        return tuple(p.read_bytes() for p in paths if p.is_file() and p.suffix != ".json")

    return Reading("exporting", write, answer, ("run/student/*", "run/run.json"))


def comparison() -> Reading:
    """The run beside a copy of itself."""

    def copy(field: Field) -> None:
        shutil.copytree(field.run, field.root / "other", symlinks=True)

    def answer(field: Field, done: Outcome) -> Any:
        found = timeless(json.loads(done.out))
        return ([{k: v for k, v in row.items() if k != "folder"} for row in found["runs"]],)

    def compare(field: Field) -> Outcome:
        done = command("compare", field.run, field.root / "other", "--json")
        named = not done.status and any(row["costless"] or row["changed"] for row in json.loads(done.out)["runs"])
        return replace(done, status=2, err=done.out) if named else done  # scores stay, and the file is named

    return Reading(
        "compare",
        compare,
        answer,
        ("run/*.json", "run/arms/*/seed-0/*.json", "run/arms/*/seed-0/*.npz", "run/arms/*/seed-0/*.safetensors"),
        copy,
    )


def report() -> Reading:
    """The page, made again."""
    files = ("run.json", "summary.json", "teacher.json", "*.npz", "*.json", "arms/*/seed-0/*.npz")
    return Reading(
        "report",
        lambda field: command("report", field.run),
        lambda field, done: page(field),
        tuple(f"run/{name}" for name in (*files, "arms/*/seed-0/records.jsonl", "arms/*/seed-0/result.json")),
        may_note=True,
    )


def exported(field: Field) -> Reading | None:
    """What other programs are given."""
    import numpy as np

    if field.kind == "embed":

        def encode() -> int:
            from stillhouse.core.checks import InputError
            from stillhouse.families.embed.export.numpy_embedder import InputError as Alone
            from stillhouse.families.embed.export.numpy_embedder import NumpyEmbedder

            try:
                codes = NumpyEmbedder.load(field.root / "export").encode(np.load(field.root / "x.npy")[:20])
            except (InputError, Alone) as error:
                return refused(error)
            print(codes.tobytes().hex())
            return 0

        globs: tuple[str, ...]
        made = command("export", field.run, "--to", "numpy", "--out", field.root / "export")
        globs, act = ("export/card.json", "export/*.safetensors"), encode
    elif field.kind == "lm":

        def write() -> int:
            from stillhouse.core.checks import InputError
            from stillhouse.families.lm.export.spiking_generator import SpikingGenerator

            try:
                found = SpikingGenerator.load(next((field.root / "export").glob("*.safetensors")))
                print([found.step(token).tobytes().hex() for token in (3, 5, 9, 17)])
            except InputError as error:
                return refused(error)
            return 0

        made = command("export", field.run / "student", "--to", "packed", "--out", field.root / "export")
        globs, act = ("export/*.safetensors",), write
    elif field.kind == "sar":

        def export() -> int:
            from stillhouse.families.sar.onnx import export_step
            from stillhouse.families.sar.saved import load_model

            (field.root / "export").mkdir(exist_ok=True)
            export_step(load_model(field.run)[0], field.root / "export" / "step.onnx")
            return 0

        def stream() -> int:
            from stillhouse.core.checks import InputError
            from stillhouse.families.sar.onnx import OnnxStream

            try:
                found = OnnxStream(field.root / "export" / "step.onnx")
                noise = np.random.default_rng(0).normal(size=(60, 1, found._shape[1])).astype(np.complex64)
                print([None if (y := found.step(line)) is None else y.tobytes().hex() for line in noise])
            except InputError as error:
                return refused(error)
            return 0

        made = call(export)
        globs, act = ("export/step.onnx",), stream
    else:
        return None
    if made.status:
        raise RuntimeError(f"{field.kind}: no export\n{made.err}")
    return Reading("export", lambda f: call(act), lambda f, done: done.out, globs)


def refused(error: Exception) -> int:
    """As the command line ends on a fault of the user's."""
    print(error, file=sys.stderr)
    return 2


def page(field: Field) -> str:
    """The report without times."""
    text = (field.run / "report.html").read_text(encoding="utf-8")
    return re.sub(r"20\d\d-\d\d-\d\d[T ]?[\d:]*|\d+(\.\d+)? (ms|s|min|seconds|minutes)\b", "", text)


@contextlib.contextmanager
def faster_clocks() -> Iterator[None]:
    """Clocks of the commands begun here run faster: a short time is rounded to the same digits twice, and counts as steady."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("monotonic", "perf_counter", "process_time"):
            begun, clock = getattr(time, name)(), getattr(time, name)
            patched.setattr(time, name, lambda clock=clock, begun=begun: begun + FASTER * (clock() - begun))
        yield


def varying(answers: Sequence[Any]) -> list[set[int]] | None:
    """Which cells of the pages in some answers differ by themselves, where those are numbers; None where anything else does."""
    parts = [answer if isinstance(answer, tuple) else (answer,) for answer in answers]
    hide: list[set[int]] = []
    for same in zip(*parts, strict=True):
        hide.append(set())
        if all(other == same[0] for other in same):
            continue
        if not all(isinstance(text, str) for text in same):
            return None
        cells = [text.split(">") for text in same]
        if len({len(row) for row in cells}) > 1:
            return None
        for number, column in enumerate(zip(*cells, strict=True)):
            if len(set(column)) > 1:
                if len({NUMBER.sub("", cell) for cell in column}) > 1:
                    return None
                hide[-1].add(number)
    return hide


def hidden(answer: Any, hide: Sequence[set[int]]) -> Any:
    """An answer whose varying cells have no numbers."""
    parts = answer if isinstance(answer, tuple) else (answer,)
    found = []
    for part, cells in zip(parts, hide, strict=True):
        if cells:
            part = ">".join(NUMBER.sub("", c) if n in cells else c for n, c in enumerate(part.split(">")))
        found.append(part)
    return tuple(found)


def records_of(field: Field) -> list[Any]:
    """All lines of all trainings, without times."""
    paths = sorted(field.run.glob("arms/*/seed-0/records.jsonl"))
    return [timeless([json.loads(line) for line in path.read_text().splitlines()]) for path in paths]


def damages(raw: bytes, count: int, draw: random.Random) -> Iterator[tuple[str, bytes | None]]:
    """Cut to nothing, deleted (None), cut in half; then bits flipped anywhere, and every fifth time a cut."""
    for number in range(count):
        if number == 1:
            yield "deleted", None
        elif number in (0, 2) or number % 5 == 4:
            size = {0: 0, 2: len(raw) // 2}.get(number, draw.randrange(len(raw)))
            yield f"cut to {size} of {len(raw)} bytes", raw[:size]
        else:
            at, bit = draw.randrange(len(raw)), draw.randrange(8)
            yield f"bit {bit} of byte {at} flipped", raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :]


def put(path: Path, content: bytes | None) -> None:
    """Write a damaged file, or take it away."""
    path.unlink() if content is None else path.write_bytes(content)


def kinds_of(field: Field, reading: Reading) -> dict[str, list[Path]]:
    """The files of a reading by kind: those of one name are of one kind."""
    found: dict[str, list[Path]] = {}
    for glob in reading.files:
        for path in sorted(field.root.glob(glob)):
            if path.is_file() and path.stat().st_size and not path.name.startswith(".") and path.name != ".lock":
                files = found.setdefault("events" if path.name.startswith("events.") else path.name, [])
                if path not in files:
                    files.append(path)
    return found


def attack(field: Field, reading: Reading, tally: Tally, count: int, draw: random.Random, only: str) -> None:
    """Damage every kind of file that a reading reads."""
    field.restore()
    reading.before(field)
    ready = field.root.with_name("ready")
    place = Field(field.kind, field.root)
    shutil.rmtree(ready, ignore_errors=True)
    shutil.copytree(field.root, ready, symlinks=True)
    rows = {
        f"{field.kind}, {reading.name}, {name}": paths
        for name, paths in kinds_of(Field(field.kind, ready), reading).items()
    }
    rows = {row: paths for row, paths in rows.items() if re.search(only, row)}
    if not rows:
        return
    found = []
    for number in range(UNDAMAGED):
        shutil.rmtree(field.root)
        shutil.copytree(ready, field.root, symlinks=True)
        if number:
            reading.measure(place)
        with faster_clocks() if number == UNDAMAGED - 1 else contextlib.nullcontext():
            whole = reading.act(place)
        if whole.status:
            raise RuntimeError(f"{field.kind}, {reading.name}: fails undamaged\n{whole.err}")
        found.append(reading.answer(place, whole))
    steady, expected = reading.answer, found[0]
    if any(
        other != expected for other in found
    ):  # a page with measured times differs by itself: all but its numbers count
        hide = varying(found)
        hide = varying(found[:-1]) if hide is None else hide  # a chart of times may have other ticks under other clocks
        if hide is None:
            tally.add(
                f"{field.kind}, {reading.name}", "", fell="its answer differs by itself, so nothing can be judged"
            )
            return
        print(f"  {field.kind}, {reading.name}: {sum(map(len, hide))} measured numbers of its page are not compared")
        expected = hidden(expected, hide)
        reading = replace(reading, answer=lambda f, d: hidden(steady(f, d), hide))
    for row, paths in rows.items():
        name = row.rpartition(", ")[2]
        for number, (what, raw) in enumerate(_spread(paths, count, draw)):
            path = paths[number % len(paths)]
            shutil.rmtree(field.root)
            shutil.copytree(ready, field.root, symlinks=True)
            put(field.root / path.relative_to(ready), raw)
            done = reading.act(place)
            judge(place, reading, done, expected, row, f"{path.relative_to(ready)}: {what}", tally, name)
        tally.show(row)


def _spread(paths: list[Path], count: int, draw: random.Random) -> Iterator[tuple[str, bytes | None]]:
    series = [damages(path.read_bytes(), -(-count // len(paths)), draw) for path in paths]
    for number in range(count):
        found = next(series[number % len(paths)], None)
        if found is not None:
            yield found


def judge(
    field: Field, reading: Reading, done: Outcome, expected: Any, row: str, what: str, tally: Tally, name: str
) -> None:
    """A named error or the same answer."""
    if done.fault:
        tally.add(row, "", fell=f"{what}: {done.fault}")
    elif done.status:
        tally.add(row, "named")
    else:
        try:
            got = reading.answer(field, done)
        except Exception as error:
            tally.add(row, "", fell=f"{what}: status 0 and no answer: {error!r}")
            return
        same = got == expected
        noted = (
            reading.may_note and not same and beyond_pages(got) == beyond_pages(expected) and named_on_page(field, name)
        )
        fell = None if same or noted else f"{what}: another answer, status 0"
        tally.add(row, "same" if same else "noted", fell=fell)


def beyond_pages(answer: Any) -> list[Any]:
    """The parts of an answer that are no page: weights, figures, records."""
    return [part for part in (answer if isinstance(answer, tuple) else (answer,)) if not isinstance(part, str)]


def named_on_page(field: Field, name: str) -> bool:
    """Whether the page says of the damaged file that it is left out, changed or missing, or that the run is not finished."""
    text = page(field)
    unfinished = name == "summary.json" and "This run is not finished" in text
    return unfinished or re.search(rf"{re.escape(name)} (is left out|was changed|is not|is missing)", text) is not None


def main() -> int:
    """Damage, read, judge."""
    chosen, work = options(__doc__, count=20)
    tally, draw = Tally("damage"), random.Random(chosen.seed)
    for field in fields(chosen.families, work):
        field.saved()
        for reading in (evaluate(), resume(), restart(), report(), halfway(), predict(), export(), comparison()):
            attack(field, reading, tally, chosen.count, draw, chosen.only)
        field.restore()
        if (more := exported(field)) is not None:
            shutil.rmtree(field.saved())
            field.saved()
            attack(field, more, tally, chosen.count, draw, chosen.only)
        field.restore()
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
