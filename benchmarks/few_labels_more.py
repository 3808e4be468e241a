"""A hundred labels on pictures and tables: the table of `benchmarks.few_labels` for students of thresholds and of clauses.

    python -m benchmarks.few_labels_more RUNS --tables fico.csv credit_card_clean.csv --cifar CIFAR --weights resnet56.th

Tables: data_cleaned of https://github.com/csinva/imodels-data, the last column is the label. Their teacher is a gradient boosting,
fitted to the hundred labels of each draw (`own`), or once to 4,000 rows that no student sees (`elsewhere`). Digits: an SVM fitted
to 600 other digits teaches. CIFAR (the folder of the Python version): 1,000 labels; the ResNet-56 of
https://github.com/akamaster/pytorch_resnet_cifar10 has seen no test image, so these are its unlabelled rows. Each line is a run in
RUNS, continued where it was left.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.few_labels import HEAD, line, row_of

import stillhouse
from stillhouse.core import records
from stillhouse.core.folder import RunFolder

ROWS, TEST, ELSEWHERE = 4000, 2000, 4000  # of a table
Case = tuple[str, str, Any, Any, Any, Mapping[str, Any]]  # name, student, teacher, data, test, settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--tables", type=Path, nargs="*", default=[], help="CSV files whose last column is the label")
    parser.add_argument("--cifar", type=Path, help="folder with test_batch")
    parser.add_argument("--weights", type=Path, help="ResNet-56 of CIFAR-10")
    parser.add_argument("--seeds", type=int, default=5, help="draws of labels [5]")
    options = parser.parse_args(arguments)
    pictures = [digits()] if options.cifar is None else [digits(), cifar(options.cifar, options.weights)]
    print("\n".join(HEAD), flush=True)
    for cases in (*pictures, *map(table, options.tables)):
        for name, student, teacher, data, test, settings in cases:
            out = options.out / f"{name}-{student}"
            if not (out / records.SUMMARY).is_file():
                stillhouse.distill(
                    teacher, student, data, test=test, seeds=options.seeds, out=out, force=True, **settings
                )
            print(line(row_of(name, student, RunFolder(out), options.seeds)), flush=True)


def digits() -> Iterator[Case]:
    """8 x 8 digits: 600 for the teacher, 400 to test, the other 797 for the student, 100 of them with a label."""
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    its, test, rows = np.split(order, [600, 1000])
    svm = SVC(C=10, gamma=1e-3, probability=True, random_state=0).fit(images[its], labels[its])
    answers = svm.predict_proba(images[np.r_[rows, test]])
    pictures = (images * (255 / 16)).round().astype(np.uint8).reshape(-1, 8, 8)
    parts = (pictures[rows], labels[rows]), (pictures[test], labels[test])
    yield "digits", "flat-tm", answers, *parts, {"data__label_limit": 100}


def cifar(folder: Path, weights: Path) -> Iterator[Case]:
    """8,000 test images of CIFAR-10, 1,000 of them with a label, and 2,000 to test."""
    import torch
    from benchmarks.cifar_resnet import CifarResNet

    found = pickle.loads((folder / "test_batch").read_bytes(), encoding="latin1")
    images = np.asarray(found["data"], np.uint8).reshape(-1, 3, 32, 32)
    labels = np.asarray(found["labels"])
    network = CifarResNet(9)
    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    mean, deviation = (torch.tensor(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        parts = (torch.from_numpy(part) / 255 for part in np.array_split(images, 40))
        answers = torch.cat([network.eval()((part - mean) / deviation).softmax(1) for part in parts]).numpy()
    order = np.random.default_rng(0).permutation(len(images))
    rows, test = order[:8000], order[8000:]
    pictures = images.transpose(0, 2, 3, 1)
    data = (pictures[rows], labels[rows]), (pictures[test], labels[test])
    settings = {"data__label_limit": 1000, "student__levels": 4, "arms": ["kd", "no-kd", "self-trained"]}
    yield "cifar-10", "flat-tm", answers[order], *data, settings


def table(path: Path) -> Iterator[Case]:
    """Both teachers of a table, for each student of tables."""
    import pandas
    from sklearn.ensemble import HistGradientBoostingClassifier

    frame = pandas.read_csv(path).sample(frac=1, random_state=0)[: ELSEWHERE + ROWS + TEST]
    numbers, labels = frame.iloc[:, :-1], frame.iloc[:, -1].to_numpy()
    ends = [len(frame) - ROWS - TEST, len(frame) - TEST]
    its, rows, test = np.split(np.arange(len(frame)), ends)
    elsewhere = HistGradientBoostingClassifier(random_state=0).fit(numbers.iloc[its], labels[its])
    answers = elsewhere.predict_proba(numbers.iloc[np.r_[rows, test]])
    for name, teacher in (("own", HistGradientBoostingClassifier()), ("elsewhere", answers)):
        for student in ("scorecard", "rules", "tree"):
            data = ((numbers.iloc[part], labels[part]) for part in (rows, test))
            yield f"{path.stem}-{name}", student, teacher, *data, {"data__label_limit": 100}


if __name__ == "__main__":
    main()
