"""A large cache written by two processes, one of them killed, resumed, verified, and read at random.

    python benchmarks/cache/big.py --gigabytes 10 --out /tmp/big     what is published
    python benchmarks/cache/big.py --gigabytes 0.2                   half a minute

Rows are those of a language teacher: the 32 largest of 50 257 scores for each of 128 tokens, with the mass of the rest; their
content is made by a counter, so that disk and hashes are measured and not a network. The second process is killed by SIGKILL in the
middle of a shard, and started again. Then every file is compared with its hash, a sample of shards with what one process would
have written, and rows are read in random order, after the pages of the files were let go where the system can.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.cache import array_file
from stillhouse.cache.files import Store, missing, write_shards
from stillhouse.cache.plan import Plan, rows_a_shard, shard_bytes_of

TOKENS, KEPT, BATCH = 128, 32, 64
ARRAYS = {
    "ids": ((TOKENS, KEPT), "<u2"),
    "scores": ((TOKENS, KEPT), "<f2"),
    "sums": ((TOKENS, 1), "<f4"),
    "rest": ((TOKENS, 3), "<f4"),
    "seen": ((4,), "<f8"),
}


def plan_of(gigabytes: float) -> Plan:
    """Rows for so many bytes."""
    one = Plan({}, {"train": 1}, {"train": ARRAYS}, {"train": 1})
    rows = max(BATCH, int(gigabytes * 1e9 / one.row_bytes("train")))
    size = rows_a_shard(one.row_bytes("train"), BATCH, shard_bytes_of(round(gigabytes * 1e9)))
    key = {"teacher": "a counter", "content": f"topk:{KEPT}"}
    return Plan(key, {"train": rows}, {"train": ARRAYS}, {"train": size}, {"licence": "CC0"})


def made(part: str, start: int, stop: int) -> Iterator[dict[str, Any]]:
    """Bytes that depend on the row alone."""
    for at in range(start, stop, BATCH):
        rows = min(BATCH, stop - at)
        raw = np.random.Generator(np.random.Philox(key=at))
        yield {
            name: raw.integers(0, 2**15, (rows, *shape), dtype=np.uint16).astype(kind)
            for name, (shape, kind) in ARRAYS.items()
        }


def write(folder: Path, gigabytes: float, kill_after: int) -> None:
    """One of the writers; ends itself in the middle of its n-th shard if told to."""
    begun = 0

    def fill(part: str, start: int, stop: int) -> Iterator[dict[str, Any]]:
        nonlocal begun
        begun += 1
        for number, piece in enumerate(made(part, start, stop)):
            if begun == kill_after and number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield piece

    write_shards(folder, plan_of(gigabytes), fill, wait=True)


def started(folder: Path, gigabytes: float, kill_after: int = 0) -> subprocess.Popen[bytes]:
    words = [str(folder), "--gigabytes", str(gigabytes), "--kill-after", str(kill_after)]
    return subprocess.Popen([sys.executable, __file__, "--writer", *words])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=10.0, help="size of the cache [10]")
    parser.add_argument("--out", type=Path, help="folder for it [a temporary one, removed in the end]")
    parser.add_argument("--rows", type=int, default=200_000, help="rows read at random [200000]")
    parser.add_argument("--batch", type=int, default=512, help="rows at a time [512]")
    parser.add_argument("--writer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kill-after", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.writer:
        write(args.writer, args.gigabytes, args.kill_after)
        return
    with tempfile.TemporaryDirectory() as scratch:
        measure(args, args.out or Path(scratch) / "cache")


def measure(args: argparse.Namespace, folder: Path) -> None:
    plan = plan_of(args.gigabytes)
    print(
        f"{plan.bytes:,} bytes, {plan.parts['train']:,} windows of {TOKENS} tokens, {len(plan.shards)} shards",
        flush=True,
    )
    begun = time.monotonic()
    first, second = started(folder, args.gigabytes), started(folder, args.gigabytes, max(1, len(plan.shards) // 6))
    killed = second.wait()
    left = len(missing(folder, plan))
    print(
        f"the second process ended with {killed} after {time.monotonic() - begun:.1f} s, {left} shards missing",
        flush=True,
    )
    assert killed == -signal.SIGKILL
    third = started(folder, args.gigabytes)
    assert first.wait() == 0
    assert third.wait() == 0
    seconds = time.monotonic() - begun
    print(f"written in {seconds:.1f} s, {plan.bytes / seconds / 1e6:,.0f} MB/s by two processes")
    begun = time.monotonic()
    store = Store(folder)
    seconds = time.monotonic() - begun
    print(f"all {5 * len(plan.shards)} hashes compared in {seconds:.1f} s, {plan.bytes / seconds / 1e6:,.0f} MB/s")
    for shard in plan.shards[:: max(1, len(plan.shards) // 8)]:
        raw = hashlib.sha256((folder / shard.file("ids")).read_bytes()[:128])  # the header of .npy
        for piece in made("train", shard.start, shard.stop):
            raw.update(piece["ids"].tobytes())
        assert raw.hexdigest() == array_file.sha256_of(folder / shard.file("ids")), shard
    print("a sample of shards has the bytes of one process")
    for path in folder.glob("*.npy"):
        with path.open("rb") as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    order = np.random.default_rng(0).integers(0, plan.parts["train"], args.rows)
    for what in ("after the pages were let go", "again"):
        begun, read = time.monotonic(), 0
        for at in range(0, len(order), args.batch):
            rows = order[at : at + args.batch]
            read += sum(store.read("train", name, rows).nbytes for name in ("ids", "scores", "rest"))
        seconds = time.monotonic() - begun
        print(
            f"random windows {what}: {len(order) / seconds:,.0f} a second, {len(order) * TOKENS / seconds:,.0f} tokens a second, "
            f"{read / seconds / 1e6:,.0f} MB/s"
        )


if __name__ == "__main__":
    main()
