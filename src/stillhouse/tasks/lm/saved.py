"""A trained language student on disk: safetensors, a card on how to build it, and its tokenizer beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse, to_mapping
from stillhouse.core.hashes import verify_files, with_hashes
from stillhouse.core.machine import versions
from stillhouse.core.records import CARD, STUDENT, read_json, write_atomically, write_json
from stillhouse.export import read_weights
from stillhouse.tasks.lm.students import SpikingLMConfig
from stillhouse.tasks.lm.students.network import SpikingLM
from stillhouse.tasks.lm.tokenizer import TOKENIZER_FILE, Tokenizer, load_tokenizer

FORMAT = "stillhouse-lm-1"


def save_lm(folder: Path, model: SpikingLM, tokenizer: Tokenizer, *, window: int) -> None:
    """Write `student.safetensors`, `tokenizer.json` and `card.json` into a folder; `window`: tokens of its training rows."""
    weights = {name: x.detach().cpu().contiguous() for name, x in model.state_dict().items()}
    write_atomically(folder / STUDENT, lambda file: file.write(save(weights)))
    tokenizer.save(folder)
    card = {
        "format": FORMAT,
        "task": "lm",
        "model": to_mapping(model.config),
        "window": window,
        "tokenizer": {"name": tokenizer.name, "sha256": tokenizer.fingerprint},
        "input": "token ids (B, L) of tokenizer.json; logits of the token after each",
        "versions": versions(),
    }
    write_json(folder / CARD, with_hashes(card, folder, [STUDENT, TOKENIZER_FILE]))


def load_lm(folder: Path) -> tuple[SpikingLM, Tokenizer, dict[str, Any]]:
    """The network of a folder with its weights, in eval mode on the CPU; its tokenizer; its card.

    Raises:
        InputError: no card, or one of another format; weights missing, changed, truncated, of another network or not finite.
    """
    card = read_json(folder / CARD)
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise InputError(
            f"{folder / CARD}: expected the card of a language student (format {FORMAT!r}), got that of another model"
        )
    verify_files(folder, card, [STUDENT])
    model = parse(SpikingLMConfig, card["model"]).build()
    read_weights(folder / STUDENT, model)
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise InputError(f"{folder / STUDENT}: {name}: expected finite weights, got a NaN or an infinity")
    with torch.no_grad():
        return model.eval(), load_tokenizer(str(folder)), card
