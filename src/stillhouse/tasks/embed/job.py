"""The job of learning a small embedding from a teacher's vectors: who is near, how far the rest is.

Shapes: B rows of a batch (the first R drawn at random, the rest neighbors that were brought along), N training rows, D teacher's
width, d numbers of a code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stillhouse.core import ranks
from stillhouse.core.checks import InputError
from stillhouse.core.processes import share
from stillhouse.core.sample import sample_rows
from stillhouse.core.types import Batch, Outputs, Progress
from stillhouse.losses.divergence import forward_kl
from stillhouse.losses.neighbours import cosine_neighbor_kl, neighbor_kl
from stillhouse.losses.relations import pearson_of_distances
from stillhouse.tasks.embed.data.rows import LessonRows, VectorRows
from stillhouse.tasks.embed.loss import PERPLEXITY, EmbeddingLossConfig
from stillhouse.tasks.embed.metrics.neighbourhood import kept_neighbors, nearest_neighbors
from stillhouse.tasks.embed.students import level_weights, prefixes
from stillhouse.tasks.embed.students.network import CODE_SPREAD, EmbeddingStudent
from stillhouse.training.distillation import DistillJob, SignalSet, gathered
from stillhouse.training.job import Terms, Validation

Index = NDArray[np.int64]
CODE = "code"  # the student's codes as a feature of signals
NEIGHBORS = 10  # of the validation score
FEW_VALIDATION = 1000  # rows up to which the best of many epochs is chance
PAIRS = 100_000
GLOBAL_ROWS = 512  # rows of a batch whose pairs the global term compares
POLE_ROWS = 64
DECODER_HIDDEN = 256
PART = 1_000_000_007  # between the seeds of micro-batches
FEWEST = 4  # rows that a relation is between


class _Learned(nn.Module):
    """What is learned along and not kept: the unit of a bounded code, the way back to the vector, projectors of signals."""

    def __init__(self, student: EmbeddingStudent, rebuild: bool, signals: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.signals = nn.ModuleList(signals)
        d, output = sum(student.config.levels), student.config.output
        # a sphere or a box has no room for the kernel's unit, so that its codes are stretched before they are compared
        start = {"sphere": CODE_SPREAD * student.config.levels[0] ** 0.5, "tanh": float(student.scale)}.get(output)
        self.log_stretch = None if start is None else nn.Parameter(torch.tensor(math.log(start)))
        self.decoder = (
            nn.Sequential(nn.Linear(d, DECODER_HIDDEN), nn.GELU(), nn.Linear(DECODER_HIDDEN, student.teacher_dim))
            if rebuild
            else None
        )


class EmbeddingJob(DistillJob):
    """Vectors of a teacher -> codes, by neighbors and by distances; signals compare feature `code` with feature `vector`.

    Args:
        model: the student, as `EmbeddingStudent.from_vectors` made it.
        rows: what is learned and what is scored.
        loss: loss terms and batches.
        batch_size: rows drawn for a step; no more than there are.
        parts: micro-batches of a step; each compares its own rows.
        seed: decides rows, neighbors and noise, a function of it and of the step alone.
        signal_set: signals beside that, and a curriculum.
        after_stage: called with the number of a temperature's stage when its last step is done.

    Raises:
        InputError: too few rows for the perplexity or in a micro-batch, a graph of other rows, codes that are no class scores.
    """

    keeps_start = True  # the principal axes: a training that makes nothing better keeps them

    def __init__(
        self,
        model: EmbeddingStudent,
        rows: LessonRows,
        loss: EmbeddingLossConfig,
        *,
        batch_size: int,
        seed: int,
        parts: int = 1,
        signal_set: SignalSet | None = None,
        after_stage: Callable[[int], None] = lambda stage: None,
    ) -> None:
        signal_set, train, poles = signal_set or SignalSet(), rows.train, rows.poles
        # a batch larger than the training split would only repeat its rows
        self.batch_size = batch_size = min(batch_size, max(4, len(train)))
        together = _fewest(batch_size, parts)
        loss = loss.of_rows(len(train), together)
        learned = _Learned(model, loss.reconstruction_weight > 0, [*signal_set.signals, *signal_set.auxiliary_losses])
        taps = replace(signal_set, features=tuple(path for path in signal_set.features if path != CODE))
        drawn = loss.steps(len(train), batch_size) * batch_size
        super().__init__(model, rows=drawn, seed=seed, signal_set=taps, extras=learned)
        self.embedder, self.learned, self.train, self.loss = model, learned, train, loss
        self.weights = level_weights(model.config.levels, loss.level_weights)
        self.task_term = self._first_term()
        self.graph = None if rows.graph is None else torch.from_numpy(np.asarray(rows.graph, np.int64))
        if self.graph is not None and len(self.graph) != len(train):
            raise InputError(f"graph: expected neighbors of {len(train)} rows, got {len(self.graph)}")
        assert loss.perplexity is not None
        fewest = min(together, len(train)) // 2
        if loss.neighbor_weight and not loss.tau and loss.perplexity >= fewest:
            raise InputError(
                f"perplexity: expected below half of a batch ({fewest} of {len(train)} training rows), got "
                f"{loss.perplexity:g}"
            )
        if loss.class_weight and model.config.levels != (train.store.width,):
            raise InputError(
                f"class_weight: expected codes of one level as wide as the vectors ({train.store.width} classes), got "
                f"{list(model.config.levels)}"
            )
        self.after_stage, self.parts, self.part, self.at = after_stage, parts, 0, Progress(-1, 1)
        self.poles = poles if poles is not None and loss.pole_weight and len(poles.positions) else None
        self.noise = loss.noise * self._spread() if loss.noise else 0.0
        self.judge = _Judge(rows.validation, loss.validation_rows)
        self.now: dict[str, float] = {}

    # ------------------------------------------------------------------------------------------------ rows

    def order(self, epoch: int) -> Tensor:
        """Positions of an epoch: a stretch of an endless row of shuffles, so that every row comes as often as any other."""
        if self.signal_set.curriculum is not None:
            drawn = self.signal_set.curriculum.order(epoch)
            return drawn.repeat(-(-self.rows // len(drawn)))[: self.rows]
        start, N = epoch * self.rows, len(self.train)
        shuffles = range(start // N, -(-(start + self.rows) // N))
        stream = torch.cat([torch.randperm(N, generator=self._generator(number, 1)) for number in shuffles])
        return stream[start - shuffles.start * N :][: self.rows]

    def _batch(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, int]:
        """Positions of a batch and R: different rows, the first R at random, the rest neighbors of the first of them."""
        if self.graph is None:
            drawn = rows.unique()
            return drawn, len(drawn)
        anchors = min(self.loss.anchors, len(rows) // (2 * self.loss.drawn + 2))
        kept = rows[: len(rows) - anchors * self.loss.drawn]
        choice = torch.randint(self.graph.shape[1], (anchors, self.loss.drawn), generator=generator)
        brought = self.graph[kept[:anchors]].gather(1, choice).flatten().unique()
        kept = kept.unique()
        return torch.cat([kept, brought[~torch.isin(brought, kept)]]), len(kept)

    def _generator(self, step: int, use: int, part: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed * 1_000_003 + step) * 4 + use + part * PART)

    def _spread(self) -> float:
        """Root mean square distance of rows from their mean: the unit of the noise."""
        rows = self.train(sample_rows(len(self.train), 1000))
        return float((rows - rows.mean(0)).square().sum(1).mean().sqrt())

    # ------------------------------------------------------------------------------------------------ loss

    def batch(self, rows: Tensor, progress: Progress) -> Batch:
        """Vectors (B, D) with noise on them; the first `self.random` rows were drawn, the others brought along."""
        self.part = (self.part + 1) % self.parts if progress.step == self.at.step else 0  # micro-batches draw apart
        self.at = progress
        self.generator = self._generator(progress.step, 2, self.part)
        positions, self.random = self._batch(rows, self.generator)
        vectors = self.train(positions)
        if self.loss.mix and self.graph is not None:
            vectors = self._mixed(vectors, positions)
        self.vectors = vectors
        if self.loss.noise:
            draw = torch.randn(vectors.shape, generator=self.generator)
            vectors = vectors + self.noise / vectors.shape[1] ** 0.5 * draw
        self.vectors = self.vectors.to(self.device)
        nothing = positions.new_zeros(len(positions))  # there are no classes
        return Batch(vectors.to(self.device), nothing, positions)

    def share(self, rows: Tensor) -> tuple[Tensor, list[int]]:
        """All of a micro-batch for every process: its rows are compared with each other, and codes are gathered (`outputs`)."""
        return rows, [len(rows)] * ranks.count()

    def _mixed(self, vectors: Tensor, positions: Tensor) -> Tensor:
        """Some rows moved towards one of their neighbors by a random share: the vectors are the teacher there too."""
        assert self.graph is not None
        n, draw = len(positions), self.generator
        choice = torch.randint(min(NEIGHBORS, self.graph.shape[1]), (n, 1), generator=draw)
        others = self.train(self.graph[positions].gather(1, choice).squeeze(1))
        moved = torch.rand(n, 1, generator=draw) < (self.loss.mix or 0.0)
        between = vectors.lerp(others, torch.rand(n, 1, generator=draw))
        if self.train.normalize:
            between = nn.functional.normalize(between, dim=1)
        return torch.where(moved, between, vectors)

    def outputs(self, batch: Batch) -> Outputs:
        """Codes (B, d), as feature `code` too; each process embeds its part of the rows and gets the codes of all."""
        if ranks.count() == 1:
            found = self.student(batch.inputs)
        else:
            mine, sizes = share(torch.arange(len(batch.inputs), device=batch.inputs.device))
            part = self.student(batch.inputs[mine])
            found = gathered(part, tuple(part.features), sizes)
        codes = self._stretched(found.logits)
        return Outputs(codes, {**found.features, CODE: codes})

    def task_terms(self, student_out: Outputs, batch: Batch, progress: Progress, share: float) -> Terms:
        """Neighbors and distances at every level, and what keeps the axes apart, spread and named."""
        codes, vectors, random, generator = student_out.logits, self.vectors, self.random, self.generator
        loss = self.loss
        self.now = {"tau": self._tau(progress)} if loss.tau else {"perplexity": loss.perplexity or PERPLEXITY}
        terms: Terms = {}
        for number, (code, weight) in enumerate(zip(prefixes(codes, self.embedder.config.levels), self.weights)):
            name = "" if len(self.weights) == 1 else f"/{code.shape[1]}"
            if weight and self.loss.neighbor_weight:
                value = self._near(code, vectors)
                terms[f"neighbors{name}"] = (weight * self.loss.neighbor_weight, value)
            if weight and self.loss.global_weight:
                value = self._far(code[:random], vectors[:random], generator)
                terms[f"pearson{name}"] = (weight * self.loss.global_weight, value)
            if number == 0:
                terms |= self._regularizers(code)
        if self.loss.class_weight:
            tau = self.now.get("tau", 1.0)
            terms["classes"] = (self.loss.class_weight, forward_kl(codes, vectors, temperature=tau).mean())
        if self.learned.decoder is not None:
            target = vectors - self.embedder.mean
            gap = (self.learned.decoder(codes) - target).square().sum(dim=1).mean()
            terms["reconstruction"] = (self.loss.reconstruction_weight, gap / target.square().sum(dim=1).mean())
        if self.poles is not None:
            terms["poles"] = (self.loss.pole_weight, self._at_poles(generator))
        return {name: (share * weight, value) for name, (weight, value) in terms.items()}

    def _first_term(self) -> str:
        """What optimizers and the doctor hold the others against: neighbors, distances, classes, or the vector rebuilt."""
        number = next((n for n, weight in enumerate(self.weights) if weight), None)
        kind = "neighbors" if self.loss.neighbor_weight else "pearson" if self.loss.global_weight else None
        if number is None or kind is None:
            return "classes" if self.loss.class_weight else "reconstruction"
        width = sum(self.embedder.config.levels[: number + 1])
        return kind if len(self.weights) == 1 else f"{kind}/{width}"

    def _near(self, code: Tensor, vectors: Tensor) -> Tensor:
        if self.loss.tau:
            return cosine_neighbor_kl(code, vectors, tau=self.now["tau"]).mean()
        perplexity = self.now["perplexity"]
        # Student's t, of as many degrees as the code has numbers: what is far may move further
        nearest, degrees = math.ceil(3 * perplexity), float(code.shape[1])
        return neighbor_kl(code, vectors, perplexity=perplexity, degrees=degrees, nearest=nearest).mean()

    def _far(self, code: Tensor, vectors: Tensor, generator: torch.Generator) -> Tensor:
        chosen = torch.randperm(len(code), generator=generator)[:GLOBAL_ROWS].to(code.device)
        code, vectors = code[chosen], vectors[chosen]
        return pearson_of_distances(code, vectors)

    def _regularizers(self, code: Tensor) -> Terms:
        terms: Terms = {}
        loss, centered = self.loss, code - code.mean(dim=0)
        deviation = (centered.square().mean(dim=0) + 1e-8).sqrt()
        if loss.spread_weight:
            terms["spread"] = (loss.spread_weight, nn.functional.relu(1 - deviation).mean())
        if loss.decorrelation_weight and code.shape[1] > 1:
            correlation = centered.t() @ centered / len(code) / (deviation[:, None] * deviation[None, :])
            apart = ~torch.eye(len(correlation), dtype=torch.bool, device=code.device)
            terms["decorrelation"] = (loss.decorrelation_weight, correlation[apart].square().mean())
        return terms

    def _at_poles(self, generator: torch.Generator) -> Tensor:
        """Logistic loss of the side of its axis on which each labelled row lies."""
        assert self.poles is not None
        chosen = torch.randperm(len(self.poles.positions), generator=generator)[:POLE_ROWS]
        codes = self._stretched(self.model(self.train(self.poles.positions[chosen]).to(self.device)))
        axes, signs = self.poles.axes[chosen].to(self.device), self.poles.signs[chosen].to(self.device)
        return nn.functional.softplus(-signs * codes.gather(1, axes[:, None]).squeeze(1)).mean()

    def _stretched(self, codes: Tensor) -> Tensor:
        return codes if self.learned.log_stretch is None else codes * self.learned.log_stretch.exp()

    def _tau(self, progress: Progress) -> float:
        """The temperature of the stage: stages are equal shares of the run."""
        return self.loss.tau[self._stage(progress)]

    def _stage(self, progress: Progress) -> int:
        stages = len(self.loss.tau)
        return min(stages - 1, int(progress.fraction * stages))

    def on_train_batch_end(self, step: int) -> None:
        """After the last step of a temperature's stage, `after_stage` hears its number."""
        super().on_train_batch_end(step)
        total = self.at.total_steps
        if len(self.loss.tau) > 1:
            done = self._stage(Progress(step - 1, total))
            if step == total or self._stage(Progress(step, total)) > done:
                self.after_stage(done)

    # ------------------------------------------------------------------------------------------------ score

    def validate(self, model: nn.Module) -> Validation:
        """Overlap of neighbors, Spearman of distances, share of poles on their side: the best is kept by their mean.

        Of scores of classes the smallest KL at a temperature of 1: neighbors are kept best by the untrained axes, all of them.
        """
        assert isinstance(model, EmbeddingStudent)
        found = self.judge(model)
        if self.loss.class_weight and found.metrics["spearman"] is not None:
            held = self.judge.vectors
            kl = float(forward_kl(torch.from_numpy(model.encode(held)), torch.from_numpy(held)).mean())
            return Validation({**found.metrics, "class_kl": kl}, (-kl,))
        if self.poles is None or found.rank[0] < 0:
            return found
        right = self._right(model)
        # the principal axes know no names: without this share training would be undone for what it was asked to do
        return Validation(
            {**found.metrics, "poles_right": right}, ((2 * found.rank[0] + right) / 3,), 2 / 3 * found.score_stderr
        )

    def _right(self, model: EmbeddingStudent) -> float:
        assert self.poles is not None
        codes = torch.from_numpy(model.encode(self.train(self.poles.positions).numpy()))
        values = codes.gather(1, self.poles.axes[:, None]).squeeze(1)
        return float((values.sign() == self.poles.signs).float().mean())

    def figures(self) -> dict[str, float]:
        """The perplexity or temperature now, the unit of a bounded code, and what signals show."""
        stretch = self.learned.log_stretch
        mine = self.now if stretch is None else {**self.now, "stretch": float(stretch.detach().exp())}
        return {**mine, **super().figures()}


def _fewest(batch_size: int, parts: int) -> int:
    """Rows of the smallest of so many micro-batches.

    Example:
        >>> _fewest(64, 1), _fewest(64, 3)
        (64, 20)
    """
    if parts == 1:
        return batch_size
    most = -(-batch_size // parts)
    fewest = batch_size - most * (-(-batch_size // most) - 1)
    if fewest < FEWEST:
        raise InputError(
            f"accumulate: expected micro-batches of {FEWEST} rows at least, which are compared with each other; {parts} of a "
            f"batch of {batch_size} have {fewest}"
        )
    return fewest


class _Judge:
    """The held-out score: the teacher's neighbors and distances are found once."""

    def __init__(self, rows: VectorRows, limit: int) -> None:
        rng = np.random.default_rng(0)
        kept = np.sort(rng.permutation(len(rows))[:limit])
        if len(kept) <= NEIGHBORS + 1:
            raise InputError(f"validation: expected more than {NEIGHBORS + 1} rows, got {len(kept)}")
        self.vectors = rows(kept).numpy()
        self.neighbors = nearest_neighbors(self.vectors, NEIGHBORS, metric="euclidean")
        self.i, self.j = rng.integers(len(kept), size=PAIRS), rng.integers(len(kept) - 1, size=PAIRS)
        self.j = self.j + (self.j >= self.i)
        self.distances = self._apart(self.vectors)

    def _apart(self, x: np.ndarray) -> NDArray[np.float64]:
        pieces = np.array_split(np.arange(PAIRS), 20)
        return np.concatenate([np.linalg.norm(x[self.i[p]] - x[self.j[p]], axis=1) for p in pieces]).astype(np.float64)

    def __call__(self, model: EmbeddingStudent) -> Validation:
        from scipy.stats import spearmanr

        codes = model.encode(self.vectors)
        if not np.isfinite(codes).all():
            return Validation({"knn_overlap": None, "spearman": None}, (-1.0,))
        first = codes[:, : model.config.levels[0]]
        near = nearest_neighbors(first, NEIGHBORS, metric="euclidean")
        kept = kept_neighbors(self.neighbors, near)
        apart = self._apart(first)
        rank = 0.0 if np.ptp(apart) == 0 else float(spearmanr(self.distances, apart).statistic)
        overlap, share = float(kept.mean()), kept.mean(1)
        # the one-standard-error rule (Breiman et al. 1984): rows differ, and a few rows' mean with them
        score_stderr = float(share.std(ddof=1) / len(share) ** 0.5) if len(share) <= FEW_VALIDATION else 0.0
        return Validation({"knn_overlap": overlap, "spearman": rank}, ((overlap + rank) / 2,), score_stderr)
