"""C99 of machines: the same answers as the definition, on every row."""

from dataclasses import replace

import numpy as np
import pytest
from conftest_logic import random_set

from stillhouse.core.checks import InputError
from stillhouse.logic import c
from stillhouse.logic.machine import PackedModel


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
    classes, scores = c.run_c_program(tmp_path / "a.c", images, 10)
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
    classes, scores = c.run_c_program(tmp_path / "a.c", images, outputs, name="shape")
    np.testing.assert_array_equal(scores, machine.scores(images, definition=True))
    np.testing.assert_array_equal(classes, scores.argmax(1))


def test_c_of_a_deep_machine(tmp_path, deep_machine):
    (tmp_path / "deep.c").write_text(c.c_text(deep_machine))
    images = images_of(deep_machine, 1000)
    classes, scores = c.run_c_program(tmp_path / "deep.c", images, 5)
    expected = deep_machine.scores(images, definition=True)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(classes, expected.argmax(1))
    assert len(np.unique(expected, axis=0)) > 10


def test_c_names_its_classes(tmp_path):
    """Numbers are all that it answers; a name that would end or nest the comment does neither."""
    machine = replace(flat_machine(outputs=3), class_names=("cat", "a */ b /* c", "bon \\\né??/"))
    (tmp_path / "a.c").write_text(c.c_text(machine))
    assert r'Classes: 0 "cat", 1 "a * / b / * c", 2 "bon \\\né??/".' in (tmp_path / "a.c").read_text()
    assert len(c.run_c_program(tmp_path / "a.c", images_of(machine, 3), 3)[0]) == 3


def test_what_cannot_be_compiled_is_a_line(tmp_path, monkeypatch):
    (tmp_path / "a.c").write_text("no C")
    with pytest.raises(InputError, match=r"a\.c: expected C that compiles"):
        c.run_c_program(tmp_path / "a.c", np.zeros((1, 1, 8, 8), np.uint8), 3)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="C compiler: expected cc on the path"):
        c.run_c_program(tmp_path / "a.c", np.zeros((1, 1, 8, 8), np.uint8), 3)
    with pytest.raises(InputError, match="name: expected a letter"):
        c.c_text(flat_machine(), name="a-b")
