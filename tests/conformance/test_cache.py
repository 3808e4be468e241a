"""One cache for every task: a student learns from it what it learns from the teacher, and from nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cases import CASES
from test_every_task import again, same_weights, weights_of

from stillhouse.cli.main import main
from stillhouse.core import pipeline, records
from stillhouse.core.callback import Callback
from stillhouse.core.checks import InputError

KEPT = sorted(set(CASES) - {"embed", "sar"})  # the vectors of an embedding are captured from texts: tests/teachers


@pytest.fixture(scope="session")
def cache_of(tmp_path_factory):
    """The cache of a case, written once by the command."""
    known = {}

    def of(case) -> Path:
        if case.kind not in known:
            out = tmp_path_factory.mktemp("caches") / case.kind
            assert main(["cache", str(case.file()), "--out", str(out), "--quiet"]) == 0
            known[case.kind] = out
        return known[case.kind]

    return of


def weights_at(out, case):
    return weights_of(out / "arms" / case.taught / "seed-0")


@pytest.mark.kinds("clauses", "images", "lm")
def test_a_student_of_the_cache_is_the_student_of_the_teacher(made, cache_of, tmp_path):
    """To the bit, and with no teacher there: its weights are gone, not merely unread."""
    folder = cache_of(made.case)
    hidden = [(path, path.with_suffix(".away")) for path in (made.case.root / "teacher").glob("*.safetensors")]
    assert hidden
    for path, away in hidden:
        path.rename(away)
    changes = {**made.case.from_cache(folder), "arms": [made.case.taught]}
    try:
        again(made, tmp_path / "run", config=made.case.config(**changes))
    finally:
        for path, away in hidden:
            away.rename(path)
    assert same_weights(weights_at(tmp_path / "run", made.case), weights_at(made.out, made.case))
    teacher = records.read_json(tmp_path / "run" / records.TEACHER)
    assert teacher["score"] == pytest.approx(records.read_json(made.out / records.TEACHER)["score"])


class Trained(Exception):
    """Everything before the first training is done."""


@pytest.mark.kinds("clauses", "images", "lm")
def test_beside_the_teacher_it_is_compared_on_rows_drawn_anew(made, cache_of, tmp_path, monkeypatch):
    """A cache that was made of the right teacher and holds something else: hashes and key agree, the answers do not."""
    lines: list[str] = []

    class Listener(Callback):
        def log(self, line):
            lines.append(line)

    def trained(*given, **more):
        raise Trained

    monkeypatch.setattr(pipeline, "fit", trained)
    config = made.case.config(teacher_cache=str(cache_of(made.case)), arms=[made.case.taught])
    with pytest.raises(Trained):
        again(made, tmp_path / "run", config=config, callback=Listener())
    assert any("of the live teacher on" in line and "drawn by seed" in line for line in lines)


@pytest.mark.kinds("clauses", "images", "lm")
def test_another_teacher_is_refused_by_name(spoiled, cache_of, tmp_path):
    """Under the same path, with other weights."""
    folder = cache_of(spoiled.case)
    spoiled.case.change_teacher()
    with pytest.raises(InputError, match="another teacher"):
        again(spoiled, tmp_path / "run", config=spoiled.case.config(teacher_cache=str(folder)))


@pytest.mark.kinds("clauses", "images", "lm")
def test_changed_data_are_refused_by_name(spoiled, cache_of, tmp_path):
    """Rows of other data have the same numbers."""
    folder = cache_of(spoiled.case)
    spoiled.case.change_data()
    with pytest.raises(InputError, match=r"another (labels|data)"):
        again(spoiled, tmp_path / "run", config=spoiled.case.config(**spoiled.case.from_cache(folder)))


@pytest.mark.kinds("clauses", "images", "lm")
def test_a_flipped_bit_is_a_named_error(made, cache_of, tmp_path):
    """And not another student."""
    folder = tmp_path / "cache"
    shutil.copytree(cache_of(made.case), folder)
    file = next(path for path in sorted(folder.glob("train.*.npy")) if "seen" not in path.name)
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(InputError, match=rf"{file.name} was changed after it was written"):
        again(made, tmp_path / "run", config=made.case.config(**made.case.from_cache(folder)))
