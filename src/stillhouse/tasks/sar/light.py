"""Reports of focusing networks, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from stillhouse.core.task import Light, Metric

if TYPE_CHECKING:
    from stillhouse.core.folder import RunFolder
    from stillhouse.report.blocks import Block

FOCUS, COMPARISON = "focus.npz", "comparison.json"  # pictures of a run, and its table by `sar compare`


class SarLight(Light):
    """Lines of raw data -> focused lines; quality is 1 - NMSE of a line in its valid region, 0 for silence."""

    kind: ClassVar[str] = "sar"
    title: ClassVar[str] = "focus synthetic aperture radar with complex state-space networks that stream"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("quality", "quality (1 \u2212 NMSE)", items="test lines", high=1.0),
        Metric("coherence", "coherence", items="test lines", low=0.0, high=1.0),
    )

    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """Images, coherence, the table, learning curves."""
        from stillhouse.tasks.sar.report import sar_blocks

        return sar_blocks(run.path)


LIGHT = SarLight()
