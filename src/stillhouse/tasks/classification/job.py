"""The job of learning classes, from labels and from what a teacher puts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core import processes, ranks
from stillhouse.core.checks import InputError
from stillhouse.core.labels import MISSING
from stillhouse.core.types import Batch, ImageSpec, Outputs, Progress
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.losses.regression import label_cross_entropy
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.plan import SELF, ClassificationTrainingConfig
from stillhouse.tasks.classification.predict import evaluate, predict_together
from stillhouse.teachers.by_row import UNEQUAL
from stillhouse.training.distillation import DistillJob, SignalSet
from stillhouse.training.job import Terms, Validation, epoch_order

ROWS = 1024  # validation images whose clauses are measured: enough for means over tokens
SURE = 0.9  # probability from which a model's answer is taken for a label


class ClassificationJob(DistillJob):
    """Labelled rows -> logits (B, K); the label cross-entropy and one term a signal.

    Args:
        model: (B, C, H, W) pixels in [0, 1], or token ids (B, L) -> logits (B, K).
        data: splits; only `train` and `validation` are read, `test` too with `report_test`.
        config: weight and smoothing of the labels, size of a scoring batch.
        seed: decides order and augmentation.
        signal_set: teacher and signals; labels alone if None.
        teacher_probabilities: (N, K) of the teacher on the validation split, for agreement.
    """

    def __init__(
        self,
        model: nn.Module,
        data: ImageData,
        config: ClassificationTrainingConfig,
        *,
        seed: int,
        signal_set: SignalSet | None = None,
        teacher_probabilities: np.ndarray | None = None,
    ) -> None:
        super().__init__(model, rows=len(data.train), seed=seed, signal_set=signal_set)
        self.data, self.config, self.teacher_probabilities = data, config, teacher_probabilities
        if config.mixing.on and not isinstance(data.input_spec, ImageSpec):
            raise InputError("training.mixing: mixup and CutMix mix images; this data set has none")
        self.seen = (0.0, 0)
        labels = data.train.labels
        self.slots = num_labelled_rows(labels, config.batch_size, config.labelled_share)
        self.class_weights = class_weights(labels, data.input_spec.num_classes, config.balanced)
        self.labelled = self.slots / config.batch_size or max(1, int((labels != MISSING).sum())) / len(labels)

    def order(self, epoch: int) -> Tensor:
        """Where few rows have a label, so many of them in each batch."""
        if not self.slots:
            return super().order(epoch)
        return mixed_order(self.data.train.labels, self.config.batch_size, self.slots, self.seed, epoch)

    def batch(self, rows: Tensor, progress: Progress, draw: int = 0) -> Batch:
        """Rows as they are seen at a step: augmentation and mixing are functions of seed, step and draw."""
        seed = (self.seed + 500_009 * draw + 250_007 * ranks.rank()) * 1_000_003 + progress.step
        if self.data.changes and self.data.views and draw == 0:
            epoch = progress.step // -(-self.rows // self.config.batch_size)
            batch = self.data.view(epoch % self.data.views, rows)
        else:
            batch = self.data.train.batch(rows)
            batch = replace(batch, inputs=self.data.augment(batch.inputs, seed=seed))
        mixup, cutmix = self.config.mixing.alphas_at(progress, self.config.epochs)
        if (mixup > 0 or cutmix > 0) and len(rows) > 1:  # a last row alone has no partner
            batch = mix(batch, mixup=mixup, cutmix=cutmix, num_classes=self.data.input_spec.num_classes, seed=seed)
        soft = None if batch.soft_labels is None else batch.soft_labels.to(self.device)
        inputs, labels, index = (x.to(self.device) for x in (batch.inputs, batch.labels, batch.index))
        return Batch(inputs, labels, index, soft, batch.rows)

    def ahead(self, rows: Tensor) -> None:
        """Streamed images begin to be decoded."""
        if hasattr(self.data.train, "ahead"):
            self.data.train.ahead(rows)

    def outputs(self, batch: Batch) -> Outputs:
        """Logits and features in float32, whatever the precision of the network."""
        found = self.student(batch.inputs)
        return Outputs(found.logits.float(), {n: x if x.is_complex() else x.float() for n, x in found.features.items()})

    def task_terms(self, student_out: Outputs, batch: Batch, progress: Progress, share: float) -> Terms:
        """The cross-entropy with the labels, where it counts, over the rows that have one."""
        if self.config.report_train:
            self._count(student_out.logits, batch)
        weight = self.config.label_weight * share
        if weight <= 0:
            return {}
        logits, targets, smoothing = student_out.logits, batch.targets, self.config.label_smoothing
        there = batch.labels != MISSING
        if self.labelled < 1:
            logits, targets = logits[there], targets[there]
        losses = self._balanced(label_cross_entropy(logits, targets, smoothing=smoothing), targets)
        if self.labelled == 1:
            return {self.task_term: (weight, losses.mean())}
        # the mean over a whole batch: parts of it, which are summed, have more labelled rows or fewer
        return {self.task_term: (weight, losses.sum() / (len(there) * self.labelled))}

    def _balanced(self, losses: Tensor, targets: Tensor) -> Tensor:
        """Losses (B), of rare classes heavier where that is asked for; targets are classes (B) or shares of them (B, K)."""
        if self.class_weights is None:
            return losses
        weights = self.class_weights.to(losses.device)
        return losses * (weights[targets] if targets.ndim == 1 else targets @ weights)

    def teacher_batch(self, batch: Batch, progress: Progress) -> Batch:
        """The very tensors that the student sees, unless the configuration asks for the worse alternatives."""
        if self.config.teacher_view == "same":
            return batch
        if self.config.teacher_view == "independent":
            return self.batch(batch.index.cpu(), progress, draw=1)
        clean = self.data.train.batch(batch.index.cpu())
        return Batch(clean.inputs.to(self.device), batch.labels, batch.index, rows=batch.rows)

    def before_validation(self, model: nn.Module) -> dict[str, float | None]:
        """Measure clauses on the validation split and set the gains of the heads; controls have no clauses."""
        strength = self.config.clause_specialize
        if strength == 0 or not has_clauses(model):
            return {}
        return specialize((self.model, model), self.data.validation, strength, self.config.evaluation_batch_size)

    def validate(self, model: nn.Module) -> Validation:
        """Accuracy first, then negative log-likelihood; accuracies of read-outs on the way as `component/PLACE`."""
        split, size = self.data.validation, self.config.evaluation_batch_size
        extractor = FeatureExtractor(model, self.signal_set.features)
        right: dict[str, int] = {}

        def logits_of(batch: Batch) -> Tensor:
            found = extractor(batch.inputs.to(self.device))
            for signal in (*self.active, *self.auxiliary_losses):
                for place, logits in signal.exit_logits(found).items():
                    right[place] = right.get(place, 0) + int((logits.argmax(1).cpu() == batch.labels).sum())
            return found.logits

        changed = self.before_validation(model)
        try:
            probabilities = predict_together(logits_of, split, size)
            counts = processes.all_gather_objects(right)
            components = {f"component/{place}": sum(c[place] for c in counts) / len(split) for place in right}
            test = {}
            if self.config.report_test:
                found = predict_together(logits_of, self.data.test, size)
                test = {"test_accuracy": float((found.argmax(1) == self.data.test.labels.numpy()).mean())}
        finally:
            extractor.close()
        metrics = evaluate(probabilities, split.labels.numpy(), self.teacher_probabilities)
        rank = (metrics["accuracy"] or 0.0, -(metrics["nll"] or 0.0))
        score_stderr = standard_error(rank[0], len(split)) if self.labelled < 1 else 0.0
        return Validation({**metrics, **self._seen_accuracy(), **test, **components, **changed}, rank, score_stderr)

    def state_dict(self) -> dict[str, Any]:
        """Also what the epoch has seen so far, and sums that the student gathers and does not keep."""
        sums: dict[str, Tensor] = getattr(self.model, "sums", dict)()
        return {"seen": list(self.seen), **({"sums": sums} if sums else {}), **super().state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put it back."""
        right, count = state.get("seen", (0.0, 0))
        self.seen = (float(right), int(count))
        for name, values in state.get("sums", {}).items():
            setattr(self.model, name, values.to(getattr(self.model, name).device))
        super().load_state_dict(state)

    def _count(self, logits: Tensor, batch: Batch) -> None:
        """Right answers since the last validation; of a mixed image the share of the class that is named."""
        there = batch.labels != MISSING
        named = logits.detach().argmax(1)[there]
        if batch.soft_labels is None:
            right = (named == batch.labels[there]).float()
        else:
            right = batch.soft_labels.gather(1, named[:, None]).squeeze(1)
        self.seen = (self.seen[0] + float(right.sum()), self.seen[1] + len(right))

    def _seen_accuracy(self) -> dict[str, float | None]:
        right, seen = (sum(part) for part in zip(*processes.all_gather_objects(self.seen)))
        self.seen = (0.0, 0)
        return {"train_accuracy": right / seen} if seen else {}


def standard_error(share: float, rows: int) -> float:
    """Of a share of a few rows, of which one more was right and one more wrong: a share of 1 in 10 rows is not known exactly.

    Example:
        >>> round(standard_error(1.0, 10), 3)
        0.087

    Source: Agresti, Coull 1998, The American Statistician 52(2).
    """
    middle = (share * rows + 1) / (rows + 2)
    return float((middle * (1 - middle) / rows) ** 0.5)


def mix(batch: Batch, *, mixup: float, cutmix: float, num_classes: int, seed: int) -> Batch:
    """Each image blended with its neighbor in the batch, or with a box of it pasted in; one share for the whole batch.

    Args:
        batch: B images of at least 2; its labels become those of the larger part.
        mixup: alpha of mixup; 0 turns it off.
        cutmix: alpha of CutMix; 0 turns it off. If both are on, a fair coin decides.
        num_classes: K.
        seed: fixes the draw; the global random state is left alone.

    Returns:
        The batch with mixed `inputs`, and `soft_labels` (B, K): the shares of the two labels.

    Example:
        >>> batch = Batch(torch.eye(2).reshape(2, 1, 1, 2), torch.tensor([0, 1]), torch.arange(2))
        >>> mixed = mix(batch, mixup=1.0, cutmix=0.0, num_classes=2, seed=0)
        >>> torch.allclose(mixed.inputs.flatten(1), mixed.soft_labels)
        True

    Source: Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899.
    """
    from torchvision.transforms import v2

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blend = mixup > 0 and (cutmix <= 0 or bool(torch.rand(()) < 0.5))
        change = v2.MixUp if blend else v2.CutMix
        inputs, soft = change(alpha=mixup if blend else cutmix, num_classes=num_classes)(batch.inputs, batch.labels)
    return replace(batch, inputs=inputs, soft_labels=soft)


# ------------------------------------------------------------------------------------------------ rows without a label


def check_missing(config: Any, labels: Tensor) -> None:
    """Refuse what a run cannot do with training rows of which some have no label, or does with nothing else.

    Args:
        config: of the run.
        labels: (N) of its training rows.

    Raises:
        InputError: the first such setting.
    """
    if bool((labels != MISSING).all()):
        if SELF in config.arms:
            raise InputError(
                f"arms: {SELF!r} labels rows without a label, and every training row has one; leave it out"
            )
        return
    if config.training.mixing.on:
        raise InputError(
            "training.mixing: mixed images need two labels, and some training rows have none; leave it out"
        )
    if config.curriculum is not None:
        raise InputError("curriculum: ranks training rows by their labels, and some have none; leave it out")


def own_labels(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Labels, and where there is none the class that a model is sure of.

    Args:
        labels: (N) class numbers, -1 where there is none.
        probabilities: (N, K) of the model.

    Returns:
        (N); -1 where its probability is below `SURE`.

    Example:
        >>> own_labels(torch.tensor([1, -1, -1]), torch.tensor([[1.0, 0.0], [0.95, 0.05], [0.6, 0.4]])).tolist()
        [1, 0, -1]

    Source: Lee 2013, Pseudo-label, ICML workshop on challenges in representation learning.
    """
    share, answer = probabilities.max(1)
    return torch.where((labels == MISSING) & (share >= SURE), answer, labels)


def num_labelled_rows(labels: Tensor, batch_size: int, share: float) -> int:
    """How many rows of a batch have a label: the share that is asked for, where fewer rows than that have one.

    Args:
        labels: (N) class numbers, -1 where there is none.
        batch_size: rows of a batch.
        share: of it that should have a label, in [0, 1].

    Returns:
        1 to min(L, batch_size - 1); 0 where the rows come as they are: all have a label, or the share is met without this.

    Example:
        Two of eight rows have a label; of a batch of four a half is wanted.

        >>> num_labelled_rows(torch.tensor([0, 1, -1, -1, -1, -1, -1, -1]), 4, 0.5)
        2
    """
    there = int((labels != MISSING).sum())
    if there in (0, len(labels)) or batch_size < 2 or there / len(labels) >= share:
        return 0
    return max(1, min(round(share * batch_size), there, batch_size - 1))


def mixed_order(labels: Tensor, batch_size: int, count: int, seed: int, epoch: int) -> Tensor:
    """The rows of an epoch, `count` of each `batch_size` consecutive ones labelled, spread evenly.

    Labelled and unlabelled rows are each taken in turns of a shuffle of their own, which goes on from epoch to epoch: every row
    comes as often as any other of its kind, but for one. A function of its arguments alone, so that a resumed run repeats it.

    Args:
        labels: (N) class numbers, -1 where there is none.
        batch_size: rows of a batch.
        count: of `num_labelled_rows`, above 0.
        seed: decides the shuffles.
        epoch: from 0.

    Returns:
        (N) row numbers; a labelled row may come several times.

    Example:
        >>> labels = torch.tensor([0, 1, -1, -1, -1, -1, -1, -1])
        >>> (labels[mixed_order(labels, 4, 2, seed=0, epoch=0)] >= 0).tolist()
        [False, True, False, True, False, True, False, True]
    """
    place = epoch * len(labels) + torch.arange(len(labels) + 1)
    done = place * count // batch_size  # labelled rows before each place
    labelled = done[1:] > done[:-1]
    there = labels != MISSING
    mine = _in_turns(torch.nonzero(there).flatten(), done[:-1][labelled], 2 * seed)
    others = _in_turns(torch.nonzero(~there).flatten(), (place - done)[:-1][~labelled], 2 * seed + 1)
    return torch.empty(len(labels), dtype=torch.int64).masked_scatter(labelled, mine).masked_scatter(~labelled, others)


def class_weights(labels: Tensor, num_classes: int, balanced: bool | None) -> Tensor | None:
    """What a labelled row of each class counts, so that all classes count alike; their mean over those rows is 1.

    Args:
        labels: (N) class numbers, -1 where there is none.
        num_classes: K.
        balanced: None: where the largest class has 1.5 times the rows of the smallest, or more.

    Returns:
        (K); None where every row counts the same.

    Example:
        >>> class_weights(torch.tensor([0, 0, 0, 1, -1]), 2, None).tolist()
        [0.6666666865348816, 2.0]
    """
    counts = torch.bincount(labels[labels != MISSING], minlength=num_classes)
    there = counts[counts > 0]
    if balanced is False or not len(there) or (balanced is None and there.max() < UNEQUAL * there.min()):
        return None
    return counts.sum() / (len(there) * counts.clamp(min=1))


def _in_turns(rows: Tensor, places: Tensor, seed: int) -> Tensor:
    """The rows at some places of an endless row of shuffles."""
    if not len(places):
        return places
    turn, within = places // len(rows), places % len(rows)
    first, last = int(turn[0]), int(turn[-1])
    shuffles = torch.stack([epoch_order(len(rows), seed, number) for number in range(first, last + 1)])
    return rows[shuffles[turn - first, within]]


# ------------------------------------------------------------------------------------------------ heads weighed by clauses


@torch.no_grad()
def clause_usage(model: nn.Module, split: Any, batch_size: int = 256, rows: int = ROWS) -> dict[str, dict[str, Tensor]]:
    """How strongly clauses of each block answer, and how much of that goes with each head.

    Args:
        model: a transformer with clauses; in eval mode.
        split: images; where there are more than `rows`, that many drawn by class are read.
        batch_size: images per forward pass.
        rows: how many images.

    Returns:
        By block: `clauses` (C) mean strength of each clause, `heads` (H) clause activity that goes with each head.

    Raises:
        InputError: a model without clauses or heads.
    """
    if not hasattr(model, "named_blocks") or not has_clauses(model):
        raise InputError(f"clause usage: expected a transformer with clauses, got {type(model).__name__}")
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    sums: dict[str, dict[str, Tensor]] = {}
    some = split.sample(rows)
    for batch in some.batches(batch_size):
        _, notes = model(batch.inputs.to(device), collect_diagnostics=True)
        share = len(batch.labels) / len(some)
        for name, means in (("clauses", notes.clause_mean), ("heads", notes.head_mean)):
            for block, mean in means.items():
                held = sums.setdefault(block, {})
                held[name] = held.get(name, 0) + share * mean.cpu()
    model.train(was_training)
    return sums


@torch.no_grad()
def set_gains(model: nn.Module, heads: dict[str, Tensor], strength: float) -> None:
    """Weigh the heads of every block: gain = 1 - strength + strength x activity / mean activity.

    Args:
        model: with `head_gains` (H) buffers in the attention of each block.
        heads: (H) activity by block.
        strength: 0 leaves all heads at 1.
    """
    blocks: dict[str, Any] = dict(model.named_blocks())  # type: ignore[operator]
    for name, activity in heads.items():
        blocks[name].heads.head_gains.copy_(_gains(activity, strength))


def _gains(activity: Tensor, strength: float) -> Tensor:
    mean = activity.mean()
    return torch.ones_like(activity) if mean <= 0 else 1 - strength + strength * activity / mean


def specialize(models: Sequence[nn.Module], split: Any, strength: float, batch_size: int) -> dict[str, float | None]:
    """Measure the last model on validation images and give all of them the same gains, before the epoch is scored.

    Args:
        models: what is trained, and its weight average if there is one: the last is measured.
        split: validation images.
        strength: see `set_gains`.
        batch_size: images per forward pass.

    Returns:
        For the record: smallest and largest gain, mean clause strength by block.
    """
    usage = clause_usage(models[-1], split, batch_size)
    heads = {block: entry["heads"] for block, entry in usage.items()}
    for model in models:
        set_gains(model, heads, strength)
    gains = torch.cat([_gains(x, strength) for x in heads.values()])
    found: dict[str, float | None] = {"head_gain/least": float(gains.min()), "head_gain/most": float(gains.max())}
    return found | {f"clause_usage/{block}": float(entry["clauses"].mean()) for block, entry in usage.items()}


def has_clauses(model: nn.Module) -> bool:
    """Whether there is a clause bank in a model; controls have none."""
    banks = getattr(model, "banks", None)
    return callable(banks) and any(True for _ in banks())
