"""Peak memory of reading random batches from a file of vectors that is larger than what may be held, and of a whole run on it.

    python benchmarks/embedding_memory.py --folder /scratch                   1 000 000 x 1536 float32: 6.1 GB on disk
    python benchmarks/embedding_memory.py --folder /scratch --distill         the same, and then a student is trained from it
    python benchmarks/embedding_memory.py --folder /scratch --rows 100000     a smaller run

Writes FOLDER/vectors-ROWSxWIDTH.npy in chunks (random clusters in three levels, unit length), once, then opens it in a process of
its own, checks every row (one pass) and reads random batches. Prints the peak resident memory of that process before the file
is opened, after the pass and after the batches, and the rate of each. With --distill another process runs the recipe
embedding-fast on the file (neighbours of all training rows, 200 steps of 1024 rows, PCA beside it) and says its peak. The file is
removed unless --keep.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

CHUNK = 4096
LEVELS, SPREAD, NOISE = (10, 8, 4), (1.0, 0.6, 0.35), 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="vectors in the file [1000000]")
    parser.add_argument("--width", type=int, default=1536, help="numbers a vector [1536]")
    parser.add_argument("--batch", type=int, default=512, help="rows a batch [512]")
    parser.add_argument("--batches", type=int, default=400, help="random batches to read [400]")
    parser.add_argument("--seed", type=int, default=0, help="of the vectors and of the batches [0]")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where the file is written [.]")
    parser.add_argument("--threads", type=int, default=1, help="of a whole run [1]")
    parser.add_argument("--keep", action="store_true", help="leave the file for another run")
    parser.add_argument("--reader", action="store_true", help=argparse.SUPPRESS)  # the process that is measured
    parser.add_argument("--distill", action="store_true", help="also train a student from the file")
    parser.add_argument(
        "--distiller", action="store_true", help=argparse.SUPPRESS
    )  # the second process that is measured
    args = parser.parse_args()
    path = args.folder / f"vectors-{args.rows}x{args.width}.npy"
    if args.reader:
        print(json.dumps(read(path, args.batch, args.batches, args.seed)))
        return
    if args.distiller:
        print(json.dumps(distill(path, args.threads)))
        return
    if path.is_file():
        print(f"{path}: there already, not written again")
    else:
        write(path, args.rows, args.width, args.seed)
    try:
        report(path, args)
    finally:
        if not args.keep:
            path.unlink()


def write(path: Path, rows: int, width: int, seed: int) -> None:
    """The file, chunk by chunk under another name, then renamed: an interrupted run leaves no half file to be read."""
    size = rows * width * 4
    free = shutil.disk_usage(path.parent).free
    if free < 1.05 * size:
        sys.exit(f"{path.parent}: expected {size / 1e9:.1f} GB free, got {free / 1e9:.1f}")
    rng = np.random.default_rng(seed)
    centers = np.zeros((1, width), np.float32)
    for children, spread in zip(LEVELS, SPREAD):
        steps = rng.normal(size=(len(centers), children, width)).astype(np.float32)
        centers = (centers[:, None] + spread * steps).reshape(-1, width)
    partial, start = path.with_suffix(".partial"), time.perf_counter()
    with partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, width)})
        for first in range(0, rows, CHUNK):
            count = min(CHUNK, rows - first)
            x = centers[rng.integers(len(centers), size=count)]
            x += NOISE * rng.standard_normal((count, width), dtype=np.float32)
            x /= np.linalg.norm(x, axis=1, keepdims=True)
            file.write(x.data)
    partial.rename(path)
    seconds = time.perf_counter() - start
    print(f"wrote {rows} x {width} float32, {size / 1e9:.2f} GB in {seconds:.0f} s ({size / 1e6 / seconds:.0f} MB/s)")


def read(path: Path, batch: int, batches: int, seed: int) -> dict[str, float]:
    """In the measured process: peak memory in MB and seconds, step by step."""
    from stillhouse.tasks.embed.data.vectors import open_vectors

    said = {"imported_mb": peak_mb()}
    start = time.perf_counter()
    store = open_vectors(path)
    said |= {"check_seconds": time.perf_counter() - start, "checked_mb": peak_mb()}
    rng, start, total = np.random.default_rng(seed), time.perf_counter(), 0.0
    for _ in range(batches):
        total += float(store.read(rng.integers(len(store), size=batch))[:, 0].sum())
    return {**said, "read_seconds": time.perf_counter() - start, "read_mb": peak_mb(), "sum": total}


def distill(path: Path, threads: int) -> dict[str, float]:
    """In the measured process: a whole run, its peak memory in MB, its seconds and what it reached."""
    import tempfile

    from stillhouse.core.experiment import run
    from stillhouse.tasks.embed.recipes import load_embedding
    from stillhouse.tasks.embed.task import TASK

    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        config = load_embedding(
            str(path), ["anchors=[pca]", f"training.threads={threads}", "training.device=cpu"], recipe="embedding-fast"
        )
        arms = run(TASK, config, Path(folder) / "run")["arms"]
    said = {"distilled_mb": peak_mb(), "distill_seconds": time.perf_counter() - start}
    for arm in ("student", "pca"):
        said |= {f"{arm} {name}": arms[arm][name]["mean"] for name in ("knn_overlap@10", "spearman")}
    return said


def peak_mb() -> float:
    """Largest resident set of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss would count the parent's too: Linux keeps it over fork and exec
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024 / 1e6
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_bytes / 1e6


def report(path: Path, args: argparse.Namespace) -> None:
    """Run reader and distiller in processes of their own, whose peaks are not that of the writer."""
    options = ["--rows", args.rows, "--width", args.width, "--batch", args.batch, "--batches", args.batches]
    options += ["--seed", args.seed, "--folder", args.folder, "--threads", args.threads]
    command = [sys.executable, __file__, *map(str, options)]
    said = json.loads(subprocess.run([*command, "--reader"], check=True, capture_output=True, text=True).stdout)
    size, read_rows = path.stat().st_size / 1e6, args.batch * args.batches
    steps = [
        ("imports only", "imported_mb", ""),
        ("all rows checked", "checked_mb", f"{args.rows / said['check_seconds']:.0f} rows/s"),
        (f"{args.batches} x {args.batch} rows", "read_mb", f"{read_rows / said['read_seconds']:.0f} rows/s"),
    ]
    print(f"{'file':32}{size:8.0f} MB")
    for what, key, rate in steps:
        print(f"{'peak memory, ' + what:32}{said[key]:8.0f} MB  {rate}".rstrip(), flush=True)
    if args.distill:
        done = subprocess.run([*command, "--distiller"], check=True, stdout=subprocess.PIPE, text=True).stdout
        said = json.loads(done.splitlines()[-1])
        print(
            f"{'peak memory, a whole run':32}{said.pop('distilled_mb'):8.0f} MB  in {said.pop('distill_seconds'):.0f} s"
        )
        print("test rows: " + ", ".join(f"{name} {value:.3f}" for name, value in said.items()))


if __name__ == "__main__":
    main()
