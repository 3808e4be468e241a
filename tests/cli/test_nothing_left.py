"""A setting that is refused leaves nothing behind, and its folder can be used at once."""

import json

import pytest

from stillhouse.cli.main import main
from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.card import read_card
from stillhouse.tasks.classification.students import StudentConfig

TEXT = " ".join(f"word {n % 37} of {n % 11}." for n in range(4000))
SMALL = "--epochs 1 --seeds 1 data.train_limit=40 data.test_limit=30 student.depth=1 student.embed_dim=16"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        "distill digits student.clauses=1000000000000",
        "distill digits signals.0.kind=logits init_from_teacher.nowhere=nothing",
        "vision --dataset digits --models tm --epochs 1 model.tm.clauses=1000000000000 --epochs 1",
        "train-teacher tiny-shakespeare-teacher corpus.source=text.txt corpus.tokenizer=bpe:300 model.width=4194304",
        "train-teacher digits-teacher --learning-rate 1e30 training.final_learning_rate=1e30",
    ],
)
def test_what_is_refused_leaves_no_folder(line, place, capsys):
    """`o/run.json` was left of clauses that no memory holds: the next try met "holds a run already"."""
    assert main([*line.split(), "--out", "o"]) == 2, capsys.readouterr()
    assert "Traceback" not in capsys.readouterr().err
    assert sorted(path.name for path in place.iterdir()) == ["text.txt"]


def test_the_next_try_begins_in_the_same_folder(place, capsys):
    """Of a run that was killed before it had trained anything, too."""
    line = ["distill", "digits", *SMALL.split(), "arms=[no-kd]", "--quiet", "--out", "o"]
    assert main([*line, "student.clauses=1000000000000"]) == 2
    (place / "o").mkdir()
    (place / "o" / "run.json").write_text("{}")
    assert main([*line, "student.clauses=8"]) == 0, capsys.readouterr().err
    assert json.loads((place / "o" / "run.json").read_text())["kind"] == "classification"
    assert main([*line, "student.clauses=8"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    card = json.loads((place / "o" / "student" / "card.json").read_text())
    del card["sha256"]
    for broken, words in (
        ({**card, "input_spec": None}, "malformed card"),
        ({key: value for key, value in card.items() if key != "input_spec"}, "malformed card"),
        ({**card, "input_spec": {"class_names": ["a"]}}, "missing 3 required positional arguments: 'shape'"),
        ({**card, "input_spec": {**card["input_spec"], "depth": 1}}, "unexpected keyword argument 'depth'"),
    ):
        (place / "card.json").write_text(json.dumps(broken))
        with pytest.raises(InputError, match=words):  # a KeyError was raised before the check
            read_card(place, StudentConfig)
