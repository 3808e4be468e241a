"""What a focusing report draws: lines before and after every focuser, and cuts through a few points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from stillhouse.core.records import write_arrays
from stillhouse.families.sar.data.sequences import SarData
from stillhouse.families.sar.metrics.lines import coherence_map
from stillhouse.families.sar.score import CUT_AXIS, POINTS, point_cut, rivals
from stillhouse.families.sar.teacher import LineTeacher, focused

SHOWN_LINES, SHOWN_POINTS = 48, 2


def write_pictures(out: Path, data: SarData, networks: Mapping[str, LineTeacher]) -> None:
    """What the report draws: a patch of test lines before and after every focuser, and cuts through a few points."""
    rows = torch.arange(min(SHOWN_LINES, len(data.test)))
    inputs, targets = data.test.batch(rows)
    free = rivals(data) if data.parameters is not None else {}
    images = {"before": inputs[..., 0].numpy(), "target": targets[..., 0].numpy()}
    if free:
        images["matched filter"] = free["matched filter"][0](data.test.inputs)[rows.numpy()]
    images |= {name: focused(network, inputs) for name, network in networks.items()}
    images = {name: np.asarray(x[:, data.valid], np.complex64) for name, x in images.items()}
    arrays = {f"image/{name}": x for name, x in images.items()}
    for name in list(images)[2:]:
        arrays[f"map/{name}"] = coherence_map(images[name], images["target"]).astype(np.float32)
    if free:
        points = data.points(POINTS)
        lines = {"matched filter": free["matched filter"][1](points.inputs)}
        lines |= {name: focused(network, points.inputs) for name, network in networks.items()}
        places = points.positions[:SHOWN_POINTS]
        for name, x in lines.items():
            cuts = [point_cut(line, place) for line, place in zip(x[:SHOWN_POINTS], places, strict=True)]
            arrays[f"cut/{name}"] = np.stack(cuts).astype(np.float32)
        arrays["cut_axis"] = CUT_AXIS
        assert data.parameters is not None
        arrays["spacing"] = np.array(data.parameters.spacing)
    from stillhouse.families.sar.report import FOCUS

    write_arrays(out / FOCUS, **arrays)
