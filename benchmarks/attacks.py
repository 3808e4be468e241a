"""Bad input, damage, kills, payloads: one clear line, or the same answer; nothing half-written, nothing carried out.

    python -m benchmarks.attacks                           every case of every task, about 40 minutes on two cores
    python -m benchmarks.attacks --tasks embed --sample 1   one of each kind: what the tests run

Commands run in forked children of one warm process: hundreds of them take minutes. A command may end with status 0, or with 2 (3:
a teacher at chance) and a few lines that say why; a traceback, a signal, no end within `LIMIT` and a silent refusal are failures.
What is read from a damaged file must be refused or be what it was; a killed run, resumed, must end equal to the bit.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import pickle
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
for place in (ROOT / "tests" / "conformance", ROOT / "tests", ROOT / "src", ROOT):
    sys.path.insert(0, str(place))

KINDS = ("clauses", "embed", "images", "lm", "sar")
LIMIT, MEMORY = 120, 16 << 30  # seconds and bytes of address space of one command
TIMED = {"ms", "seconds", "started", "threads", "command", "machine", "versions", "ended", "seal", "sha256"}
ABSURD = (-1, 0, 3_000_000_000, 10**12, 1e308, "nan", "abc", "[1, 2]", "{a: 1}", "true")
LONG = ("epochs", "seeds", "steps", "tokens", "patience")  # large numbers of these are a long run, not a senseless one
SCRIPTS = ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>')
LIVE = ("<script>alert", "<img src=x", "<svg onload")

# what a user may type; {root} folder of data, {run} a finished run, {yaml} its file, {text} a text under a name of weights,
# {bomb} a pickle that would run a command, {new} a path that is free
COMMANDS = {
    "clauses": """vision --transformer-patch 99 --out {new}
vision --models tm model.tm.clauses=1000000000000 --out {new}
vision --epochs -1 --out {new}
vision --models zzz --out {new}
vision --distill-teacher-checkpoint {text} --out {new}
distill digits student.patch_size=99 --out {new}
distill digits student.clauses=1000000000000 --out {new}
distill digits training.warmup_epochs=1e308 --out {new}""",
    "images": """distill {yaml} teacher.source=ckpt:{text} --out {new}
distill {yaml} teacher.source=ckpt:{root} --out {new}
distill {yaml} teacher.source=ckpt:{bomb} --out {new}
distill {yaml} teacher.source=timm:zzz --out {new}
distill {yaml} data.root={text} --out {new}
distill {yaml} data.name=folder --out {new}
distill {yaml} student.architecture=zzz --out {new}
train-teacher {yaml} --out {new}
distill {text} --out {new}
check {text}
evaluate {root}
evaluate {run} --data zzz
report {root}
report /nowhere
distill --zzz""",
    "embed": """embed explore {run} --limit -5
embed explore {run} --out /proc/x/y.html
evaluate {run} --limit 0
evaluate {run} --vectors {bomb}
predict {run} {root}/x.npy --out {new}.zzz
predict {run} {text} --out {new}.npy
embed distill {text} --out {new}
embed distill {root}/x.npy --teacher_checkpoint {text} --out {new}
embed distill {root}/x.npy data.key=zzz --out {new}
embed capture {text} --model {root} --out {new}
export {run} --to numpy --out /proc/x""",
    "lm": """evaluate {run}/student --tokens -1
evaluate {run}/student --source /nowhere
evaluate {text}
lm generate {run}/student --prompt the --tokens 0
lm generate {run}/student --prompt the --temperature -1
export {root} --to packed --out {new}
distill {yaml} corpus.tokenizer=bpe:x --out {new}
distill {yaml} teacher.source={bomb} --out {new}
distill {yaml} corpus.source={text} --out {new}""",
    "sar": """sar stream {run} --lines -1
sar stream {run} --input {text}
sar stream {run} --lines 100 --output /proc/x.npy
sar compare --length 0
sar simulate --out {new}.npz --preset zzz
sar train --config {text} --out {new}
distill {yaml} teacher_checkpoint={bomb} --out {new}
distill {yaml} data.train=1000000000000 --out {new}
distill {yaml} data.preset=zzz --out {new}""",
}
TEXTS = {  # files in the place of a run's YAML
    "empty": "",
    "a list": "[1, 2]",
    "unclosed": "data: {name: digits",
    "3000 nested lists": "a: " + "[" * 3000 + "]" * 3000,
    "binary": "\x00\x01\x02",
    "a tag that runs": "name: !!python/object/apply:os.system ['touch {canary}']",
}
CHANGES: dict[str, dict[str, Any]] = {  # laid over a run's file
    "data null": {"data": None},
    "student a list": {"student": [1]},
    "no arms": {"arms": []},
    "an unknown arm": {"arms": ["zzz"]},
    "an unknown key": {"zzz": 1},
    "a name that leads elsewhere": {"name": "../../../escaped"},
}
SPOILED = ("[]", "{}", "null", '{"config": 3}', "[" * 3000, '"x"', "\xff")  # in the place of a run's own JSON
JSONS = ("run.json", "summary.json", "teacher.json", "arms/*/seed-0/result.json", "student/card.json")
DAMAGED = ("student/*", "arms/*/seed-0/*.npz", "arms/*/seed-0/*.json", "arms/*/seed-0/*.safetensors", "*.json")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    said: str
    seconds: float

    @property
    def failure(self) -> str | None:
        """Why this is no way to end, whatever was asked."""
        if "Traceback (most recent call last)" in self.said:
            return f"traceback: {self.said.strip().splitlines()[-1][:160]}"
        if self.status not in (0, 2, 3):
            return f"no end within {LIMIT} s" if self.status == -signal.SIGALRM else f"status {self.status}"
        if self.status and not self.said.strip():
            return f"status {self.status} without a word"
        lines = len(self.said.strip().splitlines())
        return f"{lines} lines instead of one" if self.status and lines > 24 else None


def call(function: Callable[[], Any], *, kill_after: float | None = None, limit: float = LIMIT) -> Outcome:
    """Carry out a function in a forked child; its result is the exit status."""
    with tempfile.TemporaryFile() as said:
        start = time.monotonic()
        if (child := os.fork()) == 0:
            status: int | None = 1
            try:
                signal.setitimer(signal.ITIMER_REAL, limit)
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
                for number in (1, 2):
                    os.dup2(said.fileno(), number)
                status = function() or 0
            except SystemExit as error:
                status = error.code if isinstance(error.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                with contextlib.suppress(BaseException):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(status if isinstance(status, int) else 1)
        if kill_after is not None:
            while time.monotonic() - start < kill_after and os.waitpid(child, os.WNOHANG) == (0, 0):
                time.sleep(0.002)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        except ChildProcessError:  # it ended before the kill
            status = 0
        said.seek(0)
        return Outcome(status, said.read().decode(errors="replace"), time.monotonic() - start)


def command(*words: Any, **choices: Any) -> Outcome:
    """A command of the library, as a user types it."""

    def run() -> Any:
        from stillhouse.cli.main import main

        return main([str(word) for word in words])

    return call(run, **choices)


def timeless(value: Any) -> Any:
    """The same without what differs between any two runs."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMED and not re.search(r"^ms_|_seconds$", k)}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


def ends(run: Path) -> dict[str, Any]:
    """What a run left that depends on no kill: weights to the bit, records and figures without times."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.name == "student.safetensors":
            found[name] = path.read_bytes()
        elif path.name in ("result.json", "summary.json"):
            found[name] = timeless(json.loads(path.read_text()))
        elif path.name == "records.jsonl":
            found[name] = [timeless(json.loads(line)) for line in path.read_text().splitlines()]
    return found


@dataclass
class Tally:
    """What was tried and what fell."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, row: str, what: str, done: Outcome, fell: str | None = None) -> None:
        """Count one attempt."""
        fell = done.failure or fell
        self.counts.setdefault(row, Counter())["FELL" if fell else "refused" if done.status else "went on"] += 1
        if fell:
            print(f"  FELL {row}, {what}: {fell}".encode(errors="backslashreplace").decode(), flush=True)


class Attack:
    """The tiny run of one task, and all that is done to it."""

    def __init__(self, kind: str, work: Path, tally: Tally, draw: random.Random, sample: int | None) -> None:
        from cases import CASES

        self.kind, self.tally, self.draw, self.sample = kind, tally, draw, sample
        self.root, self.near = work / kind / "case", work / kind
        self.run, self.yaml, self.new = self.root / "run", self.root / "case.yaml", self.near / "new"
        made = call(lambda: CASES[kind](self.root).file() and None, limit=600)
        made = self.distill(self.run, limit=600) if not made.status else made
        if made.status:
            raise RuntimeError(f"{kind}: no run to attack\n{made.said}")
        shutil.copytree(self.root, self.near / "saved", symlinks=True)
        self.canary, self.bomb, self.text = self.near / "canary", self.near / "bomb.pt", self.near / "text.safetensors"
        self.bomb.write_bytes(pickle.dumps(Bomb(self.canary)))
        self.text.write_text("a text, and nothing else\n" * 3)

    def distill(self, out: Path, *more: Any, **choices: Any) -> Outcome:
        """The run from its file."""
        return command("distill", self.yaml, "--out", out, "--quiet", *more, **choices)

    def restore(self) -> None:
        """Put everything back."""
        shutil.rmtree(self.root)
        shutil.copytree(self.near / "saved", self.root, symlinks=True)

    def some(self, cases: Any) -> list[Any]:
        """All cases, or the sample of them."""
        found = list(cases)
        return found if self.sample is None else self.draw.sample(found, min(self.sample, len(found)))

    def judge(self, row: str, what: str, done: Outcome, fell: str | None = None) -> None:
        """Count, see that no payload ran and that a refused command left nothing."""
        if self.canary.exists():
            self.canary.unlink()
            fell = "THE PAYLOAD RAN"
        if done.status and self.new.exists() and any(p.is_file() for p in self.new.rglob("*")):
            fell = fell or f"refused, and left {[p.name for p in self.new.rglob('*')][:4]}"
        self.tally.add(f"{self.kind}, {row}", what, done, fell)
        for left in (self.new, *self.near.glob("new.*")):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)

    def commands(self) -> None:
        """Senseless words of every verb."""
        names = {"root": self.root, "run": self.run, "yaml": self.yaml, "text": self.text, "new": self.new}
        for line in self.some(COMMANDS[self.kind].splitlines()):
            words = [word.format(bomb=self.bomb, **names) for word in line.split(" ")]
            self.judge("commands", line, command(*words))

    def files(self) -> None:
        """YAML that is broken or says something else."""
        config = yaml.safe_load(self.yaml.read_text())
        changed = {what: yaml.safe_dump({**config, **change}) for what, change in CHANGES.items()}
        for what, text in self.some({**TEXTS, **changed}.items()):
            (self.near / "bad.yaml").write_text(text.replace("{canary}", str(self.canary)))
            self.judge("YAML", what, command("distill", self.near / "bad.yaml", "--out", self.new, "--quiet"))

    def settings(self) -> None:
        """Numbers of the run that are out of all bounds."""
        for path in self.some(numbers(yaml.safe_load(self.yaml.read_text()))):
            value = self.draw.choice(ABSURD)
            self.judge("settings", f"{path}={value}", self.distill(self.new, f"{path}={value}"))

    def readings(self) -> Iterator[tuple[str, Callable[[], Outcome], Callable[[Outcome], Any]]]:
        """(name, command that reads the run, what it answers)."""
        yield "evaluate", lambda: command("evaluate", self.run), lambda done: timeless(json_in(done.said))
        yield "resume", lambda: self.distill(self.run, "--resume"), lambda done: ends(self.run)
        yield "report", lambda: command("report", self.run), lambda done: ends(self.run)

    def damage(self) -> None:
        """Cut, empty, delete and flip bits of files of the finished run; put other JSON in the place of ours."""
        for name, act, answer in self.readings():
            expected = answer(act())
            paths = [p for glob in DAMAGED for p in sorted(self.run.glob(glob)) if p.is_file() and p.stat().st_size]
            for path in self.some(dict.fromkeys(paths)):
                whole, at = path.read_bytes(), self.draw.randrange(path.stat().st_size)
                flipped = whole[:at] + bytes([whole[at] ^ (1 << self.draw.randrange(8))]) + whole[at + 1 :]
                for what, raw in (("emptied", b""), ("halved", whole[: len(whole) // 2]), (f"byte {at}", flipped)):
                    path.write_bytes(raw)
                    done = act()
                    same = done.status or done.failure or noted(self.run, path.name) or answer(done) == expected
                    fell = None if same else "another answer, status 0"
                    self.judge(f"damage, {name}", f"{path.relative_to(self.run)} {what}", done, fell)
                    self.restore()
        for glob in JSONS:
            for text in self.some(SPOILED):
                for path in list(self.run.glob(glob))[:1]:
                    path.write_text(text, encoding="latin1")
                    act = self.draw.choice([act for _, act, _ in self.readings()])
                    self.judge("other JSON", f"{glob} is {text[:12]}", act())
                    self.restore()

    def pages(self) -> None:
        """Script in what a report prints."""
        for script in self.some(SCRIPTS):
            changed = yaml.safe_dump({**yaml.safe_load(self.yaml.read_text()), "name": f"n {script}"})
            (self.near / "bad.yaml").write_text(changed)
            done = command("distill", self.near / "bad.yaml", "--out", self.new, "--quiet")
            page = self.new / "report.html"
            live = [word for word in LIVE if page.is_file() and word in page.read_text()]
            self.judge("pages", script, done, f"live in the page: {live}" if live else None)

    def kills(self, count: int) -> None:
        """Kill a run at random moments, resume it."""
        expected, out = ends(self.run), self.root / "killed"
        whole = self.distill(out)
        for _ in range(count if self.sample is None else self.sample):
            shutil.rmtree(out, ignore_errors=True)
            moment = self.draw.uniform(0, whole.seconds)
            self.distill(out, kill_after=moment)
            done = self.distill(out, "--resume")
            got = ends(out) if not done.status else {}
            incomparable_reason = sorted(name for name in expected if got.get(name) != expected[name])
            self.judge(
                "kills",
                f"after {moment:.2f} s",
                done,
                f"differs in {incomparable_reason[:4]}" if incomparable_reason else None,
            )
        shutil.rmtree(out, ignore_errors=True)


class Bomb:
    """Unpickled, it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


def numbers(config: Any, at: tuple[str, ...] = ()) -> Iterator[str]:
    """Paths of the numbers of a configuration that decide no length of the run."""
    for key, value in config.items() if isinstance(config, dict) else ():
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not any(word in key for word in LONG):
            yield ".".join((*at, key))
        yield from numbers(value, (*at, key))


def json_in(said: str) -> Any:
    """The last line of what was printed that is JSON."""
    lines = [line for line in said.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else said


def noted(run: Path, name: str) -> bool:
    """Whether the page says that a damaged file is left out, changed or missing."""
    text = (run / "report.html").read_text() if (run / "report.html").is_file() else ""
    return re.search(rf"{re.escape(name)} (is left out|was changed|is not|is missing)", text) is not None


def warm() -> None:
    """Import what the commands need, so that children find it ready."""
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    for name in ("cases", "stillhouse.cli.main", "stillhouse.core.experiment", "timm", "transformers", "onnxruntime"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def main() -> int:
    """Attack, count, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--sample", type=int, help="so many of each kind, drawn [all]")
    parser.add_argument("--kills", type=int, default=8, help="a task [8]")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    chosen = parser.parse_args()
    warm()
    tally, draw = Tally(), random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as work:
        os.environ["STILLHOUSE_CACHE"] = f"{work}/cache"
        for kind in chosen.tasks:
            attack = Attack(kind, Path(work).resolve(), tally, draw, chosen.sample)
            for act in (attack.commands, attack.files, attack.settings, attack.damage, attack.pages):
                act()
                attack.restore()
            attack.kills(chosen.kills)
    for row, found in tally.counts.items():
        print(f"{row}: {', '.join(f'{count} {name}' for name, count in sorted(found.items()))}")
    fallen = sum(found["FELL"] for found in tally.counts.values())
    print(f"{sum(sum(found.values()) for found in tally.counts.values())} attempts, {fallen} fell")
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
