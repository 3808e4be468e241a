"""What ordinary models of scikit-learn reach on the digits of `run`: the rows beside which a student's score is to be read.

    python -m benchmarks.techniques.plain

The same training and test images as the tasks digits-spiking and digits-clauses (300 rows), digits-targets and the demo (all 970).
Settings are scikit-learn's own, but for the MLP's (32 hidden units, 2 000 iterations), which is fitted with seeds 0 to 2.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

from stillhouse.tasks.classification.data.config import DataConfig

SEEDS = (0, 1, 2)


def rows(split: Any) -> tuple[np.ndarray, np.ndarray]:
    """Flat pixels in [0, 1] and labels of a split."""
    batches = list(split.batches(10_000))
    pixels = np.concatenate([np.asarray(batch.inputs).reshape(len(batch.labels), -1) for batch in batches])
    return pixels, np.concatenate([np.asarray(batch.labels) for batch in batches])


def scores(limit: int | None) -> dict[str, float]:
    """Test accuracy of each model, the mean over seeds where one matters."""
    data = DataConfig(name="digits", train_limit=limit).build()
    train, test = rows(data.train), rows(data.test)
    print(f"{len(train[1])} training images, {len(test[1])} test images")
    mlps = [MLPClassifier((32,), max_iter=2000, random_state=seed).fit(*train).score(*test) for seed in SEEDS]
    return {
        "logistic regression": LogisticRegression(max_iter=2000).fit(*train).score(*test),
        "MLP of 32 hidden units": float(np.mean(mlps)),
        "5 nearest neighbours": KNeighborsClassifier().fit(*train).score(*test),
        "support vectors (RBF)": SVC().fit(*train).score(*test),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = {limit: scores(limit) for limit in (300, None)}
    print("| | " + " | ".join("all rows" if limit is None else f"{limit:,} rows" for limit in found) + " |")
    print("|---" * (1 + len(found)) + "|")
    for name in found[300]:
        print(f"| {name} | " + " | ".join(f"{100 * each[name]:.2f} %" for each in found.values()) + " |")


if __name__ == "__main__":
    main()
