"""The tables of the focusing evidence, from run folders; `stillhouse sar compare` has measured all costs in one process before.

stillhouse sar compare runs/sar/standard runs/sar/compressed runs/sar/tiny --out runs/sar/all
python -m benchmarks.sar.table --runs runs/sar --students standard compressed tiny --compared runs/sar/all
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.records import read_json
from stillhouse.core.verdict import compare

Row = Mapping[str, Any]


def teachers(runs: Path) -> None:
    print(
        "| teacher | focuser | NMSE dB | quality | coherence | IRW, samples | IRW off | PSLR dB | PSLR off | ISLR dB | phase |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for run in sorted(runs.glob("teacher-*")):
        for row in read_json(run / "comparison.json")["rows"]:
            if row["irw"] is not None:
                print(
                    f"| {run.name} | {row['name']} | {-row['snr_db']:.2f} | {row['quality']:.4f} | {row['coherence']:.4f} | "
                    f"{row['irw']:.3f} | {100 * (row['irw_ratio'] - 1):+.2f} % | {row['pslr_db']:.2f} | "
                    f"{row['pslr_difference_db']:+.2f} dB | {row['islr_db']:.2f} | {math.degrees(row['phase_error']):.2f}° |"
                )


def verdicts(runs: Path, students: list[str]) -> None:
    """From the figures of every test line, as `summary.json` has them; seeds that only one arm has yet are left out."""
    print("\n| student | seeds | measure | taught | untaught | taught keeps | difference, 95 % interval | verdict |")
    print("|---|---|---|---|---|---|---|---|")
    for name in students:
        told = read_json(runs / "teacher-64" / "comparison.json")["rows"][0]
        folders = {arm: runs / name / "arms" / arm for arm in ("kd", "no-kd")}
        seeds = [s for s in range(9) if all((f / f"seed-{s}" / "result.json").is_file() for f in folders.values())]
        for metric in ("quality", "coherence") if seeds else ():
            saved = {
                arm: np.stack([np.load(folder / f"seed-{seed}" / "scores.npz")[metric] for seed in seeds])
                for arm, folder in folders.items()
            }
            found = compare(saved["kd"], saved["no-kd"])
            means = " | ".join(f"{x.mean():.4f} ({', '.join(f'{v:.4f}' for v in x.mean(1))})" for x in saved.values())
            print(
                f"| {name} | {len(seeds)} | {metric} | {means} | {100 * saved['kd'].mean() / told[metric]:.2f} % | "
                f"{found.difference:+.5f} ({found.low:+.5f} to {found.high:+.5f}) | {found.verdict} |"
            )


def costs(compared: Path) -> None:
    rows = read_json(compared / "comparison.json")["rows"]
    print(
        "\n| | quality | coherence | IRW off | PSLR off | parameters | fewer | state, kB | complex MACs a pixel | latency, lines |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        points = row["irw"] is not None
        print(
            f"| {row['name']} | {row['quality']:.4f} | {row['coherence']:.4f} | "
            + (f"{100 * (row['irw_ratio'] - 1):+.1f} % | {row['pslr_difference_db']:+.2f} dB | " if points else "| | ")
            + f"{row['parameters']:,} | {percent(row.get('fewer_parameters'))} | {row['state_bytes'] / 1000:,.1f} | "
            f"{row['complex_macs']:,} | {'' if row.get('latency_lines') is None else row['latency_lines']} |"
        )
    print(
        "\n| | processor ms a line, step form | faster | the same, whole scene | faster | document: fewer, faster, kept |"
    )
    print("|---|---|---|---|---|---|")
    for row in rows:
        if row["kind"] == "network":
            said = row.get("documented") or {}
            claim = (
                ", ".join(said.get(key) or "none" for key in ("fewer_parameters", "faster", "quality_kept"))
                if said
                else ""
            )
            print(
                f"| {row['name']} | {shown(row.get('processor_ms_line'))} | {percent(row.get('faster'))} | "
                f"{shown(row.get('processor_ms_line_whole'))} | {percent(row.get('faster_whole'))} | {claim} |"
            )


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--students", nargs="*", default=["standard", "compressed", "tiny"])
    parser.add_argument("--compared", type=Path)
    options = parser.parse_args()
    teachers(options.runs)
    verdicts(options.runs, options.students)
    if options.compared is not None:
        costs(options.compared)


if __name__ == "__main__":
    main()
