"""Every technique as a change of one base run: the same student, data, steps and seeds, so that only the technique differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Change = Mapping[str, Any]


@dataclass(frozen=True)
class Paths:
    """Where a task's networks can be tapped: modules of the student and of the teacher, shallow to deep."""

    student: tuple[str, ...]
    teacher: tuple[str, ...]
    student_qkv: tuple[str, ...] = ()
    teacher_qkv: tuple[str, ...] = ()
    student_heads: int = 1
    teacher_heads: int = 1
    student_layout: str = "auto"  # axes of the student's paths, where they have time steps
    student_scores: str = ""  # what puts out class scores at every time step, where there are any


KD = {"kind": "logits", "temperature": 4.0}


def techniques(paths: Paths, student: Change, epochs: int) -> dict[str, Change]:
    """name -> changes of the base run. `kd` (T = 4, equal weights of labels and teacher) and `no-kd` are the two controls."""
    general = round(0.3 * epochs)  # of two stages; together they are as long as everything else
    layout = {"student_layout": paths.student_layout}
    near, far = paths.student[-1], paths.teacher[-1]

    def logits(**settings: Any) -> Change:
        return {"signals": [{"kind": "logits", **settings}]}

    def beside(**signal: Any) -> Change:
        return {"signals": [KD, signal]}

    def temperature(**settings: Any) -> Change:
        return logits(temperature=settings)

    def relation(name: str, weight: float) -> Change:
        return beside(kind="relations", student=near, teacher=far, relation=name, weight=weight, **layout)

    found: dict[str, Change] = {
        "no-kd": {"arms": ["no-kd"]},
        "kd": {"signals": [KD]},
        "kd, T 1": logits(temperature=1.0),
        "kd, T 8": logits(temperature=8.0),
        "kd, weight 7": {"signals": [{**KD, "weight": 7.0}]},
        "reverse KL": logits(loss="reverse-kl", temperature=4.0),
        "symmetric KL": logits(loss="symmetric-kl", temperature=4.0),
        "JS": logits(loss="js", temperature=4.0, weight=8.0),
        "skew forward KL": logits(loss="skew-forward-kl", temperature=4.0),
        "skew reverse KL": logits(loss="skew-reverse-kl", temperature=4.0),
        "total variation": logits(loss="total-variation", weight=4.0),
        "MSE of logits": logits(loss="mse", weight=0.1),
        "centred MSE of logits": logits(loss="centered-mse", weight=0.1),
        "DKD": logits(loss="dkd", temperature=4.0),
        "DIST": logits(loss="dist", weight=2.0),
        "logit standardization": logits(standardize=True, temperature=2.0, weight=9.0),
        "T rising 1 to 8": temperature(kind="scheduled", schedule={"kind": "linear", "start": 1.0, "end": 8.0}),
        "T falling 8 to 1": temperature(kind="scheduled", schedule={"kind": "linear", "start": 8.0, "end": 1.0}),
        "CTKD, one T": temperature(kind="learned", initial=4.0),
        "CTKD, T per sample": temperature(kind="learned", initial=4.0, per_sample=True),
        "T by entropy": temperature(kind="entropy"),
        "feature MSE (FitNets)": beside(kind="features", student=near, teacher=far, weight=1.0, **layout),
        "feature cosine": beside(kind="features", student=near, teacher=far, distance="cosine", weight=1.0),
        "hidden states, all layers": beside(
            kind="hidden", student=list(paths.student), teacher=list(paths.teacher), weight=1.0, **layout
        ),
        "hidden states, CKA": beside(
            kind="hidden",
            student=list(paths.student),
            teacher=list(paths.teacher),
            distance="cka",
            projector="none",
            weight=1.0,
        ),
        "RKD": relation("rkd", 1.0),
        "similarity preserving": relation("similarity-preserving", 100.0),
        "PKT": relation("pkt", 10.0),
        "CKA": relation("cka", 1.0),
        "contrastive": relation("contrastive", 0.1),
        "two stages: features, then kd": {
            "stages": [
                {
                    "name": "general",
                    "epochs": general,
                    "label_weight": 0.0,
                    "signals": [{"kind": "features", "student": near, "teacher": far}],
                },
                {"name": "task", "epochs": epochs - general, "signals": [KD]},
            ]
        },
        "curriculum, easy first": {"signals": [KD], "curriculum": {"order": "easy-first"}},
        "curriculum, hard first": {"signals": [KD], "curriculum": {"order": "hard-first"}},
        "curriculum, random order": {"signals": [KD], "curriculum": {"order": "random"}},
        "POCL: easy first, T rising": {
            "signals": [
                {
                    "kind": "logits",
                    "temperature": {
                        "kind": "scheduled",
                        "schedule": {"kind": "linear", "start": 1.0, "end": 4.0, "over": "stages"},
                    },
                }
            ],
            "curriculum": {"order": "easy-first"},
        },
        "dual head": {"signals": [{"kind": "dual-head", "student": near, "weight": 0.1}]},
        "PCGrad": {"signals": [KD], "training": {"gradients": "pcgrad"}},
        "cosine gate": {"signals": [KD], "training": {"gradients": "cosine-gate"}},
        "SGD": {"signals": [KD], "training": {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4}},
        "SGD, kd weight 7": {
            "signals": [{**KD, "weight": 7.0}],
            "training": {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4},
        },
        "DOT": {"signals": [KD], "training": {"optimizer": "dot", "learning_rate": 0.1, "weight_decay": 5e-4}},
        "balanced by gradients": {"signals": [KD], "training": {"doctor": {"every": 20, "balance": True}}},
        "born again (one generation)": {"signals": [KD], "teacher_assistants": [dict(student)]},
        "self: own exits": {"signals": [{"kind": "exits", "exits": list(paths.student[:-1]), "weight": 0.3}]},
        "self: own average": {"signals": [KD], "teacher": {"source": "self:average", "decay": 0.99}},
    }
    exits = {"places": list(paths.student), "layout": paths.student_layout}
    found |= {
        "OFA-KD": {
            "signals": [
                {"kind": "logits", "loss": "ofa", "gamma": 1.4},
                {"kind": "ofa", **exits, "gamma": 1.4},
            ]
        },
        "OFA-KD, exits beside kd": beside(kind="ofa", **exits, gamma=1.0, temperature=4.0, weight=0.3),
        "TAID": {"signals": [{"kind": "taid", "temperature": 4.0}]},
        "TAID, the line alone": {"signals": [{"kind": "taid", "temperature": 4.0, "adaptive": False}]},
        "MLLD": logits(loss="mlld"),
        "activation maps (AT)": {
            "signals": [
                KD,
                *(
                    {
                        "kind": "activation-maps",
                        "student": ours,
                        "teacher": theirs,
                        "student_layout": paths.student_layout,
                        "weight": 3.0,
                    }
                    for ours, theirs in zip(paths.student[-2:], paths.teacher[-2:])
                ),
            ]
        },
    }
    if paths.student_scores:
        steps = {"kind": "time-steps", "student": paths.student_scores, "temperature": 4.0}
        found |= {
            "scores a time step": {"signals": [steps]},
            "scores a time step, own mean": {"signals": [{**steps, "own_weight": 1.0}]},
        }
    if paths.student_qkv:
        ends = {
            "student": paths.student_qkv,
            "teacher": paths.teacher_qkv,
            "student_heads": paths.student_heads,
            "teacher_heads": paths.teacher_heads,
            "padding": 0,
        }
        # layers of one width only: a transformer's, not the stages of a CNN
        found["FDD"] = beside(kind="dynamics", student=list(paths.student), teacher=list(paths.teacher), weight=1.0)
        found["mixing matrices (MOHAWK 1)"] = {
            "signals": [
                KD,
                {
                    "kind": "mixing",
                    "student": list(paths.student_qkv) if len(paths.student_qkv) > 1 else paths.student_qkv[0],
                    "teacher": list(paths.teacher_qkv[:2]),
                    "student_heads": paths.student_heads,
                    "teacher_heads": paths.teacher_heads,
                    "padding": 0,
                },
            ]
        }
        found["value relations (MiniLM)"] = beside(kind="attention", what="values", relation_heads=4, **ends)
        found["Q, K, V relations (MiniLMv2)"] = beside(kind="attention", what="qkv-relations", relation_heads=4, **ends)
    return found
