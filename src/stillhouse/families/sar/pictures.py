"""What a focusing report draws: lines before and after every focuser, and cuts through a few points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.core.records import write_arrays
from stillhouse.families.sar.data.sequences import SarData
from stillhouse.families.sar.light import FOCUS
from stillhouse.families.sar.metrics.lines import coherence_map
from stillhouse.families.sar.metrics.point import FINE, upsampled
from stillhouse.families.sar.score import POINTS, Complex, baselines
from stillhouse.families.sar.teacher import LineTeacher, focused

SHOWN_LINES, SHOWN_POINTS = 48, 2
CUT_AXIS = np.arange(-16 * FINE, 16 * FINE + 1) / FINE


def write_pictures(out: Path, data: SarData, networks: Mapping[str, LineTeacher]) -> None:
    """A patch of test lines before and after every focuser, and cuts through a few points."""
    inputs, targets = data.test.batch(torch.arange(min(SHOWN_LINES, len(data.test))))
    matched = baselines(data)[:1] if data.parameters is not None else []
    focusers = {one.name: one.focus for one in matched}
    focusers |= {name: lambda x, _, network=network: focused(network, x) for name, network in networks.items()}
    images = {"before": inputs[..., 0].numpy(), "target": targets[..., 0].numpy()}
    kernels = data.kernels(data.test, np.arange(len(inputs))) if matched else None
    images |= {name: focus(inputs, kernels) for name, focus in focusers.items()}
    images = {name: np.asarray(x[:, data.valid], np.complex64) for name, x in images.items()}
    arrays = {f"image/{name}": x for name, x in images.items()}
    for name in focusers:
        arrays[f"map/{name}"] = coherence_map(images[name], images["target"]).astype(np.float32)
    if data.parameters is not None:
        points = data.points(POINTS)
        for name, focus in focusers.items():
            lines = zip(focus(points.inputs, points.kernels)[:SHOWN_POINTS], points.positions)
            arrays[f"cut/{name}"] = np.stack([point_cut(line, place) for line, place in lines]).astype(np.float32)
        arrays |= {"cut_axis": CUT_AXIS, "spacing": np.array(data.parameters.spacing)}
    write_arrays(out / FOCUS, **arrays)


def point_cut(line: Complex, place: float) -> NDArray[np.float64]:
    """Power in dB at `CUT_AXIS` samples from a point, 0 dB at the brightest; between samples by its spectrum.

    Example:
        >>> cut = point_cut((np.sinc((np.arange(128) - 64.5) / 1.3) + 0j).astype(np.complex64), 64.5)
        >>> float(CUT_AXIS[cut.argmax()]), round(float(cut.max()), 3)
        (0.0, 0.0)
    """
    fine = np.abs(upsampled(line.astype(np.complex128), FINE)) ** 2
    index = np.clip(np.round((place + CUT_AXIS) * FINE).astype(int), 0, len(fine) - 1)
    power = fine[index]
    return np.asarray(10 * np.log10(np.maximum(power / max(float(power.max()), 1e-30), 1e-8)))
