"""The documented networks side by side, and a network before and after it is made smaller.

A speed claim is a ratio of two things measured in one run, so costs are measured anew here, never read from other runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillhouse.core.callback import NULL_CALLBACK
from stillhouse.core.labels import sample_rows
from stillhouse.tasks.sar.documented import read_student
from stillhouse.tasks.sar.metrics import judge
from stillhouse.tasks.sar.recipes import recipe_path
from stillhouse.tasks.sar.saved import load_data_config, load_model, save_changed, weights_file
from stillhouse.tasks.sar.students import SIZES, StateSpaceConfig
from stillhouse.tasks.sar.students.compression import QuantizedTensor, prune, quantize, step_cost, truncate
from stillhouse.tasks.sar.students.network import SarSSM
from stillhouse.tasks.sar.students.streaming import Stream
from stillhouse.tasks.sar.teacher import focus_lines, in_units

Row = dict[str, Any]
CHECKED = 8  # validation lines on which the cost of compression is measured in the output

CLAIMS = {"standard": "10-20 %", "compressed": "40-60 %", "tiny": "70-80 %"}
"""How many fewer parameters the documents expect of their students; no log supports it."""


def compare_sizes(length: int = 1000, log: Callable[[str], None] = NULL_CALLBACK.log) -> list[Row]:
    """The documented teacher and its three students, untrained: real reductions and measured times beside the claims.

    They are the networks that the recipes `s4_ssm_complex` and `s4_ssm_student` build, which look at the whole scene. Below each
    stands its stream form: the same settings with a look-ahead of half the scene, one filter a layer in place of two.
    """
    run = read_student(recipe_path("s4_ssm_student"), recipe_path("s4_ssm_complex"), "-")
    networks = {"teacher": run.teacher}
    for name in CLAIMS:
        width, state, layers = SIZES[name]
        networks[name] = replace(run.student, model_dim=width, state_dim=state, num_layers=layers)
    rows: list[Row] = []
    for name, whole in networks.items():
        for form, network in {name: whole, f"{name}, streaming": replace(whole, look_ahead=length // 2)}.items():
            log(f"comparing: {form}")
            public = documented_parameters(network)
            rows.append({"name": form, **network_cost(network.build(), length), "documented_parameters": public})
    for row, teacher in zip(rows, cycle(rows[:2])):
        row["fewer_parameters"] = 1 - row["parameters"] / teacher["parameters"]
        row["documented"] = CLAIMS.get(row["name"])
    return rows


def documented_parameters(config: StateSpaceConfig) -> int:
    """Parameters that the public code has at this size, to set beside ours; the document's percentages do not follow from it.

    A layer there: filter (time units, M poles, real C of 2M, feedthrough) and two split linear maps with biases. Ours has one
    true complex map without bias, a complex feedthrough, and a gate a layer.

    Example:
        The teacher, and the document's "40-60 % smaller" student, which is 84 % smaller.

        >>> teacher = documented_parameters(StateSpaceConfig(input_dim=2, use_selectivity=True))
        >>> small = documented_parameters(StateSpaceConfig(input_dim=2, model_dim=32, state_dim=256, num_layers=4))
        >>> teacher, small, round(1 - small / teacher, 2)
        (320299, 51330, 0.84)
    """
    width, modes = config.model_dim, config.state_dim // 2
    filters = width + 2 * modes + 2 * width * modes + width
    mixing = 2 * 2 * (width * width + width)
    ends = 2 * (config.input_dim * width + width) + 2 * (width * config.output_dim + config.output_dim) + 2 * 2 * width
    gate = 2 * width * width + width + width + 1 if config.use_selectivity else 0
    return config.num_layers * (filters + mixing) + ends + gate


def network_cost(model: SarSSM, length: int) -> Row:
    """Counted parameters, state and operations; milliseconds a line in the step form, and by FFT over a whole scene.

    Times are those of the processor, all threads: another load on the machine does not move them.
    """
    lines = torch.randn(1, length, model.config.input_dim, dtype=torch.complex64)
    figures: Row = asdict(step_cost(model))
    figures["processor_ms_line_whole"] = measure_cpu_milliseconds(partial(model.eval(), lines), 5, warm_up=2) / length
    if (ahead := model.config.look_ahead) is not None:
        flow, feed = Stream(model), cycle(lines.unbind(1))
        figures["processor_ms_line"] = measure_cpu_milliseconds(lambda: flow.step(next(feed)), 100, warm_up=ahead + 20)
        figures["latency_lines"] = ahead
    return figures


@torch.no_grad()
def measure_cpu_milliseconds(call: Callable[[], Any], count: int, *, warm_up: int) -> float:
    """Milliseconds of the processor's time that a call takes, after some that are not counted."""
    for _ in range(warm_up):
        call()
    begun = time.process_time()
    for _ in range(count):
        call()
    return 1000 * (time.process_time() - begun) / count


def compress(folder: Path, out: Path, to: str, amount: float | None = None) -> dict[str, Any]:
    """Load a network, make it smaller, write the small one, and score both on the test lines of its run.

    Args:
        folder: a trained network.
        out: folder of the small one.
        to: int8; sparse (the smallest weights of every matrix are zero); truncated (fewer states).
        amount: share of zeros, or the states that are left.

    Returns:
        `before` and `after` {quality, coherence, parameters, file_bytes: of the file of weights}, and the cost: `snr_db` of the
        output, or `bounds` a layer.
    """
    model, _ = load_model(folder)
    data = load_data_config(folder).build()
    lines = data.validation.inputs[sample_rows(len(data.validation), CHECKED)]
    found: dict[str, Any] = {}
    int8: dict[str, QuantizedTensor] = {}
    if to == "int8":
        small, int8, found["snr_db"] = quantize(model, lines)
    elif to == "sparse":
        small, found["zeroed"], found["snr_db"] = prune(model, float(amount or 0), lines)
    else:
        small, layers = truncate(model, int(amount or 0))
        found["bounds"] = [float(np.max(layer.bound)) for layer in layers]
    save_changed(out, folder, small, int8)
    for name, place in (("before", folder), ("after", out)):  # what is scored is what lies on the disk
        network = in_units(*load_model(place), data)
        scores = judge(focus_lines(network, data.test.inputs), data.test, data.valid)
        found[name] = {**scores, "parameters": network.params, "file_bytes": weights_file(place).stat().st_size}
    return found
