"""Reports of language models and their packed form in use, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.core.task import Light, Metric

if TYPE_CHECKING:
    from stillhouse.core.folder import RunFolder
    from stillhouse.core.predict import Predictor
    from stillhouse.report.blocks import Block

BITS = "bits_per_byte"
PACKED = "student.packed.safetensors"


class LanguageLight(Light):
    """Text in, the next token out; windows of the test text are what verdicts count."""

    kind = "lm"
    title = "Language models"
    metrics = (
        Metric(BITS, "bits per byte", unit="bits per byte", items="windows", lower_is_better=True, low=0.0),
        Metric("perplexity", "perplexity", lower_is_better=True, digits=2, low=1.0),
        Metric("density", "share of channels that spike", digits=3, low=0.0, high=1.0),
    )

    def hub_task(self, card: Mapping[str, Any]) -> str:
        """A text goes on."""
        return "text-generation"

    def incomparable_reason(self, run: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
        """Other windows of the same text are other items too."""
        facts = [
            {
                "test text (sha256)": one["data"].get("splits", {}).get("test"),
                "tokenizer (sha256)": one["data"].get("tokenizer_sha256"),
                "score.tokens": one["config"]["score"].get("tokens"),
                "score.window": one["config"]["score"].get("window") or one["config"]["loss"]["window"],
            }
            for one in (run, other)
        ]
        differ = (name for name, value in facts[0].items() if value != facts[1][name])
        return next(
            (f"another {name}: {str(facts[0][name])[:12]} and {str(facts[1][name])[:12]}" for name in differ), None
        )

    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """Teacher and n-gram beside the arms, what the student writes, loss against position."""
        from stillhouse.tasks.lm.report import language_blocks

        return language_blocks(run)

    def load_exported(self, place: Path) -> Predictor | None:
        """The folder of a packed student, by numba."""
        if not (place / PACKED).is_file():
            return None
        from stillhouse.tasks.lm.predict import PackedPredictor

        return PackedPredictor(place)


LIGHT = LanguageLight()
