"""What TensorBoard shows of a whole run beside the curves of each training: configuration, verdict, pictures."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stillhouse.core.family import Family
from stillhouse.core.folder import RunFolder
from stillhouse.report.blocks import Figure
from stillhouse.report.read import mapping, read_run
from stillhouse.report.verdicts import Measure, sentences, shown

BOARD = "tensorboard"
PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")
MOST = 48  # pictures of one figure


def write_board(family: Family[Any, Any], out: Path, summary: Mapping[str, Any]) -> None:
    """Write the events of a finished run into `out/tensorboard`; what an earlier call left there is replaced."""
    from torch.utils.tensorboard import SummaryWriter

    for old in (out / BOARD).glob("events.*"):
        old.unlink()
    run = read_run(out)
    board = SummaryWriter(str(out / BOARD))
    try:
        board.add_text("configuration", _code(yaml.safe_dump(run.run.get("config"), sort_keys=False)))
        board.add_text("command", _code(str(run.run.get("command"))))
        board.add_text("verdict", _verdict(family, summary))
        for block in family.blocks(RunFolder(out)):
            if isinstance(block, Figure):
                _pictures(board, block)
    finally:
        board.close()


def _verdict(family: Family[Any, Any], summary: Mapping[str, Any]) -> str:
    """The comparisons as a list and the headline of each arm as a table, in Markdown."""
    measures = {metric.name: Measure.of(metric) for metric in family.metrics}
    first = next(iter(measures.values()))
    arms = mapping(summary.get("arms"))
    found = sentences(summary.get("comparisons", ()), arms, measures)
    lines = [f"- **{line.lead}**: {line.detail}" for line in found]
    rows = [f"| {arm} | {shown(first, mapping(entry.get(first.name)).get('mean'))} |" for arm, entry in arms.items()]
    return "\n".join([*lines, "", f"| arm | {first.label} |", "|---|---|", *rows])


def _pictures(board: Any, block: Figure) -> None:
    """The PNGs that a figure of the page holds, in their order."""
    from PIL import Image

    found = [data for drawing, _ in block.drawings for data in PICTURE.findall(str(drawing))]
    for number, data in enumerate(found[:MOST]):
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        board.add_image(block.title, pixels, number, dataformats="HWC")


def _code(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
