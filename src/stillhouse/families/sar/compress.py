"""A trained network made smaller without training: 8 bits, fewer weights, fewer states. Written, and scored beside what it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.sample import sample_rows
from stillhouse.families.sar.data import SarConfig
from stillhouse.families.sar.saved import load_data_config, load_model, save_changed, weights_file
from stillhouse.families.sar.score import judge
from stillhouse.families.sar.students.compression import QuantizedTensor, prune, quantize
from stillhouse.families.sar.students.network import SarSSM
from stillhouse.families.sar.students.truncation import truncate
from stillhouse.families.sar.teacher import focused, in_units

ROWS = 8  # validation lines on which the cost in the output is measured
Made = tuple[SarSSM, dict[str, Any], dict[str, QuantizedTensor] | None]


def quantized(model: SarSSM, lines: Tensor) -> Made:
    """Weights of 8 bits, one scale a tensor."""
    small, tensors, snr_db = quantize(model, lines)
    return small, {"snr_db": snr_db}, tensors


def pruned(model: SarSSM, lines: Tensor, *, share: float) -> Made:
    """The smallest weights of every matrix are zero."""
    small, report = prune(model, share, lines)
    return small, {"snr_db": report.snr_db, "zeroed": sum(report.zeroed.values()), "of": report.weights}, None


def truncated(model: SarSSM, lines: Tensor, *, state_dim: int) -> Made:
    """Fewer states, by balanced truncation."""
    small, layers = truncate(model, state_dim)
    return small, {"bounds": [float(np.max(layer.bound)) for layer in layers]}, None


def compress(
    folder: Path, out: Path, make: Callable[[SarSSM, Tensor], Made], data: SarConfig | None = None
) -> dict[str, Any]:
    """Load a network, make it smaller, score both on the test lines, write the small one.

    Args:
        folder: a trained network.
        out: folder of the small one; must not be there.
        make: one of the three above.
        data: where its run is not known.

    Returns:
        `before` and `after` {quality, coherence, parameters, file_bytes: of the file of weights}, and what the maker measured.

    Raises:
        InputError: a folder that is taken, or is no network.
    """
    if out.exists():
        raise InputError(f"cannot write {out}: it exists; choose another --out")
    model, scale = load_model(folder)
    built = (data or load_data_config(folder)).build()
    small, measured, int8 = make(model, built.validation.inputs[sample_rows(len(built.validation), ROWS)])
    sizes = weights_file(folder).stat().st_size, save_changed(out, folder, small, int8=int8)
    again, _ = load_model(out)  # what is scored is what lies on the disk
    found: dict[str, Any] = {}
    for name, network, size in zip(("before", "after"), (model, again), sizes):
        figures = judge(focused(in_units(network, scale, built), built.test.inputs), built.test, built.valid)
        parameters = sum(p.numel() for p in network.parameters())
        scores = {"quality": figures["quality"], "coherence": figures["coherence"]}
        found[name] = {**scores, "parameters": parameters, "file_bytes": size}
    return {**found, **measured}
