"""A small made-up run folder, laid out as `stillhouse.core.records` says, with summary numbers from `stillhouse.core.verdict`."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from stillhouse.core import records
from stillhouse.core.machine import machine, versions
from stillhouse.core.verdict import compare, mean_interval, seed_interval

ARMS = {"kd": 2.6, "no-kd": 2.1, "clauses-off": 1.6}
SEEDS, ITEMS, CLASSES, EPOCHS = (0, 1, 2), 719, 10, 12


def probabilities(rng, labels, margin, hardness):
    """(N, K) softmax of noise plus a margin on the right class; the hardness of an item is shared by all models."""
    logits = rng.normal(size=(len(labels), CLASSES)) * 1.1
    logits[np.arange(len(labels)), labels] += 2.2 * margin - hardness
    scaled = np.exp(1.3 * logits)
    return (scaled / scaled.sum(1, keepdims=True)).astype(np.float32)


def write_arm(out, arm, margin, seed, rng, labels, hardness):
    folder = records.arm_folder(out, arm, seed)
    said = probabilities(rng, labels, margin + 0.05 * rng.normal(), hardness)
    right = said.argmax(1) == labels
    folder.mkdir(parents=True)
    for step in range(EPOCHS * 4):
        loss = 2.3 * np.exp(-step / 12) + 0.2 / margin + 0.03 * rng.normal()
        record = {"split": "train", "step": step + 1, "epoch": step / 4, "loss": loss, "terms": {"task": loss}}
        records.append_record(folder / records.RECORDS, record)
        if step % 4 == 3:
            accuracy = right.mean() * (1 - 0.8 * np.exp(-(step + 1) / 7)) + 0.004 * rng.normal()
            record = {"split": "validation", "step": step + 1, "epoch": (step + 1) / 4, "accuracy": min(1, accuracy)}
            records.append_record(folder / records.RECORDS, record)
    records.write_arrays(folder / records.PREDICTIONS, labels=labels, probabilities=said)
    nll = -np.log(said[np.arange(len(labels)), labels] + 1e-9)
    metrics = {"accuracy": right.mean(), "nll": nll.mean(), "ece": abs(said.max(1).mean() - right.mean())}
    metrics = {name: float(value) for name, value in metrics.items()}
    records.write_json(folder / records.RESULT, {"arm": arm, "seed": seed, "metrics": metrics, "seconds": 41.0 + seed})
    return said, right, nll, metrics["ece"]


def write_run(out: Path, names=tuple("0123456789"), arms=ARMS, command="stillhouse distill digits --out runs/digits"):
    rng = np.random.default_rng(0)
    labels, hardness = rng.integers(0, CLASSES, ITEMS), rng.exponential(0.9, ITEMS)
    sizes = {"train": 898, "validation": 180, "test": ITEMS}
    data = {"name": "digits", "sizes": sizes, "sha256": "ab12" * 16}
    config = {
        "arms": list(arms),
        "student": {"kind": "tsetlin", "depth": 2},
        "training": {"epochs": EPOCHS, "learning_rate": 1e-3},
    }
    about = {"command": command, "versions": versions()}
    described = {**data, "class_names": list(names), "image_shape": [1, 8, 8]}
    records.write_json(
        out / records.RUN,
        {"kind": "classification", "config": config, **about, "machine": machine(), "data": described},
    )
    taught = probabilities(rng, labels, 3.4, hardness)
    records.write_arrays(out / records.TEACHER_PREDICTIONS, probabilities=taught)
    score = float((taught.argmax(1) == labels).mean())
    teacher = {
        "name": "resnet18",
        "metric": "accuracy",
        "score": 0.989,
        "chance": 0.1,
        "ece": 0.012,
        "status": "ready",
        "params": 11_181_642,
    }
    teacher |= {"head": "probe", "test_score": score, "test_ece": 0.014}
    records.write_json(out / records.TEACHER, teacher)
    rights, summary = {}, {}
    for arm, margin in arms.items():
        runs = [write_arm(out, arm, margin, seed, rng, labels, hardness) for seed in SEEDS]
        rights[arm] = np.stack([run[1] for run in runs])
        same = np.stack([run[0].argmax(1) == taught.argmax(1) for run in runs])
        nll = np.stack([run[2] for run in runs])
        per_item = {"accuracy": rights[arm], "nll": nll, "agreement": same}
        summary[arm] = {
            name: {**asdict(mean_interval(v)), "values": [float(x) for x in v.mean(1)]} for name, v in per_item.items()
        }
        for name, values in {"ece": [run[3] for run in runs], "seconds": [41.0, 42.5, 41.8]}.items():
            summary[arm][name] = {**asdict(seed_interval(values)), "values": values}
    rows = []
    for name, control in {"teacher": "no-kd", "clauses": "clauses-off", "clauses against MLP": "mlp"}.items():
        if control in arms:
            found = asdict(compare(rights["kd"], rights[control]))
            rows.append({"name": name, "arm": "kd", "control": control, "metric": "accuracy", **found})
    student = {"params": 48_650, "bytes_on_disk": 198_412, "ms_batch_1": 1.92, "ms_batch_64": 11.4, "flops": 2_345_678}
    records.write_json(
        out / records.SUMMARY,
        {
            "verdict": rows[0]["verdict"],
            "shipped": {"arm": "kd", "seed": 0},
            "comparisons": rows,
            "arms": summary,
            "teacher": teacher,
            "student": student,
            "costs": {arm: {**student, "ms_batch_1": 1.9 + 0.1 * place} for place, arm in enumerate(arms)},
            **about,
            "data": data,
            "seeds": list(SEEDS),
        },
    )
    return out


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run, shared: do not change it."""
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run_folder(finished, tmp_path):
    """A copy of the finished run that a test may change."""
    import shutil

    return Path(shutil.copytree(finished, tmp_path / "run"))
