"""The epochs of a training as `results.json` has them, and as points of a TensorBoard folder."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse.core import records
from stillhouse.core.records import arm_folder, read_json, read_records
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


def write_board(folder: str, plan: ClassificationRunConfig, out: Path) -> None:
    """Write every epoch of a finished run to `Transformer-VIT/...` or `Transformer-SWIN/...` of a TensorBoard folder.

    Groups: loss, train, validation, test (if it is scored each epoch), augment, aux (every further loss term by name), components,
    clauses, optimizer, final. Several arms or seeds have their name in the tag. While a run goes on, see its own folder.

    Args:
        folder: TensorBoard folder.
        plan: of the run.
        out: its run folder.
    """
    from torch.utils.tensorboard import SummaryWriter

    student: Any = plan.student
    prefix = f"Transformer-{student.architecture.upper()}" if hasattr(student, "architecture") else student.kind
    with SummaryWriter(folder) as writer:
        for arm, seed in itertools.product(plan.arms, range(plan.seeds)):
            place, result = arm_folder(out, arm, seed), read_json(arm_folder(out, arm, seed) / records.RESULT)
            name = prefix if len(plan.arms) * plan.seeds == 1 else f"{prefix}/{arm}-seed-{seed}"
            for epoch in epochs_of(plan, place / records.RECORDS):
                for tag, value in _scalars(epoch).items():
                    writer.add_scalar(f"{name}/{tag}", value, epoch["epoch"])
            writer.add_scalar(f"{name}/final/test_accuracy", result["metrics"]["accuracy"], result["epochs"])


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
