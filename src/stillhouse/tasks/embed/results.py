"""Reports of embedding students, and the students in use: both need numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from stillhouse.core.folder import SHIPPED
from stillhouse.core.parts import Metric
from stillhouse.core.predict import Inputs, Predictor, check_finite, numbers_of
from stillhouse.core.records import CARD, read_object
from stillhouse.core.task import Results
from stillhouse.tasks.embed.data import open_vectors
from stillhouse.tasks.embed.numpy_embedder import FORMAT, NumpyEmbedder

if TYPE_CHECKING:
    from stillhouse.core.folder import RunFolder

NEAR, FAR = "knn_overlap", "row_spearman"  # what verdicts are drawn from


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

    def blocks(self, run: RunFolder) -> Sequence[Any]:
        """Local against global quality, tables of both, what each level adds."""
        from stillhouse.tasks.embed.report import embedding_blocks

        return embedding_blocks(run)

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


RESULTS = EmbedResults()
