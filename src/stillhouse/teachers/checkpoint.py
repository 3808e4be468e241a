"""Weights from a file: our own form, which knows its architecture, and anyone's state dict over a named architecture.

Nothing is unpickled that could run code, nothing is loaded that does not match: a teacher with half its weights at random
is worse than none, because it looks like one.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from stillhouse.core.checks import InputError, quiet_pickle_warnings
from stillhouse.core.hashes import KEY, read_sealed, sealed
from stillhouse.core.records import write_atomically
from stillhouse.core.types import ImageSpec
from stillhouse.teachers.networks import adapt_channels, build_timm, build_torchvision, final_linear
from stillhouse.teachers.teacher import Input, NetworkTeacher, Origin

FORMAT = "stillhouse-teacher-1"
WRAPPERS = ("best_weights", "state_dict", "model_state", "model_state_dict", "model", "net", "ema")
PREFIXES = ("module.", "_orig_mod.", "model.")


def save_teacher(path: Path, teacher: NetworkTeacher, *, data_name: str, data_sha256: str, score: float | None) -> None:
    """Write a teacher in the form that `ckpt:FILE` rebuilds: safetensors with its architecture and pixels as metadata.

    Raises:
        InputError: the teacher is a module of your own, whose architecture has no name.
    """
    if teacher.origin is None:
        raise InputError(f"teacher {teacher.name} has no architecture by name; save its state dict yourself")
    about = {
        "source": teacher.origin.source,
        "architecture": teacher.origin.architecture,
        "task": asdict(teacher.input_spec),
        "input": asdict(teacher.wants),
        "data": {"name": data_name, "sha256": data_sha256},
        "validation_accuracy": score,
    }
    weights = {name: x.detach().cpu().contiguous() for name, x in teacher.module.state_dict().items()}
    content = sealed(save(weights, metadata={"format": FORMAT, "teacher": json.dumps(about)}))
    write_atomically(path, lambda file: file.write(content))


def load_own(path: Path) -> tuple[nn.Module, Input, ImageSpec, Origin]:
    """Rebuild a network that `save_teacher` wrote.

    Raises:
        InputError: missing or truncated file, or a file of another form (its first keys are shown).
    """
    from stillhouse.teachers.config import TeacherConfig

    if not path.is_file():
        what = (
            "is a folder; name the file in it"
            if path.is_dir()
            else "does not exist; `stillhouse train-teacher` makes one"
        )
        raise InputError(f"teacher file {path} {what}")
    about = _metadata(path)
    if about is None:
        raise InputError(
            f"{path} is a state dict that does not name its architecture (first keys: {', '.join([*read_state_dict(path)][:4])}); "
            f"name it: teacher.source=timm:NAME (or torchvision:NAME, or py:FILE.py:CLASS) teacher.checkpoint={path}"
        )
    input_spec = ImageSpec(**{key: tuple(value) for key, value in about["task"].items()})
    seen = about["input"]
    wants = Input(seen["channels"], tuple(seen["mean"]), tuple(seen["std"]), seen["side"])
    kind, _, name = about["source"].partition(":")
    config = TeacherConfig(
        source=about["source"], pretrained=False, image_size=wants.side, architecture=about["architecture"]
    )
    module, _ = build_by_name(kind, name, config, input_spec)
    load_strictly(module, read_state_dict(path), str(path))
    return module, wants, input_spec, Origin(about["source"], about["architecture"])


def build_by_name(kind: str, name: str, config: Any, input_spec: ImageSpec) -> tuple[nn.Module, Input]:
    """The network that `timm:NAME` or `torchvision:NAME` is, with a head for the task, and what it wants to see."""
    return (build_timm if kind == "timm" else build_torchvision)(name, config, input_spec)


def load_foreign(module: nn.Module, path: Path, num_classes: int, *, channels: int, skip_head: bool) -> None:
    """Load anyone's state dict over a network whose head is already made for the task.

    A first convolution of 3 channels over a timm network for gray images is adapted as timm does it.

    Args:
        module: the network.
        path: safetensors, or a torch file that `weights_only` reads.
        num_classes: K of the task.
        channels: of the images that the network takes.
        skip_head: leave out the last layer (it is fitted to the data afterwards).
    """
    weights = read_state_dict(path)
    head = final_linear(module, str(path))
    key = f"{head}.weight"
    if skip_head:
        weights = {name: x for name, x in weights.items() if not name.startswith(f"{head}.")}
    elif key in weights and weights[key].shape[0] != num_classes:
        raise InputError(
            f"checkpoint {path}: expected {num_classes} classes, its last layer {key} has {weights[key].shape[0]}; "
            "head: probe (teacher.head=probe) re-makes that layer and fits it to this data"
        )
    if hasattr(module, "pretrained_cfg"):
        weights = adapt_channels(module, weights, channels, f"checkpoint {path}")
    own = {name: x for name, x in module.state_dict().items() if skip_head and name.startswith(f"{head}.")}
    load_strictly(module, {**weights, **own}, str(path))


def load_strictly(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict whose names and shapes are those of the module; counters of batches may be missing.

    Raises:
        InputError: what is missing, unexpected, or of another shape, in torch's words.
    """
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise InputError(f"{where} does not fit {type(module).__name__}: {_in_one_line(error)}") from None


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 600 else f"{text[:600]} ..."


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by name from safetensors or a torch file; usual wrappers and prefixes are taken off.

    Raises:
        InputError: missing, truncated, holding something that would have to be unpickled, or no state dict.
    """
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist")
    try:
        with quiet_pickle_warnings():
            found: Any = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
    except pickle.UnpicklingError:  # its text advises to load it unsafely
        raise InputError(
            f"checkpoint {path} is no checkpoint, or holds more than tensors, which is not unpickled: it could run any code; "
            "save its state_dict() alone"
        ) from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"checkpoint {path} is truncated or not a checkpoint: {_in_one_line(error)}") from None
    while isinstance(found, Mapping) and (
        inner := next((w for w in WRAPPERS if isinstance(found.get(w), Mapping)), None)
    ):
        found = found[inner]
    if not isinstance(found, Mapping) or not found or not all(isinstance(x, Tensor) for x in found.values()):
        got = f"keys {', '.join(map(str, list(found)[:5]))}" if isinstance(found, Mapping) else type(found).__name__
        raise InputError(f"checkpoint {path}: expected tensors by name, got {got}")
    weights = {str(name): x for name, x in found.items()}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): x for name, x in weights.items()}
    return weights


def _metadata(path: Path) -> dict[str, Any] | None:
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if KEY in metadata:
            read_sealed(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"teacher file {path} is truncated or not safetensors: {error}") from None
    if metadata.get("format") != FORMAT:
        return None
    found: dict[str, Any] = json.loads(metadata["teacher"])
    return found
