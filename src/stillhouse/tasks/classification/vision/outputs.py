"""What is written after a model is trained, beside its run: a checkpoint for torch, clause usage, overlays, packed bits, curves."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from stillhouse.core import records
from stillhouse.core.callback import NULL_CALLBACK, Callback
from stillhouse.core.config import to_mapping
from stillhouse.core.machine import versions
from stillhouse.core.records import arm_folder, read_json, read_records, write_json
from stillhouse.logic.packed import packed_bytes
from stillhouse.tasks.classification.data.images import ImageData
from stillhouse.tasks.classification.job import clause_usage, has_clauses, set_gains
from stillhouse.tasks.classification.lower import lower
from stillhouse.tasks.classification.plan import ClassificationRunConfig
from stillhouse.tasks.classification.students.transformer import save_transformer
from stillhouse.tasks.classification.task import TASK
from stillhouse.tasks.classification.vision.config import OutputConfig
from stillhouse.tasks.classification.vision.overlays import draw_overlays, write_overlays

PROBES = "/probes"  # terms that the read-outs alone learn from
TAGS = {  # figures of an epoch, and their groups in TensorBoard
    "accuracy": "validation/accuracy",
    "nll": "validation/nll",
    "train_accuracy": "train/accuracy",
    "test_accuracy": "test/accuracy",
    "mixup_alpha": "augment/mixup_alpha",
    "cutmix_alpha": "augment/cutmix_alpha",
    "learning_rate": "optimizer/learning_rate",
}
GROUPS = {"component": "components", "clause_usage": "clauses/usage", "head_gain": "clauses/head_gain"}


def write_outputs(
    output: OutputConfig,
    plan: ClassificationRunConfig,
    data: ImageData,
    folder: Path,
    *,
    callback: Callback = NULL_CALLBACK,
) -> dict[str, Any]:
    """Write the files that are asked for, from the reference arm's first seed.

    Returns:
        Their paths, and figures, for `results.json`.
    """
    student = TASK.load(arm_folder(folder, plan.reference, 0))
    found: dict[str, Any] = {}
    if output.log_dir is not None:
        write_board(output.log_dir, plan, folder)
    if output.bitpack and plan.student.kind == "flat-tm":
        found["packed"] = compare_packed(student, data, folder, plan.training.evaluation_batch_size)
    if not hasattr(student, "named_blocks"):
        return found
    if has_clauses(student):
        _write_usage(student, data, folder)
    if output.save_path is not None:
        result = read_json(arm_folder(folder, plan.reference, 0) / records.RESULT)
        metrics = {key: result[key] for key in ("validation", "best_epoch", "seconds")}
        metrics["test_accuracy"] = result["metrics"]["accuracy"]
        meta = {"class_names": list(data.input_spec.class_names), "data": data.sha256, "versions": versions()}
        train_args = to_mapping(plan)
        save_transformer(Path(output.save_path), student, train_args=train_args, train_metrics=metrics, meta=meta)
        found["checkpoint"] = output.save_path
        callback.log(f"Saved checkpoint to {output.save_path}")
    if output.overlays is not None and output.overlay_samples:
        arrays, names = write_overlays(student, data, folder, output.overlay_samples), data.input_spec.class_names
        found["overlays"] = draw_overlays(arrays, student, names, Path(output.overlays), topk=output.overlay_topk)
        callback.log(f"{len(found['overlays'])} overlays in {output.overlays}")
    return found


def _write_usage(student: Any, data: ImageData, folder: Path) -> None:
    """`clause_usage.json`: strength of clauses by block with all heads alike, and with the gains that the student has."""
    gains = {name: x.clone() for name, x in student.state_dict().items() if name.endswith("head_gains")}
    after = clause_usage(student, data.validation)
    set_gains(student, {block: entry["heads"] for block, entry in after.items()}, 0.0)
    usage = {"before": clause_usage(student, data.validation), "after": after}
    student.load_state_dict(gains, strict=False)
    found = {
        when: {block: {name: x.tolist() for name, x in entry.items()} for block, entry in blocks.items()}
        for when, blocks in usage.items()
    }
    write_json(folder / "clause_usage.json", {"head_gains": {name: x.tolist() for name, x in gains.items()}, **found})


@torch.no_grad()
def compare_packed(model: Any, data: ImageData, folder: Path, batch_size: int) -> dict[str, Any]:
    """The test split by torch and by packed logic, written as `packed.json`.

    Returns:
        Seconds and accuracies of both, the share of `same_answers` and of `ties`: images whose two best scores are equal, where
        float sums may fall either way; bytes of the packed file.

    Raises:
        InputError: clauses that are no logic.
    """
    machine = lower(model.eval(), data.input_spec.class_names)
    images: Any = data.test.images
    pixels = images.float().div(255) if images.dtype == torch.uint8 else images
    machine.scores(images[:1].numpy())  # compiles
    ways: dict[str, tuple[Callable[[Any], Any], Any]] = {
        "dense": (model, pixels),
        "packed": (lambda rows: machine.scores(rows.numpy()), images),
    }
    scores: dict[str, np.ndarray] = {}
    found: dict[str, Any] = {"images": len(images), "bytes": len(packed_bytes(machine))}
    for name, (answer, given) in ways.items():
        started = time.perf_counter()
        scores[name] = np.concatenate([np.asarray(answer(some)) for some in given.split(batch_size)])
        found[f"{name}_seconds"] = time.perf_counter() - started
        found[f"{name}_accuracy"] = float((scores[name].argmax(1) == data.test.labels.numpy()).mean())
    ranked = np.sort(scores["packed"], axis=1)
    found["same_answers"] = float((scores["dense"].argmax(1) == scores["packed"].argmax(1)).mean())
    found["ties"] = float((ranked[:, -1] == ranked[:, -2]).mean())
    write_json(folder / "packed.json", found)
    return found


def result_of(plan: ClassificationRunConfig, folder: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept in `results.json` of a finished run."""
    first = arm_folder(folder, plan.reference, 0)
    result, epochs = read_json(first / records.RESULT), epochs_of(plan, first / records.RECORDS)
    accuracies = {arm: found["accuracy"] for arm, found in summary["arms"].items()}
    validation = {
        str(arm): fmean(
            read_json(arm_folder(folder, arm, seed) / records.RESULT)["validation"]["accuracy"]
            for seed in summary["seeds"]
        )
        for arm in plan.arms
    }
    return {
        "test_accuracy": accuracies[plan.reference]["mean"],
        "arms": {arm: accuracies[arm] for arm in plan.arms},
        "plain": {arm: accuracies[arm] for arm in summary["plain"]},
        "comparisons": summary["comparisons"],
        "validation_accuracy": validation[plan.reference],
        "validation_accuracies": validation,
        "losses": epochs[-1]["losses"] if epochs else {},
        "epochs": epochs,
        "params": result["params"],
        "arm_params": {arm: costs["params"] for arm, costs in summary["costs"].items()},
        "seconds_per_epoch": result["seconds"] / max(1, result["epochs"]),
        "cost": summary["student"],
        "teacher": summary["teacher"],
        "config": to_mapping(plan),
    }


# ------------------------------------------------------------------------------------------------ epochs


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


def write_board(folder: str, plan: ClassificationRunConfig, out: Path) -> None:
    """Write every epoch of a finished run to `Transformer-VIT/...` or `Transformer-SWIN/...` of a TensorBoard folder.

    Groups: loss, train, validation, test (if it is scored each epoch), augment, aux (every further loss term by name), components,
    clauses, optimizer, final. Several arms or seeds have their name in the tag.
    """
    from torch.utils.tensorboard import SummaryWriter

    student: Any = plan.student
    prefix = f"Transformer-{student.architecture.upper()}" if hasattr(student, "architecture") else student.kind
    with SummaryWriter(folder) as writer:
        for arm, seed in itertools.product(plan.arms, range(plan.seeds)):
            place = arm_folder(out, arm, seed)
            name = prefix if len(plan.arms) * plan.seeds == 1 else f"{prefix}/{arm}-seed-{seed}"
            for epoch in epochs_of(plan, place / records.RECORDS):
                for tag, value in _scalars(epoch).items():
                    writer.add_scalar(f"{name}/{tag}", value, epoch["epoch"])
            result = read_json(place / records.RESULT)
            writer.add_scalar(f"{name}/final/test_accuracy", result["metrics"]["accuracy"], result["epochs"])


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
