"""What people read of rules: shares counted by hand on rows that trained nothing, what a screen keeps, marked words."""

import numpy as np
import pytest

from stillhouse.core.checks import InputError
from stillhouse.report.page import write_blocks
from stillhouse.tasks.classification.readable import ReadableModel, Rule
from stillhouse.tasks.classification.readable_text import (
    FILE,
    TEXT,
    _class_lines,
    read_screen,
    screen,
    write_screen,
)
from stillhouse.tasks.classification.report import marked, readable_blocks, screen_blocks

NAMES = ("card", "pin", "the", "transfer")
READING = {"kind": "words", "ngrams": 1, "text_column": "text"}
RULES = (
    Rule((("pin", True), ("transfer", False)), (2.0, 0.0)),
    Rule((("transfer", True),), (0.0, 1.0)),
    Rule((("the", True),), (0.0, 0.3)),
    Rule((("card", True),), (0.0, 0.2)),
)
MODEL = ReadableModel(("change_pin", "transfers"), READING, NAMES, RULES, (0.0, 0.1))
TEXTS = (
    "the <pin>",
    "the pin of the card",
    "the pin",
    "the transfer",
    "transfer the pin",
    "the",
    "the card",
    "the pin!",
)
LABELS = np.array([0, 0, 1, 1, 1, 1, 1, 0])


def counts(texts):
    return np.array([[text.replace("<", " ").count(name) for name in NAMES] for text in texts], dtype=np.uint8)


@pytest.fixture
def found():
    return screen(MODEL, counts(TEXTS), counts(TEXTS), LABELS, TEXTS)


def test_shares_are_those_counted_by_hand(found):
    """`pin and not transfer` holds on 4 of 8 rows and is right on 3; the whole model is right on all but that one."""
    line = found.lines[0]
    assert (line.words, line.class_name) == ("pin and not transfer", "change_pin")
    assert (line.holds, line.right, line.rows) == (0.5, 0.75, 4)
    assert found.full == 7 / 8
    assert "pin and not transfer -> change_pin   holds for 50 % of messages, right in 75 %" in found.text()


def test_a_rule_that_holds_everywhere_has_no_line_of_its_own():
    """`the` is in nine of ten training texts, all of which the model gives its class."""
    train = counts(["the"] * 7 + ["the transfer"] * 2 + ["pin"])
    found = screen(MODEL, train, counts(TEXTS), LABELS, TEXTS)
    assert {line.words for line in found.lines} == {"pin and not transfer", "transfer"}


def test_examples_are_rows_that_the_rule_decides():
    """Without the points of `pin` the answer to a bare `pin` is another one; where `card` stands too it is not."""
    rules = (Rule((("pin", True),), (2.0, 0.0)), Rule((("card", True),), (5.0, 0.0)))
    model = ReadableModel(("change_pin", "transfers"), READING, NAMES, rules, (0.0, 0.1))
    texts = ("pin card", "card pin", "the pin", "pin the", "the")
    found = screen(model, counts(texts * 4), counts(texts), np.array([0, 0, 0, 0, 1]), texts)
    line = next(line for line in found.lines if line.words == "card")
    assert line.examples == ("pin card", "card pin")
    rare = screen(model, counts(["pin", "the", "the", "the"]), counts(texts), np.array([0, 0, 0, 0, 1]), texts)
    assert next(line for line in rare.lines if line.words == "pin").examples == ("the pin", "pin the", "pin card")


def test_what_the_screen_keeps_is_of_its_points_alone():
    """Rows are counted on the held rows, not on those by which lines are chosen; one line of 20 classes keeps little."""
    classes = tuple(f"c{k:02d}" for k in range(20))
    names = tuple(f"word{k:02d}" for k in range(20))
    votes = [tuple(float(k == own) for k in range(20)) for own in range(20)]
    rules = tuple(Rule(((name, True),), vote) for name, vote in zip(names, votes))
    model = ReadableModel(classes, READING, names, rules, (0.0,) * 20)
    rows = np.eye(20, dtype=np.uint8)
    kept = screen(model, np.tile(rows, (3, 1)), rows, np.arange(20), names, lines=8)
    assert kept.classes == ()
    assert (kept.first, len(kept.lines), kept.text().count("->")) == (4, 8, 4)
    assert kept.full == 1.0
    assert kept.shown == 5 / 20  # four of them, and the first of all for a row on which nothing holds


def test_points_without_room_do_not_count():
    """A line holds about a hundred characters: the smallest of forty points lose their place, on the screen and in the sum."""
    names = tuple(f"word{n:02d}" for n in range(40))
    model = ReadableModel(("x", "y"), READING, names, tuple(Rule(((n, True),), (1.0, 0.0)) for n in names), (0.0, 0.0))
    points = np.stack([np.arange(40) + 1.0, np.zeros(40)], axis=1)
    lines = _class_lines(model, points, np.zeros(2), 1)
    assert 0 < np.count_nonzero(points) < 15
    assert points[-1, 0] == 40
    assert (read_points(lines, names)[0] == points).all()


def read_points(classes, names):
    """(F, K) and (K) of `+2 pin, my pin; -0.5 always`, as a person reads them."""
    points, start = np.zeros((len(names), len(classes))), np.zeros(len(classes))
    for k, (_, words) in enumerate(classes):
        for group in filter(None, words.split("; ")):
            value, _, listed = group.partition(" ")
            for name in listed.split(", "):
                if name == "always":
                    start[k] = float(value)
                else:
                    points[names.index(name), k] = float(value)
    return points, start


def test_points_are_chosen_by_what_they_bring():
    """Two words that always come together bring no more than one: the second has no points."""
    rules = [Rule((("aa", True),), (3.0, 0.0)), Rule((("bb", True),), (3.0, 0.0)), Rule((("cc", True),), (4.5, 0.0))]
    model = ReadableModel(("x", "y"), READING, ("aa", "bb", "cc"), tuple(rules), (-3.0, 0.0))
    rows = np.array([[1, 1, 0]] * 20 + [[0, 0, 1]] * 20 + [[0, 0, 0]] * 40, dtype=np.uint8)
    answers = model.scores(rows).argmax(1)
    found = screen(model, rows, rows, answers, ["x"] * 80)
    points, _ = read_points(found.classes, ["aa", "bb", "cc"])
    assert (np.abs(points).sum(1) > 0).tolist() in ([True, False, True], [False, True, True])
    assert found.shown == 1.0


def test_points_of_few_rules_are_fitted_to_the_answers_of_all():
    """`aa` and `bb` go together, and one of them must do what both did: its points are more than it had."""
    rules = [Rule((("aa", True),), (2.0, 0.0)), Rule((("bb", True),), (2.0, 0.0))]
    model = ReadableModel(("x", "y"), READING, ("aa", "bb"), tuple(rules), (-2.0, 0.0))
    rows = np.array([[1, 1]] * 50 + [[0, 0]] * 50, dtype=np.uint8)
    found = screen(model, rows, rows, model.scores(rows).argmax(1), ["x"] * 100)
    points, start = read_points(found.classes, ["aa", "bb"])
    scores = rows @ points + start
    assert (scores[0, 0] - scores[0, 1], scores[-1, 0] - scores[-1, 1]) == pytest.approx((2, -2), abs=1)
    assert np.count_nonzero(points.any(1)) == 1


def test_files_come_back_and_the_page_escapes(found, tmp_path):
    """Texts of strangers are on the page: nothing of them is markup."""
    write_screen(tmp_path, MODEL, found, student={"arm": "kd", "seed": 0})
    model, again, index = read_screen(tmp_path / FILE)
    assert (model, again, index["student"]) == (MODEL, found, {"arm": "kd", "seed": 0})
    assert (tmp_path / TEXT).read_text() == found.text()
    page = write_blocks(tmp_path / "page.html", screen_blocks(tmp_path), title="t", headline="h", lead="l").read_text()
    assert "the &lt;<mark>pin</mark>&gt;" in page
    assert "<pin>" not in page
    assert screen_blocks(tmp_path / "none") == []
    assert readable_blocks(found)[0].title == "What decides"
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(InputError, match="malformed"):
        read_screen(tmp_path / FILE)


def test_words_are_marked_as_they_are_counted():
    """Whole words in any case; one letter between two words of a run counts for nothing."""
    assert str(marked("Pins, my PIN.", ["pin"])) == "Pins, my <mark>PIN</mark>."
    assert str(marked("change a pin", ["change pin"])) == "<mark>change a pin</mark>"
    assert str(marked("<i>", [])) == "&lt;i&gt;"


def test_points_that_are_all_small_are_printed_in_a_larger_unit():
    """Thresholds of one column share what they say: each was too weak to be printed, and the screen was empty."""
    names = tuple(f"w{n}" for n in range(12))
    rules = tuple(Rule(((name, True),), (0.3, 0.0)) for name in names)
    rows = (np.random.default_rng(0).random((400, 12)) < 0.5).astype(np.uint8)
    model = ReadableModel(("x", "y"), READING, names, rules, (-1.8, 0.0))
    found = screen(model, rows, rows, model.scores(rows).argmax(1), ["x"] * 400)
    assert found.shown > 0.9
