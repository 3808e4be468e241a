"""The table: teacher, students, truncation, short filters, matched filter and doing nothing, judged and timed in one go.

A speed claim is a ratio of two things measured in one run, so costs are measured anew here, never read from other runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.core import records
from stillhouse.core.callback import NULL_CALLBACK
from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.machine import machine
from stillhouse.core.records import arm_folder, read_object, write_arrays, write_json
from stillhouse.core.sample import sample_rows
from stillhouse.tasks.sar.data.radar import filtered
from stillhouse.tasks.sar.data.sequences import SarData
from stillhouse.tasks.sar.light import COMPARISON, FOCUS
from stillhouse.tasks.sar.metrics import judge, point_figures
from stillhouse.tasks.sar.plan import SarDistillConfig
from stillhouse.tasks.sar.saved import load_data_config, load_model, load_teacher, save_changed, weights_file
from stillhouse.tasks.sar.students import SIZES, StateSpaceConfig
from stillhouse.tasks.sar.students.compression import prune, quantize, step_cost, truncate
from stillhouse.tasks.sar.students.network import SarSSM
from stillhouse.tasks.sar.students.streaming import Stream
from stillhouse.tasks.sar.teacher import LineTeacher, focused, in_units

Row = dict[str, Any]
Log = Callable[[str], None]
POINTS, SHOWN_LINES = 16, 48
CHECKED = 8  # validation lines on which the cost of compression is measured in the output

CLAIMS = {"standard": "10-20 %", "compressed": "40-60 %", "tiny": "70-80 %"}
"""How many fewer parameters the documents expect of their students; no log supports it."""


@dataclass(frozen=True)
class Focuser:
    """What a table has a row of.

    Attributes:
        name: of the row.
        kind: network or filter.
        focus: (N, L) focused lines of lines (N, L, C) whose matched filters are (N, K), None where the radar is not known.
        facts: further cells: parameters, costs.
    """

    name: str
    kind: str
    focus: Callable[[Tensor, Any], NDArray[np.complex64]]
    facts: Mapping[str, Any]

    def row(self, data: SarData) -> Row:
        """Scores on the test lines, on isolated points where the radar is known, and costs."""
        known = data.parameters is not None
        lines = self.focus(data.test.inputs, data.kernels(data.test) if known else None)
        row: Row = {"name": self.name, "kind": self.kind, **judge(lines, data.test, data.valid), **self.facts}
        if known:
            points = data.points(POINTS)
            row |= point_figures(self.focus(points.inputs, points.kernels), points, data.valid)
        return row


def compare_run(out: Path, log: Log = NULL_CALLBACK.log) -> list[Row]:
    """Rows of a distillation run, written to `comparison.json` in its folder: teacher, arms, the truncated teacher, filters.

    Args:
        out: folder of `stillhouse sar distill`.
        log: gets a line for each row.

    Raises:
        InputError: no such run, or an unfinished one.
    """
    if not (out / records.SUMMARY).is_file():
        raise InputError(f"{out}: expected a finished run of `stillhouse sar distill`")
    config = parse(SarDistillConfig, read_object(out / records.RUN, records.ABOUT)["config"])
    data = config.data.build()
    teacher = teacher_of(config, data)
    todo: dict[str, Callable[[], list[Row]]] = {"teacher": lambda: [_network("teacher", teacher, data).row(data)]}
    todo |= {arm: partial(_arm_rows, out, config, arm, data) for arm in config.arms}
    if (size := config.student.state_dim) < teacher.module.config.state_dim:
        cut = f"teacher truncated to state_dim {size}"
        small = replace(teacher, module=truncate(teacher.module, size)[0])
        todo[cut] = lambda: [_network(cut, small, data).row(data)]
    todo["filters"] = lambda: [one.row(data) for one in baselines(data)]
    rows: list[Row] = []
    for number, (name, make) in enumerate(todo.items(), 1):
        log(f"comparing {number} of {len(todo)}: {name}")
        rows += make()
    about = {"name": data.name, "sha256": data.sha256, "test_lines": len(data.test)}
    write_json(out / COMPARISON, {"rows": _related(rows), "data": about, "machine": machine()})
    return rows


def compare_sizes(length: int = 1000, log: Log = NULL_CALLBACK.log) -> list[Row]:
    """The documented teacher and its three students, untrained: real reductions and measured times beside the claims.

    They are the networks that the recipes `s4_ssm_complex` and `s4_ssm_student` build, which look at the whole scene. Below each
    stands its stream form: the same settings with a look-ahead of half the scene, one filter a layer in place of two.
    """
    from stillhouse.tasks.sar.documented import read_student
    from stillhouse.tasks.sar.recipes import recipe_path

    run = read_student(recipe_path("s4_ssm_student"), recipe_path("s4_ssm_complex"), "-")
    networks = {"teacher": run.teacher}
    for name in CLAIMS:
        width, state, layers = SIZES[name]
        networks[name] = replace(run.student, model_dim=width, state_dim=state, num_layers=layers)
    streams = {f"{name}, streaming": replace(network, look_ahead=length // 2) for name, network in networks.items()}
    rows: list[Row] = []
    for name, network in {**networks, **streams}.items():
        log(f"comparing: {name}")
        public = documented_parameters(network)
        costs = network_cost(network.build(), length)
        rows.append({"name": name, "kind": "network", **costs, "documented_parameters": public})
    whole, steps = rows[: len(networks)], rows[len(networks) :]
    return [row for pair in zip(_related(whole), _related(steps), strict=True) for row in pair]


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
    lines, measured, int8 = (
        data.validation.inputs[sample_rows(len(data.validation), CHECKED)],
        dict[str, Any](),
        dict[str, Any](),
    )
    if to == "int8":
        small, int8, measured["snr_db"] = quantize(model, lines)
    elif to == "sparse":
        small, measured["zeroed"], measured["snr_db"] = prune(model, float(amount or 0), lines)
    else:
        small, layers = truncate(model, int(amount or 0))
        measured["bounds"] = [float(np.max(layer.bound)) for layer in layers]
    save_changed(out, folder, small, int8)
    found: dict[str, Any] = {}
    for name, place in (("before", folder), ("after", out)):  # what is scored is what lies on the disk
        network = in_units(*load_model(place), data)
        found[name] = judge(focused(network, data.test.inputs), data.test, data.valid)
        found[name] |= {"parameters": network.params, "file_bytes": weights_file(place).stat().st_size}
    return {**found, **measured}


def teacher_of(config: SarDistillConfig, data: SarData) -> LineTeacher:
    """The teacher of a run, with factors from the units of these data to those that it learned from."""
    model, scale = load_teacher(config.teacher, Path(config.teacher_checkpoint))
    return in_units(model, scale, data, frozen=config.objective.freeze_teacher, name=config.teacher_checkpoint)


def write_pictures(out: Path, data: SarData, networks: Mapping[str, LineTeacher]) -> None:
    """A patch of test lines before and after every focuser, for the page of a run."""
    inputs, targets = data.test.batch(torch.arange(min(SHOWN_LINES, len(data.test))))
    images = {"before": inputs[..., 0].numpy(), "target": targets[..., 0].numpy()}
    if data.parameters is not None:
        images["matched filter"] = filtered(images["before"], data.kernels(data.test)[: len(inputs)])
    images |= {name: focused(network, inputs) for name, network in networks.items()}
    write_arrays(out / FOCUS, **{name: np.asarray(x[:, data.valid], np.complex64) for name, x in images.items()})


def _network(name: str, network: LineTeacher, data: SarData) -> Focuser:
    costs = network_cost(network.module, data.length)
    return Focuser(name, "network", lambda lines, _: focused(network, lines), costs)


def _arm_rows(run: Path, config: SarDistillConfig, arm: str, data: SarData) -> list[Row]:
    """Quality and coherence are means over the seeds of an arm, points and costs of its first."""
    results = [read_object(arm_folder(run, arm, n) / records.RESULT, records.FIGURES) for n in range(config.seeds)]
    row = _network(arm, in_units(*load_model(arm_folder(run, arm, 0)), data), data).row(data)
    means = {key: float(np.mean([r["metrics"][key] for r in results])) for key in ("quality", "coherence", "nmse")}
    return [{**row, **means, "seeds": config.seeds, "arm": arm}]


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


def _related(rows: list[Row]) -> list[Row]:
    """Every network held against the first one, the teacher."""
    teacher = rows[0]
    for row in rows:
        if row["kind"] != "network":
            continue
        row["fewer_parameters"] = 1 - row["parameters"] / teacher["parameters"]
        # 1 - NMSE is below 0 where nothing is focused: a share of it, or by it, means nothing
        if teacher.get("quality", 0) > 0 and row.get("quality", 0) > 0:
            row["quality_kept"] = row["quality"] / teacher["quality"]
        if row["name"] in CLAIMS:
            row["documented"] = CLAIMS[row["name"]]
    return rows


# ---------------------------------------------------------------------------------------------- costs, and filters


def network_cost(model: SarSSM, length: int) -> dict[str, Any]:
    """Counted parameters, state and operations; measured milliseconds a line, in the step form and by FFT over a whole scene.

    `processor_*` are times of the processor, all threads: another load on the machine does not move them, so ratios are taken of
    them; the others are by the clock.
    """
    lines = torch.randn(1, length, model.config.input_dim, dtype=torch.complex64)
    lines = lines.to(next(model.parameters()).device)
    figures: Row = asdict(step_cost(model))
    wall, processor = timed(partial(model.eval(), lines), 5, warm_up=2)
    figures |= {"ms_line_whole": wall / length, "processor_ms_line_whole": processor / length}
    if (ahead := model.config.look_ahead) is not None:
        flow, feed = Stream(model), cycle(lines.unbind(1))
        wall, processor = timed(lambda: flow.step(next(feed)), 100, warm_up=ahead + 20)
        figures |= {"ms_line": wall, "processor_ms_line": processor, "latency_lines": ahead}
    return figures


@torch.no_grad()
def timed(call: Callable[[], Any], count: int, *, warm_up: int) -> tuple[float, float]:
    """Milliseconds of a call, after some that are not counted: the median by the clock, and the mean of the processor's time."""
    waits, begun = [], 0.0
    for number in range(warm_up + count):
        begun = time.process_time() if number == warm_up else begun
        before = time.perf_counter()
        call()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        waits.append(1000 * (time.perf_counter() - before))
    return statistics.median(waits[-count:]), 1000 * (time.process_time() - begun) / count


def baselines(data: SarData) -> list[Focuser]:
    """What needs no network; filters that need the radar (matched, cut to half its taps) are left out where it is not known."""
    found = [_filter("identity (unfocused)", 1, lambda kernels: np.ones(1))]
    if data.parameters is not None:
        taps = data.kernels(data.test).shape[-1]
        short = (taps // 2) | 1
        cut = slice((taps - short) // 2, (taps + short) // 2)
        found.insert(0, _filter("matched filter", taps, lambda kernels: kernels))
        found.insert(1, _filter(f"matched filter cut to {short} taps", short, lambda kernels: kernels[..., cut]))
    return found


def _filter(name: str, taps: int, kernel: Callable[[Any], Any]) -> Focuser:
    """A filter of K taps: K operations a line, K samples of memory, half of them latency."""
    cost = {"parameters": 2 * taps, "state_bytes": 8 * taps, "complex_macs": taps, "real_macs": 0}

    def focus(lines: Tensor, kernels: Any) -> NDArray[np.complex64]:
        return np.asarray(filtered(lines[..., 0].numpy(), kernel(kernels)), np.complex64)

    return Focuser(name, "filter", focus, {**cost, "latency_lines": taps // 2})
