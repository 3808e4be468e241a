"""Where can a teacher help a radar student? Few lines, noisy or missing truth, another radar: taught and untaught, three seeds.

    python -m benchmarks.sar.few --out runs/sar-few --plot benchmarks/results

The teacher learns from 512 lines with clean truth; the student sees 8, 32 or 128 of those lines, or 128 with noise as strong as
the truth added to it. Few lines are repeated to 128 rows, so that every student takes the same number of steps; validation
and test lines are clean and the same for all. Where the truth of 120 of 128 lines is missing, the taught student has the teacher
alone there, and stands beside the untaught one of the other 8. The other radar's chirp is 2 % faster than the teacher's: lines,
validation and test are its own. A finished training is not made again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.core.experiment import run as distill
from stillhouse.core.records import RESULT, read_json
from stillhouse.core.verdict import Comparison, compare
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.data.radar import preset
from stillhouse.tasks.sar.data.sequences import SarData
from stillhouse.tasks.sar.plan import SarDistillConfig, SarObjective, SarTrainConfig, SarTraining
from stillhouse.tasks.sar.saved import load_model
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.task import TASK, train
from stillhouse.tasks.sar.teacher import in_units

DATA = SarConfig(preset="toy-64", train=512, validation=32, test=64)
TEACHER = StateSpaceConfig(model_dim=12, state_dim=64, num_layers=2, doppler_band=0.8, memory=32)
STUDENT = replace(TEACHER, model_dim=8, look_ahead=64)
ROWS, TRUTH_SNR_DB = 128, 0.0
MISSING, CONTROL = "128 lines, truth of 8", "8 lines"
RADAR = preset("toy-64")
OTHER = replace(DATA, preset=None, parameters=replace(RADAR, azimuth_rate=1.02 * RADAR.rate))
CELLS: Mapping[str, tuple[SarConfig, int, bool]] = {  # name: (data, lines, noisy truth)
    CONTROL: (DATA, 8, False),
    "32 lines": (DATA, 32, False),
    "128 lines": (DATA, 128, False),
    "128 lines, noisy truth": (DATA, 128, True),
    MISSING: (DATA, 128, False),
    "8 lines, other radar": (OTHER, 8, False),
}


@dataclass(frozen=True)
class Row:
    """Quality of both arms, (seeds, lines), and what the comparison found."""

    taught: np.ndarray
    untaught: np.ndarray
    found: Comparison


def lines_of(data: SarData, lines: int, noisy: bool, truths: int | None = None) -> SarData:
    """The data with some of its training lines, evenly from all acquisitions and repeated to `ROWS`; some without their truth."""
    rows = torch.arange(lines) * (len(data.train) // lines)
    inputs, targets = (x[rows] for x in (data.train.inputs, data.train.targets))
    if noisy:
        noise = torch.randn(targets.shape, dtype=targets.dtype, generator=torch.Generator().manual_seed(0))
        targets = targets + noise * 10 ** (-TRUTH_SNR_DB / 20)  # targets have power 1 on average
    if truths is not None:
        targets[torch.arange(lines) % (lines // truths) != 0] = torch.nan
    again = torch.arange(ROWS) % lines
    facts = {key: x[rows.numpy()][again.numpy()] for key, x in data.train.facts.items()}
    return replace(data, train=replace(data.train, inputs=inputs[again], targets=targets[again], facts=facts))


def measured(out: Path, seeds: int, epochs: int) -> dict[str, Row]:
    """Train what is not trained yet and compare the arms of every cell."""
    training = SarTraining(epochs=epochs, batch_size=8, learning_rate=1e-2, warmup_epochs=0.5, threads=1, device="cpu")
    teacher = out / "teacher"
    if not (teacher / RESULT).is_file():
        plan = SarTrainConfig(data=DATA, model=TEACHER, training=training)
        train(plan, teacher, resume=(teacher / "run.json").is_file())
    print(f"teacher: {figures(read_json(teacher / RESULT))}", flush=True)
    rows = {}
    for name, (source, lines, noisy) in CELLS.items():
        missing = name == MISSING
        folder = out / name.replace(" ", "-").replace(",", "")
        config = SarDistillConfig(
            data=source,
            teacher=TEACHER,
            teacher_checkpoint=str(teacher),
            student=STUDENT,
            objective=SarObjective(alpha=0.3, beta=0.7, gamma=0.0, feature_matching=False),
            training=training,
            seeds=seeds,
            arms=("kd",) if missing else ("kd", "no-kd"),
        )
        if not (folder / "report.html").is_file():
            some = lines_of(source.build(), lines, noisy, 8 if missing else None)
            network = in_units(*load_model(teacher), some)
            distill(TASK, config, folder, resume=(folder / "run.json").is_file(), data=some, teacher=network)
        control = out / CONTROL.replace(" ", "-") if missing else folder
        taught, untaught = quality(folder, "kd", seeds), quality(control, "no-kd", seeds)
        rows[name] = Row(taught, untaught, compare(taught, untaught))
        print(f"{name}: {figures(read_json(folder / 'arms' / 'kd' / 'seed-0' / RESULT))}", flush=True)
    return rows


def figures(result: Mapping[str, Any]) -> str:
    return f"quality {result['metrics']['quality']:.4f}, {result['params']:,} parameters, {result['seconds']:.0f} s"


def quality(folder: Path, arm: str, seeds: int) -> np.ndarray:
    """(seeds, lines) 1 - NMSE of every test line."""
    return np.stack(
        [np.load(folder / "arms" / arm / f"seed-{seed}" / "scores.npz")["quality"] for seed in range(seeds)]
    )


def decibels(values: np.ndarray) -> float:
    return float(10 * np.log10(1 - values.mean()))


def show(rows: Mapping[str, Row]) -> None:
    print(
        "| student learns from | taught, NMSE dB | untaught, NMSE dB | taught - untaught, quality, 95 % interval | verdict |"
    )
    print("|---|---|---|---|---|")
    for name, row in rows.items():
        found = row.found
        print(
            f"| {name} | {decibels(row.taught):.2f} | {decibels(row.untaught):.2f} | "
            f"{found.difference:+.5f} ({found.low:+.5f} to {found.high:+.5f}) | {found.verdict} |"
        )


def draw(rows: Mapping[str, Row], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    means = np.array([row.found.difference for row in rows.values()])
    ends = np.array([(row.found.low, row.found.high) for row in rows.values()])
    axes.errorbar(places, means, yerr=np.abs(ends.T - means), fmt="o", capsize=4)
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.set_xticks(places, [name.replace(", ", ",\n") for name in rows])
    axes.set(
        ylabel="quality, taught - untaught", title="What the teacher adds, 95 % intervals", xlim=(-0.5, len(rows) - 0.5)
    )
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path, help="folder for sar-few.svg")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measured(options.out, options.seeds, options.epochs)
    show(rows)
    if options.plot is not None:
        draw(rows, options.plot / "sar-few.svg")


if __name__ == "__main__":
    main()
