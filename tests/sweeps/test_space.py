"""What a sweep tries: lists, ranges, and faults in them, named before anything is trained."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from stillhouse.cli.main import main
from stillhouse.core.config import ConfigError
from stillhouse.sweeps.space import as_assignment, grid, grid_size, read_assignments, read_space


def test_a_file_of_ranges_is_read_as_meant(tmp_path):
    """YAML 1.1 reads 1e-4 as a word, and whole numbers stay whole."""
    path = tmp_path / "space.yaml"
    path.write_text(
        "training.learning_rate: {low: 1e-4, high: 1e-2, log: true}\n"
        "training.epochs: {low: 2, high: 8, step: 2}\nstudent.depth: {choices: [1, 2]}\nstudent.pool: [cls, mean]\n"
    )
    found = read_space(path)
    assert found["training.learning_rate"] == FloatDistribution(1e-4, 1e-2, log=True)
    assert found["training.epochs"] == IntDistribution(2, 8, step=2)
    assert found["student.pool"] == CategoricalDistribution(("cls", "mean"))
    assert grid_size(found) is None


def test_a_grid_has_every_point_once():
    """The product, and no point twice."""
    _, lists = read_assignments(["a=1,2,3", "b=x,y", "c=[1, 2],[3]"])
    points = [tuple(map(str, point.values())) for point in grid(lists)]
    assert grid_size(lists) == len(points) == len(set(points)) == 12


def test_an_assignment_survives_the_command_line():
    """The command that is printed must mean the settings of the trial."""
    values = (0.003, 1e-05, 0.1234567891, 7, "cls", [1, 2], True, None)
    for value in values:
        fixed, _ = read_assignments([as_assignment("key", value)])
        from stillhouse.core.config import set_path

        mapping = {}
        set_path(mapping, fixed[0])
        found = mapping["key"]
        assert (float(found) if isinstance(value, float) else found) == value


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["digits"], "nothing to sweep: give KEY=A,B"),
        (["digits", "--set", "training.learning_rat=1e-3,1e-2"], "did you mean 'learning_rate'"),
        (["digits", "--set", "training.learning_rate="], "an empty list"),
        (["digits", "--set", "training.learning_rate=1e-3,,2e-3"], "an empty list or entry"),
        (["digits", "--set", "training.learning_rate=1e-3,0.001"], "expected different values"),
        (["digits", "--set", "training.learning_rate=1e-3,-1"], "greater than 0"),
        (["digits", "--set", "seeds=1,2"], "nothing to sweep"),
        (["digits", "--set", "arms=[kd],[no-kd]"], "the arm that ships"),
        (["digit", "--set", "training.epochs=1,2"], "did you mean 'digits'"),
        (["digits", "--set", "student.embed_dim=30,32", "--set", "student.heads=4,2"], "embed_dim"),
        (["digits", "--space", "nowhere.yaml"], "cannot read"),
        (["digits", "--workers", "0", "--set", "training.epochs=1,2"], "--workers"),
        (["digits", "--epochs", "3"], "unknown flag --epochs"),
    ],
)
def test_faults_are_named_before_anything_is_trained(words, expected, capsys, tmp_path, monkeypatch):
    """One line, status 2, no folder left."""
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *words]) == 2
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a mapping"),
        ("{}", "an empty file"),
        ("a: {low: 1}", "a.high: expected a number, got None"),
        ("a: {low: 2, high: 1}", "low <= high"),
        ("a: {low: 0, high: 1, log: true}", "must hold for `log=True`"),
        ("a: {low: 1, hihg: 2}", "did you mean 'high'"),
        ("a: {choices: []}", "an empty one"),
        ("a: 3", "expected {low"),
        ("a: {low: 1, high: 2, log: yes, step: 2}", "step"),
        ("a: {low: .nan, high: 2}", "a.low: expected a number"),
    ],
)
def test_a_faulty_file_is_one_clear_line(tmp_path, text, expected):
    """Ranges that hold nothing, or nothing that can be drawn from."""
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_space(tmp_path / "space.yaml")
    assert expected in str(caught.value)
