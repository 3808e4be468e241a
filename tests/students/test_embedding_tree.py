"""Codes as trees: deterministic, reversible, immutable; weights that are 0 stay 0; words that match the axes."""

import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.families.embed.students.axes import AXES, Axis, axes_from, describe, unnamed_axes
from stillhouse.families.embed.students.tree import (
    HierarchicalVector,
    TreeNode,
    combined,
    edit,
    encode,
    fit_scale,
    flatten,
    from_json,
    paths,
    share_of_axes,
    to_json,
)


def code(n=155, seed=0):
    return np.random.default_rng(seed).normal(size=n)


def leaves(tree):
    return [node for node in tree.root.walk() if node.children is None]


@pytest.mark.parametrize("n", [5, 30, 155])
def test_a_tree_holds_the_whole_code_and_gives_it_back(n):
    """A child that reads another slice than its own still looks like a child."""
    x = code(n)
    scale = fit_scale(np.stack([x, -0.5 * x]))
    tree = encode(x, scale=scale)
    np.testing.assert_allclose(flatten(tree), x, rtol=1e-12)
    assert len(list(tree.root.walk())) == {5: 1, 30: 6, 155: 31}[n]
    assert max(abs(v) for node in tree.root.walk() for v in node.value) == pytest.approx(1.0)


def test_the_slices_are_those_that_the_layout_says():
    """Counted by hand: root 0..4, dim2 at 5 + 5, dim2.4 at 30 + 25 * 1 + 5 * 3."""
    tree = encode(np.arange(155) / 200)
    assert tree["root"].value == tuple(np.arange(5) / 200)
    assert tree["dim2"].value == tuple(np.arange(10, 15) / 200)
    assert tree["dim2/dim2.4"].value == tuple(np.arange(70, 75) / 200)
    with pytest.raises(InputError, match="no node 'dim6'"):
        tree["dim6"]


def test_the_same_code_gives_the_same_tree_in_every_process():
    """The founding project drew its children at random, unseeded."""
    text = to_json(encode(code()))
    again = (
        "import numpy as np\nfrom stillhouse.families.embed.students.tree import *\n"
        "print(to_json(encode(np.random.default_rng(0).normal(size=155))))"
    )
    done = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == text


def test_weights_are_shares_and_a_zero_stays_a_zero():
    """`weight or 1.0` makes a dead branch the strongest one."""
    tree = encode(np.concatenate([[0.5, 0, -0.5, 0, 0], np.full(25, 0.5)]))
    assert [child.weight for child in tree.root.children] == pytest.approx([0.5, 0, 0.5, 0, 0], abs=1e-7)
    assert [path.weight for path in paths(tree, top_k=9)] == pytest.approx([0.5, 0.5, 0, 0, 0], abs=1e-7)
    assert paths(edit(tree, "dim1", weight=0.0), top_k=9)[0].key == "dim3"
    assert share_of_axes([0.0] * 5) == (0.0,) * 5


def test_path_weights_are_products_and_sum_to_one():
    """Every parent gives its whole weight away, so the leaves' weights sum to 1."""
    tree = encode(code(), scale=[4.0, 4.0, 4.0])
    found = paths(tree, top_k=100)
    assert len(found) == 25
    assert sum(path.weight for path in found) == pytest.approx(1.0, abs=1e-6)
    assert [path.weight for path in found] == sorted((path.weight for path in found), reverse=True)
    best = found[0]
    parent = best.key.split("/")[0]
    assert best.weight == pytest.approx(tree[parent].weight * tree[best.key].weight)
    assert {name for name, _, _ in best.evidence} == {
        AXES[i].name for i in np.argsort(-np.abs(tree[best.key].value))[:2]
    }
    assert paths(tree, top_k=2) == found[:2]
    with pytest.raises(InputError, match="top_k: expected at least 1, got 0"):
        paths(tree, top_k=0)


def test_the_combined_vector_is_the_mean_by_weight():
    """By hand: root (weight 1) and five children that share weight 1 again: (root + its only live child) / 2."""
    tree = encode(np.concatenate([[0, 0.8, 0, 0, 0], np.zeros(5), [0.2, 0, 0, 0, 0.4], np.zeros(15)]))
    np.testing.assert_allclose(combined(tree), [0.1, 0.4, 0, 0, 0.2], atol=1e-7)
    assert combined(edit(encode([0.5] * 5), "root", weight=0.0)).tolist() == [0] * 5


def test_an_edit_changes_one_node_of_a_new_tree():
    """A shallow copy would change the old tree too."""
    tree = encode(code(), scale=[4.0, 4.0, 4.0])
    before = to_json(tree)
    changed = edit(tree, "dim2/dim2.4", value=[0.9, 0, 0, 0, -0.8], weight=0.25, label="mine")
    assert to_json(tree) == before
    old, new = ({node.key: node for node in t.root.walk() if node.children is None} for t in (tree, changed))
    assert [key for key in old if old[key] != new[key]] == ["dim2/dim2.4"]
    node = changed["dim2/dim2.4"]
    assert (node.value, node.weight, node.label) == ((0.9, 0, 0, 0, -0.8), 0.25, "mine")
    assert tree["dim2"].value == changed["dim2"].value
    assert (
        edit(tree, "dim2/dim2.4", value=[0.9, 0, 0, 0, -0.8])["dim2/dim2.4"].label == "strongly Action, strongly Living"
    )
    for change, words in [
        ({"value": [2, 0, 0, 0, 0]}, "from -1 to 1"),
        ({"weight": 1.1}, "weight"),
        ({"weight": math.nan}, "weight"),
    ]:
        with pytest.raises(InputError, match=words):
            edit(tree, "dim2", **change)
    with pytest.raises(InputError, match="no node"):
        edit(tree, "dim9", weight=0.5)
    with pytest.raises(AttributeError):
        tree.root.weight = 0.5


def test_json_comes_back_equal_and_faults_are_named():
    """A tree that is read without a look at its schema is somebody else's tree."""
    axes = (Axis("Größe", "klein", "groß"), *unnamed_axes(4))
    tree = encode(code(30), scale=[4.0, 5.0], axes=axes)
    assert from_json(to_json(tree)) == tree
    assert from_json(to_json(tree, indent=2)) == tree
    assert pickle.loads(pickle.dumps(tree)) == tree
    plain = json.loads(to_json(tree))
    faults = [
        ("nonsense", "not JSON"),
        ("[]", "expected schema"),
        (json.dumps({**plain, "version": 2}), "version 1, got .'stillhouse-tree', 2"),
        (json.dumps({k: v for k, v in plain.items() if k != "scale"}), "missing or of the wrong type: 'scale'"),
        (json.dumps({**plain, "root": {**plain["root"], "value": [0, 0, 0, 0]}}), "expected 5 numbers"),
        (
            json.dumps({**plain, "root": {**plain["root"], "children": plain["root"]["children"][:4]}}),
            "None or 5, got 4",
        ),
        (json.dumps({**plain, "root": {**plain["root"], "children": []}}), "None or 5, got 0"),
        (json.dumps({**plain, "root": {**plain["root"], "children": plain["root"]["children"][::-1]}}), "got 'dim5'"),
        (json.dumps({**plain, "axes": plain["axes"][:4]}), "axes: expected 5, got 4"),
        (json.dumps({**plain, "scale": [1.0]}), "depth below 1"),
        (json.dumps({**plain, "root": None}), "wrong type"),
    ]
    for text, words in faults:
        with pytest.raises(InputError, match=words):
            from_json(text)


def test_a_threshold_unfolds_only_nodes_that_one_axis_rules():
    """0 must unfold the zero node too, 1 nothing that has two axes; five equal shares are 1/5."""
    sharp, flat = [0.9, 0.1, 0, 0, 0], [0.5] * 5
    x = np.concatenate([sharp, flat, sharp, np.zeros(15), np.zeros(125)])
    assert len(list(encode(x).root.walk())) == 31
    keys = {node.key for node in encode(x, threshold=0.5).root.walk()}
    assert "dim2/dim2.1" in keys
    assert "dim1/dim1.1" not in keys
    assert len(list(encode(x, threshold=0.2).root.walk())) == 1 + 5 + 10
    assert encode(x, threshold=0.95).root.children is None
    assert len(leaves(encode(x, max_depth=1))) == 5
    assert encode(x, max_depth=0).root.children is None
    unfolded = flatten(encode(x, threshold=0.5))
    np.testing.assert_allclose(unfolded[:30], x[:30])


def test_a_code_outside_the_box_is_clipped_and_the_scale_is_kept():
    """Scaling by the code's own largest number would move every code by another factor."""
    train = np.random.default_rng(0).normal(size=(200, 30))
    scale = fit_scale(train)
    assert scale == (np.abs(train[:, :5]).max(), np.abs(train[:, 5:]).max())
    tree = encode(10 * np.ones(30), scale=scale)
    assert tree.root.value == (1.0,) * 5
    assert flatten(tree)[0] == pytest.approx(scale[0])
    near = fit_scale(train, coverage=0.9)
    assert np.mean(np.abs(train[:, :5]) <= near[0]) == pytest.approx(0.9, abs=0.005)
    assert fit_scale(np.zeros((3, 5))) == (1.0,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: encode(np.zeros(6)), "expected 5, 30, 155, ... numbers"),
        (lambda: encode(np.zeros((2, 5))), "expected one row"),
        (lambda: encode([0, 0, math.nan, 0, 0]), "finite"),
        (lambda: encode(np.zeros(30), scale=[1.0]), "scale: expected 2 numbers"),
        (lambda: encode(np.zeros(5), scale=[0.0]), "scale: expected 1 to 6 numbers above 0"),
        (lambda: encode(np.zeros(5), max_depth=1), "max_depth: expected 0 to 0"),
        (lambda: encode(np.zeros(5), threshold=1.5), "threshold: expected"),
        (lambda: encode(np.zeros(5), axes=AXES[:4]), "expected 4 numbers, one an axis"),
        (lambda: fit_scale(np.zeros((0, 5))), "codes: expected"),
        (lambda: fit_scale(np.zeros((2, 5)), coverage=0), "coverage: expected"),
        (lambda: fit_scale(np.full((2, 5), np.nan)), "finite"),
        (lambda: TreeNode((0.0,) * 4), "expected 5 numbers"),
        (lambda: TreeNode((0.0,) * 4 + (math.nan,)), "expected 5 numbers"),
        (lambda: TreeNode((0.0,) * 5, weight=-0.1), "weight: expected"),
        (lambda: HierarchicalVector(TreeNode((0.0,) * 5, key="dim1")), "expected key 'root'"),
        (lambda: HierarchicalVector(TreeNode((0.0,) * 5), scale=()), "scale: expected 1 to 6"),
        (lambda: describe([0.0] * 4), "expected 5 numbers"),
        (lambda: describe([0, 0, 0, 0, 1.01]), "from -1 to 1"),
        (lambda: describe([0, 0, 0, 0, math.nan]), "from -1 to 1"),
        (lambda: Axis("a", "x", "x"), "two different poles"),
        (lambda: axes_from([["a", "x"]]), "axes: expected .name, pole at -1, pole at .1., got"),
        (lambda: axes_from(["abc"]), "got 'abc'"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_the_wording_changes_where_the_rule_says():
    """Borders: below 0.2 neutral, above 0.4 moderately, above 0.7 strongly; the sign picks the pole."""
    axis = AXES[0]
    said = [axis.words(v) for v in (0.0, 0.199, 0.2, 0.4, 0.401, 0.7, 0.701, 1.0)]
    assert [words.split()[0] for words in said] == [
        *("neutral", "neutral", "slightly", "slightly", "moderately", "moderately", "strongly", "strongly")
    ]
    assert axis.words(0.5) == "moderately Action"
    assert axis.words(-0.5) == "moderately Object"


def test_joy_is_positive():
    """The founding project's samples put joy at +0.462 while its table called + "Negative"."""
    assert describe([0, 0.462, 0, 0, 0])[1] == "moderately Positive"
    assert [(axis.negative, axis.positive) for axis in AXES] == [
        ("Object", "Action"),
        ("Negative", "Positive"),
        ("Abstract", "Concrete"),
        ("I", "World"),
        ("Living", "Mechanical"),
    ]
