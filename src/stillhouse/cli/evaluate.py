"""`stillhouse evaluate`: score a saved student on the test split of a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stillhouse.cli.options import Parser
from stillhouse.core.checks import InputError
from stillhouse.core.records import CARD, RUN, read_json

EXAMPLES = """examples:
  stillhouse evaluate runs/demo/arms/kd/seed-0                          on the data of its run
  stillhouse evaluate runs/mnist/arms/kd/seed-0 --data-root DIR
"""


def main(arguments: Sequence[str]) -> int:
    """Parse, score, print JSON."""
    parser = Parser(
        prog="stillhouse evaluate",
        description="Accuracy, NLL and ECE of a saved student, on the test split.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "folder", type=Path, help="folder with student.safetensors and card.json (an arm and seed of a run)"
    )
    parser.add_argument("--data", help="data set [the one of the run]")
    parser.add_argument("--data-root", help="where it lies [as in the run]")
    options = parser.parse(arguments)
    folder: Path = options.folder
    if not (folder / CARD).is_file():
        raise InputError(f"{folder}: expected a folder with {CARD} (for example runs/demo/arms/kd/seed-0)")
    from stillhouse.classification.card import load_student, read_card
    from stillhouse.classification.data import DataConfig
    from stillhouse.classification.metrics import evaluate
    from stillhouse.classification.predict import predict
    from stillhouse.core.config import parse

    run = next((parent / RUN for parent in folder.resolve().parents if (parent / RUN).is_file()), None)
    settings = read_json(run)["config"]["data"] if run is not None and options.data is None else {"name": options.data}
    if settings["name"] is None:
        raise InputError("which data? name it with --data")
    if options.data_root is not None:
        settings["root"] = options.data_root
    data = parse(DataConfig, settings).build()
    _, task = read_card(folder)
    if (task.num_classes, task.shape) != (data.task.num_classes, data.task.shape):
        raise InputError(
            f"the student expects {task.num_classes} classes of images {task.shape}, "
            f"{data.name} has {data.task.num_classes} of {data.task.shape}"
        )
    student = load_student(folder)
    probabilities = predict(lambda batch: student(batch.inputs), data.test)
    metrics = evaluate(probabilities, data.test.labels.numpy(), None)
    print(
        json.dumps({"data": data.name, "images": len(data.test), **{k: v for k, v in metrics.items() if v is not None}})
    )
    return 0
