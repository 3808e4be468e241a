"""A clause transformer in one file, as the documents reload it."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from stillhouse.core.checks import InputError, one_line_for_pickles
from stillhouse.core.records import write_atomically
from stillhouse.families.classification.students.transformer import UnifiedTMTransformer


def save_transformer(
    path: str | Path,
    model: UnifiedTMTransformer,
    *,
    train_args: Mapping[str, Any] | None = None,
    train_metrics: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write `model_state`, `model_kwargs`, `train_args`, `train_metrics` and `meta`; the file appears whole or not at all.

    Args:
        path: the file; folders are made.
        model: the weights whose scores `train_metrics` are.
        train_args: how it was trained; plain data.
        train_metrics: what it scored; plain data.
        meta: more, over architecture, backend, timestamp, image_size and num_classes.

    Raises:
        InputError: the file cannot be written.
    """
    path, config = Path(path), model.config
    facts = {
        "architecture": config.architecture,
        "backend": config.backend,
        "image_size": list(config.image_shape[1:]),
        "num_classes": config.num_classes,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    held = {"model_state": state, "model_kwargs": dict(model.model_kwargs), "train_args": dict(train_args or {})}
    held |= {"train_metrics": dict(train_metrics or {}), "meta": facts | dict(meta or {})}
    buffer = io.BytesIO()  # torch ends the process by SIGABRT where the disk that it writes to is full
    torch.save(held, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load_transformer(path: str | Path) -> tuple[UnifiedTMTransformer, dict[str, Any]]:
    """The model of such a file in eval mode on the CPU, and the whole content of the file.

    Example:
        In the older form:

            ckpt = torch.load(path, map_location="cpu")
            student = UnifiedTMTransformer(**ckpt["model_kwargs"])
            student.load_state_dict(ckpt["model_state"])

    Raises:
        InputError: missing, truncated, holding other objects than tensors and plain data, or of another model.
    """
    if not Path(path).is_file():
        raise InputError(f"cannot read {path}: no such file")
    try:
        with one_line_for_pickles():
            held = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0].split(". ")[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a checkpoint of tensors and plain data ({reason})") from None
    missing = {"model_state", "model_kwargs"} - set(held if isinstance(held, dict) else ())
    if missing:
        raise InputError(f"{path}: expected model_state and model_kwargs, {', '.join(sorted(missing))} missing")
    model = UnifiedTMTransformer(**held["model_kwargs"])
    try:
        model.load_state_dict(held["model_state"])
    except RuntimeError as error:
        raise InputError(f"{path}: its weights are of another model: {error}") from None
    return model.eval(), held
