"""Data and teacher of a sweep stay in the worker between trials that have them in common: built once, and no answer changes."""

from __future__ import annotations

import copy

import pytest
from cases import CASES, task_of_case

from stillhouse.core import records
from stillhouse.sweeps.trial import train_trial
from stillhouse.sweeps.work import keeping
from stillhouse.tasks import task


def counted(plain, calls):
    """A task that notes what is built."""
    found = copy.copy(plain)
    for name in ("data", "teachers"):
        build = getattr(plain, name)
        setattr(found, name, lambda *given, build=build, name=name: (calls.append(name), build(*given))[1])
    return found


def trial(of, case, out, **training):
    config = case.config(training=training)
    found = train_trial(of, config, out, command="")
    place = out / "arms" / case.taught / "seed-0"
    kept = {path.name: path.read_bytes() for path in place.glob("*.safetensors")}
    losses = [line["loss"] for line in records.read_records(place / records.RECORDS) if line["split"] == "train"]
    return found.score, losses, kept


@pytest.mark.parametrize("kind", sorted(CASES))
def test_a_trial_with_what_is_left_of_another_is_the_trial_alone(kind, case_of, tmp_path):
    """To the bit, after a trial of another rate and length has used data and teacher; both are built once."""
    case, calls = case_of(kind), []
    kept = {}
    trial(
        keeping(counted(task(task_of_case(kind)), calls), kept),
        case,
        tmp_path / "before",
        learning_rate=0.003,
        epochs=1,
    )
    second = trial(
        keeping(counted(task(task_of_case(kind)), calls), kept), case, tmp_path / "after", learning_rate=0.006
    )
    assert calls == ["data", "teachers"]
    assert second == trial(task(task_of_case(kind)), case, tmp_path / "alone", learning_rate=0.006)
