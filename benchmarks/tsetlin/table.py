"""Prints what runs under a folder found, as a markdown table: python benchmarks/tsetlin/table.py runs/tsetlin"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main(root: Path) -> None:
    print("| run | arm | test accuracy | 95 % interval | seeds | parameters | s an epoch | command |")
    print("|---|---|---|---|---|---|---|---|")
    for path in sorted(root.rglob("results.json")):
        results = json.loads(path.read_text())
        for model, found in results["models"].items():
            for arm, accuracy in found["arms"].items():
                first = arm == next(iter(found["arms"]))
                name = path.parent.relative_to(root)
                label = f"{name} ({model})" if len(results["models"]) > 1 else str(name)
                command = f"`{results['command']}`" if first else ""
                seconds = f"{found['seconds_per_epoch']:.0f}" if first else ""
                interval = f"{accuracy['low']:.2%} to {accuracy['high']:.2%}"
                print(
                    f"| {label if first else ''} | {arm} | {accuracy['mean']:.2%} | {interval} "
                    f"| {len(found['seeds'])} | {found['params'] if first else ''} | {seconds} | {command} |"
                )
            if found["losses"].get("teacher_kd_loss") is not None:
                print(f"| | teacher_kd_loss of the last epoch | {found['losses']['teacher_kd_loss']:.3f} | | | | | |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=Path("runs/tsetlin"))
    main(parser.parse_args().root)
