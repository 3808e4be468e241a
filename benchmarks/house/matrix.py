"""Any signal, any student: which task can learn by which signal, and why not where it cannot.

    python -m benchmarks.house.matrix            prints docs/matrix.md
    python -m benchmarks.house.matrix --check    exit status 1 where the page is not what the tasks say

Nothing is trained: signals are put to `RunPlan.unsupported_reason`, all else to the configuration. That each cell does what it
says is tested by training, in `tests/conformance/test_matrix.py`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stillhouse.core.config import ConfigError, parse
from stillhouse.signals import SignalConfig
from stillhouse.tasks import task

PAGE = Path(__file__).resolve().parents[2] / "docs" / "matrix.md"
BETWEEN = {"student": "a", "teacher": "b"}
QUERIES = {"student": ["q", "k"], "teacher": ["q", "k"]}
LEARNED = {"kind": "learned"}
SCHEDULED = {"kind": "scheduled", "schedule": {"kind": "linear", "start": 1.0, "end": 4.0}}
HEADS = {"student_heads": 2, "teacher_heads": 2}

# paths stand for any: tasks answer by kind and by what is compared
SIGNALS: dict[str, dict[str, Any]] = {
    "logits": {"kind": "logits"},
    "logits, learned temperature": {"kind": "logits", "temperature": LEARNED},
    "logits, scheduled temperature": {"kind": "logits", "temperature": SCHEDULED},
    "features": {"kind": "features", **BETWEEN},
    "hidden": {"kind": "hidden", "student": ["a"], "teacher": ["b"]},
    "relations": {"kind": "relations", **BETWEEN},
    "attention (values, qkv-relations)": {"kind": "attention", **BETWEEN, "what": "values", **HEADS},
    "attention (scores, probabilities)": {"kind": "attention", **QUERIES, "what": "probabilities", **HEADS},
    "dynamics (projector)": {"kind": "dynamics", "student": ["a"], "teacher": ["b"]},
    "dynamics (logits)": {"kind": "dynamics", "student": ["a"], "teacher": ["b"], "space": "logits"},
    "ensemble": {"kind": "ensemble"},
    "exits": {"kind": "exits", "places": ["a"]},
    "dual-head": {"kind": "dual-head", "student": "a"},
    "probes": {"kind": "probes", "places": ["a"], "weight": 0.5},
    "contrastive": {"kind": "contrastive", "place": "a"},
    "ofa": {"kind": "ofa", "places": ["a"]},
    "clause-targets": {"kind": "clause-targets", **BETWEEN},
}

COLUMNS = {"images": "classification", "clauses": "classification", "sar": "sar", "lm": "lm", "embed": "embed"}
PLANS: dict[str, dict[str, Any]] = {
    "images": {"student": {"kind": "timm"}},
    "clauses": {},
    "sar": {"teacher_checkpoint": "teacher"},
    "lm": {"corpus": {"source": "text", "tokenizer": "teacher"}, "teacher": {"source": "teacher"}},
    "embed": {"data": {"path": "x.npy"}, "signals": [{"kind": "relations", "student": "code", "teacher": "vector"}]},
}
ASSISTANTS: dict[str, dict[str, Any]] = {
    "images": {"kind": "timm"},
    "clauses": {"kind": "tsetlin-vit"},
    "sar": {},
    "lm": {},
    "embed": {"levels": [8]},
}
TEACHERS: dict[str, dict[str, Any]] = {"lm": {"source": "other"}}

DIMENSIONS: dict[str, dict[str, Any]] = {
    "curriculum": {"curriculum": {"by_class": False, "measures": ["loss"]}},
    "stages": {"stages": [{"name": "first"}, {"name": "second"}]},
    "chain of assistants": {"teacher_assistants": [...]},
    "several teachers": {"more_teachers": [...]},
    "self-distillation (auxiliary_decay)": {"auxiliary_losses": [{"kind": "logits"}], "auxiliary_decay": 0.9},
    "optimizer dot": {"training": {"optimizer": "dot"}},
}

HEAD = """# Any signal, any student

Which signals and settings work in which task, by the same YAML; where one cannot, the reason, which a run prints too. `images`
and `clauses` are one task, `classification`: networks without clauses, and with them.
A path must name a sub-module that the networks at hand have: `attention` in `images` and `clauses`, say, wants networks with
attention on both sides, and a convolutional one has none. In `embed` the teacher's only tensor is `vector`, so that `hidden`
and `dynamics` compare layers of the student with that one.

Printed by `python -m benchmarks.house.matrix` from what the tasks answer. `tests/conformance/test_matrix.py` trains every
cell: a live gradient at the student's weights, or the refusal.
"""


def refusal_of_signal(kind: str, name: str) -> str | None:
    """What a task says to a signal of the table."""
    config: Any = TypeAdapter(SignalConfig).validate_python(SIGNALS[name])
    plan: Any = parse(task(COLUMNS[kind]).Config, PLANS[kind])
    reason: str | None = plan.unsupported_reason(config)
    return reason


def refusal_of_dimension(kind: str, name: str) -> str | None:
    """What the configuration of a task's run says to a setting of the table."""
    change = dict(DIMENSIONS[name])
    for key, given in (
        ("teacher_assistants", ASSISTANTS[kind]),
        ("more_teachers", TEACHERS.get(kind, {"source": "builtin:digits"})),
    ):
        if key in change:
            change[key] = [given]
    try:
        parse(task(COLUMNS[kind]).Config, {**PLANS[kind], **change})
    except ConfigError as error:
        return str(error)
    return None


def table() -> dict[str, dict[str, str | None]]:
    """Row -> task -> why not; None: it works."""
    signals = {name: {kind: refusal_of_signal(kind, name) for kind in COLUMNS} for name in SIGNALS}
    return signals | {name: {kind: refusal_of_dimension(kind, name) for kind in COLUMNS} for name in DIMENSIONS}


def page() -> str:
    """The table in Markdown, each reason once beneath it."""
    rows = table()
    reasons = list(dict.fromkeys(why for row in rows.values() for why in row.values() if why is not None))
    lines = [HEAD, f"| | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in rows.items():
        cells = ("works" if why is None else f"no ({reasons.index(why) + 1})" for why in row.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {why}" for number, why in enumerate(reasons, 1))]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print the page, or compare it with the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare docs/matrix.md with what the tasks say")
    if not parser.parse_args().check:
        print(page(), end="")
        return 0
    return int(PAGE.read_text() != page())


if __name__ == "__main__":
    sys.exit(main())
