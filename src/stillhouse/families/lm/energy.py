"""Energy of a token of a student and of its teacher: counted operations times published energies, nothing measured."""

from __future__ import annotations

from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from stillhouse.core.checks import InputError
from stillhouse.core.config import parse
from stillhouse.families.lm.data.windows import Windows
from stillhouse.families.lm.material import load_teacher
from stillhouse.families.lm.metrics.energy import Operations, spiking_operations, transformer_operations
from stillhouse.families.lm.metrics.spiking import measure_spikes
from stillhouse.families.lm.saved import load_lm
from stillhouse.families.lm.teachers import LanguageTeacherConfig
from stillhouse.families.lm.use import own_text, part_of, run_of

COUNTED = 128  # windows: their tokens' spikes are counted


def count_energy(folder: Path, *, context: int | None = None) -> dict[str, Any]:
    """Picojoules of a token, with and without weight traffic, of a student as it is deployed and of the teacher of its run.

    Args:
        folder: of an arm and seed, quantized to its end.
        context: tokens that the teacher looks back at, which a student's cost does not depend on. None: a training window.

    Raises:
        InputError: a student without spikes, that belongs to no run, or a teacher that is no plain decoder.
    """
    run = run_of(folder)
    built = own_text(run, folder)
    teacher = load_teacher(parse(LanguageTeacherConfig, part_of(run, folder, "teacher")), built)
    model, _, card = load_lm(folder)
    if not model.spike_units():
        raise InputError(f"{folder}: expected a student with spikes, got a dense one")
    window = int(card["window"])
    pieces = Windows(built.test.ids, window).sample(COUNTED)
    parts = spiking_operations(model, measure_spikes(model, pieces, call=model.hidden))
    ours = reduce(add, parts.values()).energy()
    theirs = decoder_operations(
        teacher.network.config, getattr(teacher, "own", teacher).vocab_size, context or window
    ).energy()
    kinds = ("operations_pj", "with_weight_traffic_pj", "with_all_traffic_pj")
    return {
        "label": ours["label"],
        "student": {kind: ours[kind] for kind in kinds},
        "student_parts": {name: operations.energy()["operations_pj"] for name, operations in parts.items()},
        "teacher": {kind: theirs[kind] for kind in kinds},
        "ratio": {kind: ours[kind] / theirs[kind] for kind in kinds},
        "context": context or window,
    }


def decoder_operations(config: Any, vocabulary: int, context: int) -> Operations:
    """Operations of a token of a decoder, from the configuration that transformers keeps of it.

    Args:
        config: of Llama's kind (gated feed-forward layers) or of GPT-2's.
        vocabulary: tokens.
        context: tokens that it looks back at.

    Raises:
        InputError: a configuration that does not name its sizes.
    """
    width, layers = getattr(config, "hidden_size", None), getattr(config, "num_hidden_layers", None)
    if not isinstance(width, int) or not isinstance(layers, int):
        raise InputError(
            f"energy: expected a decoder that names hidden_size and num_hidden_layers, got {type(config).__name__}"
        )
    hidden = getattr(config, "intermediate_size", None)
    heads, groups = getattr(config, "num_attention_heads", 1), getattr(config, "num_key_value_heads", None)
    return transformer_operations(
        width=width,
        layers=layers,
        hidden=hidden or getattr(config, "n_inner", None) or 4 * width,
        vocabulary=vocabulary,
        context=context,
        key_value_width=None if groups is None else width * groups // heads,
        gated=hidden is not None,
    )
