"""A TensorBoard folder with one point an epoch under the documents' tags, written while a run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from stillhouse import records
from stillhouse.plan import RunConfig
from stillhouse.records import arm_folder, read_json, read_records
from stillhouse.run import Tell
from stillhouse.types import Progress


class Board:
    """Reads what the training writes, and copies each finished epoch to `Transformer-VIT/...` or `Transformer-SWIN/...`.

    Groups: loss, train, validation, test (if it is scored each epoch), augment, aux (every further loss term by name), components,
    clauses, optimizer, final. Several arms or seeds have their name in the tag.

    Args:
        folder: TensorBoard folder; None writes nothing.
        plan: of the run.
        out: its run folder.
    """

    def __init__(self, folder: str | None, plan: RunConfig, out: Path) -> None:
        self.folder, self.plan, self.out = folder, plan, out
        self.written: dict[tuple[str, int], int] = {}
        self.writer: Any = None

    def __enter__(self) -> Board:
        if self.folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is None:
            return
        for arm in self.plan.arms:
            for seed in range(self.plan.seeds):
                self._copy(arm, seed)
                path = arm_folder(self.out, arm, seed) / records.RESULT
                if path.is_file():
                    found = read_json(path)
                    tag = f"{self._prefix(arm, seed)}/final/test_accuracy"
                    self.writer.add_scalar(tag, found["metrics"]["accuracy"], found["epochs"])
        self.writer.close()

    def following(self, tell: Tell) -> Tell:
        """The same `tell`, after which finished epochs are copied."""
        if self.writer is None:
            return tell

        def both(arm: str, seed: int, progress: Progress, news: Mapping[str, float | None]) -> None:
            tell(arm, seed, progress, news)
            if news.get("loss") is not None:  # steps that log
                self._copy(arm, seed)

        return both

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
            for tag, value in _scalars(epoch):
                self.writer.add_scalar(f"{self._prefix(arm, seed)}/{tag}", value, epoch["epoch"])
        self.writer.flush()


def epochs_of(plan: RunConfig, path: Path) -> list[dict[str, Any]]:
    """One entry a finished epoch of a training: mean of each loss term by name, scores, strengths of mixing."""
    found: list[dict[str, Any]] = []
    sums: dict[str, float] = {}
    steps, rate, best = 0, 0.0, 0.0
    for record in read_records(path):
        if record["split"] == "train":
            steps, rate = steps + 1, record["learning_rate"]
            for name, value in {"loss": record["loss"], **record["terms"]}.items():
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
