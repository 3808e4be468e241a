"""A trained student on disk: safetensors, and a card from which it is built again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse, to_mapping
from stillhouse.core.hashes import verify_files, with_hashes
from stillhouse.core.machine import versions
from stillhouse.core.records import CARD, STUDENT, read_json, write_atomically, write_json
from stillhouse.core.types import FeatureSpec, ImageSpec, InputSpec, TextSpec
from stillhouse.export import read_weights

FORMAT = "stillhouse-student-1"
TOKENIZER = "tokenizer.json"  # of a student of texts whose words are not hashed


def save_student(
    folder: Path, student: nn.Module, config: Any, input_spec: InputSpec, *, task: str, texts: Any = None
) -> None:
    """Write `student.safetensors` and `card.json` into a folder.

    Args:
        folder: made if it is not there.
        student: the network.
        config: what it was built from.
        input_spec: that it was built for.
        task: its name.
        texts: of a student of texts, the `TextDataConfig` by which they become tokens; its tokenizer is copied.
    """
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in student.state_dict().items()})
    write_atomically(folder / STUDENT, lambda file: file.write(weights))
    reading, files = {}, [STUDENT]
    if texts is not None:
        reading = {"texts": {"text_column": texts.text_column, "vocabulary": texts.vocabulary}}
        if texts.tokenizer is not None:
            tokens = Path(texts.tokenizer).expanduser().read_bytes()
            write_atomically(folder / TOKENIZER, lambda file: file.write(tokens))
            files.append(TOKENIZER)
    card = {
        "format": FORMAT,
        "task": task,
        "student": to_mapping(config),
        "input_spec": asdict(input_spec),
        "model_kwargs": getattr(student, "model_kwargs", None),
        **reading,
        "versions": versions(),
    }
    write_json(folder / CARD, with_hashes(card, folder, files))


def read_card(folder: Path, students: Any) -> tuple[Any, InputSpec]:
    """The configuration and the task of a saved student.

    Args:
        folder: with `card.json`.
        students: configurations that it may have (a union by kind).

    Raises:
        InputError: no card, or one of another format or task.
    """
    card = read_json(folder / CARD)
    try:
        if card["format"] != FORMAT:
            raise KeyError(card["format"])
        given = {n: tuple(value) if isinstance(value, list) else value for n, value in card["input_spec"].items()}
        kind: Any = TextSpec if "vocabulary" in given else FeatureSpec if "names" in given else ImageSpec
        return parse(students, card["student"]), kind(**given)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / CARD}: malformed card of format {FORMAT!r} ({error!r})") from None


def load_student(folder: Path | str, students: Any) -> Any:
    """Build the student of a folder and load its weights; in eval mode, on the CPU.

    Args:
        folder: with `card.json` and `student.safetensors`.
        students: configurations that it may have (a union by kind).

    Raises:
        InputError: files missing, truncated or changed, or weights of another model.
    """
    folder = Path(folder)
    config, input_spec = read_card(folder, students)
    with torch.random.fork_rng(devices=[]):
        student = config.build(input_spec)
    read_weights(folder / STUDENT, student)
    verify_files(folder, read_json(folder / CARD), [STUDENT])
    with torch.no_grad():
        return student.eval()
