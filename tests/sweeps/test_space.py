"""What a sweep tries: lists, ranges, and faults in them, named before anything is trained."""

import pytest

from stillhouse.cli.main import main
from stillhouse.core.config import ConfigError
from stillhouse.sweeps.space import Choices, Range, as_assignment, grid, grid_size, read_assignments, read_space


def test_a_file_of_ranges_is_read_as_meant(tmp_path):
    """YAML 1.1 reads 1e-4 as a word, and whole numbers stay whole."""
    path = tmp_path / "space.yaml"
    path.write_text(
        "training.learning_rate: {low: 1e-4, high: 1e-2, log: true}\n"
        "training.epochs: {low: 2, high: 8, step: 2}\nstudent.depth: {choices: [1, 2]}\nstudent.pool: [cls, mean]\n"
    )
    found = read_space(path)
    rate = found["training.learning_rate"]
    assert isinstance(rate, Range)
    assert (rate.low, rate.high, rate.log, rate.whole) == (1e-4, 1e-2, True, False)
    assert found["training.epochs"].whole
    assert found["student.pool"] == Choices(("cls", "mean"))
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
        ("a: {low: 2, high: 1}", "expected low below high"),
        ("a: {low: 0, high: 1, log: true}", "above 0 on a logarithmic scale"),
        ("a: {low: 1, hihg: 2}", "did you mean 'high'"),
        ("a: {choices: []}", "an empty one"),
        ("a: 3", "expected {low"),
        ("a: {low: 1, high: 2, log: yes, step: 1}", "log or step"),
        ("a: {low: .nan, high: 2}", "a.low: expected a number"),
    ],
)
def test_a_faulty_file_is_one_clear_line(tmp_path, text, expected):
    """Ranges that hold nothing, or nothing that can be drawn from."""
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_space(tmp_path / "space.yaml")
    assert expected in str(caught.value)


def written(out):
    """A study of one finished trial, without a training."""
    from stillhouse.sweeps.study import Plan, finish, open_storage, open_study, point_of, real_trials

    space = {"rate": Choices((0.1, 0.2))}
    plan = Plan("wine", (), space, 2, 1, False, "tpe", 0, tuple(grid(space)), {"space": "of the test"})
    study = open_study(open_storage(None, out), "test", plan, resume=(out / "study.journal").exists())
    if not real_trials(study):
        trial = study.ask()
        trial.set_user_attr("settings", point_of(study, trial, plan))
        trial.report(0.25, 1)
        finish(study, trial, "COMPLETE", 0.5)
    return real_trials(study)[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"values":[0.5]', '"values":[0.7]'),
        ('"state":1', '"state":3'),
        ('"settings":{"rate":0.1}', '"settings":{"rate":0.2}'),
        ('"intermediate_value":0.25', '"intermediate_value":0.75'),
    ],
    ids=["score", "state", "settings", "epoch"],
)
def test_a_trial_that_was_changed_in_the_journal_is_an_error(old, new, tmp_path):
    """A changed digit would choose other settings; optuna's files and databases have no hashes."""
    from stillhouse.core.checks import InputError
    from stillhouse.sweeps.study import JOURNAL, check_trial

    check_trial(written(tmp_path))
    path = tmp_path / JOURNAL
    text = path.read_text().replace(": ", ":").replace(", ", ",")
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match="trial 0 of the study was changed"):
        check_trial(written(tmp_path))


@pytest.mark.parametrize("line", ['{"op_code" 4}', "[3]", '{"op_code": "x"}'])
def test_a_line_that_is_no_entry_is_named(line, tmp_path):
    """Not a traceback of the library that reads it."""
    from stillhouse.core.checks import InputError
    from stillhouse.sweeps.study import JOURNAL

    written(tmp_path)
    lines = (tmp_path / JOURNAL).read_text().splitlines()
    (tmp_path / JOURNAL).write_text("\n".join([lines[0], line, *lines[1:]]) + "\n")
    with pytest.raises(InputError, match="line 2: was changed"):
        written(tmp_path)


def test_a_trial_whose_worker_was_killed_before_it_gave_its_name_is_waited_for(tmp_path, monkeypatch):
    """The last worker ended with status 0 and left it running for ever."""
    from stillhouse.sweeps import study as studies

    monkeypatch.setattr(studies, "STARTING_SECONDS", 1.0)
    space = {"rate": Choices((0.1, 0.2))}
    plan = studies.Plan("wine", (), space, 1, 1, False, "tpe", 0, tuple(grid(space)), {})
    study = studies.open_study(studies.open_storage(None, tmp_path), "test", plan, resume=False)
    lost = study.ask()
    found = studies.next_trial(study, plan, tmp_path)
    assert found is not None
    assert found.number == lost.number
    studies.finish(study, found, "COMPLETE", 0.5)
    assert studies.next_trial(study, plan, tmp_path) is None
