"""A trained network made smaller without training: 8 bits, fewer weights, fewer states. Written, and scored beside what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core.checks import InputError
from stillhouse.core.sample import sample_rows
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.saved import load_data_config, load_model, save_changed, weights_file
from stillhouse.tasks.sar.score import judge
from stillhouse.tasks.sar.students.compression import QuantizedTensor, prune, quantize
from stillhouse.tasks.sar.students.truncation import truncate
from stillhouse.tasks.sar.teacher import focused, in_units

ROWS = 8  # validation lines on which the cost in the output is measured


def compress(
    folder: Path, out: Path, to: str, amount: float | None = None, data: SarConfig | None = None
) -> dict[str, Any]:
    """Load a network, make it smaller, score both on the test lines, write the small one.

    Args:
        folder: a trained network.
        out: folder of the small one; must not be there.
        to: int8; sparse (the smallest weights of every matrix are zero); truncated (fewer states).
        amount: share of zeros, or the states that are left.
        data: where its run is not known.

    Returns:
        `before` and `after` {quality, coherence, parameters, file_bytes: of the file of weights}, and the cost: `snr_db` of the
        output, or `bounds` a layer.

    Raises:
        InputError: a folder that is taken, or is no network; an amount that cannot be.
    """
    if out.exists():
        raise InputError(f"cannot write {out}: it exists; choose another --out")
    model, scale = load_model(folder)
    built = (data or load_data_config(folder)).build()
    lines = built.validation.inputs[sample_rows(len(built.validation), ROWS)]
    measured: dict[str, Any] = {}
    int8: dict[str, QuantizedTensor] = {}
    if to == "int8":
        small, int8, measured["snr_db"] = quantize(model, lines)
    elif to == "sparse":
        small, report = prune(model, float(amount or 0), lines)
        measured = {"snr_db": report.snr_db, "zeroed": sum(report.zeroed.values()), "of": report.weights}
    else:
        small, layers = truncate(model, int(amount or 0))
        measured["bounds"] = [float(np.max(layer.bound)) for layer in layers]
    sizes = weights_file(folder).stat().st_size, save_changed(out, folder, small, int8)
    again, _ = load_model(out)  # what is scored is what lies on the disk
    found: dict[str, Any] = {}
    for name, network, size in zip(("before", "after"), (model, again), sizes):
        figures = judge(focused(in_units(network, scale, built), built.test.inputs), built.test, built.valid)
        parameters = sum(p.numel() for p in network.parameters())
        scores = {"quality": figures["quality"], "coherence": figures["coherence"]}
        found[name] = {**scores, "parameters": parameters, "file_bytes": size}
    return {**found, **measured}
