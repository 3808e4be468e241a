"""The table: teacher, students, truncation, short filters, matched filter and doing nothing, judged and timed in one go.

A speed claim is a ratio of two things measured in one run, so costs are measured anew here, never read from other runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.machine import machine
from stillhouse.core.outputs import check_output
from stillhouse.core.records import arm_folder, read_object, write_json
from stillhouse.core.watch import SILENT
from stillhouse.families.sar.data.sequences import SarData
from stillhouse.families.sar.plan import SarDistillConfig
from stillhouse.families.sar.saved import load_model, load_teacher
from stillhouse.families.sar.score import POINTS, judge, network_cost, point_figures, rivals
from stillhouse.families.sar.students import SIZES, StateSpaceConfig
from stillhouse.families.sar.students.documented import documented_parameters
from stillhouse.families.sar.students.truncation import truncate
from stillhouse.families.sar.teacher import LineTeacher, focused, in_units

Log = Callable[[str], None]

COMPARISON = "comparison.json"
CLAIMS = {
    "standard": {"fewer_parameters": "10-20 %", "faster": "15-30 %", "quality_kept": "95-98 %"},
    "compressed": {"fewer_parameters": "40-60 %", "faster": "", "quality_kept": "90-95 %"},
    "tiny": {"fewer_parameters": "70-80 %", "faster": "", "quality_kept": "85-90 %"},
}
"""What the documents expect of its three students; no log of it supports any of them."""

Row = dict[str, Any]


def size_of(config: StateSpaceConfig) -> str:
    """The name of a network's size, `standard` for `toy-standard` too; empty for another.

    Example:
        >>> size_of(StateSpaceConfig(model_dim=24, state_dim=128, num_layers=3))
        'tiny'
    """
    shape = config.model_dim, config.state_dim, config.num_layers
    return next((name.removeprefix("toy-") for name, size in SIZES.items() if size == shape), "")


def compare_run(config: SarDistillConfig, out: Path, data: SarData, teacher: Any, log: Log = SILENT.log) -> list[Row]:
    """Rows of one distillation run, written to `comparison.json` in its folder; a line to `log` for each.

    A teacher of whom only a cache is here has its figures, and no costs or truncation.
    """
    here = isinstance(teacher, LineTeacher)
    sizes = _cuts(teacher, {config.student.state_dim})
    log = _counted(log, here + len(config.arms) + len(sizes) + 1)
    rows = [_network_row("teacher", teacher, data, log) if here else _cached_row(teacher, data)]
    rows += _arm_rows(config, out, data, label="", log=log)
    rows += _free_rows(data, teacher, sizes, log)
    return _written(out, rows, data)


def teacher_rows(out: Path, data: SarData, network: LineTeacher, log: Log = SILENT.log) -> list[Row]:
    """Rows of one trained network and of what needs no training, written to `comparison.json`; a line to `log` for each."""
    log = _counted(log, 2)
    rows = [_network_row("network", network, data, log), *_free_rows(data, network, (), log)]
    return _written(out, rows, data)


def compare_runs(runs: Sequence[Path], out: Path | None = None, log: Log = SILENT.log) -> list[Row]:
    """Rows of several distillation runs on the same data, the first run's teacher above them.

    Args:
        runs: folders of `stillhouse sar distill`.
        out: folder for `comparison.json`; None for none.
        log: gets a line for each row.

    Raises:
        InputError: no such run, an unfinished one, or runs on different data.
    """
    if out is not None:
        check_output(out / COMPARISON)
    configs = [_config_of(run) for run in runs]
    data = configs[0].data.build()
    for run in runs:
        stored = read_object(run / records.RUN, {"data": dict[str, Any]})["data"].get("sha256")
        if stored != data.sha256:
            raise InputError(
                f"{run}: expected data {data.sha256[:12]} as {runs[0]}, got {str(stored)[:12]}: scores cannot be compared"
            )
    teacher = teacher_of(configs[0], data)
    sizes = _cuts(teacher, {config.student.state_dim for config in configs})
    log = _counted(log, 2 + sum(len(config.arms) for config in configs) + len(sizes))
    rows = [_network_row("teacher", teacher, data, log)]
    for run, config in zip(runs, configs, strict=True):
        rows += _arm_rows(config, run, data, label=run.name, log=log)
    rows += _free_rows(data, teacher, sizes, log)
    return _written(out, rows, data)


def compare_sizes(length: int = 1000, log: Log = SILENT.log) -> list[Row]:
    """The documented teacher and its three students, untrained: real reductions and measured times beside the claims.

    They are the networks that the recipes `s4_ssm_complex` and `s4_ssm_student` build, which look at the whole scene. Below each
    stands its stream form: the same settings with a look-ahead of half the scene, one filter a layer in place of two.
    """
    from stillhouse.families.sar.documented import read_student, read_teacher
    from stillhouse.families.sar.recipes import recipe_path

    teacher = read_teacher(recipe_path("s4_ssm_complex"))
    student = read_student(recipe_path("s4_ssm_student"), teacher, "-").student
    networks = {"teacher": teacher.model, **{name: student.sized(name) for name in CLAIMS}}
    log = _counted(log, 2 * len(networks))
    whole = [_cost_row(name, network, length, log) for name, network in networks.items()]
    streams = [
        _cost_row(f"{name}, streaming", replace(network, look_ahead=length // 2), length, log)
        for name, network in networks.items()
    ]
    for row in streams:
        row["size"] = ""  # the documented percentages are of the networks as documented
    return [row for pair in zip(_related(whole), _related(streams), strict=True) for row in pair]


def teacher_of(config: SarDistillConfig, data: SarData) -> LineTeacher:
    """The teacher of a run, with factors from the units of these data to those that it learned from."""
    model, scale = load_teacher(config.teacher, Path(config.teacher_checkpoint))
    return in_units(model, scale, data, frozen=config.objective.freeze_teacher, name=config.teacher_checkpoint)


def _counted(log: Log, total: int) -> Log:
    """A log that says how far the comparison is: `comparing 3 of 7: NAME`."""
    numbers = itertools.count(1)
    return lambda name: log(f"comparing {next(numbers)} of {total}: {name}")


def _cuts(teacher: Any, state_dims: set[int]) -> tuple[int, ...]:
    """To which sizes a teacher is truncated: those of students smaller than it, largest first; none where it is a cache."""
    if not isinstance(teacher, LineTeacher):
        return ()
    return tuple(sorted((size for size in state_dims if size < teacher.module.config.state_dim), reverse=True))


def _network_row(name: str, network: LineTeacher, data: SarData, log: Log) -> Row:
    log(name)
    return _judged_row(name, network, data)


def _judged_row(name: str, network: LineTeacher, data: SarData) -> Row:
    figures = judge(focused(network, data.test.inputs), data.test, data.valid)
    row: Row = {"name": name, "kind": "network", "size": size_of(network.module.config), **figures}
    row |= network_cost(network.module, data.length)
    if data.parameters is not None:
        row |= point_figures(lambda x: focused(network, x), data.points(POINTS), data.valid)
    return row


def _cached_row(teacher: Any, data: SarData) -> Row:
    return {
        "name": "teacher",
        "kind": "cache",
        "size": "",
        **judge(focused(teacher, data.test.inputs), data.test, data.valid),
        "parameters": teacher.params,
    }


def _arm_rows(config: SarDistillConfig, out: Path, data: SarData, label: str, log: Log) -> list[Row]:
    """A row an arm: quality and coherence are means over its seeds, points and costs of its first."""
    rows = []
    for arm in config.arms:
        results = [
            read_object(arm_folder(out, arm, seed) / records.RESULT, records.FIGURES) for seed in range(config.seeds)
        ]
        model, scale = load_model(arm_folder(out, arm, 0))
        row = _network_row(f"{label} {arm}".strip(), in_units(model, scale, data), data, log)
        for key in ("quality", "coherence", "nmse"):
            row[key] = float(np.mean([result["metrics"][key] for result in results]))
        row["snr_db"] = float(-10 * np.log10(max(row["nmse"], 1e-300)))
        rows.append({**row, "seeds": config.seeds, "arm": arm})
    return rows


def _free_rows(data: SarData, teacher: Any, sizes: Sequence[int], log: Log) -> list[Row]:
    """What takes no training: the teacher truncated to some sizes, filters, nothing."""
    rows = []
    for state_dim in sizes:
        log(name := f"teacher truncated to state_dim {state_dim}")
        small, _ = truncate(teacher.module, state_dim)
        cut = LineTeacher(small, input_factor=teacher.input_factor, output_factor=teacher.output_factor)
        rows.append(_judged_row(name, cut, data))
    log("filters")
    points = data.points(POINTS) if data.parameters is not None else None
    for name, (of_test, of_points, cost) in rivals(data).items():
        row: Row = {
            "name": name,
            "kind": "filter",
            "size": "",
            **judge(of_test(data.test.inputs), data.test, data.valid),
            **cost,
        }
        if points is not None:
            row |= point_figures(of_points, points, data.valid)
        rows.append(row)
    return rows


def _cost_row(name: str, config: StateSpaceConfig, length: int, log: Log) -> Row:
    log(name)
    row: Row = {"name": name, "kind": "network", "size": size_of(config), **network_cost(config.build(), length)}
    row["documented_parameters"] = documented_parameters(
        config.model_dim, config.state_dim, config.num_layers, selectivity=config.use_selectivity != "none"
    )
    return row


def _related(rows: list[Row]) -> list[Row]:
    """Every row held against the first one, the teacher."""
    teacher = rows[0]
    for row in rows:
        if row["kind"] != "network":
            continue
        row["fewer_parameters"] = 1 - row["parameters"] / teacher["parameters"]
        for key, name in (("quality", "quality_kept"), ("coherence", "coherence_kept")):
            # 1 - NMSE is below 0 where nothing is focused: a share of it, or by it, means nothing
            if teacher.get(key, 0) > 0 and (row.get(key) or 0) > 0:
                row[name] = row[key] / teacher[key]
        for key, name in (("processor_ms_line", "faster"), ("processor_ms_line_whole", "faster_whole")):
            if teacher.get(key) and row.get(key):
                row[name] = 1 - row[key] / teacher[key]
        if row is not teacher and row["size"] in CLAIMS and "truncated" not in row["name"]:
            row["documented"] = CLAIMS[row["size"]]
    return rows


def _written(out: Path | None, rows: list[Row], data: SarData) -> list[Row]:
    related = _related(rows)
    if out is not None:
        about: Mapping[str, Any] = {"name": data.name, "sha256": data.sha256, "test_lines": len(data.test)}
        write_json(out / COMPARISON, {"rows": related, "data": about, "machine": machine()})
    return related


def _config_of(run: Path) -> SarDistillConfig:
    if not (run / records.RUN).is_file():
        raise InputError(f"{run}: expected a folder of `stillhouse sar distill`")
    stored = read_object(run / records.RUN, records.ABOUT)
    if stored.get("kind") != "sar" or "teacher_checkpoint" not in stored["config"]:
        raise InputError(
            f"{run}: expected a folder of `stillhouse sar distill`, got another (kind {stored.get('kind')!r})"
        )
    if not (run / records.SUMMARY).is_file():
        raise InputError(f"{run}: the run is not finished; continue it with --resume")
    return parse(SarDistillConfig, stored["config"])
