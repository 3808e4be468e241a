"""Distil any pretrained network into a student of a different kind, and prove whether the teacher helped."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["Reducer", "__version__"]


def __getattr__(name: str) -> Any:
    """What is opened only when it is asked for: `import stillhouse` stays light."""
    if name == "Reducer":
        from stillhouse.families.embed.reducer import Reducer

        return Reducer
    raise AttributeError(f"module 'stillhouse' has no attribute {name!r}")
