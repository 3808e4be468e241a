"""C99 and JSON of machines: the same answers as the definition, on every row."""

import json

import numpy as np
import pytest
from conftest_logic import random_set

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import hash_of
from stillhouse.logic import c
from stillhouse.logic.machine import PackedModel
from stillhouse.logic.packed import load_json, write_json


def flat_machine(seed=0, *, clauses=65, failures=9, outputs=10, levels=2, side=8):
    layer = random_set(seed, bits=levels * side * side, clauses=clauses, failures=failures, outputs=outputs)
    edges = np.linspace(0, 0.9, levels, dtype=np.float32)
    return PackedModel((1, side, side), edges, (layer,), (), tuple(map(str, range(outputs))))


def images_of(machine, rows, seed=0):
    """Bytes, some rows dark and some bright, so that clauses have every value."""
    generator = np.random.default_rng(seed)
    shape = (rows, *machine.image_shape)
    return (generator.integers(0, 256, shape) * generator.random((rows, 1, 1, 1)) ** 0.3).astype(np.uint8)


def test_c_gives_the_same_answers_on_ten_thousand_images(tmp_path):
    machine = flat_machine()
    (tmp_path / "a.c").write_text(c.c_text(machine))
    images = images_of(machine, 10_000)
    classes, scores = c.answers(tmp_path / "a.c", images, 10)
    expected = machine.scores(images, definition=True)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(classes, expected.argmax(1))


@pytest.mark.parametrize(
    ("clauses", "failures", "outputs", "levels"), [(1, 1, 1, 1), (3, 2, 2, 1), (20, 1, 3, 3), (64, 16, 17, 2)]
)
def test_c_of_every_shape(tmp_path, clauses, failures, outputs, levels):
    machine = flat_machine(7, clauses=clauses, failures=failures, outputs=outputs, levels=levels, side=3)
    (tmp_path / "a.c").write_text(c.c_text(machine, name="shape"))
    images = images_of(machine, 130)
    classes, scores = c.answers(tmp_path / "a.c", images, outputs, name="shape")
    np.testing.assert_array_equal(scores, machine.scores(images, definition=True))
    np.testing.assert_array_equal(classes, scores.argmax(1))


def test_c_of_a_deep_machine(tmp_path, deep_machine):
    (tmp_path / "deep.c").write_text(c.c_text(deep_machine))
    images = images_of(deep_machine, 1000)
    classes, scores = c.answers(tmp_path / "deep.c", images, 5)
    expected = deep_machine.scores(images, definition=True)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(classes, expected.argmax(1))
    assert len(np.unique(expected, axis=0)) > 10


def test_json_comes_back_as_the_same_machine(tmp_path, deep_machine):
    for machine in (flat_machine(), deep_machine):
        write_json(machine, tmp_path / "a.json")
        images = images_of(machine, 200)
        again = load_json(tmp_path / "a.json")
        np.testing.assert_array_equal(again.scores(images, definition=True), machine.scores(images, definition=True))
        assert (again.class_names, again.scale) == (machine.class_names, machine.scale)


def test_json_with_another_number_is_an_error(tmp_path):
    """A digit of a vote gives other answers; a seal that is gone proves nothing."""
    write_json(flat_machine(), tmp_path / "a.json")
    good = json.loads((tmp_path / "a.json").read_text())
    votes = good["arrays"]["layers.0.votes"]
    votes[3][2] += 1
    for changed, words in (
        (good, "was changed after"),
        ({k: v for k, v in good.items() if k != "seal"}, "expected a packed"),
    ):
        (tmp_path / "a.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match=words):
            load_json(tmp_path / "a.json")


def test_json_with_parts_that_do_not_fit_is_an_error(tmp_path):
    write_json(flat_machine(), tmp_path / "a.json")
    good = json.loads((tmp_path / "a.json").read_text())
    for change in (
        {"layers": []},
        {"class_names": ["one"]},
        {"arrays": {"edges": ["x"]}},
        {"joins": [1]},
    ):
        content = {key: value for key, value in {**good, **change}.items() if key != "seal"}
        (tmp_path / "a.json").write_text(json.dumps({**content, "seal": hash_of(content)}))
        with pytest.raises(InputError, match="expected"):
            load_json(tmp_path / "a.json")


def test_what_cannot_be_compiled_is_a_line(tmp_path, monkeypatch):
    (tmp_path / "a.c").write_text("no C")
    with pytest.raises(InputError, match=r"a\.c: expected C that compiles"):
        c.answers(tmp_path / "a.c", np.zeros((1, 1, 8, 8), np.uint8), 3)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="C compiler: expected cc on the path"):
        c.answers(tmp_path / "a.c", np.zeros((1, 1, 8, 8), np.uint8), 3)
    with pytest.raises(InputError, match="name: expected a letter"):
        c.c_text(flat_machine(), name="a-b")
