"""A trained focusing network on disk: safetensors, a card on how to build and scale it, and the documented .pth files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from stillhouse.core.checks import InputError
from stillhouse.core.config import dump_yaml, parse, to_mapping
from stillhouse.core.folder import SHIPPED, settings_of
from stillhouse.core.hashes import verify_files, with_hashes
from stillhouse.core.machine import versions
from stillhouse.core.manifest import run_above
from stillhouse.core.records import CARD, STUDENT, check_object, read_json, write_atomically, write_json
from stillhouse.tasks.sar.data import SarConfig
from stillhouse.tasks.sar.data.sequences import SarData, SarScale
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.students.compression import QuantizedTensor
from stillhouse.tasks.sar.students.network import SarSSM
from stillhouse.teachers.checkpoint import load_strictly, read_state_dict

FORMAT = "stillhouse-sar-2"
TEACHER_WEIGHTS = "teacher.safetensors"  # of `train`
BEST = Path("checkpoints") / "best_model.pth"  # where the documents look for a teacher
SCALE = ".scale"  # beside a tensor of 8 bits
FINAL, FINAL_CONFIG = "final_student_model.pth", "final_student_config.yaml"  # and for a student


def save_model(folder: Path, model: SarSSM, data: SarData, *, weights: str = STUDENT) -> None:
    """Write the weights and `card.json` into a folder; the card is written last."""
    card = {
        "format": FORMAT,
        "task": "sar",
        "scale": asdict(data.scale),
        "valid": [data.valid.start, data.valid.stop],
        "length": data.length,
        "data": {"name": data.name, "sha256": data.sha256},
        "input": "lines (B, L, C) complex64 in azimuth order, raw data over scale.input_rms; the output times scale.target_rms is"
        " the focused line",
    }
    _write(folder, model, {**card, "weights": weights}, {})


def save_changed(folder: Path, source: Path, model: SarSSM, int8: Mapping[str, QuantizedTensor]) -> None:
    """Write a network made from a saved one (fewer bits, weights or states) beside a card like its own.

    Args:
        folder: is made.
        source: the folder of the network that it was made from: units, data.
        model: what is written.
        int8: tensors that are written as whole numbers of 8 bits, each with its scale as `NAME.scale`.
    """
    small: dict[str, Tensor] = {}
    for name, found in int8.items():
        small |= {name: found.values, name + SCALE: torch.tensor(found.scale)}
    _write(folder, model, {**card_of(source), "weights": STUDENT}, small)


def _write(folder: Path, model: SarSSM, card: Mapping[str, Any], other: Mapping[str, Tensor]) -> None:
    """The weights (`other` in the place of some) and a card that names their file."""
    tensors = {**model.state_dict(), **other}
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    write_atomically(folder / card["weights"], lambda file: file.write(content))
    whole = {**card, "model": to_mapping(model.config), "versions": versions()}
    write_json(folder / CARD, with_hashes(whole, folder, [card["weights"]]))


def save_documented(path: Path, model: SarSSM) -> None:
    """A plain state dict, as `model.load_state_dict(torch.load(path))` takes it."""
    buffer = io.BytesIO()
    torch.save({name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def save_documented_config(path: Path, config: StateSpaceConfig) -> None:
    """A `model:` block that `get_model_from_configs` builds the network from."""
    block = {key: value for key, value in to_mapping(config).items() if key != "kind" and value is not None}
    text = dump_yaml({"model": {"name": "s4_ssm", **block}})
    write_atomically(path, lambda file: file.write(text.encode()))


def load_model(folder: Path) -> tuple[SarSSM, SarScale]:
    """Build the network of a folder (or the shipped one of a run folder) and load its weights; in eval mode, on the CPU.

    Raises:
        InputError: no card, another format, weights missing, changed, truncated or of another network.
    """
    card = card_of(folder)
    return load_weights(parse(StateSpaceConfig, card["model"]), weights_file(folder)), SarScale(**card["scale"])


def card_of(folder: Path) -> dict[str, Any]:
    """The card of a network's folder, or of the shipped one of a run folder.

    Raises:
        InputError: none, or one of another format.
    """
    path = _with_card(folder) / CARD
    if not path.is_file():
        raise InputError(
            f"{folder}: expected a folder with {CARD} and weights (of `stillhouse sar train` or `distill`)"
        )
    types = {"format": str, "model": dict[str, Any], "scale": dict[str, float], "weights": str, "length": int}
    card = check_object(read_json(path), {**types, "valid": list[int]}, str(path))
    if card["format"] != FORMAT:
        raise InputError(f"{path}: expected format {FORMAT!r}, got {card['format']!r}")
    return card


def weights_file(folder: Path) -> Path:
    """The file of weights of a folder, if it is still what its card says.

    Raises:
        InputError: as `card_of`; missing or changed.
    """
    card = card_of(folder)
    verify_files(_with_card(folder), card, [card["weights"]])
    return _with_card(folder) / str(card["weights"])


def load_weights(config: StateSpaceConfig, path: Path) -> SarSSM:
    """A network of a configuration with the weights of a file: safetensors, a documented .pth, or a checkpoint of ours.

    Raises:
        InputError: missing, truncated, a pickle that is more than tensors, or weights of another network (another width).
    """
    stored = read_state_dict(path)
    small = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    scales = {name: stored.pop(name + SCALE) for name in small}
    model = config.build()
    whole = {name: x.float() * scales[name] if name in small else x for name, x in stored.items()}
    load_strictly(model, whole, f"{path}: a network of another model_dim, state_dim or num_layers")
    return model.eval()


def load_teacher(config: StateSpaceConfig, checkpoint: Path) -> tuple[SarSSM, SarScale | None]:
    """A teacher from its run folder or a file of weights, and the scale of the data that it learned from, where it is known.

    Raises:
        InputError: nothing there; a card of another network than `config`; as `load_weights`.
    """
    if not checkpoint.exists():
        raise InputError(
            f"teacher_checkpoint {checkpoint}: there is nothing; train one first: stillhouse sar train --config FILE --save_dir DIR"
        )
    path = weights_file(checkpoint) if checkpoint.is_dir() else checkpoint
    # the run of a file in `checkpoints/` knows the units
    places = (checkpoint,) if checkpoint.is_dir() else (checkpoint.parent, checkpoint.parent.parent)
    found = next((place for place in places if (_with_card(place) / CARD).is_file()), None)
    if found is None:
        return load_weights(config, path), None
    card = card_of(found)
    a, b = to_mapping(config), to_mapping(parse(StateSpaceConfig, card["model"]))
    if changed := ", ".join(f"{key}: {a[key]} there, {b[key]} trained" for key in a if a[key] != b[key]):
        raise InputError(f"teacher_checkpoint {checkpoint}: its network is not that of teacher_config ({changed})")
    return load_weights(config, path), SarScale(**card["scale"])


def load_data_config(folder: Path) -> SarConfig:
    """The data of the run that a folder belongs to.

    Raises:
        InputError: it belongs to none.
    """
    run = run_above(folder)
    if run is None:
        raise InputError(f"{folder}: it belongs to no run, so its data are not known; name a file with --config")
    return parse(SarConfig, settings_of(run, "data"))


def _with_card(folder: Path) -> Path:
    return folder / SHIPPED if not (folder / CARD).is_file() and (folder / SHIPPED / CARD).is_file() else folder
