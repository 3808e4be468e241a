"""What is done with a trained student: score it again, let it write, pack it, count what it costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.core import records
from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.config import parse
from stillhouse.core.costs import weight_bytes
from stillhouse.core.exports import ExportChoices
from stillhouse.core.folder import check_test_data, run_above, student_folder
from stillhouse.core.outputs import check_output
from stillhouse.core.records import read_object
from stillhouse.core.sample import sample_rows
from stillhouse.tasks.lm.data import CorpusConfig
from stillhouse.tasks.lm.data.corpus import Corpus, Windows, whole_text
from stillhouse.tasks.lm.data.tokenizer import TOKENIZER_FILE, load_tokenizer
from stillhouse.tasks.lm.export.packed_ternary import load_packed, pack_student
from stillhouse.tasks.lm.light import PACKED
from stillhouse.tasks.lm.lines import LineScores
from stillhouse.tasks.lm.material import load_teacher, load_text
from stillhouse.tasks.lm.metrics.energy import Operations, spiking_operations, transformer_operations
from stillhouse.tasks.lm.metrics.nll import model_nll, teacher_nll
from stillhouse.tasks.lm.metrics.spiking import measure_spikes
from stillhouse.tasks.lm.plan import LmScoreConfig
from stillhouse.tasks.lm.rollouts import continued
from stillhouse.tasks.lm.saved import load_lm
from stillhouse.tasks.lm.score import TestWindows
from stillhouse.tasks.lm.students.blocks import quantized_layers
from stillhouse.tasks.lm.students.network import SpikingLM
from stillhouse.tasks.lm.teachers import LanguageTeacherConfig

EXPORTED = 32  # windows on which an exported program is held against the network
ENERGY_WINDOWS, COUNTED = (
    64,
    128,
)  # their tokens' spikes are counted: for the cost of every arm, and for one that is asked for


def evaluate(
    folder: Path, *, source: str | None = None, tokens: int | None = None, window: int | None = None
) -> dict[str, Any]:
    """Scores of a saved student, or of a teacher's folder, on the text and in the windows of its run where nothing else is chosen.

    Args:
        folder: of an arm and seed, or of a teacher (`config.json`).
        source: another text. Of a folder of splits the test split is scored; a file is scored from its first token on, unless it
            is the text of the run, of which a model has seen all but the test split.
        tokens: that are scored, from the start of the test split or of the file.
        window: tokens of a window.

    Raises:
        InputError: nothing there, or a text cut by another tokenizer.
        ConfigError: a number out of its range.
    """
    run = run_of(folder)
    corpus = None if source is None else parse(CorpusConfig, {"source": source, "tokenizer": str(folder)})
    given = {name: value for name, value in (("tokens", tokens), ("window", window)) if value is not None}
    how = parse(LmScoreConfig, {**(run or {"config": {}})["config"].get("score", {}), **given})
    built, what = own_text(run, folder) if corpus is None else _other_text(corpus, how, run), "the test split"
    if corpus is not None and len(built.train) == 0:
        what = str(corpus.source)
    if (folder / records.CARD).is_file():
        model, tokenizer, card = load_lm(folder)
        if tokenizer.fingerprint != built.tokenizer.fingerprint:
            raise InputError(
                f"{folder}: its tokenizer is not that of the text ({built.tokenizer.name}); take its tokenizer.json"
            )
        examination = TestWindows.of(built, how, int(card["window"]))
        scored = examination.score(model_nll(model))
    else:
        teacher = load_teacher(LanguageTeacherConfig(source=str(folder)), built)
        window = int(run["config"]["window"]) if run is not None and "window" in run["config"] else 128
        examination = TestWindows.of(built, how, window)
        scored = examination.score(teacher_nll(teacher), most=teacher.context)
    counts = {"tokens": int(scored.windows.size), "tokens_sliding": len(examination.sliding_ids) - 1}
    return {"text": built.name, "scored": _scored(examination, len(built.test), how, what), **counts, **scored.metrics}


def _other_text(corpus: CorpusConfig, how: LmScoreConfig, run: dict[str, Any] | None) -> Corpus:
    """Another text than that of a run: the splits of a folder, or a file as a whole, read as far as it is scored."""
    path = Path(corpus.source).expanduser()
    own = ((run or {}).get("config") or {}).get("corpus") or {}
    if not path.is_file() or ("source" in own and path.resolve() == Path(own["source"]).expanduser().resolve()):
        return load_text(corpus, lambda line: None)
    tokens = None if how.tokens is None else how.tokens + 2  # the first predicts; one more tells whether there is more
    return whole_text(path, load_tokenizer(corpus.tokenizer), tokens)


def _scored(examination: TestWindows, there: int, how: LmScoreConfig, what: str) -> str:
    """How much of a text was scored, in words: what `tokens` asks for, or all that there is."""
    count = len(examination.ids) - 1
    if count < there - 1:
        return f"the first {count:,} tokens of {what}"
    fewer = "" if how.tokens is None or how.tokens <= count else f" (up to {how.tokens:,} were wanted)"
    return f"all {count:,} tokens of {what}{fewer}"


def generate(
    folder: Path, prompt: str, count: int, *, temperature: float = 0.0, seed: int = 0, packed: bool = True
) -> dict[str, Any]:
    """Let a student write on, a token at a time, in memory that does not grow; the prompt may be of any length.

    Args:
        folder: of a run, or of an arm and seed.
        prompt: text; at least one token.
        count: tokens to make.
        temperature: 0 takes the likeliest.
        seed: of the draws.
        packed: by the packed generator (numba), else by the torch network.

    Returns:
        text, tokens, seconds, tokens_per_second, and for the packed one state_bytes, weight_bytes (all that lies in memory),
        ngram_bytes (those of them that are the n-gram inside), packed_bytes and packed_ngram_bytes (the same in the file of
        `lm export`), params, silent_share.

    Raises:
        InputError: an empty prompt, or files that are not there.
    """
    model, tokenizer, _ = load_lm(student_folder(folder))
    ids = tokenizer.encode(prompt).tolist()
    if not ids:
        raise InputError("prompt: expected at least one token, got none")
    further: dict[str, Any] = {}
    if packed:
        from stillhouse.tasks.lm.export.spiking_generator import SpikingGenerator

        student = pack_student(model)
        generator = SpikingGenerator(student)
        generator.generate(ids[:1], 1)  # compiles the kernels
        generator.reset()
        started = time.perf_counter()
        made = generator.generate(ids, count, temperature=temperature, seed=seed)
        seconds = time.perf_counter() - started
        further = {
            "state_bytes": generator.state_bytes,
            "weight_bytes": generator.weight_bytes,
            "ngram_bytes": generator.ngram_bytes,
            "packed_bytes": student.bytes,
            "packed_ngram_bytes": student.ngram_bytes,
            "params": sum(p.numel() for p in model.parameters()),
            "silent_share": generator.silent_share,
        }
    else:
        started = time.perf_counter()
        made = written(model, ids, count, temperature=temperature, seed=seed)
        seconds = time.perf_counter() - started
    rate = (len(ids) + count) / seconds
    return {"text": tokenizer.decode(made), "tokens": made, "seconds": seconds, "tokens_per_second": rate, **further}


def samples(folder: Path, ids: Any, *, count: int = 3, read: int = 16, made: int = 32) -> list[dict[str, str]]:
    """What a student writes after a few places of a text, the likeliest token each time, beside how the text goes on.

    Args:
        folder: of the student.
        ids: tokens of the text.
        count: places, evenly spread.
        read: tokens that it is given at each.
        made: tokens that it writes.
    """
    model, tokenizer, _ = load_lm(folder)
    whole, found = np.asarray(ids), []
    for place in np.linspace(0, max(0, len(whole) - read - made), count).astype(int):
        prompt = [int(token) for token in whole[place : place + read]]
        end = place + read + made
        words: dict[str, Any] = {
            "read": prompt,
            "wrote": written(model, prompt, made),
            "text": whole[place + read : end],
        }
        found.append({name: tokenizer.decode(tokens) for name, tokens in words.items()})
    return found


def written(model: SpikingLM, prompt: list[int], count: int, **how: Any) -> list[int]:
    """`count` tokens after a prompt; `how`: see `continued`."""
    found: list[int] = continued(model, torch.tensor([prompt]), count, **how)[0, len(prompt) :].tolist()
    return found


def export(folder: Path, out: Path) -> dict[str, Any]:
    """Write a student as packed ternary weights with its tokenizer.

    Args:
        folder: of a run, or of an arm and seed.
        out: folder of the packed file.

    Raises:
        InputError: a student that is not quantized to its end.
    """
    for place in (out / PACKED, out / TOKENIZER_FILE):
        check_output(place)
    model, tokenizer, _ = load_lm(student_folder(folder))
    size = pack_student(model).save(out / PACKED)
    tokenizer.save(out)
    return {"file": str(out / PACKED), "bytes": size, "dense_bytes": 4 * sum(p.numel() for p in model.parameters())}


def write_packed(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """A folder with packed weights and the tokenizer; every weight is read back and held against the network's."""
    out.mkdir()
    found = export(folder, out)
    packed, model = load_packed(found["file"]), load_lm(folder)[0]
    layers = quantized_layers(model)
    for path, layer in layers.items():
        if not np.array_equal(packed.weight(path), layer.effective_weight().detach().numpy()):
            raise InputError(f"{found['file']}: expected the weights of {path}, got others")
    smaller = found["dense_bytes"] / found["bytes"]
    return [f"weights of {len(layers)} layers equal the network's; {smaller:.1f} times smaller than float32"]


def write_program(folder: Path, out: Path, choices: ExportChoices) -> Sequence[str]:
    """Logits of whole windows as a program of torch.export, from an empty state; compared on windows of the test split."""
    from stillhouse.export.program import write_compared

    model, tokenizer, card = load_lm(folder)
    window = int(card["window"])
    try:
        ids = np.asarray(own_text(run_of(folder), folder).test.ids)
        count = len(ids) // window
        if not count:
            raise InputError(f"the test split is shorter than a window of {window}")
        rows = ids[: count * window].reshape(count, window)[sample_rows(count, EXPORTED)]
        what = f"{len(rows)} test windows of the run"
    except StillhouseError as error:
        rows = np.random.default_rng(0).integers(tokenizer.vocab_size, size=(EXPORTED, window))
        what = f"{EXPORTED} made-up windows (no test text: {error})"
    return [write_compared(_Logits(model), torch.from_numpy(rows.astype(np.int64)), out, what)]


class _Logits(nn.Module):
    """A network's logits as one tensor."""

    def __init__(self, model: SpikingLM) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, V) of the token after each of (B, L)."""
        found: Tensor = self.model(tokens).logits
        return found


def run_of(folder: Path) -> dict[str, Any] | None:
    """`run.json` of the run that a folder belongs to."""
    found = run_above(folder)
    return None if found is None else dict(read_object(found / records.RUN, records.ABOUT))


def own_text(run: dict[str, Any] | None, folder: Path) -> Corpus:
    """The text of a run, as the run saw it.

    Raises:
        InputError: no run, or its text was changed since.
    """
    built = load_text(parse(CorpusConfig, part_of(run, folder, "corpus")), lambda line: None)
    check_test_data(folder, "sha256", built.sha256, "--source")
    return built


def part_of(run: dict[str, Any] | None, folder: Path, name: str) -> Any:
    """A part of a run's configuration as plain data.

    Raises:
        InputError: no run, or one without that part.
    """
    if run is None or name not in run["config"]:
        raise InputError(f"{folder}: it belongs to no run that names its {name}; choose one")
    return run["config"][name]


class TextPredictor(LineScores):
    """Lines of text, by the network itself."""

    def __init__(self, folder: Path) -> None:
        network, tokenizer, _ = load_lm(folder)
        super().__init__(folder, tokenizer)
        self.network = network

    def transform(self, one: Any) -> Tensor:
        """(L) token ids of a text: see `LineScores.transform`."""
        return torch.from_numpy(super().transform(one))

    @torch.no_grad()
    def nats(self, ids: Any) -> float:
        """By the network."""
        return float(model_nll(self.network)(ids[None, :-1], ids[None, 1:]).sum())

    def written(self, ids: Any, count: int) -> list[int]:
        """By the network's own steps."""
        return written(self.network, ids.tolist(), count)


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
    parts = _operations(model, Windows(built.test.ids, window).sample(COUNTED))
    ours = sum(parts.values(), Operations()).energy()
    vocabulary = getattr(teacher, "own", teacher).vocab_size
    theirs = transformer_operations(teacher.network.config, vocabulary, context or window).energy()
    kinds = ("operations_pj", "with_weight_traffic_pj", "with_all_traffic_pj")
    return {
        "label": ours["label"],
        "student": {kind: ours[kind] for kind in kinds},
        "student_parts": {name: operations.energy()["operations_pj"] for name, operations in parts.items()},
        "teacher": {kind: theirs[kind] for kind in kinds},
        "ratio": {kind: ours[kind] / theirs[kind] for kind in kinds},
        "context": context or window,
    }


def _operations(model: SpikingLM, pieces: Any) -> dict[str, Operations]:
    """Of a token, by part, at the spikes that some texts make."""
    return spiking_operations(model, measure_spikes(model, pieces, call=model.hidden))


def cost(folder: Path) -> dict[str, float]:
    """Weights and bytes of a student, saved and packed; where it spikes and its run is at hand also the counted energy of a token.

    Spikes are counted on the valid split.
    """
    model, _, card = load_lm(folder)
    found = {"params": float(sum(p.numel() for p in model.parameters())), **weight_bytes(folder)}
    with suppress(InputError):  # a student that was kept on its ramp has no packed form
        found["packed_bytes"] = float(pack_student(model).bytes)
    run = run_of(folder)
    if run is None or not model.spike_units() or not model.config.ternary_weights:
        return found
    built = load_text(parse(CorpusConfig, part_of(run, folder, "corpus")), lambda line: None)
    parts = _operations(model, Windows(built.valid.ids, int(card["window"])).sample(ENERGY_WINDOWS))
    return {**found, "energy_pj": float(sum(parts.values(), Operations()).energy()["operations_pj"])}
