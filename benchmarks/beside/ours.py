"""The same network, taught in a run: check, control, seeds, paired interval, page and a student that reads photos."""

from pathlib import Path

from benchmarks.beside.task import EPOCHS, SEEDS, data, teacher

from stillhouse.classification.data import ImageData
from stillhouse.core.experiment import run
from stillhouse.recipes import load
from stillhouse.teachers import Teacher

given = ImageData.from_arrays(*(part.numpy() for part in data()[0]), test=tuple(part.numpy() for part in data()[1]))
own = Teacher.from_module(teacher(), given.task, mean=(0.0,), std=(1.0,))
family, config = load("digits-timm", [f"seeds={SEEDS}", f"training.epochs={EPOCHS}"])
summary = run(family, config, Path("build/beside"), data=given, teacher=own)
print(summary["verdict"], summary["comparisons"][0])
