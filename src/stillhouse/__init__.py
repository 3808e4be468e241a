"""Distil any pretrained network into a student of a different kind, and prove whether the teacher helped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from stillhouse._torchvision import BeforeTorchvision

if TYPE_CHECKING:
    from pathlib import Path

    from stillhouse.api import distill
    from stillhouse.core.predict import Predictor
    from stillhouse.rules_classifier import RulesClassifier
    from stillhouse.tasks.embed.reducer import FiveNumbers
    from stillhouse.training.attach import attach

__version__ = "0.1.0"
__all__ = ["FiveNumbers", "RulesClassifier", "__version__", "attach", "distill", "load"]
LATER = {  # what is opened only when it is asked for, and where it is
    "FiveNumbers": "tasks.embed.reducer:FiveNumbers",
    "RulesClassifier": "rules_classifier:RulesClassifier",
    "attach": "training.attach:attach",
    "distill": "api:distill",
}

if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, BeforeTorchvision())


def load(path: str | Path) -> Predictor:
    """A saved student of any task, ready to be used: `predict`, `transform`, `classes` (see `stillhouse.tasks.load`)."""
    from stillhouse.tasks import load as opened  # not to be waited for by whoever only imports the package

    return opened(path)


def __getattr__(name: str) -> Any:
    """What is opened only when it is asked for: `import stillhouse` stays light."""
    if name not in LATER:
        raise AttributeError(f"module 'stillhouse' has no attribute {name!r}")
    from importlib import import_module

    module, _, there = LATER[name].partition(":")
    return getattr(import_module(f"stillhouse.{module}"), there)


def __dir__() -> list[str]:
    return sorted({*globals(), *LATER})
