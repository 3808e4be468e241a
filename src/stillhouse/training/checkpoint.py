"""All that resume needs, in one file that is either whole or absent."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from stillhouse.core.checks import InputError
from stillhouse.core.records import write_atomically

FORMAT = "stillhouse-checkpoint-1"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint with the state of the random generators; through memory, so a full disk is a plain error."""
    rng = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "rng": rng, **state}, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours; tensors and plain data only, never a pickle that runs code.

    Raises:
        InputError: missing, truncated, or not a checkpoint of this library.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"checkpoint {path} does not exist") from None
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"checkpoint {path} cannot be read (truncated or not a checkpoint): {error}") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise InputError(f"checkpoint {path}: expected format {FORMAT!r}, got something else")
    return state


def restore_rng(state: dict[str, Any]) -> None:
    """Put the random generators back where `save_checkpoint` found them."""
    torch.set_rng_state(state["rng"]["cpu"])
    if torch.cuda.is_available() and state["rng"]["cuda"]:
        torch.cuda.set_rng_state_all(state["rng"]["cuda"])
