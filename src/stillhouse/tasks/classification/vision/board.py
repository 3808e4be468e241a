"""Every finished epoch, while a run goes on: a line to read, and a point in a TensorBoard folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from stillhouse.core import records
from stillhouse.core.callback import NULL_CALLBACK, Callback, News
from stillhouse.core.records import arm_folder, read_json, read_records
from stillhouse.core.types import Progress
from stillhouse.tasks.classification.plan import ClassificationRunConfig

PROBES = "/probes"  # terms that the read-outs alone learn from


class TensorBoardLogger(Callback):
    """Reads what the training writes, and copies each finished epoch to `Transformer-VIT/...` or `Transformer-SWIN/...`.

    Groups: loss, train, validation, test (if it is scored each epoch), augment, aux (every further loss term by name), components,
    clauses, optimizer, final. Several arms or seeds have their name in the tag.

    Args:
        folder: TensorBoard folder; None writes nothing.
        plan: of the run.
        out: its run folder.
        callback: gets a line an epoch, and all that this one gets.
    """

    def __init__(
        self, folder: str | None, plan: ClassificationRunConfig, out: Path, callback: Callback = NULL_CALLBACK
    ) -> None:
        self.folder, self.plan, self.out, self.callback = folder, plan, out, callback
        self.written: dict[tuple[str, int], int] = {}
        self.before: dict[tuple[str, int], int] = {}
        self.writer: Any = None
        self.current: tuple[str, int] | None = None

    def __enter__(self) -> TensorBoardLogger:
        for arm in self.plan.arms:  # epochs that an earlier process has logged, where a run is continued
            for seed in range(self.plan.seeds):
                epochs = epochs_of(self.plan, arm_folder(self.out, arm, seed) / records.RECORDS)
                self.before[arm, seed] = max((epoch["epoch"] for epoch in epochs), default=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for arm in self.plan.arms:
            for seed in range(self.plan.seeds):
                self._copy(arm, seed)
                path = arm_folder(self.out, arm, seed) / records.RESULT
                if path.is_file():
                    found = read_json(path)
                    tag = f"{self._prefix(arm, seed)}/final/test_accuracy"
                    self._write([(tag, found["metrics"]["accuracy"])], found["epochs"])
        if self.writer is not None:
            self.writer.close()

    def begin(self, done: int, total: int) -> None:
        """Each model is a run of its own; whoever watches counts them all."""

    def log(self, line: str) -> None:
        """Pass it on."""
        self.callback.log(line)

    def on_progress(self, arm: str, seed: int, progress: Progress, news: News) -> None:
        """Pass it on, then log and copy epochs that are finished."""
        if self.current is not None and self.current != (arm, seed):
            self._copy(*self.current)  # the last epoch of the training before
        self.current = (arm, seed)
        self.callback.on_progress(arm, seed, progress, news)
        if news.get("loss") is not None:  # steps that log
            self._copy(arm, seed)

    def _prefix(self, arm: str, seed: int) -> str:
        student: Any = self.plan.student
        name = f"Transformer-{student.architecture.upper()}" if hasattr(student, "architecture") else student.kind
        one = len(self.plan.arms) == 1 and self.plan.seeds == 1
        return name if one else f"{name}/{arm}-seed-{seed}"

    def _copy(self, arm: str, seed: int) -> None:
        for epoch in epochs_of(self.plan, arm_folder(self.out, arm, seed) / records.RECORDS):
            if epoch["epoch"] <= self.written.get((arm, seed), 0):
                continue
            self.written[arm, seed] = epoch["epoch"]
            if epoch["epoch"] > self.before.get((arm, seed), 0):
                self.callback.log(f"{self._prefix(arm, seed)} | {line_of(epoch, self.plan.training.epochs)}")
            prefix = self._prefix(arm, seed)
            self._write([(f"{prefix}/{tag}", value) for tag, value in _scalars(epoch)], epoch["epoch"])
        if self.writer is not None:
            self.writer.flush()

    def _write(self, points: list[tuple[str, float]], step: int) -> None:
        """Points of the TensorBoard folder, which is made with the first: a run that is refused leaves none."""
        if self.folder is None:
            return
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(self.folder)
        for tag, value in points:
            self.writer.add_scalar(tag, value, step)


def epochs_of(plan: ClassificationRunConfig, path: Path) -> list[dict[str, Any]]:
    """One entry a finished epoch of a training: each loss term by name (mean over its records), scores, strengths of mixing.

    `loss` is what the student feels: what read-outs learn from, which does not reach it, is not in the sum.
    """
    found: list[dict[str, Any]] = []
    sums: dict[str, float] = {}
    steps, rate, best = 0, 0.0, 0.0
    for record in read_records(path):
        if record["split"] == "train":
            steps, rate = steps + 1, record["learning_rate"]
            terms = record["terms"]
            felt = record["loss"] - sum(value or 0.0 for name, value in terms.items() if name.endswith(PROBES))
            for name, value in {"loss": felt, **terms}.items():
                sums[name] = sums.get(name, 0.0) + (value or 0.0)
        elif record["split"] == "validation":
            number = round(record["epoch"])
            mixup, cutmix = plan.training.mixing.alphas(number - 1, plan.training.epochs)
            best = max(best, record["accuracy"] or 0.0)
            means = {name: value / max(1, steps) for name, value in sums.items()}
            scores = {n: v for n, v in record.items() if n not in {"split", "step", "epoch"}}
            entry = {"epoch": number, "losses": means, **scores, "best_accuracy": best, "learning_rate": rate}
            found.append({**entry, "mixup_alpha": mixup, "cutmix_alpha": cutmix})
            sums, steps = {}, 0
    return found


def line_of(epoch: Mapping[str, Any], epochs: int) -> str:
    """One epoch in a line.

    Example:
        >>> line_of({"epoch": 2, "losses": {"loss": 0.5, "labels": 0.3, "teacher_kd_loss": 0.4}, "accuracy": 0.9,
        ...          "best_accuracy": 0.9, "train_accuracy": 0.88, "learning_rate": 1e-3, "seconds": 61.2}, 3)
        'epoch 2/3 | loss 0.5000 | train 88.00 % | validation 90.00 % | best 90.00 % | rate 0.001 | teacher_kd_loss 0.4000 | 61 s'
    """
    parts = [f"epoch {epoch['epoch']}/{epochs}", f"loss {epoch['losses'].get('loss', 0.0):.4f}"]
    shares = {"train_accuracy": "train", "accuracy": "validation", "best_accuracy": "best", "test_accuracy": "test"}
    parts += [f"{word} {100 * epoch[name]:.2f} %" for name, word in shares.items() if epoch.get(name) is not None]
    parts.append(f"rate {epoch['learning_rate']:.3g}")
    parts += [f"{n} {v:.4f}" for n, v in epoch["losses"].items() if n not in {"loss", "labels"} and "/" not in n]
    return " | ".join([*parts, f"{epoch['seconds']:.0f} s"])


def _scalars(epoch: Mapping[str, Any]) -> list[tuple[str, float]]:
    tags = {
        "accuracy": "validation/accuracy",
        "best_accuracy": "validation/best_accuracy",
        "nll": "validation/nll",
        "train_accuracy": "train/accuracy",
        "test_accuracy": "test/accuracy",
        "mixup_alpha": "augment/mixup_alpha",
        "cutmix_alpha": "augment/cutmix_alpha",
        "learning_rate": "optimizer/learning_rate",
    }
    groups = {"component": "components", "clause_usage": "clauses/usage", "head_gain": "clauses/head_gain"}
    found = []
    for name, value in epoch.items():
        group, _, rest = name.partition("/")
        tag = tags.get(name) or (f"{groups[group]}/{rest}" if group in groups else None)
        if tag is not None and value is not None:
            found.append((tag, float(value)))
    for name, value in epoch["losses"].items():
        found.append(
            (f"{'loss' if name in {'loss', 'labels'} else 'aux'}/{'train' if name == 'loss' else name}", value)
        )
    return found
