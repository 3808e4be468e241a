"""What a run learns from and is judged on: rows of the vectors, labelled poles, who is near whom.

Legend: N training rows, D width, k neighbors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import hash_of
from stillhouse.core.labels import sample_rows
from stillhouse.tasks.embed.config import EmbedRunConfig
from stillhouse.tasks.embed.data import MANIFEST, Index, VectorData, VectorStore, capture_manifest
from stillhouse.tasks.embed.metrics import FEWEST, Metric, nearest_neighbors
from stillhouse.tasks.embed.texts import read_table

ANCHOR_ROWS = 50_000  # that anchors are fitted on
NEIGHBORS = 30  # of a row, of which some join its batch
START_ROWS = 20_000  # of which the principal axes are taken
MEMORY_BYTES = 1 << 30  # training vectors up to here are held in memory, more are read as they are needed
LENGTHS_DIFFER = 0.01  # deviation of the rows' lengths over their mean, above which lengths are data
EXACT_ROWS, BLOCK_ROWS = 50_000, 16_384  # rows whose neighbors are looked for among all; beyond, within random blocks


class VectorRows:
    """Some rows of a store as tensors, by position: of length 1 if asked for, in memory if they fit."""

    def __init__(self, store: VectorStore, rows: Index, *, normalize: bool) -> None:
        self.store, self.rows, self.normalize = store, rows, normalize
        self.held = self._read(rows) if len(rows) * store.width * 4 <= MEMORY_BYTES else None

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, positions: Index | Tensor) -> Tensor:
        """(n, D) float32 of positions 0..N - 1 in the order asked for."""
        at = torch.as_tensor(positions)
        return self.held[at] if self.held is not None else self._read(self.rows[at.numpy()])

    def _read(self, rows: Index) -> Tensor:
        x = torch.from_numpy(self.store.read(rows))
        return nn.functional.normalize(x, dim=1) if self.normalize else x


@dataclass(frozen=True)
class Poles:
    """(M) rows that are known to lie at one end of an axis, numbers of axes, and the ends, -1 or +1."""

    rows: Index
    axes: Index
    signs: NDArray[np.float32]

    def where(self, chosen: NDArray[np.bool_]) -> Poles:
        """Some of them."""
        return Poles(self.rows[chosen], self.axes[chosen], self.signs[chosen])


class EmbeddingData:
    """A run's data, opened, checked and split.

    Attributes:
        name: of the file or folder.
        store: all vectors.
        train: training rows as tensors.
        validation: validation rows as tensors.
        test: the test rows that are judged.
        normalize: whether rows are directions, which are compared by cosine.
        poles: labelled rows, of which those of the training split teach and the others judge.
        teacher: what is known of it: name and width; of a capture its model.
        facts: the data's entry in cards and reports; equal `test_sha256` only for equal splits and the same rows judged.

    Raises:
        InputError: as `VectorsConfig.build`; another width than `teacher_dim`, a student that is wider than its teacher, too
            few rows to judge, poles that are not there.
    """

    def __init__(self, config: EmbedRunConfig) -> None:
        data, path, first = config.data.build(), Path(config.data.path).expanduser(), config.student.levels[0]
        self.name, self.store, self.sha256 = path.stem, data.store, data.sha256
        self.sizes = {split: len(getattr(data, split)) for split in ("train", "validation", "test")}
        width = data.store.width
        if config.teacher_dim not in (None, width):
            raise InputError(f"teacher_dim: expected vectors of width {config.teacher_dim}, got {width} in {path}")
        if first >= width and not config.loss.class_weight:
            raise InputError(f"student.levels: expected a first level below the teacher's width {width}, got {first}")
        if len(data.test) < FEWEST:
            raise InputError(
                f"{path}: expected at least {FEWEST} test rows to compare neighbours on, got {len(data.test)}; give more vectors "
                "or a larger data.test_fraction"
            )
        self.teacher: dict[str, Any] = {"name": path.name, "width": width}
        if captured := (path / MANIFEST).is_file():
            manifest = capture_manifest(path)
            # a folder's place on this machine is of no use elsewhere, and no concern of theirs
            self.teacher |= {"name": Path(manifest["model"]).name, "model_sha256": manifest["model_sha256"]}
        # a length that differs from row to row may mean something (pixels, counts), and keeping it costs little elsewhere
        given = config.student.normalize
        self.normalize = (captured or length_spread(data) <= LENGTHS_DIFFER) if given is None else given
        self.metric: Metric = "cosine" if self.normalize else "euclidean"
        self.train = VectorRows(data.store, data.train, normalize=self.normalize)
        self.validation = VectorRows(data.store, data.validation, normalize=self.normalize)
        self.test = data.test[sample_rows(len(data.test), config.test_rows)]
        self.poles = None if config.poles_file is None else _poles(config.poles_file, config.student.axes, data)
        self.facts = {
            "name": self.name,
            "sizes": {**self.sizes, "judged": len(self.test)},
            "sha256": data.sha256,
            "test_sha256": hash_of({"sha256": data.sha256, "rows": [data.train.tolist(), self.test.tolist()]}),
            "width": width,
            "zero_rows": len(data.store.zero_rows),
            "duplicates": data.duplicates,
        }

    def sample(self, limit: int) -> Tensor:
        """(at most limit, D) training rows."""
        return self.train(sample_rows(len(self.train), limit))

    @cached_property
    def graph(self) -> NDArray[np.int64]:
        """(N, k) neighbors of the training rows."""
        return neighbor_graph(self.train)


def length_spread(data: VectorData) -> float:
    """Standard deviation of the lengths of training rows over their mean."""
    some = data.train[sample_rows(len(data.train), START_ROWS)]
    lengths = np.linalg.norm(data.store.read(some), axis=1)
    return float(lengths.std() / lengths.mean())


def neighbor_graph(rows: VectorRows, k: int = NEIGHBORS) -> NDArray[np.int64]:
    """(N, k) the nearest other rows of every row, so that batches can bring true neighbors together.

    A random batch of a large corpus holds almost none of a row's neighbors. Up to 50 000 rows the graph is exact. Beyond, the
    search stays within random blocks: a neighbor found so is among the nearest of a sample, which is what a batch needs, at
    a cost that grows with N and not with N^2.
    """
    N, blocks = len(rows), 1 if len(rows) <= EXACT_ROWS else -(-len(rows) // BLOCK_ROWS)
    order = np.arange(N) if blocks == 1 else np.random.default_rng(0).permutation(N)
    graph = np.empty((N, min(k, N // blocks - 1)), np.int64)
    for block in np.array_split(order, blocks):
        # rows have length 1 where lengths are left out
        graph[block] = block[nearest_neighbors(rows(block).numpy(), graph.shape[1], metric="euclidean")]
    return graph


def _poles(path: str, axes: tuple[tuple[str, str, str], ...], data: VectorData) -> Poles:
    """The labelled rows of a file of text, axis, pole."""
    place = {text.casefold(): row for row, text in reversed(list(enumerate(data.store.texts or ())))}
    ends = {
        (axis.casefold(), word.casefold()): (number, sign)
        for number, (axis, *words) in enumerate(axes)
        for word, sign in zip(words, (-1, 1))
    }
    found = []
    for number, (text, axis, pole) in enumerate(read_table(path, ("text", "axis", "pole")), 1):
        row = place.get(" ".join(str(text).split()).casefold())
        end = ends.get((str(axis).casefold(), str(pole).casefold()))
        if row is None or end is None:
            what = "pole of student.axes" if end is None else "text of the vectors"
            raise InputError(f"{path}: row {number}: expected a {what}, got {text!r:.80}, {axis}, {pole}")
        found.append((row, *end))
    rows, numbers, signs = np.array(found, np.int64).reshape(-1, 3).T
    if not np.isin(rows, data.train).any():
        raise InputError(f"{path}: expected rows of the training split, got none among {len(rows)}")
    return Poles(rows, numbers, signs.astype(np.float32))
