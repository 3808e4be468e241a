"""Reports of embedding students, from files alone, and the students in use: no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from stillhouse.core.folder import SHIPPED
from stillhouse.core.parts import Metric
from stillhouse.core.predict import Inputs, Predictor, check_finite, numbers_of
from stillhouse.core.records import CARD, SUMMARY, read_json, read_object
from stillhouse.core.task import Results
from stillhouse.tasks.embed.data import open_vectors
from stillhouse.tasks.embed.numpy_embedder import FORMAT, NumpyEmbedder

if TYPE_CHECKING:
    from stillhouse.core.folder import RunFolder
    from stillhouse.report.blocks import Block, Cell, Table

NEAR, FAR = "knn_overlap", "row_spearman"  # what verdicts are drawn from
LOCAL, GLOBAL = "knn_overlap@10", "spearman"  # the two axes of the figure
TABLES = {  # title -> key of a figure and head of its column
    "Local: who is near": {
        "knn_overlap@1": "of the nearest 1",
        "knn_overlap@10": "of the nearest 10",
        "knn_overlap@100": "of the nearest 100",
        "recall_10_in_100": "10 in 100",
        "trustworthiness": "trustworthiness",
        "label_1nn": "1-NN label",
    },
    "Global: how far the rest is": {
        "spearman": "Spearman, all pairs",
        "row_spearman": "Spearman, row by row",
        "triplet_accuracy": "triplets (chance 0.5)",
        "cka": "CKA",
        "poles_right": "poles right",
    },
}


class EmbedResults(Results):
    """Wide embeddings into few numbers."""

    kind = "embed"
    title = "embeddings"
    metrics = (
        Metric(NEAR, "10 nearest kept", "overlap", "test rows", low=0.0, high=1.0, digits=3),
        Metric(
            FAR,
            "distances kept (Spearman, row by row)",
            "Spearman",
            "test rows",
            low=-1.0,
            high=1.0,
            digits=3,
            judged=True,
        ),
    )

    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """Local against global quality, and tables of both, at every level of a code."""
        from stillhouse.report import figures
        from stillhouse.report.blocks import Figure
        from stillhouse.report.words import format_decimal

        arms = read_json(run.path / SUMMARY)["arms"] if (run.path / SUMMARY).is_file() else {}
        if not arms:
            return []
        first = next(iter(arms.values()))
        chance = ", ".join(f"{format_decimal(first[key]['mean'], 4)} ({key})" for key in first if "_chance" in key)
        captions = (
            f"Share of the teacher's nearest that are among the student's; mean over seeds and range. Chance: {chance}.",
            "Rank correlation of distances; share of random triplets in the right order.",
        )
        points = [(found[GLOBAL]["mean"], found[LOCAL]["mean"], arm) for arm, found in arms.items()]
        axes = "global: Spearman of distances, all pairs", "local: share of the 10 nearest kept"
        drawing = figures.pareto(points, set(arms), *axes, joined=False)
        caption = (
            "Test rows, mean over seeds; up and right is better. One number cannot order methods that trade the two."
        )
        return [
            Figure("Local against global quality", [(drawing, "")], caption),
            *(_table(title, arms, heads, words) for (title, heads), words in zip(TABLES.items(), captions)),
        ]

    def load_exported(self, place: Path) -> Predictor | None:
        """A student as it was saved or exported: its file of weights is read by numpy."""
        places = [one for one in (place, place / SHIPPED) if (one / CARD).is_file()]
        ours = bool(places) and read_object(places[0] / CARD, {}).get("format") == FORMAT
        return CodePredictor(places[0]) if ours else None


class CodePredictor(Predictor):
    """Vectors of the teacher into codes."""

    takes: ClassVar[str] = "vectors (.npy and what else runs take, a .csv of numbers), or - for rows"
    gives_array: ClassVar[bool] = True
    hub_task = "feature-extraction"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.student = NumpyEmbedder.load(folder)
        self.columns = tuple(f"z{number}" for number in range(1, sum(self.student.card["levels"]) + 1))

    def transform(self, one: Any) -> Any:
        """A vector (D) float32 of the teacher's width.

        Raises:
            InputError: another width, or NaN.
        """
        self.predict(one)
        return np.asarray(one, np.float32)

    def predict(self, inputs: Any) -> np.ndarray:
        """Codes (N, d) float32 of vectors (N, D) or of one (D)."""
        return self.student.encode(np.atleast_2d(np.asarray(inputs)))

    def read(self, source: str) -> Inputs:
        """Rows, by number."""
        if source == "-" or Path(source).suffix.lower() == ".csv":
            vectors = numbers_of(source)
            check_finite(vectors, "standard input" if source == "-" else source)
        else:
            store = open_vectors(source)
            vectors = store.read(np.arange(len(store)))
        return Inputs([str(number) for number in range(len(vectors))], vectors)


def _table(title: str, arms: Mapping[str, Any], heads: Mapping[str, str], caption: str) -> Table:
    """Those columns that any arm has, `spearman/30` and the like too: a figure of the first 30 numbers of a code."""
    from stillhouse.report.blocks import Table
    from stillhouse.report.words import NOTHING

    known = dict.fromkeys(key for found in arms.values() for key in found)
    kept = [key for head in heads for key in known if key.split("/")[0] == head]
    words = [heads[key.split("/")[0]] + (f", {key.split('/')[1]} numbers" if "/" in key else "") for key in kept]
    rows = [
        [arm, *(_cell(found[key]["values"]) if key in found else NOTHING for key in kept)]
        for arm, found in arms.items()
    ]
    return Table(title, ["", *words], rows, caption)


def _cell(values: Sequence[float]) -> Cell:
    """Mean, and below it the range over seeds where there are several."""
    from stillhouse.report.blocks import Cell
    from stillhouse.report.words import format_decimal

    spread = (
        f"{format_decimal(min(values))} to {format_decimal(max(values))}" if max(values) - min(values) >= 5e-4 else ""
    )
    return Cell(format_decimal(sum(values) / len(values)), spread)


RESULTS = EmbedResults()
