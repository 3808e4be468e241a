"""An embedding student behind scikit-learn's interface: `fit`, `transform`, in a `Pipeline` or BERTopic's `umap_model=`.

Shapes: n rows, D numbers of a vector, d numbers of a code.
"""

from __future__ import annotations

import json
import tempfile
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import save_file
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from stillhouse.core.folder import SHIPPED
from stillhouse.core.hashes import with_hashes
from stillhouse.core.records import write_json
from stillhouse.tasks.embed.numpy_embedder import CARD, WEIGHTS, NumpyEmbedder

FEWEST_ROWS = 100
HELD_OUT = 24  # fewest rows that are held out of learning, for the best step and again for `quality_`


class FiveNumbers(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Wide vectors into few numbers that keep neighbours and distances; new rows are three matrix products away.

    `fit` trains the student of `stillhouse embed distill` with one seed and no controls, on one thread, so that the number of
    threads does not change the result. `transform` is numpy alone.

    Args:
        n_components: d.
        epochs: validations; 8 steps of up to 1 024 rows lie between two, 50 from 5 000 rows on.
        normalize: compare directions (cosine); False where the length of a vector has a meaning. [by the rows: directions
            where all have length 1]
        random_state: decides which rows are held out of learning; weights and batches have a seed of their own. As in
            scikit-learn: a number, None, or a `RandomState` that one is drawn from in every `fit`.

    Attributes:
        embedder_: the trained student.
        seed_: the number that `random_state` was, or that was drawn.
        quality_: on a tenth of the rows, which were not learned from: `knn_overlap@10`, `spearman`, `trustworthiness`, ...
        n_features_in_: D.

    Raises:
        ValueError: fewer than 100 rows, NaN, not (n, D), a parameter of another kind or out of its range, or another D in
            `transform` than in `fit` (scikit-learn's words).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(300, 2)) @ np.random.default_rng(1).normal(size=(2, 16))
        >>> codes = FiveNumbers(2, epochs=1).fit_transform(x)
        >>> codes.shape
        (300, 2)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "normalize": ["boolean", None],
        "random_state": ["random_state"],
    }

    def __init__(
        self, n_components: int = 5, *, epochs: int = 24, normalize: bool | None = None, random_state: Any = 0
    ) -> None:
        self.n_components = n_components
        self.epochs = epochs
        self.normalize = normalize
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> FiveNumbers:
        """Learn from vectors (n, D); `y` is not read."""
        from stillhouse.core.experiment import run
        from stillhouse.tasks.embed.recipes import load_embedding
        from stillhouse.tasks.embed.task import TASK

        self._validate_params()
        rows = np.asarray(validate_data(self, X, dtype=np.float32, ensure_min_samples=FEWEST_ROWS))
        given = self.random_state
        drawn = given if isinstance(given, Integral) else check_random_state(given).randint(2**32, dtype=np.uint32)
        self.seed_, held = int(drawn), max(0.1, HELD_OUT / len(rows))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.save(folder / "vectors.npy", rows)
            choices = {
                "student.levels": [int(self.n_components)],
                "student.normalize": json.dumps(None if self.normalize is None else bool(self.normalize)),
                "training.epochs": self.epochs,
                "training.warmup_epochs": min(2.0, self.epochs / 2),
                "training.threads": 1,
                "data.split_seed": self.seed_,
                "data.validation_fraction": held,
                "data.test_fraction": held,
                "anchors": [],
                "seeds": 1,
            }
            config = load_embedding(str(folder / "vectors.npy"), [f"{key}={value}" for key, value in choices.items()])
            # whoever calls `fit` has chosen the rows: noise is reduced too, and `quality_` shows what it kept
            summary = run(TASK, config, folder / "run", force=True)
            self.embedder_ = NumpyEmbedder.load(folder / "run" / SHIPPED)
        self.quality_ = {key: x["mean"] for key, x in summary["arms"]["student"].items() if key != "seconds"}
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Codes (n, d) float32 of vectors (n, D)."""
        check_is_fitted(self)
        return self.embedder_.encode(validate_data(self, X, dtype=np.float32, reset=False))

    @property
    def _n_features_out(self) -> int:
        return int(self.n_components)

    def save(self, folder: str | Path) -> None:
        """Weights and card in a new folder, as `stillhouse.load` and every command read them; no pickle."""
        check_is_fitted(self)
        folder = Path(folder)
        folder.mkdir(parents=True)
        save_file(self.embedder_.weights, folder / WEIGHTS)
        card = {**self.embedder_.card, "metrics": self.quality_}
        write_json(folder / CARD, with_hashes(card, folder, [WEIGHTS]))
