"""The epochs of a training as `results.json` has them, and as points of a TensorBoard folder while a run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from stillhouse.core import records
from stillhouse.core.callback import Callback, News
from stillhouse.core.records import arm_folder, read_json, read_records
from stillhouse.core.types import Progress
from stillhouse.tasks.classification.plan import ClassificationRunConfig

PROBES = "/probes"  # terms that the read-outs alone learn from
TAGS = {
    "accuracy": "validation/accuracy",
    "nll": "validation/nll",
    "train_accuracy": "train/accuracy",
    "test_accuracy": "test/accuracy",
    "mixup_alpha": "augment/mixup_alpha",
    "cutmix_alpha": "augment/cutmix_alpha",
    "learning_rate": "optimizer/learning_rate",
}
GROUPS = {"component": "components", "clause_usage": "clauses/usage", "head_gain": "clauses/head_gain"}


class TensorBoardLogger(Callback):
    """Passes everything on, and copies each finished epoch to `Transformer-VIT/...` or `Transformer-SWIN/...`.

    Groups: loss, train, validation, test (if it is scored each epoch), augment, aux (every further loss term by name), components,
    clauses, optimizer, final. Several arms or seeds have their name in the tag.

    Args:
        folder: TensorBoard folder.
        plan: of the run.
        out: its run folder.
        callback: gets all that this one gets.
    """

    def __init__(self, folder: str, plan: ClassificationRunConfig, out: Path, callback: Callback) -> None:
        self.folder, self.plan, self.out, self.callback = folder, plan, out, callback
        self.written: dict[tuple[str, int], int] = {}
        self.writer: Any = None
        self.begin, self.log = callback.begin, callback.log  # type: ignore[method-assign]

    def __enter__(self) -> TensorBoardLogger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for arm in self.plan.arms:
            for seed in range(self.plan.seeds):
                self._copy(arm, seed)
                path = arm_folder(self.out, arm, seed) / records.RESULT
                if path.is_file():
                    result = read_json(path)
                    self._write(arm, seed, {"final/test_accuracy": result["metrics"]["accuracy"]}, result["epochs"])
        if self.writer is not None:
            self.writer.close()

    def on_progress(self, arm: str, seed: int, progress: Progress, news: News) -> None:
        """Pass it on, then copy epochs that are finished."""
        self.callback.on_progress(arm, seed, progress, news)
        if news.get("loss") is not None:  # steps that log
            self._copy(arm, seed)

    def _copy(self, arm: str, seed: int) -> None:
        for epoch in epochs_of(self.plan, arm_folder(self.out, arm, seed) / records.RECORDS):
            if epoch["epoch"] > self.written.get((arm, seed), 0):
                self.written[arm, seed] = epoch["epoch"]
                self._write(arm, seed, _scalars(epoch), epoch["epoch"])

    def _write(self, arm: str, seed: int, points: Mapping[str, float], step: int) -> None:
        """The folder is made with the first point: a run that is refused leaves none."""
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(self.folder)
        student: Any = self.plan.student
        prefix = f"Transformer-{student.architecture.upper()}" if hasattr(student, "architecture") else student.kind
        if len(self.plan.arms) * self.plan.seeds > 1:
            prefix += f"/{arm}-seed-{seed}"
        for tag, value in points.items():
            self.writer.add_scalar(f"{prefix}/{tag}", value, step)
        self.writer.flush()


def epochs_of(plan: ClassificationRunConfig, path: Path) -> list[dict[str, Any]]:
    """One entry a finished epoch of a training: each loss term by name (mean over its records), scores, strengths of mixing.

    `loss` is what the student feels: what read-outs learn from, which does not reach it, is not in the sum.
    """
    found: list[dict[str, Any]] = []
    terms: list[dict[str, float]] = []
    rate = 0.0
    for record in read_records(path):
        if record["split"] == "train":
            own = {name: value or 0.0 for name, value in record["terms"].items()}
            felt = record["loss"] - sum(value for name, value in own.items() if name.endswith(PROBES))
            terms.append({"loss": felt, **own})
            rate = record["learning_rate"]
        elif record["split"] == "validation":
            number = round(record["epoch"])
            mixup, cutmix = plan.training.mixing.alphas(number - 1, plan.training.epochs)
            names = dict.fromkeys(name for one in terms for name in one)
            means = {name: sum(one.get(name, 0.0) for one in terms) / len(terms) for name in names}
            scores = {name: value for name, value in record.items() if name not in {"split", "step", "epoch"}}
            mixed = {"learning_rate": rate, "mixup_alpha": mixup, "cutmix_alpha": cutmix}
            found.append({"epoch": number, "losses": means, **scores, **mixed})
            terms = []
    return found


def _scalars(epoch: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    for name, value in epoch.items():
        group, _, rest = name.partition("/")
        tag = TAGS.get(name) or (f"{GROUPS[group]}/{rest}" if group in GROUPS else None)
        if tag is not None and value is not None:
            found[tag] = float(value)
    for name, value in epoch["losses"].items():
        found["loss/train" if name == "loss" else f"{'loss' if name == 'labels' else 'aux'}/{name}"] = value
    return found
