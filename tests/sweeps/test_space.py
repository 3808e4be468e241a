"""What is tried: lists and ranges, and what is refused before the first trial."""

import pytest
from optuna.distributions import CategoricalDistribution as Choices
from optuna.distributions import FloatDistribution, IntDistribution

from stillhouse.core.config import ConfigError
from stillhouse.recipes import load
from stillhouse.sweeps.space import as_assignment, check_space, grid, read_assignments, read_space, space_mapping


def test_lists_between_commas_and_settings_of_all(tmp_path):
    """A comma inside brackets or quotes is no comma between values; numbers are numbers."""
    fixed, lists = read_assignments(["a=1e-3,3e-3", "b=[1, 2]", "c=[a, b], 'x,y', timm:resnet18", "d=mnist"])
    assert fixed == ["b=[1, 2]", "d=mnist"]
    assert lists["a"].choices == (0.001, 0.003)
    assert lists["c"].choices == (["a", "b"], "x,y", "timm:resnet18")
    assert grid({"x": Choices((1, 2)), "y": Choices(("p", "q"))})[1] == {"x": 1, "y": "q"}
    assert grid({"x": Choices((1, 2)), "y": IntDistribution(1, 3)}) == []


def test_ranges_of_a_file(tmp_path):
    """Whole numbers where both ends are; 1e-4 is a number, which YAML 1.1 reads as a word."""
    (tmp_path / "s.yaml").write_text(
        "a: {low: 1e-4, high: 1e-2, log: true}\nb: {low: 5, high: 20, step: 5}\nc: [1, 2]\n"
    )
    found = read_space(tmp_path / "s.yaml")
    assert found == {
        "a": FloatDistribution(1e-4, 1e-2, log=True),
        "b": IntDistribution(5, 20, step=5),
        "c": Choices((1, 2)),
    }
    assert space_mapping(found) == space_mapping(dict(reversed(found.items())))


@pytest.mark.parametrize(
    "text",
    ["a: {low: 3, high: 1}", "a: {low: 1}", "a: {lo: 1, high: 2}", "a: 3", "a: []", "a: {low: 0, high: 1, log: true}"],
)
def test_what_is_no_list_and_no_range_is_refused(tmp_path, text):
    (tmp_path / "s.yaml").write_text(text + "\n")
    with pytest.raises(ConfigError, match="a: expected a list"):
        read_space(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"training.learning_rat": Choices((1, 2))}, "did you mean 'learning_rate'"),
        ({"training.learning_rate": Choices((0.1, -1.0))}, "greater than 0"),
        ({"seeds": Choices((1, 2))}, "decided by --seeds"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_the_first_trial(space, words):
    """Found out at the fifth trial, four were trained for nothing."""
    with pytest.raises(ConfigError, match=words):
        check_space(space, lambda point: load("digits", (), point)[1])


@pytest.mark.parametrize("value", [0.003, 1e-05, 1 / 3, 7, True, None, "word", ["kd"], {"kind": "js"}])
def test_an_assignment_reads_back_as_what_it_was(value):
    """The printed command is the trial's own."""
    config = {"a": None}
    from stillhouse.core.config import apply_override

    apply_override(config, [as_assignment("a", value)])
    found = config["a"]
    assert (float(found) if isinstance(value, float) else found) == value
