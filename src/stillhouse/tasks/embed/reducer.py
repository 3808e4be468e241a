"""An embedding student behind scikit-learn's interface: `fit`, `transform`, in a `Pipeline` or BERTopic's `umap_model=`.

Shapes: n rows, D numbers of a vector, d numbers of a code.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from stillhouse.core.checks import InputError
from stillhouse.core.folder import SHIPPED
from stillhouse.core.hashes import with_hashes
from stillhouse.core.records import write_json
from stillhouse.tasks.embed.export.numpy_embedder import CARD, WEIGHTS, NumpyEmbedder

FEWEST_ROWS = 100
PARAMETERS = "reducer"  # entry of the card: what `get_params` gave
Random = int | np.random.RandomState | np.random.Generator | None
HELD_OUT = 24  # fewest rows that are held out of learning, for the best step and again for `quality_`


class Reducer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Wide vectors into few numbers that keep neighbours and distances; new rows are three matrix products away.

    `fit` trains the student of `stillhouse embed distill` with one seed and no controls, on one thread, so that the number of
    threads does not change the result. `transform` is numpy alone.

    Args:
        n_components: d.
        epochs: validations; 50 steps of up to 1 024 rows lie between two.
        normalize: compare directions (cosine); False where the length of a vector has a meaning. [by the rows: directions
            where all have length 1]
        random_state: decides which rows are held out of learning; weights and batches have a seed of their own. A number; None
            draws one in every `fit`, and a numpy `RandomState` or `Generator` is drawn from, as in scikit-learn.

    Attributes:
        embedder_: the trained student.
        seed_: the number that `random_state` was, or that was drawn.
        quality_: on a tenth of the rows, which were not learned from: `knn_overlap@10`, `spearman`, `trustworthiness`, ...
        n_features_in_: D.

    Raises:
        InputError: fewer than 100 rows; a parameter of another kind, or out of its range.
        ValueError: NaN, not (n, D), or another D in `transform` than in `fit` (scikit-learn's words).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(300, 2)) @ np.random.default_rng(1).normal(size=(2, 16))
        >>> codes = Reducer(2, epochs=1).fit_transform(x)
        >>> codes.shape
        (300, 2)
    """

    def __init__(
        self, n_components: int = 5, *, epochs: int = 24, normalize: bool | None = None, random_state: Random = 0
    ) -> None:
        self.n_components = n_components
        self.epochs = epochs
        self.normalize = normalize
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Reducer:
        """Learn from vectors (n, D); `y` is not read."""
        from stillhouse.core.experiment import run
        from stillhouse.tasks.embed.recipes import load_embedding
        from stillhouse.tasks.embed.task import TASK

        rows = np.asarray(validate_data(self, X, dtype=np.float32, ensure_min_samples=FEWEST_ROWS))
        components = _whole("n_components", self.n_components, 1, rows.shape[1] - 1, " (below D)")
        epochs = _whole("epochs", self.epochs, 1)
        if not isinstance(self.normalize, bool | np.bool_ | None):
            raise InputError(f"normalize: expected True, False or None, got {self.normalize!r}")
        self.seed_ = _drawn(self.random_state)
        held = max(0.1, HELD_OUT / len(rows))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.save(folder / "vectors.npy", rows)
            choices = {
                "student.levels": [components],
                "student.normalize": json.dumps(None if self.normalize is None else bool(self.normalize)),
                "training.epochs": epochs,
                "training.warmup_epochs": min(2.0, epochs / 2),
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
            self._files = {file: (folder / "run" / SHIPPED / file).read_bytes() for file in (CARD, WEIGHTS)}
        figures = summary["arms"]["student"]
        self.quality_ = {key: found["mean"] for key, found in figures.items() if key != "seconds"}
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Codes (n, d) float32 of vectors (n, D)."""
        check_is_fitted(self)
        return self.embedder_.encode(validate_data(self, X, dtype=np.float32, reset=False))

    @property
    def _n_features_out(self) -> int:
        return sum(self.embedder_.levels)

    def save(self, folder: str | Path) -> None:
        """Weights and card in a new folder, as `load` and every command of `stillhouse embed` read them; no pickle.

        Raises:
            InputError: the folder exists.
        """
        check_is_fitted(self)
        folder = Path(folder)
        if folder.exists():
            raise InputError(f"{folder}: expected a folder that does not exist yet")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
            for file, content in self._files.items():
                (Path(name) / file).write_bytes(content)
            # of a source of random numbers the number that was drawn: the same fit again
            plain = self.random_state is None or isinstance(self.random_state, int | np.integer)
            kept = {**self.get_params(), "random_state": self.random_state if plain else self.seed_}
            kept = {name: value.item() if isinstance(value, np.generic) else value for name, value in kept.items()}
            card = {**json.loads(self._files[CARD]), PARAMETERS: {**kept, "seed_": self.seed_}}
            write_json(Path(name) / CARD, with_hashes(card, Path(name), [WEIGHTS]))
            shutil.copytree(name, folder)

    @classmethod
    def load(cls, folder: str | Path) -> Reducer:
        """A trained reducer from its folder, with the parameters that it was made with, or from the `student/` folder of a run.

        Raises:
            InputError: a file is missing, damaged or of another format.
        """
        folder = Path(folder)
        embedder = NumpyEmbedder.load(folder)
        reducer = cls(n_components=sum(embedder.levels), normalize=bool(embedder.card["normalize"]))
        reducer.embedder_, reducer.quality_ = embedder, dict(embedder.card.get("metrics", {}))
        kept = embedder.card.get(PARAMETERS, {})  # older cards have none
        reducer.set_params(**{name: kept[name] for name in reducer.get_params() if name in kept})
        reducer.seed_ = int(kept.get("seed_", 0))
        reducer.n_features_in_ = int(embedder.card["teacher_dim"])
        reducer._files = {file: (folder / file).read_bytes() for file in (CARD, WEIGHTS)}
        return reducer


def _whole(name: str, value: Any, low: int, high: float = math.inf, beside: str = "") -> int:
    """A parameter that is a whole number from `low` to `high`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not low <= value <= high:
        ends = f"{low} to {high}" if high < math.inf else f"{low} or more"
        raise InputError(f"{name}: expected a whole number, {ends}{beside}, got {value!r}")
    return int(value)


def _drawn(state: Any) -> int:
    """A number as it is; one that is drawn from a source of random numbers, of None from numpy's own."""
    if isinstance(state, np.random.Generator):
        return int(state.integers(2**32))
    if state is None or isinstance(state, np.random.RandomState):
        return int(check_random_state(state).randint(2**32, dtype=np.uint32))
    if isinstance(state, int | np.integer) and not isinstance(state, bool) and 0 <= state < 2**32:
        return int(state)
    raise InputError(
        f"random_state: expected None, a whole number, 0 to 2^32 - 1, or a numpy RandomState or Generator, got {state!r}"
    )
