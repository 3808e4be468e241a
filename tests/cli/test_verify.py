"""A verdict for anyone's runs: pairs, words and exit status, against scipy."""

import json

import numpy as np
import pytest
from scipy import stats

from stillhouse.cli.main import main


def write(folder, tables, ids=None):
    """One JSON a seed."""
    folder.mkdir(exist_ok=True)
    for seed, values in enumerate(tables):
        names = [f"item-{n}" for n in range(len(values))] if ids is None else ids[seed]
        content = {"seed": seed, "scores": dict(zip(names, map(float, values)))}
        (folder / f"seed-{seed}.json").write_text(json.dumps(content))
    return sorted(folder.iterdir())


def verified(capsys, *words):
    status = main(["verify", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def figures(capsys, *words):
    status, text = verified(capsys, *words, "--json")
    assert status in (0, 1), text
    return status, json.loads(text)


@pytest.fixture
def two(tmp_path):
    """Three seeds, 200 items that differ in difficulty; A is a little better on each."""
    rng = np.random.default_rng(0)
    hard = rng.normal(size=200)
    b = hard + 0.1 * rng.normal(size=(3, 200))
    a = hard + 0.05 + 0.1 * rng.normal(size=(3, 200))
    return a, b, write(tmp_path / "a", a), write(tmp_path / "b", b)


def test_one_seed_is_the_paired_t_test(two, capsys):
    """Of scipy, to the last digit: items are paired."""
    a, b, first, second = two
    _, found = figures(capsys, first[0], second[0], "--one-seed")
    expected = stats.ttest_rel(a[0], b[0]).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert verified(capsys, first[0], second[0])[0] == 2  # and has to be asked for


def test_words_and_status(two, capsys):
    """A is better; B is worse; A is not better than itself."""
    _, _, a, b = two
    assert verified(capsys, *a, *b, "--expect", "helps")[0] == 0
    assert verified(capsys, *a, *b)[1].startswith("helps\n")
    status, text = verified(capsys, *b, *a)
    assert (status, text.split("\n")[0]) == (1, "hurts")
    assert figures(capsys, *a, *b, "--lower-is-better")[1]["word"] == "hurts"
    assert verified(capsys, *b, *a, "--lower-is-better", "--expect", "helps")[0] == 0
    assert verified(capsys, *b, *a, "--margin", "0.5")[0] == 0
    assert verified(capsys, *a, "--against", *a, "--expect", "helps")[0] == 1
    assert verified(capsys, *a, "--against", *a)[1].startswith("no difference shown\n")


def test_ids_are_matched_whatever_their_order(two, tmp_path, capsys):
    """Pairing by place would compare hard items with easy ones."""
    _, b, first, second = two
    order = np.random.default_rng(1).permutation(200)
    names = [[f"item-{n}" for n in order]] * 3
    shuffled = write(tmp_path / "shuffled", b[:, order], names)
    assert figures(capsys, *first, *shuffled) == figures(capsys, *first, *second)


def test_two_seeds_pass_nothing(two, capsys):
    """Everywhere else two seeds have no verdict; here they had an interval, a word and status 0."""
    a, b, first, second = two
    for expected in ("helps", "not-hurts"):
        status, found = figures(capsys, *first[:2], "--against", *second[:2], "--expect", expected)
        assert (status, found["word"], found["passed"]) == (1, "not tested (2 seeds; a verdict needs 3)", False)
    assert found["each"] == pytest.approx((a - b)[:2].mean(1))
    text = verified(capsys, *first[:2], "--against", *second[:2])[1]
    assert "under the seeds" in text
    assert "interval" not in text


def test_seeds_are_matched_whatever_their_order(tmp_path, capsys):
    """Seeds that move both sides alike leave no difference between them; paired with another one they do."""
    rng = np.random.default_rng(0)
    luck = np.array([[0.0], [1.0], [2.0]])
    b = rng.normal(size=(3, 50)) * 0.01 + luck
    first = write(tmp_path / "a", b + 0.1 + rng.normal(size=(3, 50)) * 0.01)
    second = write(tmp_path / "b", b)
    backwards = list(reversed(second))
    assert figures(capsys, *first, "--against", *backwards)[1]["word"] == "helps"
    for place, file in enumerate(backwards):  # the seed is named by the file's name where the content names none
        content = json.loads(file.read_text())
        (tmp_path / "b" / f"z{place}-{content.pop('seed')}.json").write_text(json.dumps(content))
        file.unlink()
    assert figures(capsys, *first, *sorted((tmp_path / "b").iterdir()))[1]["word"] == "helps"


def test_every_form_of_a_file_is_the_same(two, tmp_path, capsys):
    """Rows, CSV a seed, one CSV of all."""
    _, b, first, second = two
    expected = figures(capsys, *first, *second)
    ids = [f"item-{n}" for n in range(200)]
    rows, csvs = (tmp_path / name for name in ("rows", "csvs"))
    for folder in (rows, csvs):
        folder.mkdir()
    whole = ["seed,id,score"]
    for seed in range(3):
        (rows / f"run_{seed}.json").write_text(json.dumps([{"id": i, "score": s} for i, s in zip(ids, b[seed])]))
        lines = [f"{i},{float(s)!r}" for i, s in zip(ids, b[seed])]
        (csvs / f"run-{seed}.csv").write_text("\n".join(["id,score", *lines]))
        whole += [f"{seed},{line}" for line in lines]
    (tmp_path / "whole.csv").write_text("\n".join(whole))
    for folder in (rows, csvs):
        assert figures(capsys, *first, *sorted(folder.iterdir())) == expected
    assert figures(capsys, *first, "--against", tmp_path / "whole.csv") == expected
    assert figures(capsys, tmp_path / "a", tmp_path / "b") == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"scores": {"item-0": 1}}', "ids differ: B, seed 0 lacks item-1"),
        ('{"scores": {"item-0": 1, "item-1": 2, "x": 3}}', "has also x"),
        ('{"scores": {"item-0": 1, "item-1": NaN}}', "expected finite numbers, got 1 that are not"),
        ('{"scores": [1, 2]}', "rows of id and score"),
        ('{"seed": 4, "scores": {"item-0": 1, "item-1": 2}}', "seeds differ (A: 0; B: 4)"),
        ("[1, 2]", "rows of id and score"),
        ('[{"id": "item-0", "scor": 1}]', "did you mean 'scor'"),
        ("[]", "rows of id and score"),
        ("no json", "neither CSV nor JSON"),
    ],
)
def test_faults_are_named_with_status_2(tmp_path, capsys, content, expected):
    """A mismatch that is not named is looked for in thousands of rows."""
    first = write(tmp_path / "a", [[1, 0]])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "seed-0.json").write_text(content)
    status, text = verified(capsys, *first, tmp_path / "b" / "seed-0.json", "--one-seed")
    assert status == 2
    assert expected in text
