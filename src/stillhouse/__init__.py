"""Distil any pretrained network into a student of a different kind, and prove whether the teacher helped."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from stillhouse.core.predict import Predictor

__version__ = "0.1.0"


def load(path: str | Path) -> Predictor:
    """A saved student of any family, ready to be used: `predict`, `transform`, `classes` (see `stillhouse.use.load`)."""
    from stillhouse.use import load as opened  # not to be waited for by whoever only imports the package

    return opened(path)
