"""What the teacher taught, found at the end of a run: examples that it put right, or what was measured of it.

Axes: S seeds, N test rows, K classes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stillhouse.core.labels import MISSING
from stillhouse.core.records import PREDICTIONS, read_arrays, write_json
from stillhouse.core.verdict import verdict_of
from stillhouse.report.read import mapping, number
from stillhouse.tasks.classification.data.split import labelled_rows
from stillhouse.tasks.classification.light import LINEAR
from stillhouse.tasks.classification.predict import predict
from stillhouse.tasks.classification.reliability import Predictions
from stillhouse.tasks.classification.taught import FILE, advice, changed, reasons

EXAMPLES = 6
TRAINING_ROWS = 500


def write_taught(context: Any, summary: dict[str, Any]) -> None:
    """Examples, or reasons, into the run folder; the change with the best odds among the hints of the summary."""
    rows = summary["comparisons"]
    row = rows[0] if rows and rows[0]["name"] == "teacher" else {}
    word = verdict_of(row)[0] if row else ""
    if word not in ("helps", "hurts", "no difference shown"):
        return
    read = {
        arm: [_predictions(context.place(arm, seed) / PREDICTIONS) for seed in range(row["seeds"])]
        for arm in (row["arm"], row["control"])
    }
    taught, control = read[row["arm"]], read[row["control"]]
    kept: dict[str, Any] = {}
    if word == "no difference shown":
        found = reasons(row, {**_compared(summary, row), **_on_training_rows(context)})
        kept = {"reasons": [asdict(one) for one in found]}
        summary["hints"] = [*summary["hints"], *filter(None, [advice(found)])]
    else:
        kept = {"examples": examples(taught, control, context.data.test, context.data.input_spec.class_names)}
    write_json(context.folder.path / FILE, kept)


def examples(
    taught: Sequence[Predictions], control: Sequence[Predictions], split: Any, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Test rows that the teacher put right under most seeds, with what people see of them.

    Args:
        taught: predictions of the taught arm, one a seed.
        control: of its control.
        split: N test rows.
        names: (K) of classes.
    """
    gained, _ = changed(taught, control)
    found = []
    for place in np.argsort(-gained, kind="stable")[:EXAMPLES]:
        if gained[place] == 0:
            break
        before = np.bincount([one.choices[place] for one in control], minlength=len(names)).argmax()
        found.append(
            {
                "row": int(place),
                "class": names[int(taught[0].labels[place])],
                "without": names[int(before)],
                "seeds": round(float(gained[place]) * len(taught)),
                **_seen(split, int(place)),
            }
        )
    return found


def _seen(split: Any, row: int) -> dict[str, str]:
    """A text, the cells of a row, or a picture as PNG; nothing of other data."""
    if hasattr(split, "raw"):
        raw = split.raw[row]
        text = raw if isinstance(raw, str) else ", ".join(f"{key} {value}" for key, value in dict(raw).items())
        return {"text": text[:200]}
    pixels = split.batch(torch.tensor([row])).inputs[0]
    if pixels.ndim != 3 or len(pixels) not in (1, 3):
        return {}
    grey = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(grey[..., 0] if grey.shape[2] == 1 else grey).save(buffer, "png")
    return {"png": base64.b64encode(buffer.getvalue()).decode()}


def _predictions(path: Path) -> Predictions:
    found = read_arrays(path, ["labels", "probabilities"])
    return Predictions(found["labels"], found["probabilities"])


def _compared(summary: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, float | None]:
    """Test figures of teacher, control and taught arm."""

    def mean(arm: str, name: str) -> float | None:
        return number(mapping(mapping(summary["arms"].get(arm)).get(name)).get("mean"))

    return {
        "teacher": number(mapping(summary.get("teacher")).get("test_score")),
        "taught": mean(row["arm"], "accuracy"),
        "control": mean(row["control"], "accuracy"),
        "linear": mean(LINEAR, "accuracy"),
        "agreement": mean(row["arm"], "agreement"),
        "control_agreement": mean(row["control"], "agreement"),
    }


def _on_training_rows(context: Any) -> dict[str, float | None]:
    """How the teacher answers to labelled training rows that it was not fitted to."""
    if context.teacher is None:
        return {}
    train = context.data.for_teachers.train
    rows = labelled_rows(train).sample(TRAINING_ROWS)
    found, labels = predict(lambda batch: context.teacher(batch).logits, rows), rows.labels.numpy()
    right, sure = found.argmax(1) == labels, found.max(1)
    return {
        "known": float(right.mean()),
        "confidence": float(sure.mean()),
        "contradicts": float((~right & (sure >= 0.9)).mean()),
        "labelled": float((train.labels != MISSING).float().mean()),
    }
