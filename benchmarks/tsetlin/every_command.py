"""Runs every command of docs/reproduction.md to its end on a sliver of its data: all of its flags, one epoch of 1 024 images.

python -m benchmarks.tsetlin.every_command --mnist ROOT --cifar FOLDER --mnist-teacher teacher.safetensors \\
    --cifar-teacher resnet56-4bfd9763.th [--only 6 7] [--out runs/tsetlin/every]

The accuracies say nothing. Teachers of the hub, whose heads the documents left random, are replaced by teachers of the data set.
What one command wrote is kept: the script goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import time
from pathlib import Path

from benchmarks.tsetlin.cifar10 import data_of, teacher_of

from stillhouse.cli.show import RunDisplay
from stillhouse.compat.vision import read
from stillhouse.core.records import write_json
from stillhouse.tasks.classification.vision.run import run_models
from stillhouse.teachers.config import TeacherConfig

PAGE = Path(__file__).parents[2] / "docs" / "reproduction.md"
LIMITS = [
    "--epochs",
    "1",
    "--validation-fraction",
    "0.01",
    "--train-limit",
    "1024",
    "--test-limit",
    "256",
    "--device",
    "cpu",
    "--threads",
    "1",
]


def commands() -> dict[int, list[str]]:
    """The words of every numbered command, as the page shows them."""
    found = re.findall(r"^(\d+)\. .*?```sh\nstillhouse vision (.*?)```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return {int(number): shlex.split(words) for number, words in found}


def carry_out(words: list[str], options: argparse.Namespace, out: Path) -> float:
    """Seconds that it took; what it writes beside the run folder lands in the working folder."""
    config = read([*_without(words, "--epochs", "--device"), *LIMITS, "--dataset-root", str(options.mnist)])[1]
    cifar = config.data.name == "cifar10"
    data = data_of(options.cifar, config.data) if cifar else config.data.build()
    teacher = None
    if config.teacher is not None:
        own = TeacherConfig(source=f"ckpt:{options.mnist_teacher}")
        teacher = teacher_of(options.cifar_teacher, data) if cifar else own.build(data.input_spec)
    started = time.monotonic()
    found = run_models(config, out, data=data, teacher=teacher, callback=RunDisplay(0, quiet=True))
    assert set(found["models"]) == set(config.models)
    return time.monotonic() - started


def _without(words: list[str], *names: str) -> list[str]:
    return [word for place, word in enumerate(words) if word not in names and words[place - 1] not in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--mnist", "--cifar", "--mnist-teacher", "--cifar-teacher"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--only", type=int, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("runs/tsetlin/every"))
    options = parser.parse_args()
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, value.absolute())
    for number, words in commands().items():
        place = options.out / f"{number:02}"
        if (options.only and number not in options.only) or (place / "seconds.json").is_file():
            continue
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        os.chdir(place)
        print(f"{number}: stillhouse vision {shlex.join(words)}")
        seconds = carry_out(words, options, place / "run")
        write_json(place / "seconds.json", seconds)
        print(f"{number}: done in {seconds:.0f} s")


if __name__ == "__main__":
    main()
