"""The table: teacher, students, truncation, short filters, matched filter and doing nothing, judged and timed in one go.

A speed claim is a ratio of two things measured in one run, so costs are measured anew here, never read from other runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.core import records
from stillhouse.core.callback import NULL_CALLBACK
from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.core.machine import machine
from stillhouse.core.outputs import check_output
from stillhouse.core.records import arm_folder, read_object, write_json
from stillhouse.tasks.sar.data.sequences import SarData
from stillhouse.tasks.sar.light import COMPARISON
from stillhouse.tasks.sar.plan import SarDistillConfig
from stillhouse.tasks.sar.saved import load_model, load_teacher
from stillhouse.tasks.sar.score import Focuser, Row, baselines, network_cost
from stillhouse.tasks.sar.students import SIZES, StateSpaceConfig
from stillhouse.tasks.sar.students.documented import documented_parameters
from stillhouse.tasks.sar.students.truncation import truncate
from stillhouse.tasks.sar.teacher import LineTeacher, StoredLines, focused, in_units

Log = Callable[[str], None]

CLAIMS = {
    "standard": {"fewer_parameters": "10-20 %", "faster": "15-30 %", "quality_kept": "95-98 %"},
    "compressed": {"fewer_parameters": "40-60 %", "faster": "", "quality_kept": "90-95 %"},
    "tiny": {"fewer_parameters": "70-80 %", "faster": "", "quality_kept": "85-90 %"},
}
"""What the documents expect of its three students; no log of it supports any of them."""


def size_of(config: StateSpaceConfig) -> str:
    """The name of a network's size, `standard` for `toy-standard` too; empty for another.

    Example:
        >>> size_of(StateSpaceConfig(model_dim=24, state_dim=128, num_layers=3))
        'tiny'
    """
    shape = config.model_dim, config.state_dim, config.num_layers
    return next((name.removeprefix("toy-") for name, size in SIZES.items() if size == shape), "")


def compare_run(
    config: SarDistillConfig, out: Path, data: SarData, teacher: Any, log: Log = NULL_CALLBACK.log
) -> list[Row]:
    """Rows of one distillation run, written to `comparison.json` in its folder; a line to `log` for each.

    A teacher of whom only a cache is here has its figures, and no costs or truncation.
    """
    return _written(out, _rows("teacher", teacher, data, [("", out, config)], log), data)


def teacher_rows(out: Path, data: SarData, network: LineTeacher, log: Log = NULL_CALLBACK.log) -> list[Row]:
    """Rows of one trained network and of what needs no training, written to `comparison.json`; a line to `log` for each."""
    return _written(out, _rows("network", network, data, [], log), data)


def compare_runs(runs: Sequence[Path], out: Path | None = None, log: Log = NULL_CALLBACK.log) -> list[Row]:
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
    named = [(run.name, run, config) for run, config in zip(runs, configs, strict=True)]
    return _written(out, _rows("teacher", teacher_of(configs[0], data), data, named, log), data)


def compare_sizes(length: int = 1000, log: Log = NULL_CALLBACK.log) -> list[Row]:
    """The documented teacher and its three students, untrained: real reductions and measured times beside the claims.

    They are the networks that the recipes `s4_ssm_complex` and `s4_ssm_student` build, which look at the whole scene. Below each
    stands its stream form: the same settings with a look-ahead of half the scene, one filter a layer in place of two.
    """
    from stillhouse.tasks.sar.documented import read_student, read_teacher
    from stillhouse.tasks.sar.recipes import recipe_path

    teacher = read_teacher(recipe_path("s4_ssm_complex"))
    student = read_student(recipe_path("s4_ssm_student"), teacher, "-").student
    networks = {"teacher": teacher.model, **{name: student.sized(name) for name in CLAIMS}}
    streams = {f"{name}, streaming": replace(network, look_ahead=length // 2) for name, network in networks.items()}
    todo = [(name, partial(_sized_rows, name, network, length)) for name, network in {**networks, **streams}.items()]
    rows = _made(todo, log)
    whole, steps = rows[: len(networks)], rows[len(networks) :]
    for row in steps:
        row["size"] = ""  # the documented percentages are of the networks as documented
    return [row for pair in zip(_related(whole), _related(steps), strict=True) for row in pair]


def teacher_of(config: SarDistillConfig, data: SarData) -> LineTeacher:
    """The teacher of a run, with factors from the units of these data to those that it learned from."""
    model, scale = load_teacher(config.teacher, Path(config.teacher_checkpoint))
    return in_units(model, scale, data, frozen=config.objective.freeze_teacher, name=config.teacher_checkpoint)


def _rows(
    name: str, first: Any, data: SarData, runs: Sequence[tuple[str, Path, SarDistillConfig]], log: Log
) -> list[Row]:
    """A network or cache, the arms of runs, what the network is truncated to, filters.

    It is truncated to the sizes of smaller students, largest first; not if it is a cache.
    """
    todo: list[tuple[str, Callable[[], list[Row]]]] = [(name, lambda: [_network_row(name, first, data)])]
    for label, run, config in runs:
        todo += [(f"{label} {arm}".strip(), partial(_arm_rows, label, run, config, arm, data)) for arm in config.arms]
    if isinstance(first, LineTeacher):
        sizes = {config.student.state_dim for _, _, config in runs}
        for size in sorted((size for size in sizes if size < first.module.config.state_dim), reverse=True):
            title = f"teacher truncated to state_dim {size}"
            todo.append((title, partial(_truncated_rows, title, first, size, data)))
    todo.append(("filters", lambda: [filter_.row(data) for filter_ in baselines(data)]))
    return _made(todo, log)


def _made(todo: Sequence[tuple[str, Callable[[], list[Row]]]], log: Log) -> list[Row]:
    """All rows; the log says how far it is: `comparing 3 of 7: NAME`."""
    rows = []
    for number, (name, make) in enumerate(todo, 1):
        log(f"comparing {number} of {len(todo)}: {name}")
        rows += make()
    return rows


def _network_row(name: str, network: LineTeacher | StoredLines, data: SarData) -> Row:
    """A network in the units of the data, or a cache of its lines."""
    focus = lambda lines, _: focused(network, lines)  # noqa: E731
    if isinstance(network, StoredLines):
        return Focuser(name, "cache", focus, {"parameters": network.params}).row(data)
    costs = network_cost(network.module, data.length)
    return Focuser(name, "network", focus, {"size": size_of(network.module.config), **costs}).row(data)


def _arm_rows(label: str, run: Path, config: SarDistillConfig, arm: str, data: SarData) -> list[Row]:
    """Quality and coherence are means over the seeds of an arm, points and costs of its first."""
    results = [read_object(arm_folder(run, arm, n) / records.RESULT, records.FIGURES) for n in range(config.seeds)]
    row = _network_row(f"{label} {arm}".strip(), in_units(*load_model(arm_folder(run, arm, 0)), data), data)
    for key in ("quality", "coherence", "nmse"):
        row[key] = float(np.mean([result["metrics"][key] for result in results]))
    row["snr_db"] = float(-10 * np.log10(max(row["nmse"], 1e-300)))
    return [{**row, "seeds": config.seeds, "arm": arm}]


def _truncated_rows(name: str, teacher: LineTeacher, state_dim: int, data: SarData) -> list[Row]:
    small, _ = truncate(teacher.module, state_dim)
    return [{**_network_row(name, replace(teacher, module=small), data), "size": ""}]  # it is no documented student


def _sized_rows(name: str, config: StateSpaceConfig, length: int) -> list[Row]:
    row: Row = {"name": name, "kind": "network", "size": size_of(config), **network_cost(config.build(), length)}
    row["documented_parameters"] = documented_parameters(
        config.model_dim, config.state_dim, config.num_layers, selectivity=config.use_selectivity != "none"
    )
    return [row]


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
        if row is not teacher and row["size"] in CLAIMS:
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
