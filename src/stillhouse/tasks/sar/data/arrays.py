"""A data set of lines in one npz file: what `stillhouse sar simulate --out FILE.npz` writes, or anyone's own arrays.

    train_inputs, train_targets            (N, L) complex: lines as the radar has them, and what they are to become; the same of
                                           validation and test. Acquisitions should not be shared between splits.
    train_acquisition, train_azimuth_rate  (N) of each line, where they are known: a number, Hz/s; further arrays of N numbers are
                                           kept as facts
    valid                                  first sample that holds a whole aperture, and the first behind the last [from the radar]
    radar                                  text: the geometry as JSON (`SarParameters`) [unknown: no matched filter to compare with]
    rate_spread, point_amplitude           numbers of a simulation

Legend: N lines, L azimuth samples.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse, to_mapping
from stillhouse.core.records import read_arrays, write_arrays
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.data.radar import SarParameters, half_aperture
from stillhouse.tasks.sar.data.sequences import RawSplit, SarData, in_units_of_the_echo, scaled

SPLITS = ("train", "validation", "test")
PAIRS = tuple(f"{split}_{side}" for split in SPLITS for side in ("inputs", "targets"))
Arrays = dict[str, NDArray[Any]]


def array_data(config: SarConfig) -> SarData:
    """Read the three splits of a file; lines are scaled by one number a side, as those of any source.

    Raises:
        InputError: no such file, arrays that are missing or do not fit, numbers that are not finite.
    """
    assert config.file is not None
    path = Path(config.file).expanduser()
    arrays = read_arrays(path, PAIRS)
    _check(path, arrays)
    radar = config.radar or _radar(path, arrays)
    valid = _valid(path, arrays, radar, arrays["train_inputs"].shape[1])
    more = {name: float(arrays[name]) for name in ("rate_spread", "point_amplitude") if name in arrays}
    splits = {name: _split(path, arrays, name, number) for number, name in enumerate(SPLITS)}
    return scaled(splits, name=path.stem, valid=valid, parameters=radar, **more)


def write_file(path: Path, data: SarData) -> None:
    """Write a data set as such a file, in the units of the echo."""
    arrays: dict[str, Any] = {
        "valid": [data.valid.start, data.valid.stop],
        "radar": json.dumps(to_mapping(data.parameters)),
    }
    arrays |= {"rate_spread": data.rate_spread, "point_amplitude": data.point_amplitude}
    for name, split in data.splits.items():
        arrays[f"{name}_inputs"], arrays[f"{name}_targets"] = in_units_of_the_echo(data, split)
        arrays |= {f"{name}_{key}": value for key, value in split.facts.items()}
    write_arrays(path, **{name: np.asarray(value) for name, value in arrays.items()})


def _check(path: Path, arrays: Arrays) -> None:
    """Refuse what would otherwise train on nonsense."""
    length = arrays["train_inputs"].shape[-1]
    for name in PAIRS:
        found, like = arrays[name], arrays[f"{name.partition('_')[0]}_inputs"]
        if found.ndim != 2 or found.shape != like.shape or found.shape[1] != length or not np.iscomplexobj(found):
            raise InputError(
                f"{path}: {name}: expected complex (N, L), as long as all lines ({length}) and as many as its inputs "
                f"{like.shape}, got {found.dtype} of shape {found.shape}"
            )
        if not np.isfinite(found).all():
            raise InputError(f"{path}: {name}: expected finite numbers, got NaN or infinity")


def _radar(path: Path, arrays: Arrays) -> SarParameters | None:
    if "radar" not in arrays:
        return None
    try:
        return parse(SarParameters, json.loads(str(arrays["radar"])))
    except (ValueError, ConfigError) as error:
        raise InputError(f"{path}: radar: expected a geometry as JSON, got another: {error}") from None


def _valid(path: Path, arrays: Arrays, radar: SarParameters | None, length: int) -> slice:
    half = 0 if radar is None else half_aperture(radar)
    if length <= 2 * half:
        raise InputError(
            f"{path}: expected lines of more than one aperture ({2 * half + 1} azimuth samples), got {length}; arrays are (N, L): "
            "N lines, L azimuth samples each"
        )
    first, last = (int(x) for x in arrays.get("valid", np.array([half, length - half])))
    if not half <= first < last <= length - half:
        raise InputError(f"{path}: valid: expected two places from {half} to {length - half}, got {first} and {last}")
    return slice(first, last)


def _split(path: Path, arrays: Arrays, name: str, number: int) -> RawSplit:
    inputs, targets = (arrays[f"{name}_{side}"] for side in ("inputs", "targets"))
    mine = {key.removeprefix(f"{name}_"): x for key, x in arrays.items() if key.startswith(f"{name}_")}
    facts = {key: x for key, x in mine.items() if key not in ("inputs", "targets")}
    for key, value in facts.items():
        if value.shape != (len(inputs),):
            raise InputError(f"{path}: {name}_{key}: expected {len(inputs)} numbers, one a line, got {value.shape}")
    return RawSplit(inputs, targets, {"acquisition": np.full(len(inputs), number), **facts})
