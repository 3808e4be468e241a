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
        Metric("sliding_perplexity", "perplexity, sliding windows", lower_is_better=True, digits=2, low=1.0),
        Metric("density", "share of channels that spike", digits=3, low=0.0, high=1.0),
    )

    def hub_task(self, card: Mapping[str, Any]) -> str:
        """A text goes on."""
        return "text-generation"

    def forms(self, card: Mapping[str, Any]) -> Sequence[str]:
        """Ternary weights of a student; the network."""
        return ("packed", "torch")

    def incomparable_reason(self, run: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
        """Also other windows of the same text."""
        texts = [one.get("data", {}).get("splits", {}).get("test") for one in (run, other)]
        if None in texts or texts[0] != texts[1]:
            return f"another test text (sha256 {str(texts[0])[:12]} and {str(texts[1])[:12]})"
        for key in ("window", "tokens"):
            a, b = (one["config"]["score"].get(key) for one in (run, other))
            if key == "window":
                a, b = (x or one["config"]["loss"]["window"] for x, one in zip((a, b), (run, other)))
            if a != b:
                return f"score.{key} is {a} and {b}: other items"
        tokenizers = [one["data"].get("tokenizer_sha256") for one in (run, other)]
        return None if tokenizers[0] == tokenizers[1] else "another tokenizer: windows hold other text"

    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """Teacher and n-gram beside the arms, loss against position, validation."""
        from stillhouse.tasks.lm.blocks import language_blocks

        return language_blocks(run)

    def load_exported(self, place: Path) -> Predictor | None:
        """The folder of a packed student, by numba."""
        if not (place / PACKED).is_file():
            return None
        from stillhouse.tasks.lm.lines import PackedPredictor

        return PackedPredictor(place)


LIGHT = LanguageLight()
