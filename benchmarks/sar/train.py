"""Train the teachers and students of the focusing evidence, one after the other, with the commands that a user has.

    python -m benchmarks.sar.train --out runs/sar

A killed run goes on with the same command. Measured on one thread. At the end: both arms of every student, and the tiny one where
the azimuth rates spread, beside the matched filter of each rate.
"""

from __future__ import annotations

import argparse
import shlex
import time
from dataclasses import replace
from pathlib import Path

from stillhouse.cli.main import main as stillhouse
from stillhouse.core.records import read_json
from stillhouse.tasks.sar.data.radar import convolve_lines
from stillhouse.tasks.sar.metrics import judge
from stillhouse.tasks.sar.saved import load_data_config, load_model
from stillhouse.tasks.sar.teacher import focus_lines, in_units

HERE = Path(__file__).parent
STUDENTS = {  # name: (model_dim, state_dim, num_layers, further flags); the first three are the document's
    "tiny": (24, 128, 3, ""),
    "compressed": (32, 256, 4, ""),
    "least": (6, 30, 2, "--learning_rate 1e-2"),
    "standard": (64, 540, 6, "--num_epochs 2 training.warmup_epochs=0.5"),  # 128 steps: 0.4 s each
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
        if (folder / ("result.json" if name.startswith("teacher") else "summary.json")).is_file():
            continue
        command = f"sar {words} --save_dir {folder} --quiet" + (" --resume" if (folder / "run.json").is_file() else "")
        print(f"stillhouse {command}", flush=True)
        began = time.monotonic()
        if stillhouse(shlex.split(command)) != 0:
            raise SystemExit(f"{name} failed")
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    for name in STUDENTS:
        summary = read_json(options.out / name / "summary.json")
        for row in summary["comparisons"]:
            kept = summary["arms"]["kd"][row["metric"]]["mean"] / summary["teacher"]["test"][row["metric"]]
            print(
                name, row["metric"], f"kept {kept:.2%}", *(f"{row[key]:+.5f}" for key in ("difference", "low", "high"))
            )
    swath(options.out / "tiny" / "arms" / "kd" / "seed-0")


def swath(folder: Path) -> None:
    """NMSE of a network and of the matched filter, where the azimuth rates of lines spread."""
    model, scale = load_model(folder)
    plain = replace(load_data_config(folder), train=64, validation=8)
    for spread in (0.0, 0.02, 0.1, 0.3):
        data = replace(plain, rate_spread=spread).build()
        own = focus_lines(in_units(model, scale, data), data.test.inputs)
        best = convolve_lines(data.test.inputs[..., 0].numpy(), data.kernels(data.test))
        found = (-judge(lines, data.test, data.valid)["snr_db"] for lines in (own, best))
        print(f"rates over {spread:.0%}: network and matched filter", *(f"{x:.2f} dB" for x in found), flush=True)


if __name__ == "__main__":
    main()
