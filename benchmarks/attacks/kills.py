"""Kill runs and resume them: at random moments, and at every rename. The end must equal a run that nobody killed, to the bit.

python -m benchmarks.attacks.kills --work /tmp/attacks              # all families, 20 random moments each
python -m benchmarks.attacks.kills --families lm --count 5 --every 3 # every third rename
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.attacks.arena import Field, Tally, call, fields, options

UNLIKE = {"ms", "seconds", "started", "threads", "command", "machine", "versions", "ended", "seal", "sha256"}


def ends(run: Path) -> dict[str, Any]:
    """What a run left that must not depend on kills: weights to the bit, records and figures without times."""
    from stillhouse.core import records

    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.name == records.STUDENT:
            found[name] = path.read_bytes()
        elif path.name == records.RECORDS:
            found[name] = [timeless(line) for line in records.read_records(path)]
        elif path.name in (records.RESULT, records.SUMMARY):
            found[name] = timeless(records.read_json(path))
        elif records.is_leftover(path.name):
            found[name] = "left over"
    return found


def timeless(value: Any) -> Any:
    """The same without what differs between any two runs."""
    if isinstance(value, dict):
        kept = [k for k in value if k not in UNLIKE and not k.startswith("ms_") and not k.endswith("_seconds")]
        return {k: timeless(value[k]) for k in kept}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


def counted(renames: list[int], kill_at: int | None) -> None:
    """In this process, count renames and die before one of them."""
    for name in ("replace", "rename"):
        original = getattr(os, name)

        def instead(*given: Any, original: Callable[..., Any] = original, **more: Any) -> Any:
            renames[0] += 1
            if renames[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*given, **more)

        setattr(os, name, instead)


def distill(field: Field, out: Path, kill_at: int | None, tell: Path | None = None) -> int:
    """The run, in this process."""
    from stillhouse.cli.main import main

    renames = [0]
    counted(renames, kill_at)
    status = main(["distill", str(field.yaml), "--out", str(out), "--quiet"])
    if tell is not None:
        tell.write_text(str(renames[0]))
    return status


def resumed(field: Field, out: Path, expected: dict[str, Any], row: str, what: str, tally: Tally) -> None:
    """Resume a killed run and compare its end."""
    again = field.distill(out, "--resume")
    if again.status:
        tally.add(row, "", fell=f"{what}: --resume ended with {again.status}: {again.fault or again.err.strip()[:300]}")
        return
    got = ends(out)
    unlike = [name for name in {*got, *expected} if got.get(name) != expected.get(name)]
    tally.add(row, "equal", fell=f"{what}: differs in {sorted(unlike)[:5]}" if unlike else None)


def main() -> int:
    """Kill, resume, compare."""
    chosen, work = options(__doc__, count=20, every=1)
    tally, draw = Tally("kills"), random.Random(chosen.seed)
    for field in fields(chosen.families, work):
        expected, out = ends(field.run), field.root / "killed"
        shutil.rmtree(out, ignore_errors=True)
        tell = field.root / "renames"
        whole = call(lambda f=field, o=out, t=tell: distill(f, o, None, t))
        renames = int(tell.read_text())
        unlike = [name for name in expected if ends(out).get(name) != expected[name]]
        tally.add(f"{field.kind}, unkilled", "equal", fell=f"differs in {unlike}" if unlike or whole.status else None)
        for _ in range(chosen.count):
            shutil.rmtree(out, ignore_errors=True)
            moment = draw.uniform(0, whole.seconds)
            call(lambda f=field, o=out: distill(f, o, None), kill_after=moment)
            resumed(field, out, expected, f"{field.kind}, any moment", f"after {moment:.2f} s", tally)
        for number in range(1, renames + 1, chosen.every):
            shutil.rmtree(out, ignore_errors=True)
            call(lambda f=field, o=out, n=number: distill(f, o, n))
            resumed(field, out, expected, f"{field.kind}, at a rename", f"before rename {number} of {renames}", tally)
        shutil.rmtree(out, ignore_errors=True)
        for row in ("any moment", "at a rename"):
            tally.show(f"{field.kind}, {row}")
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
