"""Document 000's sweep on ImageNet-1k: patch sizes, drop-path rates and clauses, each a run of `stillhouse vision`.

python python/fptm_ste/imagenet_sweeps.py --dataset-root data/imagenet --distill-teacher-timm vit_base_patch16_224

Images are read from class folders while they are trained on. Any further flag goes to every run; what is finished is kept.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from stillhouse.compat.documents import vision
from stillhouse.core.records import read_json, write_json

USUAL = (
    "--models", "transformer", "--dataset", "folder", "data.stream=true", "--tm-target-size", "224",
    "--transformer-backend", "deeptm", "data.augment=resized-crop", "--randaugment", "--mixup-alpha", "0.8",
    "--cutmix-alpha", "1.0", "--label-smoothing", "0.1", "--epochs", "300", "--batch-size", "256",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Train every combination and write `summary.json`, best first; the first exit status that is not 0, or 0."""
    parser = argparse.ArgumentParser(
        prog="imagenet_sweeps.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset-root", default="data/imagenet", help="folder with train/CLASS/*.jpg [data/imagenet]")
    parser.add_argument("--patches", default="16,32", help="patch sizes")
    parser.add_argument("--drop-paths", default="0.1,0.2,0.3", help="drop-path rates")
    parser.add_argument("--clauses", default="384,576,768", help="clauses a block")
    parser.add_argument("--out", type=Path, default=Path("runs/imagenet_sweeps"), help="folder of all runs")
    options, further = parser.parse_known_args(arguments)
    grid = itertools.product(options.patches.split(","), options.drop_paths.split(","), options.clauses.split(","))
    rows = []
    for patch, drop, clauses in grid:
        out = options.out / f"patch{patch}_drop{drop}_clauses{clauses}"
        chosen = ["--transformer-patch", patch, "--transformer-drop-path", drop, "--transformer-clauses", clauses]
        place = ["--dataset-root", options.dataset_root, "--out", str(out), *(["--resume"] if out.is_dir() else [])]
        status = vision([*USUAL, *chosen, *place, *further])
        if status:
            return status
        found = read_json(out / "results.json")["models"]["transformer"]
        rows.append({
            "patch": patch, "drop_path": drop, "clauses": clauses, "run": str(out),
            **{name: found[name] for name in ("validation_accuracy", "test_accuracy", "params", "seconds_per_epoch")},
        })  # fmt: skip
        rows.sort(key=lambda row: -row["validation_accuracy"])
        write_json(options.out / "summary.json", rows)
    print(f"{len(rows)} runs, best on validation: {rows[0]}; all: {options.out / 'summary.json'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
