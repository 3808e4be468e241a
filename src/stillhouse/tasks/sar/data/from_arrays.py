"""A data set of lines in one npz file: what `stillhouse sar simulate --out FILE.npz` writes, or anyone's own arrays.

    train_inputs, train_targets            (N, L) complex: lines as the radar has them, and what they are to become; the same of
                                           validation and test. Acquisitions should not be shared between splits.
    train_acquisition, train_azimuth_rate, (N) of each line, where they are known: a number, Hz/s, Hz; further arrays of N
    train_doppler_centroid                 numbers are kept as facts
    valid                                  first sample that holds a whole aperture, and the first behind the last [from the radar]
    radar                                  text: the geometry as JSON (`SarParameters`) [unknown: no matched filter to compare with]
    rate_spread, point_amplitude           numbers of a simulation

Legend: N lines, L azimuth samples.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse
from stillhouse.tasks.sar.data.config import SarConfig
from stillhouse.tasks.sar.data.matched_filter import half_aperture
from stillhouse.tasks.sar.data.parameters import SarParameters
from stillhouse.tasks.sar.data.sequences import RawSplit, SarData, scaled

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
    arrays = _read(path)
    _check(path, arrays)
    radar = config.radar or _radar(path, arrays)
    amplitude = arrays.get("point_amplitude")
    return scaled(
        {name: _split(path, arrays, name, number) for number, name in enumerate(SPLITS)},
        name=path.stem,
        valid=_valid(path, arrays, radar, arrays["train_inputs"].shape[1]),
        parameters=radar,
        rate_spread=float(arrays.get("rate_spread", 0.0)),
        point_amplitude=None if amplitude is None else float(amplitude),
    )


def _read(path: Path) -> Arrays:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    try:
        file = np.load(io.BytesIO(raw), allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):  # .npy: one array without a name
            raise ValueError("one array")
        with file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile):
        raise InputError(f"{path}: expected an npz file of plain arrays (numpy.savez), got something else") from None


def _check(path: Path, arrays: Arrays) -> None:
    """Refuse what would otherwise train on nonsense."""
    if missing := [name for name in PAIRS if name not in arrays]:
        raise InputError(
            f"{path}: expected the arrays {', '.join(PAIRS)}, (N, L) complex each; there is no {', '.join(missing)} among "
            f"{', '.join(arrays) or 'none'}"
        )
    length = arrays["train_inputs"].shape[-1] if arrays["train_inputs"].ndim else 0
    for name in PAIRS:
        found, like = arrays[name], arrays[f"{name.partition('_')[0]}_inputs"]
        if found.ndim != 2 or found.shape != like.shape or found.shape[1] != length or len(found) < 1 or length < 8:
            raise InputError(
                f"{path}: {name}: expected (N, L), as long as all lines ({length}, 8 or more) and as many as its inputs "
                f"{like.shape}, got {found.shape}"
            )
        if not np.iscomplexobj(found):
            raise InputError(f"{path}: {name}: expected complex numbers, got {found.dtype}")
        if bad := int((~np.isfinite(found)).any(1).sum()):
            raise InputError(
                f"{path}: {name}: expected finite numbers, got NaN or infinity in {bad} of {len(found)} lines"
            )


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
    ends = [int(x) for x in np.ravel(arrays.get("valid", [half, length - half]))]
    if len(ends) != 2 or not half <= ends[0] < ends[1] <= length - half:
        raise InputError(f"{path}: valid: expected two places from {half} to {length - half}, got {ends}")
    return slice(*ends)


def _split(path: Path, arrays: Arrays, name: str, number: int) -> RawSplit:
    count = len(arrays[f"{name}_inputs"])
    used = {f"{name}_{side}" for side in ("inputs", "targets")}
    facts = {
        key.removeprefix(f"{name}_"): x for key, x in arrays.items() if key.startswith(f"{name}_") and key not in used
    }
    for key, value in facts.items():
        if value.shape != (count,) or value.dtype.kind not in "iufb":
            raise InputError(
                f"{path}: {name}_{key}: expected {count} numbers, one a line, got {value.dtype} of shape {value.shape}"
            )
    facts = {"acquisition": np.full(count, number), **facts}
    return RawSplit(arrays[f"{name}_inputs"], arrays[f"{name}_targets"], facts)
