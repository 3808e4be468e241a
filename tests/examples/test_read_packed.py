"""The reader of docs/packed.md is the example, and gives the classes of the machine itself."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np

from stillhouse.logic.clause_set import ClauseSet
from stillhouse.logic.machine import PackedModel
from stillhouse.logic.packed import save_packed

ROOT = Path(__file__).parents[2]


def test_numpy_alone_reads_a_packed_machine(tmp_path):
    """Random clauses of no literal, one and several, on two edges: the definition of the machine, image by image."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 6, 40)
    layer = ClauseSet(
        bits=32,
        starts=np.concatenate([[0], np.cumsum(counts)]),
        literals=np.concatenate([np.sort(rng.choice(64, n, replace=False)) for n in counts]).astype(np.int32),
        capacity=rng.integers(1, 4, 40).astype(np.int32),
        votes=rng.integers(-9, 10, (40, 3)).astype(np.int32),
        bias=np.zeros(3, np.int64),
        scale=8.0,
    )
    images = rng.integers(0, 256, (200, 1, 4, 4), dtype=np.uint8)
    shape, edges = (1, 4, 4), np.array([0.25, 0.7], np.float32)
    plain = PackedModel(shape, edges, (layer,), (), ("a", "b", "c")).scores(images, definition=True)
    layer = replace(layer, bias=-plain.mean(0).astype(np.int64))  # so that every class is named
    machine = PackedModel(shape, edges, (layer,), (), ("a", "b", "c"))
    path = tmp_path / "m.packed.safetensors"
    save_packed(machine, path)
    expected = ["abc"[k] for k in machine.scores(images, definition=True).argmax(1)]
    spec = importlib.util.spec_from_file_location("read_packed", ROOT / "examples" / "read_packed.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.classes(path, images) == expected
    assert len(set(expected)) == 3


def test_the_page_shows_the_example():
    """Word by word, between its imports and its last lines."""
    source = (ROOT / "examples" / "read_packed.py").read_text()
    shown = source[source.index("KINDS = ") : source.index("\n\nif __name__")].strip()
    assert shown in (ROOT / "docs" / "packed.md").read_text()
