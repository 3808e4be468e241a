"""Reports of embedding students, and the students in use: both need numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.core.task import Light, Metric

if TYPE_CHECKING:
    from stillhouse.core.folder import RunFolder
    from stillhouse.core.predict import Predictor

NEAR, FAR = "knn_overlap", "row_spearman"  # what verdicts are drawn from


class EmbedLight(Light):
    """Wide embeddings into few numbers."""

    kind = "embed"
    title = "embeddings"
    metrics = (
        Metric(NEAR, "10 nearest kept", "overlap", "test rows", low=0.0, high=1.0, digits=3),
        Metric(FAR, "distances kept (Spearman, row by row)", "Spearman", "test rows", low=-1.0, high=1.0, digits=3),
    )

    def hub_task(self, card: Mapping[str, Any]) -> str:
        """Numbers of an input."""
        return "feature-extraction"

    def forms(self, card: Mapping[str, Any]) -> Sequence[str]:
        """A vector student."""
        return ("numpy", "onnx", "torch")

    def incomparable_reason(self, run: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
        """Neighbours of a row depend on which rows are judged with it."""
        for key in ("sha256", "splits_sha256"):
            a, b = (one.get("data", {}).get(key) for one in (run, other))
            if a is None or a != b:
                return f"other {'vectors' if key == 'sha256' else 'splits'} ({key} {str(a)[:12]} and {str(b)[:12]})"
        a, b = (one["config"].get("test_rows") for one in (run, other))
        return None if a == b else f"test_rows is {a} and {b}: neighbours among other rows"

    def blocks(self, run: RunFolder) -> Sequence[Any]:
        """Local against global quality, tables of both, what each level adds, health."""
        from stillhouse.tasks.embed.report import embedding_blocks

        return embedding_blocks(run)

    def load_exported(self, place: Path) -> Predictor | None:
        """A student as it was saved or exported: its file of weights is read by numpy."""
        from stillhouse.tasks.embed.predict import CodePredictor, is_student

        return CodePredictor(place) if is_student(place) else None


LIGHT = EmbedLight()
