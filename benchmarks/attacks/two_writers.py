"""Two runs into one folder at once: one writes, the other is told who does; what is left is what one alone would have left.

python -m benchmarks.attacks.two_writers --work /tmp/attacks --count 15
"""

from __future__ import annotations

import random
import shutil
import sys
import threading
import time
from pathlib import Path

from benchmarks.attacks.arena import Field, Outcome, Tally, fields, options
from benchmarks.attacks.kills import ends, resumed


def both(field: Field, out: Path, apart: float, *second: str) -> list[Outcome]:
    """Two commands, so many seconds apart."""
    found: list[Outcome] = []

    def one(wait: float, *more: str) -> None:
        time.sleep(wait)
        found.append(field.distill(out, *more))

    threads = [threading.Thread(target=one, args=(0.0,)), threading.Thread(target=one, args=(apart, *second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def attack(field: Field, tally: Tally, count: int, draw: random.Random) -> None:
    """Pairs of plain runs, and of a run and a `--resume` beside it."""
    expected, out = ends(field.run), field.root / "two"
    for number in range(count):
        shutil.rmtree(out, ignore_errors=True)
        second = ("--resume",) if number % 2 else ()
        apart = draw.uniform(0, 1.5)
        found = both(field, out, apart, *second)
        row = f"{field.kind}, {'run and --resume' if second else 'two runs'}"
        faults = [done.fault for done in found if done.fault]
        done = sum(one.status == 0 for one in found)
        told = sum(one.named and ("in use by" in one.err or "holds a run" in one.err) for one in found)
        if faults or done + told != 2 or done == 0 or (done == 2 and not second):
            words = [one.err.strip()[-160:] for one in found]
            tally.add(row, "", fell=f"{apart:.2f} s apart: statuses {[one.status for one in found]}, {faults or words}")
            continue
        tally.add(row, "one was told" if told else "one after the other")
        resumed(field, out, expected, f"{field.kind}, what is left", f"{apart:.2f} s apart", tally)
    shutil.rmtree(out, ignore_errors=True)


def main() -> int:
    """Run pairs."""
    chosen, work = options(__doc__, count=15)
    tally, draw = Tally("two writers"), random.Random(chosen.seed)
    for field in fields(chosen.families, work):
        attack(field, tally, chosen.count, draw)
        for row in tally.counts:
            if row.startswith(f"{field.kind},"):
                tally.show(row)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
