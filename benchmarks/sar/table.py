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

from stillhouse.records import read_json

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
    print("\n| student | measure | taught | untaught | taught keeps | difference, 95 % interval | verdict |")
    print("|---|---|---|---|---|---|---|")
    for name in students:
        summary = read_json(runs / name / "summary.json")
        for entry in summary["comparisons"]:
            arms = [summary["arms"][arm][entry["metric"]] for arm in ("kd", "no-kd")]
            means = " | ".join(f"{arm['mean']:.4f} ({', '.join(f'{v:.4f}' for v in arm['values'])})" for arm in arms)
            print(
                f"| {name} | {entry['metric']} | {means} | {100 * arms[0]['kept']:.2f} % | {entry['difference']:+.5f} "
                f"({entry['low']:+.5f} to {entry['high']:+.5f}) | {entry['verdict']} |"
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
    verdicts(options.runs, [name for name in options.students if (options.runs / name / "summary.json").is_file()])
    if options.compared is not None:
        costs(options.compared)


if __name__ == "__main__":
    main()
