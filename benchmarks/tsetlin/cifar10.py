"""CIFAR-10: a TM-ViT taught by a ResNet-56 (93.39 % on the test split), and the same net on labels alone.

python benchmarks/tsetlin/cifar10.py --data FOLDER --teacher resnet56-4bfd9763.th --out runs/tsetlin/cifar10 [--epochs 30]

FOLDER holds `cifar-10-batches-py`; its pickles are read by an unpickler that makes arrays and nothing else. Resumable (--resume).
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.classification.data import DataConfig, ImageData
from stillhouse.cli.show import RunDisplay
from stillhouse.families.clauses.commands import read
from stillhouse.families.clauses.vision.run import run_models
from stillhouse.teachers import Teacher, TeacherConfig
from stillhouse.teachers.from_checkpoint import read_state_dict

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # the checkpoint was trained with ImageNet's


class Arrays(pickle.Unpickler):
    """Makes NumPy arrays and plain data, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("numpy") and name in {"_reconstruct", "ndarray", "dtype"}:
            import numpy._core.multiarray as inner

            return {"_reconstruct": inner._reconstruct, "ndarray": np.ndarray, "dtype": np.dtype}[name]
        if (module, name) == ("_codecs", "encode"):
            import _codecs

            return _codecs.encode
        raise pickle.UnpicklingError(f"{module}.{name}")


def load(file: IO[bytes]) -> tuple[np.ndarray, np.ndarray]:
    found = Arrays(file, encoding="bytes").load()
    plain = {key.decode() if isinstance(key, bytes) else key: value for key, value in found.items()}
    return np.asarray(plain["data"], np.uint8).reshape(-1, 3, 32, 32), np.asarray(plain["labels"], np.int64)


class Shortcut(nn.Module):
    """Option A of the ResNet paper: every second pixel, new channels are 0."""

    def __init__(self, grow: int) -> None:
        super().__init__()
        self.grow = grow

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.grow // 2, self.grow // 2))


class Basic(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity() if stride == 1 else Shortcut(width - before)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.shortcut(x))


class ResNet56(nn.Module):
    """He et al. 2016, arXiv:1512.03385, section 4.2, with the names of the published checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Basic(16, 16, 1) for _ in range(9)))
        self.layer2 = nn.Sequential(*(Basic(16 if i == 0 else 32, 32, 2 if i == 0 else 1) for i in range(9)))
        self.layer3 = nn.Sequential(*(Basic(32 if i == 0 else 64, 64, 2 if i == 0 else 1) for i in range(9)))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def data_of(root: Path, config: DataConfig) -> ImageData:
    folder = root / "cifar-10-batches-py"
    parts = [load((folder / f"data_batch_{i}").open("rb")) for i in range(1, 6)]
    test = load((folder / "test_batch").open("rb"))
    return ImageData.from_arrays(
        np.concatenate([images for images, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
        class_names=NAMES,
        name="cifar10",
        test=test,
        config=config,
    )


def teacher_of(weights: Path, data: ImageData) -> Teacher:
    network = ResNet56()
    network.load_state_dict(read_state_dict(weights))
    return Teacher.from_module(network, data.task, mean=MEAN, std=STD, name="ResNet-56")


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
            *("--distill-teacher-temp", "2.0", "--arms", "kd", "no-kd", "--transformer-ema-decay", "0.999", *words),
        ]
    )[1]
    assert isinstance(config.teacher, TeacherConfig)
    data = data_of(options.data, config.data)
    teacher = teacher_of(options.teacher, data)
    found = run_models(
        config, options.out, resume=options.resume, data=data, teacher=teacher, watch=RunDisplay(0, quiet=True)
    )
    print({arm: accuracy["mean"] for arm, accuracy in found["models"]["transformer"]["arms"].items()})


if __name__ == "__main__":
    main()
