"""Faults that tests must catch: those of `faults.yaml`, and below those that no row of it can say. `plant.py` says what a fault is.

`python -m benchmarks.house.faults` plants each and shows the test which fails. Those are here too that were once found with every
test still green: overlays of zeros, heads weighed on the test split, an arm seeded otherwise, delta ignored, norms of weights
times 0.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from plant import Broken, Fault, edited

from stillhouse.core.config import load_yaml
from stillhouse.losses.complex import complex_nmse
from stillhouse.losses.divergence import forward_kl

CLASSES = "stillhouse.tasks.classification."
OVERLAYS = "tests/vision/test_overlays.py::test_overlays_hold_what_the_model_sees"


def listed(file: Path) -> Iterator[Fault]:
    """The faults of a YAML file."""
    for module, rows in load_yaml(file).items():
        for name, row in rows.items():
            yield Fault(name, f"{module}:{row['in']}", breaks(row), row["test"])


def breaks(row: Mapping[str, Any]) -> Broken:
    """What a row makes of a function."""
    if "replace" in row:
        return edited(*row["replace"])
    if "gives" in row:
        return lambda original: lambda *a, **k: inspect.signature(original).bind(*a, **k).arguments[row["gives"]]
    if "times" in row:
        return lambda original: lambda *a, **k: original(*a, **k) * row["times"]
    return lambda original: lambda *a, **k: row["constant"]


WRITTEN = (
    Fault(
        "operations of a teacher are counted by the multiply-add",
        f"{CLASSES}teachers:flops_of",
        lambda original: lambda teacher: None if (found := original(teacher)) is None else found // 2,
        "tests/teachers/test_published_weights.py::test_operations_of_a_teacher_are_those_counted_by_hand",
    ),
    Fault(
        "torch's words about pickles stand beside ours",
        "stillhouse.core.checks:quiet_pickle_warnings",
        lambda original: contextlib.nullcontext,
        "tests/teachers/test_published_weights.py::test_pickles_in_the_place_of_other_files_are_one_line_too",
    ),
    Fault(
        "a sample is the first rows",
        "stillhouse.core.labels:sample_rows",
        lambda original: lambda rows, count, **rest: np.arange(rows if count is None else min(rows, count)),
        "tests/vision/test_class_folders.py::test_rules_are_judged_as_the_student_is[transformer]",
    ),
    Fault(
        "a key given twice",
        "stillhouse.core.config:_OnceLoader.construct_mapping",
        lambda original: yaml.SafeLoader.construct_mapping,
        "tests/test_config.py::test_a_key_that_stands_twice_is_refused",
    ),
    Fault(
        "merging keeps settings of another kind",
        "stillhouse.core.config:merge",
        lambda original: lambda base, change: {**base, **change},
        "tests/test_config.py::test_merging_replaces_a_mapping_of_another_kind",
    ),
    Fault(
        "all parts learn in every stage",
        "stillhouse.core.pipeline:train_only",
        lambda original: lambda student, paths: contextlib.nullcontext(),
        "tests/test_pipeline.py::test_only_the_named_parts_learn_in_a_stage",
    ),
    Fault(
        "an ensemble hears its first member",
        "stillhouse.teachers.ensemble:EnsembleTeacher._pooled",
        lambda original: lambda self, logits: logits[0],
        "tests/teachers/test_ensemble.py::test_logits_are_those_of_the_mean_probability",
    ),
    Fault(
        "budget of literals ignored",
        f"{CLASSES}students.clauses:ClauseBank._within_budget",
        lambda original: lambda self, budget: self.include_logits.new_ones(2, self.num_clauses, self.num_bits),
        "tests/students/test_clauses.py::test_a_budget_keeps_the_literals_that_are_surest",
    ),
    Fault(
        "a shift moves nothing",
        f"{CLASSES}data.augment:_shifted",
        lambda original: lambda images: images.clone(),
        "tests/data/test_image_augment.py::test_a_shift_moves_and_does_nothing_else",
    ),
    Fault(
        "overlays of zeros",
        f"{CLASSES}vision.overlays:maps_of",
        lambda original: lambda model, pixels: tuple(x * 0 for x in original(model, pixels)),
        OVERLAYS,
    ),
    Fault(
        "one overlay for all images",
        f"{CLASSES}vision.overlays:maps_of",
        lambda original: lambda model, pixels: tuple(x[:1].expand_as(x) for x in original(model, pixels)),
        OVERLAYS,
    ),
    Fault(
        "quality of a row is that of all",
        "stillhouse.tasks.embed.metrics:_row_spearman",
        lambda original: lambda far, near: original(far, near) * 0 + original(far, near).mean(),
        "tests/metrics/test_neighbourhood.py::test_row_spearman_is_scipys[cosine]",
    ),
    Fault(
        "the control is shipped",
        "stillhouse.core.task:reference_arm",
        lambda original: lambda arms: arms[0],
        "tests/conformance/test_every_task.py::test_the_taught_arm_is_shipped[sar]",
    ),
    Fault(
        "rules are ranked by what they add, wherever they fire",
        f"{CLASSES}students.rules:rank_by_discrimination",
        lambda original: lambda ranks, *rest: list(ranks),
        "tests/students/test_tm_rules.py::test_a_clause_that_fires_on_every_class_is_no_rule_of_one",
    ),
    Fault(
        "a plain MSE is normalized",
        "stillhouse.losses.complex:complex_mse",
        lambda original: complex_nmse,
        "tests/sar/test_sar_words.py::test_plain_mse_by_the_documents_word",
    ),
    Fault(
        "reverse KL is forward KL",
        "stillhouse.losses.divergence:reverse_kl",
        lambda original: forward_kl,
        "tests/losses/test_divergence.py::test_directions_are_each_others_mirror",
    ),
    Fault(
        "every trained teacher is recommended",
        "stillhouse.core.parts:TeacherCheck.use",
        lambda original: lambda self, how: f"use it as {how}",
        "tests/conformance/test_trained_teachers.py::test_a_teacher_at_chance_is_not_recommended[images]",
    ),
)

FAULTS: tuple[Fault, ...] = (*listed(Path(__file__).with_suffix(".yaml")), *WRITTEN)
