"""Rules on the page: colours by hand, words, the growth of accuracy; from the files alone."""

import base64
import io
import json
import re

import numpy as np
import pytest
from matplotlib.image import imread

from stillhouse.core.records import write_arrays
from stillhouse.report.page import write_blocks
from stillhouse.tasks.classification.rules_file import ARRAYS, RULES, read_rules, rule_blocks


@pytest.fixture
def folder(tmp_path):
    rule = {
        "class_name": "cat",
        "place": "clauses",
        "clause": 7,
        "adds": 0.25,
        "holds": 0.5,
        "elsewhere": 0.125,
        "count": 9,
        "allowed": 1,
    }
    rules = [
        {**rule, "literals": [0, 5], "words": ["pixel (0, 0) above 0.5", "pixel (0, 1) not above 0.5"]},
        {**rule, "class_name": "<dog>", "literals": [], "words": [], "place": "block_2"},
    ]
    index = {"rules": rules, "growth": [[0, 0.1], [1, 0.42]], "full": 0.97, "shown": 0.61, "exact": True}
    more = {
        "chosen_on": 10,
        "cut_on": 2000,
        "judged_on": 1234,
        "judged_of": 1234,
        "left_out": 3,
        "class_names": ["cat", "<dog>"],
    }
    (tmp_path / RULES).write_text(json.dumps({**index, **more}))
    write_arrays(
        tmp_path / ARRAYS,
        mean_0=np.array([[[0, 255], [0, 0]]], np.uint8),
        wanted_0=np.array([[255, 0], [0, 0]], np.uint8),
        unwanted_0=np.array([[0, 128], [0, 0]], np.uint8),
        examples_1=np.full((2, 3, 4, 4), 200, np.uint8),
    )
    return tmp_path


def page_of(folder):
    return write_blocks(folder / "page.html", rule_blocks(folder), title="Rules", headline="x", lead="y").read_text()


def test_the_page_shows_what_the_files_hold(folder):
    """Every figure of the index, the picture to the pixel, and names that are markup are escaped."""
    page = page_of(folder)
    text = re.sub(r"<[^>]+>", "", page).replace("\N{NO-BREAK SPACE}", " ")
    assert "42.0 %" in page.replace("\N{NO-BREAK SPACE}", " ")
    for words in (
        "1,234 test images",
        "97.0% with all clauses, 10.0% with none",
        "61.0% with these 2 rules",
        "2 of 18 literals",
        "61.0 %",
        "97.0 %",
    ):
        assert words in text, words
    line = "cat: +0.250 where at most 1 of 2 fail: pixel (0, 0) above 0.5, pixel (0, 1) not above 0.5 (clauses, clause 7; 2 of 9 "
    assert f"{line}literals kept; fulfilled to 50% on cat, 12% on others)" in text
    assert "<dog>" not in page
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 2 + 2  # the rule and the mean of its class; two examples
    first = (255 * imread(io.BytesIO(base64.b64decode(pictures[0])))[..., :3]).round().astype(int)
    assert first[0, 0].tolist() == [255, 176, 32]
    assert first[1].tolist() == [[60, 60, 60]] * 2  # ignored: the dark mean
    assert first[0, 1, 2] > first[0, 1, 0] + 20  # dark is asked for, half strongly: bluer than the gray under it


def test_where_clauses_decide_nothing_no_rule_is_drawn(folder):
    """A page that explains answers by clauses which do not decide them misleads: 95 % without a clause, 97 % with all."""
    index = json.loads((folder / RULES).read_text())
    (folder / RULES).write_text(json.dumps(index | {"growth": [[0, 0.95], [1, 0.95]], "judged_of": 5000}))
    page = page_of(folder)
    text = re.sub(r"<[^>]+>", "", page)
    assert "None is drawn" in text
    assert "Accuracy on 1,234 of the 5,000 test images, drawn by class" in text
    assert "<img" not in page


def test_a_broken_file_is_named_and_left_out(folder, tmp_path):
    """The page survives; a folder without rules has no section."""
    (folder / ARRAYS).write_bytes((folder / ARRAYS).read_bytes()[:-30])
    assert "as an npz file" in rule_blocks(folder)[0].entries[0][1]
    (folder / RULES).write_text("{}")
    assert "expected the entries" in rule_blocks(folder)[0].entries[0][1]
    (folder / RULES).unlink()
    assert rule_blocks(folder) == []
    with pytest.raises(Exception, match="cannot read"):
        read_rules(folder / RULES)
