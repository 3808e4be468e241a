"""What a run learns from and is judged on: splits, the rows of pairs, labelled poles, the graph of neighbours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.records import read_arrays, write_arrays
from stillhouse.core.sample import sample_rows
from stillhouse.tasks.embed.data.formats import capture_manifest
from stillhouse.tasks.embed.data.rows import Poles, VectorRows
from stillhouse.tasks.embed.data.texts import read_pairs, read_table
from stillhouse.tasks.embed.data.vectors import VectorData
from stillhouse.tasks.embed.graph import neighbor_graph
from stillhouse.tasks.embed.metrics.neighbourhood import Metric
from stillhouse.tasks.embed.plan import EmbedRunConfig

Index = NDArray[np.int64]
Log = Callable[[str], None]
GRAPH = "graph.npz"
CODED_ROWS = 16_384  # coded at a time
START_ROWS = 20_000  # of which the principal axes are taken
CAPTURE = "manifest.json"
LENGTHS_DIFFER = 0.01  # deviation of the rows' lengths over their mean, above which lengths are data


@dataclass(frozen=True)
class Pairs:
    """Sentence pairs as rows of the store."""

    first: Index
    second: Index
    gold: NDArray[np.float64]
    name: str


@dataclass(frozen=True)
class PoleRows:
    """Rows at known ends of axes, of which those of the training split teach and the others judge."""

    rows: Index
    axes: Index
    signs: NDArray[np.float64]

    def among(self, split: Index) -> PoleRows:
        """Those in a split."""
        chosen = np.isin(self.rows, split)
        return PoleRows(self.rows[chosen], self.axes[chosen], self.signs[chosen])

    def outside(self, split: Index) -> PoleRows:
        """Those in none."""
        chosen = ~np.isin(self.rows, split)
        return PoleRows(self.rows[chosen], self.axes[chosen], self.signs[chosen])


@dataclass(frozen=True, eq=False)
class EmbeddingData:
    """A run's data, opened.

    Attributes:
        data: the store and its splits; the texts of pairs are in neither training nor validation.
        train: training rows as tensors.
        validation: validation rows as tensors.
        test: the test rows that are judged.
        pairs: sentence pairs.
        poles: labelled rows.
        normalize: whether rows are directions, which are compared by cosine.
    """

    data: VectorData
    train: VectorRows
    validation: VectorRows
    test: Index
    pairs: Pairs | None
    poles: PoleRows | None
    normalize: bool

    @property
    def metric(self) -> Metric:
        """How the teacher's rows are compared."""
        return "cosine" if self.normalize else "euclidean"

    @property
    def name(self) -> str:
        """Of the vectors."""
        return self.data.name

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of every split."""
        return self.data.sizes

    @property
    def sha256(self) -> str:
        """Fingerprint of the vectors."""
        return self.data.sha256

    def facts(self) -> dict[str, Any]:
        """The data's entry in cards and reports."""
        data = self.data
        return {
            "name": data.name,
            "sizes": {**data.sizes, "judged": len(self.test)},
            "sha256": data.sha256,
            "width": data.width,
            "zero_rows": data.zero_rows,
            "duplicates": data.duplicates,
        }

    @cached_property
    def test_vectors(self) -> NDArray[np.float32]:
        """(n, D) of the rows that are judged."""
        return self.data.store.read(self.test)

    def anchor_vectors(self, limit: int) -> NDArray[np.float32]:
        """(at most limit, D) training rows for what is fitted in one go."""
        rows = self.data.train
        return self.data.store.read(rows[sample_rows(len(rows), limit)])

    def codes(self, encode: Callable[[np.ndarray], np.ndarray], rows: Index) -> np.ndarray:
        """(n, d) codes of rows of the store, piece by piece."""
        if not len(rows):
            return encode(self.data.store.read(rows[:0]))
        pieces = np.array_split(rows, -(-len(rows) // CODED_ROWS))
        return np.concatenate([encode(self.data.store.read(piece)) for piece in pieces])

    def start_vectors(self) -> torch.Tensor:
        """Training rows for the student's first axes."""
        return self.train(sample_rows(len(self.train), START_ROWS))

    def training_poles(self) -> Poles | None:
        """Those of the training split, by position in it."""
        if self.poles is None:
            return None
        mine = self.poles.among(self.data.train)
        at = np.searchsorted(self.data.train, mine.rows)
        return Poles(torch.from_numpy(at), torch.from_numpy(mine.axes), torch.from_numpy(mine.signs).float())


def open_material(config: EmbedRunConfig) -> EmbeddingData:
    """Open, check and split the vectors of a run.

    Raises:
        InputError: as `VectorsConfig.build`; another width than `teacher_dim`, a student that is wider than its teacher, too
            few rows to judge, texts of pairs or poles that are not there.
    """
    data = config.data.build()
    if config.teacher_dim is not None and data.width != config.teacher_dim:
        raise InputError(
            f"teacher_dim: expected vectors of width {config.teacher_dim}, got {data.width} in {config.data.path}"
        )
    if config.student.levels[0] >= data.width and not config.loss.class_weight:
        raise InputError(
            f"student.levels: expected a first level below the teacher's width {data.width}, got {config.student.levels[0]}"
        )
    pairs = None if config.pairs_file is None else _pairs(config, data)
    if pairs is not None:
        taken = np.concatenate([pairs.first, pairs.second])
        kept = {side: np.setdiff1d(getattr(data, side), taken) for side in ("train", "validation")}
        data = replace(data, **kept)  # type: ignore[arg-type]
    if len(data.test) < 22:
        raise InputError(
            f"{config.data.path}: expected at least 22 test rows to compare neighbours on, got {len(data.test)}; "
            "give more vectors or a larger data.test_fraction"
        )
    if config.text is not None and data.store.texts is None:
        raise InputError("text: a student that reads texts needs them; capture texts, or give data.texts_file")
    test = data.test[sample_rows(len(data.test), config.test_rows)]
    normalize = are_directions(config, data)
    return EmbeddingData(
        data=data,
        train=VectorRows(data.store, data.train, normalize=normalize),
        # a few thousand of them are scored, and read once
        validation=VectorRows(data.store, data.validation, normalize=normalize, in_memory=False),
        test=test,
        pairs=pairs,
        poles=None if config.poles_file is None else _poles(config, data),
        normalize=normalize,
    )


def are_directions(config: EmbedRunConfig, data: VectorData) -> bool:
    """Whether lengths are dropped: as `student.normalize` has it, else for captured texts and where all lengths are 1.

    A length that differs from row to row may mean something (pixels, counts), and keeping it costs little where it does not.
    """
    if config.student.normalize is not None:
        return config.student.normalize
    if (Path(config.data.path).expanduser() / CAPTURE).is_file():
        return True
    return length_spread(data) <= LENGTHS_DIFFER


def length_spread(data: VectorData) -> float:
    """Standard deviation of the lengths of training rows over their mean."""
    some = data.train[sample_rows(len(data.train), START_ROWS)]
    lengths = np.linalg.norm(data.store.read(some), axis=1)
    return float(lengths.std() / lengths.mean())


def graph_of(
    config: EmbedRunConfig, material: EmbeddingData, out: Path, log: Log, *, resume: bool
) -> NDArray[np.int32] | None:
    """The neighbours of the training rows, found once and kept in the run folder; None where the loss draws none.

    Those in the folder are read where that run goes on; they may be of other rows else.
    """
    loss = config.loss
    if loss.graph == "off":
        return None
    k = min(loss.graph_neighbors, len(material.train) - 1)
    path = out / GRAPH
    if resume and path.is_file():
        kept = read_arrays(path, ["neighbors"])["neighbors"]
        if kept.shape == (len(material.train), k):
            found: NDArray[np.int32] = kept
            return found
    log(f"finding the {k} nearest of {len(material.train):,} training rows")
    graph = neighbor_graph(material.train, len(material.train), k=k, form=loss.graph)
    write_arrays(path, neighbors=graph)
    return graph


def teacher_facts(config: EmbedRunConfig, material: EmbeddingData) -> dict[str, Any]:
    """A card's entry of the teacher: its name where a capture has it, else the file."""
    path = Path(config.data.path).expanduser()
    facts: dict[str, Any] = {"name": path.name, "width": material.data.width}
    if (path / CAPTURE).is_file():
        manifest = capture_manifest(path)
        facts |= {key: manifest[key] for key in ("model", "model_sha256", "normalize") if key in manifest}
        # a folder's place on this machine is of no use elsewhere, and no concern of theirs
        facts["name"] = Path(str(facts.pop("model", path.name))).name
    return facts


def split_digest(data: VectorData) -> str:
    """SHA-256 of the row numbers of all splits: equal only for equal splits."""
    rows = json.dumps([side.tolist() for side in (data.train, data.validation, data.test)])
    return hashlib.sha256(rows.encode()).hexdigest()


def _pairs(config: EmbedRunConfig, data: VectorData) -> Pairs:
    assert config.pairs_file is not None
    if data.store.texts is None:
        raise InputError("pairs: their sentences are looked up among the texts of the vectors, which have none")
    first, second, gold = read_pairs(config.pairs_file, columns=config.pairs_columns)
    place = {text.casefold(): row for row, text in reversed(list(enumerate(data.store.texts)))}
    missing = [text for text in (*first, *second) if text.casefold() not in place]
    if missing:
        raise InputError(
            f"pairs: {config.pairs_file}: expected vectors of all sentences, got none for {len(missing)} of {2 * len(first)}, "
            f"the first {missing[0]!r:.80}; capture that file too ({config.pairs_file}:{config.pairs_columns[0]},"
            f"{config.pairs_columns[1]})"
        )
    rows = [np.array([place[text.casefold()] for text in side], np.int64) for side in (first, second)]
    return Pairs(rows[0], rows[1], np.array(gold, np.float64), Path(config.pairs_file).stem)


def _poles(config: EmbedRunConfig, data: VectorData) -> PoleRows:
    assert config.poles_file is not None
    names = {axis[0].casefold(): number for number, axis in enumerate(config.student.axes)}
    ends = {word.casefold(): (n, s) for n, axis in enumerate(config.student.axes) for word, s in zip(axis[1:], (-1, 1))}
    texts = data.store.texts
    by = "row" if texts is None else "text"
    place = {} if texts is None else {text.casefold(): row for row, text in reversed(list(enumerate(texts)))}
    rows, axes, signs = [], [], []
    for number, (what, axis, pole) in enumerate(read_table(config.poles_file, columns=(by, "axis", "pole")), 1):
        where = f"{config.poles_file}: row {number}"
        row = place.get(" ".join(str(what).split()).casefold()) if texts is not None else _row(what, len(data.store))
        if row is None:
            raise InputError(f"{where}: {by}: expected one of the {len(data.store):,} rows, got {what!r:.80}")
        at = names.get(str(axis).casefold())
        if at is None:
            raise InputError(
                f"{where}: axis: expected one of {', '.join(a[0] for a in config.student.axes)}, got {axis!r}"
            )
        end = str(pole).casefold()
        sign = ends[end][1] if end in ends and ends[end][0] == at else {"-1": -1, "1": 1, "+1": 1}.get(end)
        if sign is None:
            raise InputError(
                f"{where}: pole: expected -1, +1, {' or '.join(config.student.axes[at][1:])}, got {pole!r}"
            )
        rows.append(row)
        axes.append(at)
        signs.append(sign)
    found = PoleRows(np.array(rows, np.int64), np.array(axes, np.int64), np.array(signs, np.float64))
    if not len(found.among(data.train).rows):
        raise InputError(f"{config.poles_file}: expected rows of the training split, got none among {len(rows)}")
    return found


def _row(value: Any, rows: int) -> int | None:
    text = str(value).strip()
    return int(text) if text.isdigit() and int(text) < rows else None
