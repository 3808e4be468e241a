"""A cache as a teacher: it answers for the rows that it holds, and refuses every other.

Shapes: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.cache.content import SEEN, Content, same, seen
from stillhouse.cache.files import Store, compare
from stillhouse.cache.queries import TeacherQueries
from stillhouse.core.checks import InputError, nearest
from stillhouse.core.types import Batch, Outputs, OutputSpec
from stillhouse.losses.top_k import Scores
from stillhouse.teachers.teacher import Teacher

SOURCE = "cache:"
CHECKED_ROWS = 16
TOLERANCE = 0.02  # nats of a kept log-probability: half precision of scores down to -20 errs by 0.008
RELATIVE = 1e-2  # of all scores and features, by their length: another device, another batch size, bfloat16


class StoredTeacher(Teacher):
    """The answers of a teacher that need not be here.

    A row is found by `Batch.index`, in the part whose inputs are those of the batch: so a training row, one of its augmented
    views and a validation row of the same number are told apart, and an input that was never asked about is refused.

    Args:
        folder: of a finished cache.
        features: paths that are wanted, of those that it holds; None: all.
        live: the teacher itself, where it is at hand: for what copies its parts.

    Raises:
        InputError: no cache, an unfinished or a changed one; a feature that it does not hold.
    """

    def __init__(self, folder: Path, *, features: Sequence[str] | None = None, live: Any = None) -> None:
        self.store = Store(folder)
        self.plan, self.folder, self.live = self.store.plan, self.store.folder, live
        self.content = Content.of_key(self.plan.key)
        held = self.content.features
        for path in features or ():
            if path not in held:
                raise InputError(
                    f"cache {self.folder}: expected feature {path!r}, it holds {', '.join(held) or 'none'}; {nearest(path, held)}"
                )
        self.wanted = held if features is None else tuple(features)
        self.name = str(self.plan.about.get("teacher", self.folder.name))
        self.classes = int(self.plan.key.get("classes", 0))
        shapes = next(iter(self.plan.arrays.values()))
        self.spec = OutputSpec(
            self.classes if self.content.scores or self.content.topk else 0,
            {path: tuple(shapes[f"feature{n}"][0]) for n, path in enumerate(held) if path in self.wanted},
            kept=self.content.topk,
        )
        self._last = next(iter(self.plan.parts))

    def __call__(self, batch: Batch) -> Outputs:
        """What the teacher put out for these inputs.

        Raises:
            InputError: inputs that it was not asked about: other data, another view, another order.
        """
        index = batch.index.cpu().numpy()
        part = self._part_of(seen(batch.inputs), index)
        return _to(self.outputs(part, index), batch.inputs.device)

    def kept(self, batch: Batch) -> Scores:
        """The largest scores alone, without the stand-in for all of them: of a large vocabulary.

        Raises:
            InputError: inputs that it was not asked about.
        """
        index = batch.index.cpu().numpy()
        return self.scores(self._part_of(seen(batch.inputs), index), index).to(batch.inputs.device)

    def scores(self, part: str, rows: NDArray[Any]) -> Scores:
        """The largest scores of rows of a part, by number; nothing is compared."""
        return self.content.scores_of(self.arrays(part, ("ids", "scores", "rest"), rows), self.classes)

    def outputs(self, part: str, rows: NDArray[Any]) -> Outputs:
        """Of rows of a part, by number; nothing is compared."""
        content = self.content_of(part)
        return content.decode(self.arrays(part, content.arrays(self.wanted), rows), self.classes)

    def arrays(self, part: str, names: Sequence[str], rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Rows of some arrays of a part."""
        return {name: self.store.read(part, name, rows) for name in names}

    def content_of(self, part: str) -> Content:
        """What is kept of a part: of a few, all scores."""
        return self.content.whole if self.content.topk and "logits" in self.plan.arrays[part] else self.content

    def require(self, expected: Mapping[str, Any]) -> None:
        """Compare what the cache is of with what is at hand, by name.

        Raises:
            InputError: another teacher, preprocessing, labels, data or augmentation.
        """
        compare(self.folder, self.plan.key, expected)

    @property
    def params(self) -> int:
        """Of the teacher that was asked."""
        return int(self.plan.about.get("params", 0))

    @property
    def module(self) -> Any:
        """The network of the teacher itself; None where it is not here."""
        return getattr(self.live, "module", None)

    def identity(self) -> str:
        """That of the teacher that was asked."""
        return str(self.plan.key["teacher"])

    def _part_of(self, numbers: NDArray[np.float64], index: NDArray[Any]) -> str:
        """The part whose rows have these inputs; the last one first, since epochs and splits come in runs."""
        most = 0
        for part in dict.fromkeys((self._last, *self.plan.parts)):
            if index.max(initial=0) < self.plan.parts[part]:
                matched = same(self.store.read(part, SEEN, index), numbers)
                if matched.all():
                    self._last = part
                    return part
                most = max(most, int(matched.sum()))
        how = self.plan.key.get("augmentation") or {"views": "no augmented images"}
        raise InputError(
            f"cache {self.folder}: expected inputs that its teacher was asked about, got others in {len(index) - most} of "
            f"{len(index)} rows (it has {', '.join(f'{name} {value}' for name, value in how.items())}): another augmentation, "
            "another order of the rows, or inputs that were mixed or changed"
        )


def spot_check(
    stored: StoredTeacher, teacher_queries: TeacherQueries, *, rows: int = CHECKED_ROWS, seed: int | None = None
) -> str:
    """Ask the teacher itself about some rows of every part, and compare.

    Args:
        stored: the cache.
        teacher_queries: the teacher, and the rows that it should have been asked about.
        rows: of each part.
        seed: draws them; None: anew each time.

    Returns:
        A line for the log: how many rows, by which seed, how far apart at most.

    Raises:
        InputError: rows whose inputs or answers are others.
    """
    entropy = np.random.SeedSequence().entropy if seed is None else seed
    assert isinstance(entropy, int)
    drawn_by = entropy % 2**32
    random = np.random.default_rng(drawn_by)
    worst, asked = 0.0, 0
    for part, count in stored.plan.parts.items():
        drawn = np.sort(random.permutation(count)[:rows])
        if part not in teacher_queries.parts:
            continue
        batch = teacher_queries.parts[part].batch(torch.from_numpy(drawn))
        wrong = ~same(stored.store.read(part, SEEN, drawn), seen(batch.inputs))
        if wrong.any():
            raise InputError(
                f"cache {stored.folder}: row {int(drawn[wrong][0])} of {part} is of other inputs than those of the data "
                f"({int(wrong.sum())} of {len(drawn)} rows, drawn by seed {drawn_by}); delete the cache and write it again"
            )
        with torch.no_grad():
            live = teacher_queries.teacher(batch)
        apart, limit = _apart(stored.outputs(part, drawn), live)
        worst, asked = max(worst, apart), asked + len(drawn)
        if not apart <= limit:
            raise InputError(
                f"cache {stored.folder}: its answers of {part} differ from the live teacher's by up to {apart:.3g}, expected at "
                f"most {limit:g} ({len(drawn)} rows, drawn by seed {drawn_by}); delete the cache and write it again"
            )
    return f"cache: within {worst:.2g} of the live teacher on {asked} rows (drawn by seed {drawn_by})"


def _apart(kept: Outputs, live: Outputs) -> tuple[float, float]:
    """How far answers are apart, and how far they may be: nats where the largest are kept, else relative to their length."""
    if kept.kept is not None:
        worst = 0.0
        for temperature in kept.kept.temperatures:
            log_p = torch.log_softmax(live.logits.cpu().float() / temperature, -1)
            known, rest = kept.kept.log_probabilities(temperature)
            near = (log_p.gather(-1, kept.kept.ids) - known).abs()[known > -20]
            worst = max(worst, float(near.max()) if len(near) else 0.0)
            if kept.kept.others:
                others = log_p.scatter(-1, kept.kept.ids, -torch.inf).logsumexp(-1)
                worst = max(worst, float((others - rest).abs()[rest > -20].max() if (rest > -20).any() else 0.0))
        return worst, TOLERANCE
    pairs = [(kept.logits, live.logits)] if kept.logits.shape[-1] else []
    pairs += [(x, live.features[path]) for path, x in kept.features.items()]
    apart = [((a - b.cpu().to(a.dtype)).flatten(1), b.cpu().flatten(1)) for a, b in pairs]
    norm = torch.linalg.vector_norm
    return max(float((norm(a, dim=1) / norm(b, dim=1).clamp(min=1e-6)).max()) for a, b in apart), RELATIVE


def _to(outputs: Outputs, device: torch.device) -> Outputs:
    features = {path: x.to(device) for path, x in outputs.features.items()}
    kept = None if outputs.kept is None else outputs.kept.to(device)
    return Outputs(outputs.logits.to(device), features, kept=kept)
