"""Every technique as a change of one base run: the same student, data, steps and seeds, so that only the technique differs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Change = Mapping[str, Any]
KD = {"kind": "logits", "temperature": 4.0}


@dataclass(frozen=True)
class Paths:
    """Where a task's networks can be tapped: modules of the student and of the teacher, shallow to deep."""

    student: tuple[str, ...]
    teacher: tuple[str, ...]
    student_qkv: tuple[str, ...] = ()
    teacher_qkv: tuple[str, ...] = ()
    student_heads: int = 1
    teacher_heads: int = 1
    layout: str = "auto"  # axes of the student's paths, where they have time steps


def filled(text: str, values: Mapping[str, Any]) -> Any:
    """YAML with $words replaced by values."""
    return yaml.safe_load(re.sub(r"\$(\w+)", lambda found: json.dumps(values[found[1]]), text))


def techniques(paths: Paths, network: Change, epochs: int) -> dict[str, Change]:
    """name -> changes of the base run. `kd` (T = 4, equal weights of labels and teacher) and `no-kd` are the two controls."""
    general = round(0.3 * epochs)  # of two stages; together they are as long as everything else
    values = {
        **vars(paths),
        **{"kd": KD, "network": dict(network), "first": general, "second": epochs - general},
        **{"near": paths.student[-1], "far": paths.teacher[-1], "shallow": paths.student[:-1]},
    }
    changes: dict[str, Any] = filled(Path(__file__).with_suffix(".yaml").read_text(), values)
    found: dict[str, Change] = {}
    for name, change in changes.items():
        signal = change.get("beside", {})
        if paths.student_qkv or signal.get("kind") not in ("dynamics", "attention"):
            found[name] = {"signals": [KD, signal]} if signal else change
    return found
