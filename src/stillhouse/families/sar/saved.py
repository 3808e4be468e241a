"""A trained focusing network on disk: safetensors, a card on how to build and scale it, and the documented .pth files."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from stillhouse.core.checks import InputError, one_line_for_pickles
from stillhouse.core.config import dump_yaml, parse, to_mapping
from stillhouse.core.folder import SHIPPED, run_above, settings_of
from stillhouse.core.hashes import verify_files, with_hashes
from stillhouse.core.machine import versions
from stillhouse.core.records import CARD, STUDENT, check_object, read_json, write_atomically, write_json
from stillhouse.families.sar.data import SarConfig
from stillhouse.families.sar.data.sequences import SarData, SarScale
from stillhouse.families.sar.students import StateSpaceConfig
from stillhouse.families.sar.students.compression import QuantizedTensor
from stillhouse.families.sar.students.network import SarSSM

FORMAT, BEFORE = "stillhouse-sar-2", "stillhouse-sar-1"  # the older one knows no fingerprint
TEACHER_WEIGHTS = "teacher.safetensors"  # of `train`; older folders hold a student.safetensors
BEST = Path("checkpoints") / "best_model.pth"  # where the documents look for a teacher
SCALE = ".scale"  # beside a tensor of 8 bits
FINAL, FINAL_CONFIG = "final_student_model.pth", "final_student_config.yaml"  # and for a student


def save_model(folder: Path, model: SarSSM, data: SarData, *, weights: str = STUDENT) -> None:
    """Write the weights and `card.json` into a folder; the card is written last."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})
    write_atomically(folder / weights, lambda file: file.write(content))
    card = {
        "format": FORMAT,
        "family": "sar",
        "weights": weights,
        "model": to_mapping(model.config),
        "scale": asdict(data.scale),
        "valid": [data.valid.start, data.valid.stop],
        "length": data.length,
        "data": {"name": data.name, "sha256": data.sha256},
        "input": "lines (B, L, C) complex64 in azimuth order, raw data over scale.input_rms; the output times scale.target_rms is"
        " the focused line",
        "versions": versions(),
    }
    write_json(folder / CARD, with_hashes(card, folder, [weights]))


def save_changed(
    folder: Path, source: Path, model: SarSSM, *, int8: Mapping[str, QuantizedTensor] | None = None
) -> int:
    """Write a network made from a saved one (fewer bits, weights or states) beside a card like its own; gives the file's bytes.

    Args:
        folder: must not be there.
        source: the folder of the network that it was made from: units, data.
        model: what is written.
        int8: tensors that are written as whole numbers of 8 bits, each with its scale as `NAME.scale`.

    Raises:
        InputError: the folder is taken, or the source cannot be read.
    """
    if folder.exists():
        raise InputError(f"cannot write {folder}: it exists; choose another --out")
    card = _card(_with_card(source))
    found = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    for name, small in (int8 or {}).items():
        found[name], found[name + SCALE] = small.values.cpu().contiguous(), torch.tensor(small.scale)
    content = save(found)
    folder.mkdir(parents=True)
    write_atomically(folder / STUDENT, lambda file: file.write(content))
    changed = {**card, "format": FORMAT, "weights": STUDENT, "model": to_mapping(model.config), "versions": versions()}
    write_json(folder / CARD, with_hashes(changed, folder, [STUDENT]))
    return len(content)


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
    folder = _with_card(folder)
    card = _card(folder)
    return load_weights(parse(StateSpaceConfig, card["model"]), _weights(folder, card)), SarScale(**card["scale"])


def card_of(folder: Path) -> dict[str, Any]:
    """The card of a network's folder, or of the shipped one of a run folder.

    Raises:
        InputError: none, or one of another format.
    """
    return _card(_with_card(folder))


def weights_file(folder: Path) -> Path:
    """The file that `load_model` reads the weights of a folder from.

    Raises:
        InputError: as `load_model`.
    """
    folder = _with_card(folder)
    return _weights(folder, _card(folder))


def load_weights(config: StateSpaceConfig, path: Path) -> SarSSM:
    """A network of a configuration with the weights of a file: safetensors, a documented .pth, or a checkpoint of ours.

    Raises:
        InputError: missing, truncated, a pickle that is more than tensors, or weights of another network (another width).
    """
    weights = _read(path)
    for prefix in ("model.", "module."):  # Lightning and DataParallel name their entries so
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    model = config.build()
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    got = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if expected != got:
        wrong = [name for name in {**expected, **got} if expected.get(name) != got.get(name)]
        shown = "; ".join(f"{name}: expected {expected.get(name)}, got {got.get(name)}" for name in wrong[:5])
        hint = _size_hint(config, got)
        raise InputError(
            f"{path} holds another network than its configuration: {len(wrong)} entries differ ({shown}){hint}"
        )
    model.load_state_dict(weights)
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
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    found = next((place for place in (folder, folder.parent) if (place / CARD).is_file()), None)
    if checkpoint.is_dir() and found != checkpoint:
        raise InputError(f"teacher_checkpoint {checkpoint}: expected a folder with {CARD}, or a file of weights")
    if found is None:
        return load_weights(config, checkpoint), None
    card = _card(found)
    stored = parse(StateSpaceConfig, card["model"])
    if stored != config:
        a, b = to_mapping(config), to_mapping(stored)
        changed = ", ".join(f"{key}: {a[key]} there, {b[key]} trained" for key in a if a[key] != b[key])
        raise InputError(f"teacher_checkpoint {checkpoint}: its network is not that of teacher_config ({changed})")
    path = _weights(checkpoint, card) if checkpoint.is_dir() else checkpoint
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


def _card(folder: Path) -> dict[str, Any]:
    if not (folder / CARD).is_file():
        raise InputError(
            f"{folder}: expected a folder with {CARD} and weights (of `stillhouse sar train` or `distill`)"
        )
    card = read_json(folder / CARD)
    if not isinstance(card, dict) or card.get("format") not in (FORMAT, BEFORE):
        got = card.get("format") if isinstance(card, dict) else card
        raise InputError(f"{folder / CARD}: expected format {FORMAT!r}, got {got!r}")
    return check_object(card, {"model": dict[str, Any], "scale": dict[str, float]}, str(folder / CARD))


def _weights(folder: Path, card: Mapping[str, Any]) -> Path:
    """The file of weights that a card is about, if both are still what they were."""
    name = str(card.get("weights", STUDENT))
    if card["format"] == FORMAT:
        verify_files(folder, card, [name])
    return folder / name


def _read(path: Path) -> dict[str, Tensor]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    try:
        if path.suffix == ".safetensors":
            return _whole(load(raw))
        with one_line_for_pickles():
            state = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first = str(error).splitlines()[0].split(". ")[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is truncated, or no file of weights: {first}") from None
    for key in ("best_weights", "state_dict", "model"):  # our checkpoint.pt, Lightning's, others'
        if isinstance(state, dict) and isinstance(state.get(key), dict) and state[key]:
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(
            f"{path}: expected a state dict (names and tensors), got {type(state).__name__} of something else"
        )
    return state


def _whole(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of 8 bits times their scales; the others as they are."""
    small = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    scales = {name + SCALE for name in small}
    found = {name: tensor for name, tensor in stored.items() if name not in scales}
    return {name: x.float() * stored[name + SCALE] if name in small else x for name, x in found.items()}


def _size_hint(config: StateSpaceConfig, got: dict[str, tuple[int, ...]]) -> str:
    width = got.get("input.weight", (config.model_dim,))[0]
    layers = len({name.split(".")[1] for name in got if name.startswith("blocks.")})
    found = []
    if width != config.model_dim:
        found.append(f"model_dim {width}, the configuration {config.model_dim}")
    if layers and layers != config.num_layers:
        found.append(f"{layers} layers, the configuration {config.num_layers}")
    return f"; the weights are of {', '.join(found)}" if found else ""
