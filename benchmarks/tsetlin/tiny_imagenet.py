"""A part of Tiny ImageNet as class folders for the documents' sweep, and EfficientNet-Lite0's published weights by timm's names.

python -m benchmarks.tsetlin.tiny_imagenet TINY OUT [--weights efficientnet-lite0-57934424.pth] [--train 25] [--test 10]

TINY is the folder `tiny-imagenet-200`. OUT/images gets train/CLASS and test/CLASS (the first images of each class by their
numbers; test images are those of `val`, which has labels), and OUT/efficientnet_lite0.pth the weights. The sweep is

    sh benchmarks/tsetlin/tiny_imagenet.sh OUT
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

import stillhouse  # noqa: F401  before timm: without it torchvision fails to import on some machines


def numbered(paths: Iterable[Path]) -> list[Path]:
    """Files in the order of the last number of their names."""
    return sorted(paths, key=lambda path: int(re.findall(r"\d+", path.stem)[-1]))


def by_class(root: Path) -> dict[str, dict[str, list[Path]]]:
    """Images of each class of both splits: {"train": {class: files}, "test": ...}."""
    classes = (root / "wnids.txt").read_text(encoding="utf-8").split()
    train = {name: numbered((root / "train" / name / "images").glob("*.JPEG")) for name in classes}
    test = defaultdict(list)
    for line in (root / "val" / "val_annotations.txt").read_text(encoding="utf-8").splitlines():
        file, name = line.split("\t")[:2]
        test[name].append(root / "val" / "images" / file)
    return {"train": train, "test": {name: numbered(test[name]) for name in classes}}


def write_images(root: Path, out: Path, each: Mapping[str, int]) -> None:
    """Copy the first images of every class into OUT/SPLIT/CLASS."""
    for split, classes in by_class(root).items():
        for name, files in classes.items():
            folder = out / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for file in files[: each[split]]:
                shutil.copyfile(file, folder / file.name)


def renamed(published: Path) -> dict[str, torch.Tensor]:
    """The published tensors under timm's names: both list the same layers in the same order."""
    import timm

    wanted = timm.create_model("efficientnet_lite0").state_dict()
    found = torch.load(published, map_location="cpu", weights_only=True)
    if [tuple(x.shape) for x in wanted.values()] != [tuple(x.shape) for x in found.values()]:
        raise SystemExit(f"{published}: expected the layers of timm's efficientnet_lite0 in their order")
    return dict(zip(wanted, found.values(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiny", type=Path, metavar="TINY")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--weights", type=Path, help="published weights of EfficientNet-Lite0 (PyTorch)")
    parser.add_argument("--train", type=int, default=25, help="training images a class")
    parser.add_argument("--test", type=int, default=10, help="test images a class")
    options = parser.parse_args()
    write_images(options.tiny, options.out / "images", {"train": options.train, "test": options.test})
    if options.weights:
        torch.save(renamed(options.weights), options.out / "efficientnet_lite0.pth")


if __name__ == "__main__":
    main()
