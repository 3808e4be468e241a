"""The documented YAML files as one table of aliases onto our settings: every key is honoured, or refused with its reason.

A file has the documented blocks `model`, `training`, `dataloader`, `transforms`, `distillation`, `device`, `data_dir`. Beside their
documented keys `model`, `training` and `distillation` take the names of our own settings, as does `data` (a `SarConfig`, for
simulated lines), which may stand in place of `dataloader`. All faults of a file are listed at once. No torch, but for a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.core.checks import InputError, nearest
from stillhouse.core.config import ConfigError, load_yaml, parse, set_path
from stillhouse.tasks.sar.plan import SarDistillConfig, SarTrainConfig
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.training.config import TrainingConfig

if TYPE_CHECKING:
    from stillhouse.tasks.sar.students.network import SarSSM

Settings = dict[str, Any]  # by path, as "training.epochs"
KEYS: Any = load_yaml(Path(__file__).with_suffix(".yaml"))
ALIASES, PAIRS, FIXED, REFUSED = (KEYS[name] for name in ("aliases", "pairs", "fixed", "refused"))
DROPPED = ("training.save_dir",)  # see `save_folder`
LOSSES = {"complex_mse": "mse", "complex_nmse": "nmse"}
LINES = ("data", "dataloader", "transforms", "data_dir")  # blocks that decide which lines a run sees


def read_teacher(path: str | Path, changes: Mapping[str, Any] | None = None) -> SarTrainConfig:
    """The run that trains a network, from a documented file.

    Args:
        path: of the YAML file.
        changes: laid over it, as `{"training": {"epochs": 3}}`.

    Raises:
        ConfigError: broken YAML, or any key or value that cannot be honoured: all of them are listed.
    """
    mapping = load_yaml(path)
    found, faults = _settings(mapping, changes)
    if "distillation" in mapping:
        faults.append("distillation: it belongs to the student's file; leave it out")
    found = {key: value for key, value in found.items() if not key.startswith("objective.")}
    return _parsed(SarTrainConfig, path, found, faults)


def read_student(
    path: str | Path, teacher: str | Path, checkpoint: str, changes: Mapping[str, Any] | None = None
) -> SarDistillConfig:
    """The run that distils a student, from a documented file, its teacher's and the teacher's weights.

    Args:
        path: of the YAML file; without `data` and `dataloader` it takes the lines of the teacher's.
        teacher: the teacher's YAML file.
        checkpoint: the teacher's run folder or file of weights.
        changes: as `read_teacher`; laid over both files.

    Raises:
        ConfigError: as `read_teacher`.
    """
    mapping, base = load_yaml(path), load_yaml(teacher)
    lines = {} if {"data", "dataloader"} & set(mapping) else {key: base[key] for key in LINES if key in base}
    found, faults = _settings({**lines, **mapping}, changes)
    network, more = _settings({"model": base.get("model", {})}, None)
    faults += [f"{teacher}: {fault}" for fault in more]
    teacher_model = {f"teacher{k.removeprefix('model')}": x for k, x in network.items() if k.startswith("model")}
    if "loss" in found:
        found.setdefault("objective.student_loss", found.pop("loss"))
    found = {re.sub(r"^model\b", "student", key): value for key, value in found.items() if key != "loss"}
    return _parsed(SarDistillConfig, path, {**teacher_model, **found, "teacher_checkpoint": checkpoint}, faults)


def get_model_from_configs(**config: Any) -> SarSSM:
    """The focusing network of a `model:` block of the documented YAML files.

    Beside the documented keys it takes those of `StateSpaceConfig` (`look_ahead`, ...). Where the public code and the document
    differ, the document holds: `use_selectivity: true` really builds the gate. Unless `look_ahead` (lines of latency) is given, the
    network sees the whole scene: the public one was causal, and half of what a focused line is made of comes after it. The last of
    two input channels is the position code unless `use_pos_encoding` says otherwise.

    Raises:
        InputError: a key or value that is refused, with the reason.
        ConfigError: an unknown key, with the near one; a value of the wrong type or range.

    Example:
        >>> model = get_model_from_configs(name="s4_ssm", input_dim=2, model_dim=4, state_dim=8, num_layers=1, output_dim=1)
        >>> model.config.use_pos_encoding, model.config.look_ahead
        (True, None)
    """
    found, faults = _settings({"model": config}, None)
    if faults:
        raise InputError("\n".join(faults))
    return parse(StateSpaceConfig, _unflatten(found)["model"]).build()


def save_folder(path: str | Path) -> str | None:
    """`training.save_dir` of a file, where it has one."""
    return (load_yaml(path).get("training") or {}).get("save_dir")


def _settings(mapping: Mapping[str, Any], changes: Mapping[str, Any] | None) -> tuple[Settings, list[str]]:
    """A file and what is laid over it as our settings, and what is wrong with its keys."""
    faults: list[str] = []
    over = _translated(changes or {}, faults)
    if over.get("data.source") == "npz":  # lines of another radar: nothing of the file's fits
        mapping = {key: value for key, value in mapping.items() if key not in LINES}
    found = _translated(mapping, faults)
    if "data" in mapping and set(LINES[1:]) & set(mapping):
        faults.append("dataloader: the lines come from the data block; leave one out")
    found |= over
    if found.pop("columns", 1) != 1:
        faults.append("dataloader.patch_size: expected one range column: a sample is one range column")
    for key in [key for key in found if key.startswith("samples.")]:
        count, products = found.pop(key), found.get("data.products.max_products") or 1
        found[key.replace("samples", "data")] = count * products if isinstance(count, int) else count
    if any(key.startswith("data.products.") for key in found):
        found["data.source"] = "zarr"
    for key in ("loss", "objective.student_loss", "objective.distillation_loss"):
        if isinstance(found.get(key), str):
            found[key] = LOSSES.get(found[key].lower(), found[key].lower())
    if found.get("model.input_dim") == 2:
        found.setdefault("model.use_pos_encoding", True)
    return found, faults


def _translated(mapping: Mapping[str, Any], faults: list[str]) -> Settings:
    """Documented keys under our names."""
    found: Settings = {}
    came: dict[str, str] = {}
    for key, value in _leaves(mapping):
        split, general = _split(key)
        if general in REFUSED:
            faults.append(f"{key}: is not honoured: {REFUSED[general]}; leave it out")
        elif key in FIXED:
            only, why = FIXED[key]
            if value != only or isinstance(value, bool) != isinstance(only, bool):
                faults.append(f"{key}: expected {str(only).lower()}, got {value!r}: {why}")
        elif key in PAIRS and (not isinstance(value, list) or len(value) != 2):
            faults.append(f"{key}: expected [azimuth, range], got {value!r}")
        elif key in PAIRS:
            found |= dict(zip(PAIRS[key], value))
        elif key not in DROPPED:
            own = re.sub(r"^distillation\b", "objective", key)
            path = ALIASES.get(key, ALIASES.get(general, own)).replace("*", split)
            if path == key and key.split(".")[0] in LINES[1:]:
                faults.append(f"{key}: unknown key; {nearest(general, [*ALIASES, *FIXED, *PAIRS])}")
                continue
            if path in found and found[path] != value:
                faults.append(f"{key}: it and {came[path]} are the same and differ; leave one out")
            found[path], came[path] = value, key
    return found


def _leaves(mapping: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of everything in a mapping that is none itself, or is refused as a whole."""
    for key, value in mapping.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping) and value and path not in REFUSED:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _split(key: str) -> tuple[str, str]:
    """The split that a key is of, and the key of any split.

    Example:
        >>> _split("dataloader.test.filters.years")
        ('test', 'dataloader.*.filters.years')
    """
    found = re.match(r"dataloader\.(train|validation|test)\.", key)
    return ("", key) if found is None else (found[1], key.replace(found[1], "*", 1))


def _unflatten(found: Settings) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in sorted(found.items(), key=lambda pair: pair[0].count(".")):
        set_path(mapping, key.split("."), value)
    return mapping


def _parsed(kind: Any, path: str | Path, found: Settings, faults: list[str]) -> Any:
    """The configuration, or all faults."""
    plain = TrainingConfig()
    defaults = {"name": Path(path).stem, "training.final_learning_rate": 0.0}
    defaults |= {f"training.{name}": getattr(plain, name) for name in ("learning_rate", "batch_size")}
    try:
        config = parse(kind, _unflatten({**defaults, **found}))
        if not faults:
            return config
    except ConfigError as error:
        faults = [*faults, *str(error).splitlines()]
    raise ConfigError(f"{path}:\n  " + "\n  ".join(faults))
