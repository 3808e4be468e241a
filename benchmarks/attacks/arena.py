"""Where attacks happen: a tiny run of every family in a folder, and commands in forked children of one warm process.

A fork costs milliseconds where a start of Python with torch costs seconds, so hundreds of commands take minutes. The parent
itself computes nothing: only children train.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
for place in (ROOT / "tests" / "conformance", ROOT / "tests", ROOT / "src", ROOT):
    sys.path.insert(0, str(place))

KINDS = ("clauses", "embed", "images", "lm", "sar")
LIMIT = 120.0  # seconds of one command
MEMORY = 16 << 30  # bytes of address space of one command: what asks for more must be refused, or fails here


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit status (minus the signal where one killed it), what it printed, how long it took."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def fault(self) -> str | None:
        """Why this is no way to end, whatever was asked: a traceback, a signal, no end at all, a refusal without a word."""
        if "Traceback (most recent call last)" in self.err or "Traceback (most recent call last)" in self.out:
            lines = [line for line in self.err.strip().splitlines() if line.strip()]
            return f"traceback: {lines[-1][:160] if lines else ''}"
        if self.status == -signal.SIGALRM:
            return f"no end within {LIMIT:.0f} s"
        if self.status < 0:
            return f"killed by signal {-self.status}"
        if self.status not in (0, 2, 3):
            return f"status {self.status}"
        if self.status and not self.err.strip():
            return f"status {self.status} without a word"
        return None

    @property
    def named(self) -> bool:
        """A refusal in words, with status 2 (or 3: a teacher at chance)."""
        return self.fault is None and self.status in (2, 3)


def call(
    function: Callable[[], Any], *, limit: float = LIMIT, kill_after: float | None = None, memory: int | None = MEMORY
) -> Outcome:
    """Carry out a function in a forked child; its result is the exit status.

    Args:
        function: gives a status (None is 0).
        limit: seconds, after which the child is ended.
        kill_after: seconds, after which the child is killed as a power cut would.
        memory: bytes of address space.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setpgid(0, 0)
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_REAL, limit)
                if memory is not None:
                    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.stdin = open(os.devnull)  # noqa: SIM115
                status = function() or 0
            except SystemExit as error:
                status = error.code if isinstance(error.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                with contextlib.suppress(BaseException):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(status)
        if kill_after is not None:
            while time.monotonic() - start < kill_after and os.waitpid(child, os.WNOHANG) == (0, 0):
                time.sleep(0.002)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        except ChildProcessError:  # it ended before the kill
            status = 0
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return Outcome(status, texts[0], texts[1], time.monotonic() - start)


def command(*words: Any, **choices: Any) -> Outcome:
    """A command of the library, as a user types it."""

    def run() -> int:
        from stillhouse.cli.main import main

        return main([str(word) for word in words])

    return call(run, **choices)


@dataclass
class Field:
    """The tiny run of one family: its data, teacher and configuration in `root`, its finished run in `root/run`."""

    kind: str
    root: Path

    @property
    def yaml(self) -> Path:
        """The run as a file."""
        return self.root / "case.yaml"

    @property
    def run(self) -> Path:
        """The finished run."""
        return self.root / "run"

    def case(self) -> Any:
        """The case of the conformance suite (made, not made anew)."""
        from cases import CASES

        case = CASES[self.kind].__new__(CASES[self.kind])
        case.root = self.root
        if self.kind == "sar":
            case.data_file()
        return case

    def distill(self, out: Path, *more: Any, **choices: Any) -> Outcome:
        """The run from its file."""
        return command("distill", self.yaml, "--out", out, "--quiet", *more, **choices)

    def saved(self) -> Path:
        """A copy of everything, to go back to."""
        place = self.root.with_name(f"{self.root.name}.saved")
        if not place.exists():
            shutil.copytree(self.root, place, symlinks=True)
        return place

    def restore(self) -> None:
        """Put everything back as it was when `saved` was called."""
        place = self.saved()
        shutil.rmtree(self.root)
        shutil.copytree(place, self.root, symlinks=True)


def warm() -> None:
    """Import what the commands need, so that children find it ready."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    import importlib

    from stillhouse.families import FAMILIES

    modules = [f"stillhouse.families.{kind}.family" for kind in FAMILIES]
    modules += ["stillhouse.cli.main", "stillhouse.core.experiment", "cases", "stillhouse.cli.show", "tokenizers"]
    modules += [f"stillhouse.families.{kind}.commands" for kind in ("embed", "lm", "sar", "clauses")]
    modules += ["timm", "torchmetrics", "tensorboard", "torch.utils.tensorboard", "onnxruntime", "transformers"]
    modules += ["stillhouse.families.sar.run", "stillhouse.families.lm.run", "lightning.fabric", "stillhouse.recipes"]
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def fields(kinds: Sequence[str], work: Path, *, finished: bool = True) -> Iterator[Field]:
    """The tiny runs, made where they are not there yet."""
    for kind in kinds:
        field_ = Field(kind, work / kind / "case")
        if not (field_.root / "ready").exists():
            shutil.rmtree(field_.root.parent, ignore_errors=True)
            made = call(lambda f=field_: _make(f), limit=600, memory=None)
            if made.status:
                raise RuntimeError(f"{kind}: the case could not be made\n{made.out}{made.err}")
            (field_.root / "ready").touch()
        if finished and not (field_.run / "report.html").exists():
            shutil.rmtree(field_.run, ignore_errors=True)
            made = field_.distill(field_.run, limit=600)
            if made.status:
                raise RuntimeError(f"{kind}: the run failed\n{made.out}{made.err}")
        yield field_


def _make(field_: Field) -> None:
    from cases import CASES

    CASES[field_.kind](field_.root).file()


@dataclass
class Tally:
    """What was tried and what fell, by row and column."""

    title: str
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    fallen: list[str] = field(default_factory=list)

    def add(self, row: str, verdict: str, *, fell: str | None = None) -> None:
        """Count one attempt; `fell` says what went wrong."""
        self.counts.setdefault(row, Counter())["FELL" if fell else verdict] += 1
        if fell:
            self.fallen.append(f"{row}: {fell}")
            print(f"  FELL {row}: {fell}".encode(errors="backslashreplace").decode(), flush=True)

    def show(self, row: str) -> None:
        """Print the counts of a row, so that a run which is stopped has said how far it came."""
        if row in self.counts:
            print(f"{row}: {', '.join(f'{n} {name}' for name, n in self.counts[row].items())}", flush=True)

    def finish(self) -> int:
        """Print the table; 1 where something fell."""
        columns = sorted({name for row in self.counts.values() for name in row}, key=lambda x: (x == "FELL", x))
        width = max([len(row) for row in self.counts] or [4])
        print(f"\n{self.title}")
        print("  ".join([" " * width, *columns, "all"]))
        for row, found in self.counts.items():
            cells = [str(found[name] or ".").rjust(len(name)) for name in columns]
            print("  ".join([row.ljust(width), *cells, str(sum(found.values())).rjust(3)]))
        total = sum(sum(row.values()) for row in self.counts.values())
        print(f"{total} attempts, {len(self.fallen)} fell")
        return 1 if self.fallen else 0


def options(description: str | None, **defaults: int) -> tuple[argparse.Namespace, Path]:
    """The options that all attacks share, and the working folder."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="rows whose name this expression finds")
    parser.add_argument("--work", type=Path, help="folder for the tiny runs, kept [a temporary one]")
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    chosen = parser.parse_args()
    work = chosen.work or Path(tempfile.mkdtemp(prefix="attacks-"))
    work.mkdir(parents=True, exist_ok=True)
    work = work.resolve()
    os.environ["STILLHOUSE_CACHE"] = str(work / "cache")
    warm()
    return chosen, work
