"""A full disk under every writer: at each flush of a file, and by a limit on file sizes that the kernel itself enforces.

A named error and status 2, nothing half-written, and after space was made `--resume` ends as a run on an empty disk.

    python -m benchmarks.attacks.full_disk --work /tmp/attacks            # every flush
    python -m benchmarks.attacks.full_disk --families lm --every 5
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.attacks.arena import Field, Tally, call, fields, options
from benchmarks.attacks.kills import ends, resumed

LIMITS = (200, 2_000, 20_000)  # bytes of a file


def filled(full_at: int | None, count: list[int]) -> None:
    """In this process, let the disk be full from one flush (or taking of space) on, for that call."""
    for name in ("fsync", "posix_fallocate"):
        original = getattr(os, name)

        def instead(*given: Any, original: Any = original) -> Any:
            count[0] += 1
            if count[0] == full_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*given)

        setattr(os, name, instead)


def distill(field: Field, out: Path, full_at: int | None, limit: int | None, note: Path | None = None) -> int:
    """The run on a disk that is full at one moment, or whose files may not grow beyond a limit."""
    from stillhouse.cli.main import main

    count = [0]
    filled(full_at, count)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    status = main(["distill", str(field.yaml), "--out", str(out), "--quiet"])
    if note is not None:
        note.write_text(str(count[0]))
    return status


def attack(field: Field, tally: Tally, every: int, limits: tuple[int, ...] = LIMITS) -> None:
    """Fill the disk at every flush, then resume."""
    expected, out, note = ends(field.run), field.root / "full", field.root / "flushes"
    call(lambda: distill(field, out, None, None, note))
    flushes = int(note.read_text())
    moments = [(f"flush {n} of {flushes}", n, None) for n in range(1, flushes + 1, every)]
    for what, full_at, limit in [*moments, *((f"files up to {x} bytes", None, x) for x in limits)]:
        shutil.rmtree(out, ignore_errors=True)
        done = call(lambda f=full_at, x=limit: distill(field, out, f, x))
        row = f"{field.kind}, {'each flush' if full_at else 'limits'}"
        if done.fault or (
            done.status == 0 and full_at and "cannot write" not in done.err + done.out and not out.exists()
        ):
            tally.add(row, "", fell=f"{what}: {done.fault or 'status 0, not a word, and nothing was written'}")
            continue
        if done.status == 0 and (unlike := [n for n in expected if ends(out).get(n) != expected[n]]):
            tally.add(row, "", fell=f"{what}: status 0, and it differs in {sorted(unlike)[:5]}")
            continue
        tally.add(row, "named" if done.status else "went on")
        if out.exists():
            resumed(field, out, expected, f"{field.kind}, resumed", what, tally)
    for row in ("each flush", "limits", "resumed"):
        tally.show(f"{field.kind}, {row}")
    shutil.rmtree(out, ignore_errors=True)


def main() -> int:
    """Fill, resume, compare."""
    chosen, work = options(__doc__, every=1)
    tally = Tally("full disk")
    for field in fields(chosen.families, work):
        attack(field, tally, chosen.every)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
