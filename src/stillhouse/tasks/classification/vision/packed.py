"""A flat machine evaluated both ways: as torch trained it, and as logic."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillhouse.core.records import write_json
from stillhouse.logic.machine import has_numba
from stillhouse.logic.packed import packed_bytes
from stillhouse.logic.simplify import simplify
from stillhouse.tasks.classification.data import ImageData
from stillhouse.tasks.classification.lower import lower

PACKED = "packed.json"


@torch.no_grad()
def compare_packed(model: Any, data: ImageData, folder: Path, batch_size: int) -> dict[str, Any]:
    """The whole test split both ways, written as `packed.json`.

    Returns:
        Seconds of both (`first_seconds` is what compiling took besides), accuracies, the share of
        `same_answers` and of `ties`: images whose two best scores are equal, where float sums may fall either way; engine,
        clauses and literals before and after simplification, bytes of the packed file.

    Raises:
        InputError: clauses that are no logic.
    """
    model.eval()
    machine = lower(model, data.input_spec.class_names)
    whole, small = machine.layers[0], simplify(machine.layers[0])
    images = data.test.images
    scores: list[np.ndarray] = []

    def by_logic(rows: Tensor) -> np.ndarray:
        found = machine.scores(rows.numpy())
        scores.append(np.sort(found, axis=1))
        return found.argmax(1)

    def by_torch(rows: Tensor) -> np.ndarray:
        pixels = rows.float().div_(255) if rows.dtype == torch.uint8 else rows
        answers: np.ndarray = model(pixels).argmax(1).numpy()
        return answers

    def timed(answer: Callable[[Tensor], np.ndarray]) -> tuple[float, np.ndarray]:
        started = time.perf_counter()
        rows = torch.arange(len(images)).split(batch_size)
        found = np.concatenate([answer(images[some]) for some in rows])
        return time.perf_counter() - started, found

    first_seconds, _ = timed(by_logic)
    scores.clear()
    (dense_seconds, dense), (packed_seconds, answers) = timed(by_torch), timed(by_logic)
    labels, ranked = data.test.labels.numpy(), np.concatenate(scores)
    found = {
        "dense_seconds": dense_seconds,
        "packed_seconds": packed_seconds,
        "first_seconds": max(first_seconds - packed_seconds, 0.0),
        "images": len(labels),
        "same_answers": float((dense == answers).mean()),
        "ties": float((ranked[:, -1] == ranked[:, -2]).mean()),
        "dense_accuracy": float((dense == labels).mean()),
        "packed_accuracy": float((answers == labels).mean()),
        "engine": "numba" if has_numba() else "numpy",
        "clauses": whole.num_clauses,
        "literals": len(whole.literals),
        "clauses_simplified": small.num_clauses,
        "literals_simplified": len(small.literals),
        "bytes": len(packed_bytes(machine)),
    }
    write_json(folder / PACKED, found)
    return found
