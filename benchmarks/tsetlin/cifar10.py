"""CIFAR-10: a TM-ViT taught by a ResNet-56 (93.39 % on the test split), and the same net on labels alone.

python benchmarks/tsetlin/cifar10.py --data FOLDER --teacher resnet56-4bfd9763.th --out runs/tsetlin/cifar10 [--epochs 30]

FOLDER holds `cifar-10-batches-py`. Resumable (--resume).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from stillhouse.cli.show import RunDisplay
from stillhouse.compat.vision import read
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.vision.run import run_models
from stillhouse.teachers.config import TeacherConfig
from stillhouse.teachers.teacher import Teacher


def data_of(root: Path, config: DataConfig) -> ImageData:
    return replace(config, name="cifar10", root=str(root), download=False).build()


def teacher_of(weights: Path, data: ImageData) -> Teacher:
    return TeacherConfig(source=f"ckpt:{weights}").build(data.input_spec)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/tsetlin/cifar10"))
    parser.add_argument("--resume", action="store_true")
    options, words = parser.parse_known_args()
    config = read(
        [
            *(
                "--dataset",
                "cifar10",
                "--augment",
                "crop-flip",
                "--transformer-patch",
                "4",
                "--transformer-layers",
                "4",
            ),
            *("--transformer-clauses", "256", "--epochs", "30", "--batch-size", "128"),
            *("--distill-teacher-source", f"ckpt:{options.teacher.name}", "--distill-teacher-weight", "1.0"),
            *("--distill-teacher-temp", "2.0", "arms=[kd]", "no-kd", "--transformer-ema-decay", "0.999", *words),
        ]
    )[1]
    assert isinstance(config.teacher, TeacherConfig)
    data = data_of(options.data, config.data)
    teacher = teacher_of(options.teacher, data)
    found = run_models(
        config, options.out, resume=options.resume, data=data, teacher=teacher, callback=RunDisplay(0, quiet=True)
    )
    print({arm: accuracy["mean"] for arm, accuracy in found["models"]["transformer"]["arms"].items()})


if __name__ == "__main__":
    main()
