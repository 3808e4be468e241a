"""Folders that cannot be written: one clear line, status 2, nothing left; what only reads such a folder answers as ever.

Folders lose their write bits, and the commands are begun without root's right to ignore that; where a file system can be mounted,
also on one that is mounted for reading only.

    python -m benchmarks.attacks.read_only --work /tmp/attacks
    python -m benchmarks.attacks.read_only --families lm --only cache
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.attacks.arena import Field, Outcome, Tally, call, command, fields, options
from benchmarks.attacks.kills import ends

CANNOT = re.compile(r"cannot (write|be written|make)|not writable|Permission denied|Read-only file system")
FORMS = {"lm": "packed", "sar": "onnx", "embed": "numpy", "images": "torch", "clauses": "json"}


def without_rights(*words: Any) -> Outcome:
    """A command as a user types it who is not root, or is root without the right to ignore write bits."""

    def run() -> int:
        from stillhouse.cli.main import main

        if os.geteuid() == 0:
            drop_override()
        return main([str(word) for word in words])

    return call(run)


def drop_override() -> None:
    """Take CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH from this process: write bits count for root too."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    for number in (0, 1):
        sets[number] &= ~0b110
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


@contextlib.contextmanager
def bits(place: Path) -> Iterator[Callable[..., Outcome]]:
    """A folder and all below it without write bits; gives how commands are begun."""
    paths = [place, *place.rglob("*")]
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in paths if not path.is_symlink()}
    for path, mode in modes.items():
        path.chmod((mode | 0o444 | (0o111 if path.is_dir() else 0)) & ~0o222)
    try:
        yield without_rights
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@contextlib.contextmanager
def mounted(place: Path) -> Iterator[Callable[..., Outcome]]:
    """The same folder, mounted onto itself for reading only."""
    subprocess.run(["mount", "--bind", place, place], check=True, capture_output=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True, capture_output=True)
        yield command
    finally:
        subprocess.run(["umount", place], check=True, capture_output=True)


def ways(place: Path) -> dict[str, Callable[[Path], Any]]:
    """How a folder can be made read-only here."""
    try:
        with mounted(place):
            return {"bits": bits, "mount": mounted}
    except (OSError, subprocess.CalledProcessError):
        print("  nothing can be mounted here: write bits only")
        return {"bits": bits}


def tree(place: Path) -> dict[str, bytes | None]:
    """All files and folders."""
    return {str(p.relative_to(place)): p.read_bytes() if p.is_file() else None for p in sorted(place.rglob("*"))}


def writers(field: Field, shut: Path) -> Iterator[tuple[str, list[Any]]]:
    """Commands that write into `shut`, which holds a copy of the run in `run` and an empty folder."""
    yield "a run, new folder", ["distill", field.yaml, "--out", shut / "new", "--quiet"]
    yield "a run, folder that is there", ["distill", field.yaml, "--out", shut / "empty", "--quiet"]
    yield "a run, resumed", ["distill", field.yaml, "--out", shut / "run", "--quiet", "--resume"]
    yield "the page", ["report", shut / "run"]
    yield "a page of two runs", ["compare", shut / "run", field.run, "--out", shut / "page"]
    yield "an export", ["export", field.run, "--to", FORMS[field.kind], "--out", shut / "given"]
    yield "an export beside the student", ["export", shut / "run", "--to", FORMS[field.kind]]
    yield "a sweep", ["sweep", field.yaml, "--set", "training.learning_rate=0.001,0.002", "--out", shut / "sweep"]
    asked = field.root.parent / "open" / ("asked.txt" if field.kind == "lm" else "asked.npy")
    answers = "answers.npy" if field.kind in ("embed", "sar") else "answers.jsonl"
    yield "answers", ["predict", field.run, asked, "--out", shut / answers]
    if field.kind != "embed":
        parts = [field.root.parent / "open" / name for name in ("part-1", "part-2")]
        yield "a cache", ["cache", field.yaml, "--out", shut / "cache", "--quiet"]
        yield "a cache, half written", ["cache", field.yaml, "--out", shut / "part", "--quiet"]
        yield "caches, merged", ["cache", "merge", *parts, "--out", shut / "merged"]
    if field.kind in ("images", "clauses"):
        yield "a teacher", ["train-teacher", field.root / "teacher.yaml", "--out", shut / "teacher", "--quiet"]
    if field.kind == "embed":
        yield "an embedding's export", ["export", field.run, "--to", "numpy", "--out", shut / "given"]
    if field.kind == "lm":
        yield "a text's export", ["export", field.run / "student", "--to", "packed", "--out", shut / "given"]
        ids = ["--set", f"corpus.cache={shut / 'ids'}", "--out", field.root.parent / "open" / "run-of-ids", "--quiet"]
        yield "ids of a text", ["distill", field.yaml, *ids]


def readers(field: Field, shut: Path) -> Iterator[tuple[str, list[Any]]]:
    """Commands that only read what is shut."""
    yield "evaluate", ["evaluate", shut / "run"]
    yield "compare", ["compare", shut / "run", field.run, "--json"]
    if field.kind != "sar":  # its answers are arrays, which are written
        asked = "asked.txt" if field.kind == "lm" else "asked.npy"
        yield "predict", ["predict", shut / "run", field.root.parent / "open" / asked]
    if field.kind != "embed":
        yield "cache show", ["cache", "show", shut / "cache"]


def ready(field: Field) -> tuple[Path, Path]:
    """A folder that will be shut and one that stays open, for every command of a family."""
    import numpy as np

    shut, open_ = field.root.parent / "shut", field.root.parent / "open"
    for place in (shut, open_):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    open_.chmod(0o777)
    (shut / "empty").mkdir()
    shutil.copytree(field.run, shut / "run", symlinks=True)
    draw = np.random.default_rng(0)
    if field.kind == "lm":
        (open_ / "asked.txt").write_text("the river sang over a stone .\n")
    elif field.kind == "embed":
        np.save(open_ / "asked.npy", np.load(field.root / "x.npy")[:20])
    elif field.kind == "sar":
        lines = draw.normal(size=(2, 160, 2)).astype(np.float32)
        np.save(open_ / "asked.npy", lines.view(np.complex64)[..., 0])
    else:
        np.save(open_ / "asked.npy", draw.integers(256, size=(9, 8, 8)).astype(np.uint8))
    if field.kind != "embed":
        for number in (1, 2):
            words = ["cache", field.yaml, "--out", open_ / f"part-{number}", "--shard", f"{number}/2", "--quiet"]
            if (done := command(*words)).status:
                raise RuntimeError(f"{field.kind}: no share of a cache: {done.err}")
        left = 2 if command("cache", "show", open_ / "part-1").status == 0 else 1  # a small cache has one shard
        shutil.copytree(open_ / f"part-{left}", shut / "part")
        if (done := command("cache", field.yaml, "--out", shut / "cache.whole", "--quiet")).status:
            raise RuntimeError(f"{field.kind}: no cache: {done.err}")
    return shut, open_


def refused(row: str, what: str, done: Outcome, tally: Tally, changed: bool) -> None:
    """One clear line, status 2, nothing written."""
    lines = [line for line in done.err.strip().splitlines() if line.strip()]
    fell: str | None
    if done.fault or done.status != 2:
        fell = done.fault or f"status {done.status}: {(lines or done.out.strip().splitlines() or [''])[-1][:160]}"
    elif len(lines) != 1 or not CANNOT.search(lines[0]):
        fell = f"{len(lines)} lines: {lines[:3]}"
    else:
        fell = "something was written" if changed else None
    tally.add(row, "named", fell=f"{what}: {fell}" if fell else None)


def attack(field: Field, tally: Tally, only: str) -> None:
    """Write into what is shut, read what is shut, and run with data, teacher and caches that are shut."""
    shut, open_ = ready(field)
    for name, way in ways(shut).items():
        for what, words in writers(field, shut):
            row = f"{field.kind}, {name}, written"
            if not re.search(only, f"{row}, {what}"):
                continue
            before = tree(shut), set(os.listdir(open_))
            with way(shut) as begin:
                done = begin(*words)
            refused(row, what, done, tally, (tree(shut), set(os.listdir(open_))) != before)
        if (shut / "cache.whole").exists():
            (shut / "cache.whole").rename(shut / "cache")
        for what, words in readers(field, shut):
            row = f"{field.kind}, {name}, read"
            if not re.search(only, f"{row}, {what}"):
                continue
            whole = command(*words)
            with way(shut) as begin:
                done = begin(*words)
            same = whole.out == done.out or "ms" in done.out  # measured times differ
            fell = done.fault or whole.fault or (done.err if done.status else None if same else "another answer")
            tally.add(row, "equal", fell=f"{what}: {fell[-200:]}" if fell else None)
        if (shut / "cache").exists():
            (shut / "cache").rename(shut / "cache.whole")
        taught(field, shut, open_, name, way, tally, only)
    for row in list(tally.counts):
        if row.startswith(f"{field.kind},"):
            tally.show(row)


def taught(
    field: Field, shut: Path, open_: Path, name: str, way: Callable[[Path], Any], tally: Tally, only: str
) -> None:
    """A run whose data and teacher are in a folder that cannot be written, and one from a cache in such a folder."""
    out, row = open_ / "learned", f"{field.kind}, {name}, learned from"
    cases: list[tuple[str, list[Any], Path]] = [("data and teacher", [], field.root)]
    if field.kind != "embed":
        key = "teacher_checkpoint" if field.kind == "sar" else "teacher.source"
        cases.append(("a cache", ["--set", f"{key}=cache:{shut / 'cache.whole'}", "--set", "arms=[kd]"], shut))
    for what, more, place in cases:
        if not re.search(only, f"{row}, {what}"):
            continue
        words = ["distill", field.yaml, "--out", out, "--quiet", *more]
        shutil.rmtree(out, ignore_errors=True)
        whole, expected = command(*words), ends(out)
        shutil.rmtree(out, ignore_errors=True)
        with way(place) as begin:
            done = begin(*words)
        fell = done.fault or whole.fault or ((done.err or whole.err)[-200:] if done.status or whole.status else None)
        fell = fell or (None if ends(out) == expected else "another answer")
        tally.add(row, "equal", fell=f"{what}: {fell}" if fell else None)
    shutil.rmtree(out, ignore_errors=True)


def main() -> int:
    """Shut folders, try."""
    chosen, work = options(__doc__)
    for place in (work, *work.parents[:0]):
        place.chmod(0o755)
    tally = Tally("read-only folders")
    for field in fields(chosen.families, work):
        attack(field, tally, chosen.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
