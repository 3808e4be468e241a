"""C99, WebAssembly and JSON of machines: the same answers as the definition, on every row."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from conftest_logic import random_set

from stillhouse.core.checks import InputError
from stillhouse.core.seals import with_seal
from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import Machine
from stillhouse.logic.targets import c, wasm
from stillhouse.logic.targets.json_file import read_json, write_json
from stillhouse.logic.targets.toolchain import c_compiler

zig = pytest.mark.skipif(find_spec("ziglang") is None, reason="no zig: pip install stillhouse[circuits]")


def flat_machine(seed=0, *, clauses=65, failures=9, outputs=10, levels=2, side=8):
    layer = random_set(seed, bits=levels * side * side, clauses=clauses, failures=failures, outputs=outputs)
    edges = np.linspace(0, 0.9, levels, dtype=np.float32)
    return Machine((1, side, side), edges, (layer,), (), tuple(map(str, range(outputs))))


def images_of(machine, rows, seed=0):
    """Bytes, some rows dark and some bright, so that clauses have every value."""
    generator = np.random.default_rng(seed)
    shape = (rows, *machine.image_shape)
    return (generator.integers(0, 256, shape) * generator.random((rows, 1, 1, 1)) ** 0.3).astype(np.uint8)


def test_c_gives_the_same_answers_on_ten_thousand_images(tmp_path):
    machine = flat_machine()
    c.write_c(machine, tmp_path / "a.c")
    images = images_of(machine, 10_000)
    classes, in_batches, scores = c.answers(tmp_path / "a.c", images)
    expected = machine.scores(images, "definition")
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(classes, expected.argmax(1))
    np.testing.assert_array_equal(in_batches, expected.argmax(1))


@pytest.mark.parametrize(
    ("clauses", "failures", "outputs", "levels"), [(1, 1, 1, 1), (3, 2, 2, 1), (20, 1, 3, 3), (64, 16, 17, 2)]
)
def test_c_of_every_shape(tmp_path, clauses, failures, outputs, levels):
    machine = flat_machine(7, clauses=clauses, failures=failures, outputs=outputs, levels=levels, side=3)
    c.write_c(machine, tmp_path / "a.c", name="shape")
    images = images_of(machine, 130)
    classes, in_batches, scores = c.answers(tmp_path / "a.c", images, name="shape")
    np.testing.assert_array_equal(scores, machine.scores(images, "definition"))
    np.testing.assert_array_equal(classes, scores.argmax(1))
    np.testing.assert_array_equal(in_batches, scores.argmax(1))


def test_c_of_a_deep_machine(tmp_path, deep_machine):
    c.write_c(deep_machine, tmp_path / "deep.c")
    images = images_of(deep_machine, 1000)
    classes, _, scores = c.answers(tmp_path / "deep.c", images)
    expected = deep_machine.scores(images, "definition")
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(classes, expected.argmax(1))
    assert len(np.unique(expected, axis=0)) > 10


def test_c_without_clauses_answers_with_the_bias(tmp_path):
    none = ClauseSet.of([], bits=4, capacity=[], votes=np.zeros((0, 3)), bias=[1, 5, 2])
    c.write_c(Machine((1, 2, 2), np.array([0.5], np.float32), (none,), (), ("a", "b", "c")), tmp_path / "a.c")
    classes, in_batches, scores = c.answers(tmp_path / "a.c", np.zeros((2, 1, 2, 2), np.uint8))
    assert classes.tolist() == in_batches.tolist() == [1, 1]
    assert scores.tolist() == [[1, 5, 2]] * 2


@zig
def test_webassembly_is_c_on_a_32_bit_machine_with_the_same_answers(tmp_path, deep_machine):
    pytest.importorskip("wasmtime", reason="pip install stillhouse[circuits]")
    for machine in (flat_machine(), deep_machine):
        wasm.write_wasm(machine, tmp_path / "a.wasm")
        images = images_of(machine, 500)
        outputs = len(machine.class_names)
        classes, scores = wasm.answers(tmp_path / "a.wasm", images, outputs=outputs)
        np.testing.assert_array_equal(scores, machine.scores(images, "definition"))
        np.testing.assert_array_equal(classes, scores.argmax(1))


@zig
def test_c_builds_for_a_small_32_bit_controller_without_an_operating_system(tmp_path, deep_machine):
    for machine in (flat_machine(), deep_machine):
        c.write_c(machine, tmp_path / "a.c")
        c.build(tmp_path / "a.c", tmp_path / "a.o", target="thumb-freestanding-eabi")
        header = (tmp_path / "a.o").read_bytes()[:20]
        assert header[:5] == b"\x7fELF\x01"  # 32 bits
        assert header[18] == 40  # ARM


def test_json_comes_back_as_the_same_machine(tmp_path, deep_machine):
    for machine in (flat_machine(), deep_machine):
        write_json(machine, tmp_path / "a.json")
        images = images_of(machine, 200)
        again = read_json(tmp_path / "a.json")
        np.testing.assert_array_equal(again.scores(images, "definition"), machine.scores(images, "definition"))
        assert (again.class_names, again.scale) == (machine.class_names, machine.scale)


def test_green_tsetlin_reads_the_json_and_predicts_the_same(tmp_path):
    """Crisp clauses and votes of +-1, as its own machines have."""
    green = pytest.importorskip("green_tsetlin", reason="pip install green-tsetlin")
    generator = np.random.default_rng(0)
    lists = [generator.choice(128, 4, replace=False).tolist() for _ in range(200)]
    votes = generator.choice([-1, 1], (200, 10))
    layer = ClauseSet.of(lists, bits=64, capacity=[1] * 200, votes=votes)
    machine = Machine((1, 8, 8), np.array([0.5], np.float32), (layer,), (), tuple("abcdefghij"))
    write_json(machine, tmp_path / "a.json")

    rules = green.RuleSet(is_multi_label=False)
    found = json.loads((tmp_path / "a.json").read_text())["layers"][0]
    for name in ("rules", "weights", "n_literals", "n_classes"):
        setattr(rules, name, found[name])
    predictor = green.Predictor.from_ruleset(rules)
    bits = generator.random((1000, 64)) < 0.5
    scores = layer.scores(bits)
    theirs = []
    for row, own in zip(bits, scores):
        predictor.predict(row.astype(np.uint8))
        theirs.append(list(predictor.get_votes()))
        assert own.any() or not any(theirs[-1])
    np.testing.assert_array_equal(theirs, scores)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "other"}', '{"format": "stillhouse clauses", "version": 2}'])
def test_json_of_another_kind_is_an_error(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match="expected"):
        read_json(tmp_path / "a.json")


def test_json_with_another_number_is_an_error(tmp_path):
    """A digit of a vote gives other answers; a seal that is gone proves nothing."""
    write_json(flat_machine(), tmp_path / "a.json")
    good = json.loads((tmp_path / "a.json").read_text())
    votes = good["layers"][0]["weights"]
    votes[3][2] += 1
    for changed in (good, {key: value for key, value in good.items() if key != "seal"}):
        (tmp_path / "a.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match="was changed after it was written"):
            read_json(tmp_path / "a.json")


def test_json_with_parts_that_do_not_fit_is_an_error(tmp_path):
    write_json(flat_machine(), tmp_path / "a.json")
    good = json.loads((tmp_path / "a.json").read_text())
    for change in (
        {"layers": []},
        {"class_names": ["one"]},
        {"edges": ["x"]},
        {"layers": [{"rules": [[0]]}]},
        {"joins": [1]},
    ):
        (tmp_path / "a.json").write_text(json.dumps(with_seal({**good, **change}, "a.json")))
        with pytest.raises(InputError, match="expected"):
            read_json(tmp_path / "a.json")


def test_without_a_compiler_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("stillhouse.logic.targets.toolchain.find_spec", lambda name: None)
    for target in (None, "wasm32-freestanding"):
        with pytest.raises(InputError, match=r"C compiler.*ziglang.*pip install stillhouse\[circuits\]"):
            c_compiler(target)


def test_images_that_are_no_bytes_and_odd_names_are_errors(tmp_path):
    machine = flat_machine()
    c.write_c(machine, tmp_path / "a.c")
    with pytest.raises(InputError, match="expected uint8, got float32"):
        c.answers(tmp_path / "a.c", np.zeros((1, 1, 8, 8), np.float32))
    with pytest.raises(InputError, match="name: expected a letter"):
        c.write_c(machine, tmp_path / "a.c", name="a-b")
