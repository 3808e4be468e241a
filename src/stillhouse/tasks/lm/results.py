"""Reports of language models and their packed form in use, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stillhouse.core.parts import Metric
from stillhouse.core.records import SUMMARY, read_object
from stillhouse.core.task import Results

if TYPE_CHECKING:
    from stillhouse.core.folder import RunFolder
    from stillhouse.core.predict import Predictor
    from stillhouse.report.blocks import Block

BITS, STREAMED = "bits_per_byte", "streamed"
PACKED = "student.packed.safetensors"
SAID = {"read": "After", "wrote": "it writes", "text": "the text goes on"}


class LanguageResults(Results):
    """Text in, the next token out; windows of the test text are what verdicts count."""

    kind = "lm"
    title = "Language models"
    metrics = (
        Metric(BITS, "bits per byte", unit="bits per byte", items="windows", lower_is_better=True, low=0.0),
        Metric("perplexity", "perplexity", lower_is_better=True, digits=2, low=1.0),
        Metric(STREAMED, "bits per byte, state kept over windows", lower_is_better=True, digits=4, low=0.0),
        Metric("density", "share of channels that spike", digits=3, low=0.0, high=1.0),
    )

    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """The teacher's score in the same windows, and what the student writes."""
        from stillhouse.report.blocks import Facts, Table
        from stillhouse.report.words import format_decimal, percent, plain

        path = run.path / SUMMARY
        summary = read_object(path, {}) if path.is_file() else {}
        scored = f"{summary.get('tokens_scored')} tokens in windows of {summary.get('window')}"
        test = (summary.get("teacher") or {}).get("test") or {}
        rows = [(scored, f"the teacher: {format_decimal(test[BITS], 4)} bits per byte")] if BITS in test else []
        for one in summary.get("samples") or ():
            rows += [(said, str(one[name]).strip("\n")) for name, said in SAID.items()]
        facts = [Facts("What it writes", rows, "The shipped student at places of the test text.")] if rows else []
        counts = {arm: one for arm, one in (summary.get("costs") or {}).items() if "synops" in one}
        names = ("energy_ratio", "traffic_ratio", "teacher_energy_ratio", "teacher_traffic_ratio")
        head = ["", "additions by spikes", "pJ", "against dense inputs and weights", "the same with weights read"]
        head += ["against the teacher", "the same with weights read"]
        shares = [
            [arm, plain(one["synops"], 4), plain(one["energy_pj"], 4)]
            + [percent(one[name]) if name in one else "" for name in names]
            for arm, one in counts.items()
        ]
        about = "Matrix products of a token: counted operations times published energies (45 nm), not measured."
        return [*facts, Table("Energy, counted", head, shares, about)] if shares else list(facts)

    def load_exported(self, place: Path) -> Predictor | None:
        """The folder of a packed student, by numba."""
        if not (place / PACKED).is_file():
            return None
        from stillhouse.tasks.lm.predict import PackedPredictor

        return PackedPredictor(place)


RESULTS = LanguageResults()
