"""What is done with a trained student: save and load it, score it again, show what it writes, export it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from stillhouse.core import records
from stillhouse.core.checks import InputError
from stillhouse.core.config import parse, to_mapping
from stillhouse.core.exports import ExportChoices
from stillhouse.core.folder import check_test_data
from stillhouse.core.hashes import verify_files, with_hashes
from stillhouse.core.machine import versions
from stillhouse.core.manifest import run_above
from stillhouse.core.records import CARD, STUDENT, read_json, read_object, write_atomically, write_json
from stillhouse.export import read_weights
from stillhouse.tasks.lm.corpus import Corpus, CorpusConfig, load_corpus, read_lines
from stillhouse.tasks.lm.packed import load_packed, pack_student
from stillhouse.tasks.lm.plan import LmScoreConfig
from stillhouse.tasks.lm.predict import TextPredictor
from stillhouse.tasks.lm.results import PACKED, STREAMED
from stillhouse.tasks.lm.score import TestWindows, model_nll
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


def evaluate(folder: Path, *, source: str | None = None, tokens: int | None = None) -> dict[str, Any]:
    """Scores of a saved student, in the windows of its run.

    Args:
        folder: of an arm and seed.
        source: another text file, whole, in the place of the run's test text.
        tokens: that are scored, from the start [as in the run].

    Raises:
        InputError: nothing there, or a text that cannot be read.
        ConfigError: a number out of its range.
    """
    model, tokenizer, card = load_lm(folder)
    config = {} if run_above(folder) is None else config_of(folder).get("score", {})
    how = parse(LmScoreConfig, config if tokens is None else {**config, "tokens": tokens})
    if source is None:
        ids = own_text(folder).test
    else:
        ids = tokenizer.encode_lines(read_lines(Path(source).expanduser()))
    examination = TestWindows.of(ids, tokenizer, how, int(card["window"]))
    found = {**examination.score(model_nll(model))[0], STREAMED: examination.streamed(model)}
    return {"tokens": len(examination.ids) - 1, **found}


def samples(folder: Path, ids: Any, *, count: int = 3, read: int = 16, made: int = 32) -> list[dict[str, str]]:
    """What a student writes after a few places of a text, the likeliest token each time, beside how the text goes on.

    Args:
        folder: of the student.
        ids: tokens of the text.
        count: places, evenly spread.
        read: tokens that it is given at each.
        made: tokens that it writes.
    """
    student, whole, found = TextPredictor(folder), np.asarray(ids).astype(np.int64), []
    for place in np.linspace(0, max(0, len(whole) - read - made), count).astype(int):
        prompt, text = whole[place : place + read], whole[place + read : place + read + made]
        words: dict[str, Any] = {"read": prompt, "wrote": student.written(torch.from_numpy(prompt), made), "text": text}
        found.append({name: student.tokenizer.decode(tokens) for name, tokens in words.items()})
    return found


def write_packed(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """A folder with packed weights and the tokenizer; every weight is read back and held against the network's.

    Raises:
        InputError: a student that is not quantized to its end.
    """
    model, tokenizer, _ = load_lm(folder)
    packed = pack_student(model)
    out.mkdir()
    size = packed.save(out / PACKED)
    tokenizer.save(out)
    again, layers = load_packed(out / PACKED), model.linear_layers()
    for path, layer in layers.items():
        if not np.array_equal(again.weight(path), layer.effective_weight().detach().numpy()):
            raise InputError(f"{out / PACKED}: expected the weights of {path}, got others")
    smaller = 4 * sum(p.numel() for p in model.parameters()) / size
    return [f"weights of {len(layers)} layers equal the network's; {smaller:.1f} times smaller than float32"]


def config_of(folder: Path) -> dict[str, Any]:
    """The configuration of the run that a folder belongs to, as plain data.

    Raises:
        InputError: it belongs to none.
    """
    run = run_above(folder)
    if run is None:
        raise InputError(f"{folder}: expected a student of a run, got one that belongs to no run; name --source")
    return dict(read_object(run / records.RUN, records.ABOUT)["config"])


def own_text(folder: Path) -> Corpus:
    """The text of a student's run, as the run saw it.

    Raises:
        InputError: no run, or its text was changed since.
    """
    built = load_corpus(parse(CorpusConfig, config_of(folder)["corpus"]))
    check_test_data(folder, "sha256", built.sha256, "--source")
    return built
