"""Reports of focusing networks, from files alone: no torch.

focus.npz holds, for a patch of test lines (W lines, L samples of the valid region), NAME (W, L) complex.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from markupsafe import Markup

from stillhouse.core.parts import Metric
from stillhouse.core.records import read_arrays
from stillhouse.core.task import Results

if TYPE_CHECKING:
    from stillhouse.core.folder import RunFolder
    from stillhouse.report.blocks import Block

FOCUS = "focus.npz"  # pictures of a run
DARKEST, BRIGHTEST = 1.0, 99.5  # percentiles of the target's dB that are black and white in every picture
TAG = Markup(
    '<img src="data:image/png;base64,{}" alt="Magnitude of the patch: {}" '
    'style="display: block; width: 9rem; height: 22rem; image-rendering: pixelated">'
)
CAPTION = "A patch of test lines in decibels, azimuth upwards; focused images have the gray scale of the target."


class SarResults(Results):
    """Lines of raw data -> focused lines; quality is 1 - NMSE of a line in its valid region, 0 for silence."""

    kind: ClassVar[str] = "sar"
    title: ClassVar[str] = "focus synthetic aperture radar with complex state-space networks that stream"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("quality", "quality (1 \u2212 NMSE)", items="test lines", high=1.0),
        Metric("coherence", "coherence", items="test lines", low=0.0, high=1.0, judged=True),
    )

    def blocks(self, run: RunFolder) -> Sequence[Block]:
        """Images before and after every focuser."""
        from stillhouse.report.blocks import Figure

        if not (run.path / FOCUS).is_file():
            return []
        images = read_arrays(run.path / FOCUS)
        drawn = [(_picture(name, x, x if name == "before" else images["target"]), name) for name, x in images.items()]
        return [Figure("Images", drawn, CAPTION)]


def _picture(name: str, image: Any, scale: Any) -> Markup:
    """Magnitude in dB on the scale of an image; the (lines, samples) patch is turned so that lines are columns."""
    from matplotlib.image import imsave

    values, gray = (20 * np.log10(np.maximum(np.abs(x), 1e-6)) for x in (image, scale))
    black, white = np.percentile(gray, [DARKEST, BRIGHTEST])
    shades = np.clip((values - black) / max(white - black, 1e-9), 0, 1)
    buffer = io.BytesIO()
    imsave(buffer, shades.T, cmap="gray", vmin=0, vmax=1, format="png", metadata={"Software": ""})
    return TAG.format(base64.b64encode(buffer.getvalue()).decode(), name)


RESULTS = SarResults()
