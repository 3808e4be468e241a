"""The five documents by their own commands, flags, files and names; each is a few lines that call the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def flags(*names: str) -> dict[str, Any]:
    """The flags of some documented commands, from `flags.yaml`: name -> path of a setting, or [path, help]."""
    import yaml

    tables = yaml.safe_load((Path(__file__).parent / "flags.yaml").read_text(encoding="utf-8"))
    return {flag: row for name in names for flag, row in tables[name].items()}
