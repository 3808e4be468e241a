"""What a focusing report draws: lines before and after every focuser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from stillhouse.core.records import write_arrays
from stillhouse.tasks.sar.data.sequences import SarData
from stillhouse.tasks.sar.light import FOCUS
from stillhouse.tasks.sar.metrics.lines import coherence_map
from stillhouse.tasks.sar.score import baselines
from stillhouse.tasks.sar.teacher import LineTeacher, focused

SHOWN_LINES = 48


def write_pictures(out: Path, data: SarData, networks: Mapping[str, LineTeacher]) -> None:
    """A patch of test lines before and after every focuser, and the coherence of each with the target."""
    inputs, targets = data.test.batch(torch.arange(min(SHOWN_LINES, len(data.test))))
    images = {"before": inputs[..., 0].numpy(), "target": targets[..., 0].numpy()}
    if data.parameters is not None:
        kernels = data.kernels(data.test, np.arange(len(inputs)))
        images["matched filter"] = baselines(data)[0].focus(inputs, kernels)
    images |= {name: focused(network, inputs) for name, network in networks.items()}
    images = {name: np.asarray(x[:, data.valid], np.complex64) for name, x in images.items()}
    arrays = {f"image/{name}": x for name, x in images.items()}
    for name in list(images)[2:]:
        arrays[f"map/{name}"] = coherence_map(images[name], images["target"]).astype(np.float32)
    if data.parameters is not None:
        arrays["spacing"] = np.array(data.parameters.spacing)
    write_arrays(out / FOCUS, **arrays)
