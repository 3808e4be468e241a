"""What a cache is worth on images: time of an epoch and accuracy with it and without, augmentation on, several seeds.

    python benchmarks/cache/epoch.py --root DATA --out runs/cache-epoch        what is published (resumable)
    python benchmarks/cache/epoch.py --root DATA --out /tmp/quick \\
        --limit 200 --test 200 --validation 0.005 --epochs 4 --views 2 --seeds 1

A ResNet-18 of timm, trained on Fashion-MNIST at 64 pixels (or --teacher ckpt:FILE, timm:NAME), teaches a small network. Each
seed is trained four times, in turn: labels alone; taught by the teacher, new changes of every image at every step; taught by the
teacher over a fixed number of views; and over the same views from the cache, with no teacher loaded. The third and the fourth see
equal images and equal answers, so their accuracy differs by rounding alone: that is the check; the second says what fixed views
cost. DATA holds torchvision's FashionMNIST.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from stillhouse.cache.plan import Plan
from stillhouse.cli.main import main as stillhouse
from stillhouse.core import records
from stillhouse.core.config import merge, parse
from stillhouse.core.experiment import run
from stillhouse.core.machine import machine
from stillhouse.tasks import task

MODES = ("labels alone", "teacher, new changes", "teacher, fixed views", "cache, fixed views")


def settings(args: argparse.Namespace, teacher: str) -> dict[str, Any]:
    """The run that all four share."""
    return {
        "name": "epoch",
        "data": {
            "name": "fashion-mnist", "root": args.root, "download": False, "train_limit": args.limit, "augment": "crop-flip",
            "validation_fraction": args.validation, "test_limit": args.test,
        },
        "teacher": {"source": teacher, "pretrained": False},
        "student": {"kind": "timm", "architecture": "test_resnet"},
        "signals": [{"kind": "logits", "loss": "forward-kl", "temperature": 4.0}],
        "training": {
            "epochs": args.epochs, "batch_size": 128, "learning_rate": 3e-3, "threads": args.threads, "device": args.device,
        },
        "arms": ["kd"],
        "seeds": args.seeds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="of torchvision's data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/cache-epoch"), help="folder for runs and cache")
    parser.add_argument("--teacher", help="source of a teacher [a ResNet-18 is trained]")
    parser.add_argument("--teacher-epochs", type=int, default=6)
    parser.add_argument("--limit", type=int, default=6000, help="training images [6000]")
    parser.add_argument(
        "--validation", type=float, default=0.02, help="share of the training images that is held out [0.02]"
    )
    parser.add_argument("--test", type=int, help="test images [all]")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    teacher = args.teacher or f"ckpt:{trained_teacher(args)}"
    base = settings(args, teacher)
    views = merge(base, {"data": {"views": args.views}})
    seconds, size = written(args, views)
    plain = merge(base, {"arms": ["no-kd"]})
    cached = merge(views, {"teacher": {"source": f"cache:{args.out / 'cache'}"}})
    found = {mode: [] for mode in MODES}  # type: dict[str, list[tuple[float, float]]]
    for seeds in range(1, args.seeds + 1):  # a seed of each in turn, so that a busy hour hits all alike
        for mode, mapping in zip(MODES, (plain, base, views, cached), strict=True):
            found[mode].append(trained(args.out / mode.replace(", ", "-").replace(" ", "-"), mapping, seeds))
    report(args, found, seconds, size)


def trained_teacher(args: argparse.Namespace) -> Path:
    """Of `stillhouse train-teacher`, once."""
    out = args.out / "teacher"
    if not (out / "teacher.safetensors").is_file():
        plan = {
            "name": "teacher",
            "data": {"name": "fashion-mnist", "root": args.root, "download": False, "augment": "crop-flip",
                     "validation_fraction": args.validation, "test_limit": args.test,
                     "train_limit": None if args.limit >= 6000 else args.limit},
            "teacher": {"source": "timm:resnet18", "pretrained": False, "image_size": 64},
            "training": {"epochs": args.teacher_epochs, "batch_size": 128, "learning_rate": 2e-3, "threads": args.threads,
                         "device": args.device},
        }  # fmt: skip
        (args.out / "teacher.yaml").write_text(json.dumps(plan))
        resume = ["--resume"] if out.is_dir() else []
        assert stillhouse(["train-teacher", str(args.out / "teacher.yaml"), "--out", str(out), "--quiet", *resume]) == 0
    return out / "teacher.safetensors"


def written(args: argparse.Namespace, mapping: dict[str, Any]) -> tuple[float, int]:
    """Seconds of writing the cache, and its bytes; the time is kept beside it."""
    kept = args.out / "cache-seconds.json"
    (args.out / "views.yaml").write_text(json.dumps(mapping))
    begun = time.monotonic()
    assert (
        stillhouse(["cache", str(args.out / "views.yaml"), "--out", str(args.out / "cache"), "--quiet", "--force"]) == 0
    )
    if not kept.is_file():
        kept.write_text(json.dumps(time.monotonic() - begun))
    return float(json.loads(kept.read_text())), Plan.read(args.out / "cache" / "manifest.json").bytes


def trained(out: Path, mapping: dict[str, Any], seeds: int) -> tuple[float, float]:
    """Seconds an epoch and test accuracy of the last seed; of a run that was stopped, what it has already."""
    arm = mapping["arms"][0]
    kept = records.arm_folder(out, arm, seeds - 1) / records.RESULT
    if not kept.is_file():
        kind = task("classification")
        run(kind, parse(kind.Config, {**mapping, "seeds": seeds}), out, resume=out.is_dir(), force=True)
    result = records.read_json(kept)
    return result["seconds"] / result["epochs"], 100 * result["metrics"]["accuracy"]


def report(args: argparse.Namespace, found: dict[str, list[tuple[float, float]]], seconds: float, size: int) -> None:
    about = machine()
    print(f"\n{about['cpu']}, {args.threads} threads; {args.limit} images of Fashion-MNIST, {args.epochs} epochs")
    print(
        f"cache of {args.views} views: {size:,} bytes, written in {seconds:.1f} s (with start, data, check of the teacher)\n"
    )
    print("| student learns from | seconds an epoch (each seed) | test accuracy, % (each seed) |\n|---|---|---|")
    for mode, values in found.items():
        print(f"| {mode} | {', '.join(f'{s:.2f}' for s, _ in values)} | {', '.join(f'{a:.2f}' for _, a in values)} |")
    live, cached = (min(s for s, _ in found[mode]) for mode in MODES[2:])
    if live > cached:
        pays = seconds / (live - cached)
        print(
            f"\nbest against best: {live / cached:.2f} x; the cache pays after {pays:.1f} epochs of all runs together"
        )


if __name__ == "__main__":
    main()
