"""The job of learning a small embedding from a teacher's vectors: who is near, how far the rest is.

Shapes: B rows of a batch (the first R drawn at random, the rest neighbors that were brought along), N training rows, D teacher's
width, d numbers of a code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core import ranks
from stillhouse.core.checks import InputError
from stillhouse.core.labels import sample_rows
from stillhouse.core.processes import share
from stillhouse.core.types import Batch, Outputs, Progress
from stillhouse.losses.divergence import forward_kl
from stillhouse.losses.neighbours import cosine_neighbor_kl, neighbor_kl
from stillhouse.losses.relations import pearson_of_distances
from stillhouse.tasks.embed.config import FEW_ROWS, EmbeddingLossConfig
from stillhouse.tasks.embed.material import EmbeddingData, Poles, VectorRows
from stillhouse.tasks.embed.metrics import K, kept_neighbors, nearest_neighbors, pair_distances, random_pairs
from stillhouse.tasks.embed.network import CODE_SPREAD, EmbeddingStudent
from stillhouse.training.distillation import DistillJob, SignalSet, gather_outputs
from stillhouse.training.job import Terms, Validation

CODE = "code"  # the student's codes as a feature of signals
FEW_VALIDATION = 1000  # rows up to which the best of many epochs is chance
PAIRS = 100_000
GLOBAL_ROWS = 512  # rows of a batch whose pairs the global term compares
GUARD = 0.85  # of the axes' 1 - correlation, above which the far order of rows that were not seen falls behind theirs
POLE_ROWS = 64
DECODER_HIDDEN = 256
PART = 1_000_000_007  # between the seeds of micro-batches
FEWEST = 4  # rows that a relation is between
DRAWN = 4  # neighbors that an anchor brings into its batch
MIX = 0.5  # of few training rows, share of a batch's rows that lie between a row and a neighbor of it


class EmbeddingJob(DistillJob):
    """Vectors of a teacher -> codes, by neighbors and by distances; signals compare feature `code` with feature `vector`.

    Args:
        model: the student, as `EmbeddingStudent.from_vectors` made it.
        data: what is learned and what is scored.
        loss: loss terms and batches.
        batch_size: rows drawn for a step; no more than there are.
        parts: micro-batches of a step; each compares its own rows.
        seed: decides rows, neighbors and noise, a function of it and of the step alone.
        signal_set: signals beside that, and a curriculum.
        after_stage: called with the number of a temperature's stage when its last step is done.

    Raises:
        InputError: too few rows in a micro-batch, level weights for other levels.
    """

    keeps_start = True  # the principal axes: a training that makes nothing better keeps them

    def __init__(
        self,
        model: EmbeddingStudent,
        data: EmbeddingData,
        loss: EmbeddingLossConfig,
        *,
        batch_size: int,
        seed: int,
        parts: int = 1,
        signal_set: SignalSet | None = None,
        after_stage: Callable[[int], None] = lambda stage: None,
    ) -> None:
        signal_set, train, levels = signal_set or SignalSet(), data.train, model.config.levels
        # a batch larger than the training split would only repeat its rows
        self.batch_size = batch_size = min(batch_size, max(4, len(train)))
        most = -(-batch_size // parts)
        together = batch_size - most * (-(-batch_size // most) - 1)  # rows of the smallest micro-batch
        if parts > 1 and together < FEWEST:
            raise InputError(
                f"accumulate: expected micro-batches of {FEWEST} rows at least, which are compared with each other; {parts} of "
                f"a batch of {batch_size} have {together}"
            )
        self.perplexity = loss.perplexity_of(len(train), together)
        extras: Any = nn.Module()  # what is learned along and not kept
        extras.signals = nn.ModuleList([*signal_set.signals, *signal_set.auxiliary_losses])
        if model.config.output == "sphere":
            # it has no room for the kernel's unit: codes are stretched before they are compared
            extras.log_stretch = nn.Parameter(torch.tensor(math.log(CODE_SPREAD * levels[0] ** 0.5)))
        if loss.reconstruction_weight:
            extras.decoder = nn.Sequential(
                nn.Linear(sum(levels), DECODER_HIDDEN), nn.GELU(), nn.Linear(DECODER_HIDDEN, model.teacher_dim)
            )
        taps = replace(signal_set, features=tuple(path for path in signal_set.features if path != CODE))
        drawn = loss.steps(len(train), batch_size) * batch_size
        super().__init__(model, rows=drawn, seed=seed, signal_set=taps, extras=extras)
        self.learned = extras
        self.embedder, self.train, self.loss = model, train, loss
        self.axes = model.skip.detach().clone()  # principal ones, as training found them
        self.poles: Poles | None = None
        if data.poles is not None and loss.pole_weight:
            taught = data.poles.where(np.isin(data.poles.rows, train.rows))
            self.poles = replace(taught, rows=np.searchsorted(train.rows, taught.rows))
        self.weights = loss.level_weights or tuple(0.5**number for number in range(len(levels)))
        if len(self.weights) != len(levels):
            raise InputError(f"level_weights: expected {len(levels)} numbers, one a level, got {list(self.weights)}")
        level = self._level(levels[0])
        terms = {
            f"neighbors{level}": loss.neighbor_weight,
            f"pearson{level}": loss.global_weight,
            "classes": loss.class_weight,
        }
        self.task_term = next((name for name, weight in terms.items() if weight), "reconstruction")
        self.graph = torch.from_numpy(data.graph) if loss.anchors else None
        self.after_stage, self.parts, self.part, self.at = after_stage, parts, 0, Progress(-1, 1)
        self.mix = MIX if len(train) <= FEW_ROWS and self.graph is not None else 0.0
        self.noise = loss.noise * self._spread() if loss.noise else 0.0
        self.judge = _Judge(data.validation, loss.validation_rows)
        self.now: dict[str, float] = {}

    def _level(self, width: int) -> str:
        """What the name of a term ends in, where codes have several levels."""
        return "" if len(self.weights) == 1 else f"/{width}"

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
        anchors = min(self.loss.anchors, len(rows) // (2 * DRAWN + 2))
        kept = rows[: len(rows) - anchors * DRAWN]
        choice = torch.randint(self.graph.shape[1], (anchors, DRAWN), generator=generator)
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
        if self.mix:
            vectors = self._mixed(vectors, positions)
        self.vectors = vectors.to(self.device)
        if self.loss.noise:
            draw = torch.randn(vectors.shape, generator=self.generator)
            vectors = vectors + self.noise / vectors.shape[1] ** 0.5 * draw
        nothing = positions.new_zeros(len(positions))  # there are no classes
        return Batch(vectors.to(self.device), nothing, positions)

    def share(self, rows: Tensor) -> tuple[Tensor, list[int]]:
        """All of a micro-batch for every process: its rows are compared with each other, and codes are gathered (`outputs`)."""
        return rows, [len(rows)] * ranks.count()

    def _mixed(self, vectors: Tensor, positions: Tensor) -> Tensor:
        """Some rows moved towards one of their neighbors by a random share: the vectors are the teacher there too."""
        assert self.graph is not None
        n, draw = len(positions), self.generator
        choice = torch.randint(min(K, self.graph.shape[1]), (n, 1), generator=draw)
        others = self.train(self.graph[positions].gather(1, choice).squeeze(1))
        moved = torch.rand(n, 1, generator=draw) < self.mix
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
            found = gather_outputs(part, tuple(part.features), sizes)
        codes = self._stretched(found.logits)
        return Outputs(codes, {**found.features, CODE: codes})

    def task_terms(self, student_out: Outputs, batch: Batch, progress: Progress, share: float) -> Terms:
        """Neighbors and distances at every level, classes, the vector rebuilt, named axes."""
        codes, vectors, loss = student_out.logits, self.vectors, self.loss
        self.now = {"tau": loss.tau[self._stage(progress)]} if loss.tau else {"perplexity": self.perplexity}
        terms: Terms = {}
        for width, weight in zip(self.embedder.config.widths, self.weights):
            code, name = codes[:, :width], self._level(width)
            if weight and loss.neighbor_weight:
                terms[f"neighbors{name}"] = (weight * loss.neighbor_weight, self._near(code, vectors))
            if weight and loss.global_weight:
                some = torch.randperm(self.random, generator=self.generator)[:GLOBAL_ROWS].to(code.device)
                terms[f"pearson{name}"] = (weight * loss.global_weight, self._far(code[some], vectors[some]))
        if loss.class_weight:
            tau = self.now.get("tau", 1.0)
            terms["classes"] = (loss.class_weight, forward_kl(codes, vectors, temperature=tau).mean())
        if loss.reconstruction_weight:
            terms["reconstruction"] = (loss.reconstruction_weight, self._rebuilt(codes, vectors))
        if self.poles is not None:
            terms["poles"] = (loss.pole_weight, self._at_poles())
        return {name: (share * weight, value) for name, (weight, value) in terms.items()}

    def _near(self, code: Tensor, vectors: Tensor) -> Tensor:
        if self.loss.tau:
            return cosine_neighbor_kl(code, vectors, tau=self.now["tau"]).mean()
        # Student's t, of as many degrees as the code has numbers: what is far may move further
        nearest, degrees = math.ceil(3 * self.perplexity), float(code.shape[1])
        return neighbor_kl(code, vectors, perplexity=self.perplexity, degrees=degrees, nearest=nearest).mean()

    def _far(self, code: Tensor, vectors: Tensor) -> Tensor:
        """1 - correlation of distances, and again with `guard_weight` by how much it exceeds `GUARD` of the axes' own."""
        far, guard = pearson_of_distances(code, vectors), self.loss.guard_weight
        if guard and self.poles is None:  # named axes are not the principal ones
            axes = (vectors - self.embedder.mean) @ self.axes[: code.shape[1]].to(vectors).t()
            far = far + guard * (far - GUARD * pearson_of_distances(axes, vectors)).relu()
        return far

    def _rebuilt(self, codes: Tensor, vectors: Tensor) -> Tensor:
        """Mean squared error of the vectors as the decoder rebuilds them, over their spread."""
        target = vectors - self.embedder.mean
        gap = (self.learned.decoder(codes) - target).square().sum(dim=1).mean()
        return gap / target.square().sum(dim=1).mean()

    def _at_poles(self) -> Tensor:
        """Logistic loss of the side of its axis on which each labelled row lies."""
        assert self.poles is not None
        chosen = torch.randperm(len(self.poles.rows), generator=self.generator)[:POLE_ROWS].numpy()
        codes = self._stretched(self.model(self.train(self.poles.rows[chosen]).to(self.device)))
        axes, signs = (torch.from_numpy(x[chosen]).to(self.device) for x in (self.poles.axes, self.poles.signs))
        return nn.functional.softplus(-signs * codes.gather(1, axes[:, None]).squeeze(1)).mean()

    def _stretched(self, codes: Tensor) -> Tensor:
        return codes * self.learned.log_stretch.exp() if hasattr(self.learned, "log_stretch") else codes

    def _stage(self, progress: Progress) -> int:
        """Stages of temperatures are equal shares of the run."""
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

        Of scores of classes the smallest KL at a temperature of 1, of an autoencoder the smallest error: neighbors are kept best
        by the untrained axes.
        """
        assert isinstance(model, EmbeddingStudent)
        found = self.judge(model)
        if self.task_term in ("classes", "reconstruction") and found.metrics["spearman"] is not None:
            codes, held = (
                torch.from_numpy(x).to(self.device) for x in (model.encode(self.judge.vectors), self.judge.vectors)
            )
            with torch.no_grad():
                kl = self.task_term == "classes"
                error = float(forward_kl(codes, held).mean() if kl else self._rebuilt(self._stretched(codes), held))
            return Validation({**found.metrics, "class_kl" if kl else "rebuilt": error}, (-error,))
        if self.poles is None or found.metrics["spearman"] is None:
            return found
        values = model.encode(self.train(self.poles.rows).numpy())[np.arange(len(self.poles.rows)), self.poles.axes]
        right = float((np.sign(values) == self.poles.signs).mean())
        # the principal axes know no names: without this share training would be undone for what it was asked to do
        return Validation(
            {**found.metrics, "poles_right": right}, ((2 * found.rank[0] + right) / 3,), 2 / 3 * found.score_stderr
        )

    def figures(self) -> dict[str, float]:
        """The perplexity or temperature now, and what signals show."""
        return {**self.now, **super().figures()}


class _Judge:
    """The held-out score: the teacher's neighbors and distances are found once."""

    def __init__(self, rows: VectorRows, limit: int) -> None:
        rng = np.random.default_rng(0)
        kept = np.sort(rng.permutation(len(rows))[:limit])
        if len(kept) <= K + 1:
            raise InputError(f"validation: expected more than {K + 1} rows, got {len(kept)}")
        self.vectors = rows(kept).numpy()
        self.neighbors = nearest_neighbors(self.vectors, K, metric="euclidean")
        self.pairs = random_pairs(len(kept), PAIRS, rng)
        self.distances = pair_distances(self.vectors, *self.pairs)

    def __call__(self, model: EmbeddingStudent) -> Validation:
        from scipy.stats import spearmanr

        codes = model.encode(self.vectors)[:, : model.config.levels[0]]
        if not np.isfinite(codes).all():
            return Validation({"knn_overlap": None, "spearman": None}, (-1.0,))
        share = kept_neighbors(self.neighbors, nearest_neighbors(codes, K, metric="euclidean")).mean(1)
        near = pair_distances(codes, *self.pairs)
        rank = 0.0 if np.ptp(near) == 0 else float(spearmanr(self.distances, near).statistic)
        overlap = float(share.mean())
        # the one-standard-error rule (Breiman et al. 1984): rows differ, and a few rows' mean with them
        score_stderr = float(share.std(ddof=1) / len(share) ** 0.5) if len(share) <= FEW_VALIDATION else 0.0
        return Validation({"knn_overlap": overlap, "spearman": rank}, ((overlap + rank) / 2,), score_stderr)
