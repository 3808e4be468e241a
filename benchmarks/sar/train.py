"""Train the teachers and students of the focusing evidence, one after the other, with the commands that a user has.

    python -m benchmarks.sar.train --out runs/sar

A killed run goes on with the same command. Measured on one thread; `benchmarks/sar/table.py` makes the tables.
"""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path

from stillhouse.cli.main import main as stillhouse

HERE = Path(__file__).parent
STUDENTS = {  # name: (model_dim, state_dim, num_layers, further flags); the first three are the document's
    "tiny": (24, 128, 3, ""),
    "compressed": (32, 256, 4, ""),
    "least": (6, 30, 2, "--learning_rate 1e-2"),
    "standard": (64, 540, 6, "--num_epochs 2 --set training.warmup_epochs=0.5"),  # 128 steps: 0.4 s each
}


def commands(out: Path) -> dict[str, str]:
    """Name of the run folder -> what to type."""
    found = {
        "teacher-128": f"train --config {HERE / 'teacher-128.yaml'}",
        "teacher-64": f"train --config {HERE / 'teacher-64.yaml'}",
    }
    for name, (width, state, layers, more) in STUDENTS.items():
        found[name] = (
            f"distill --teacher_config {HERE / 'teacher-64.yaml'} --teacher_checkpoint {out / 'teacher-64'} "
            f"--student_config {HERE / 'student-64.yaml'} --student_model_dim {width} --student_state_dim {state} "
            f"--student_num_layers {layers} {more}"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for name, words in commands(options.out).items():
        folder = options.out / name
        if (folder / "report.html").is_file():
            continue
        command = f"sar {words} --save_dir {folder} --quiet" + (" --resume" if (folder / "run.json").is_file() else "")
        print(f"stillhouse {command}", flush=True)
        began = time.monotonic()
        if stillhouse(shlex.split(command)) != 0:
            raise SystemExit(f"{name} failed")
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
