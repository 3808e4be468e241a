"""`stillhouse.FiveNumbers`, as a user of scikit-learn would take it."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import stillhouse
from stillhouse.core.checks import InputError


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return x[:300].astype(np.float32), y[:300]


@pytest.fixture(scope="module")
def fitted(digits: tuple[np.ndarray, np.ndarray]) -> stillhouse.FiveNumbers:
    return stillhouse.FiveNumbers(5, epochs=1, random_state=3).fit(digits[0])


def test_it_is_a_step_of_a_pipeline(digits: tuple) -> None:
    x, y = digits
    pipeline = make_pipeline(stillhouse.FiveNumbers(5, epochs=1), LogisticRegression(max_iter=2000))
    assert pipeline.fit(x[:200], y[:200]).score(x[200:], y[200:]) > 0.5  # chance is a tenth
    assert pipeline[:-1].get_feature_names_out().tolist() == [f"fivenumbers{n}" for n in range(5)]
    assert clone(pipeline[0]).get_params() == pipeline[0].get_params()


def test_a_flipped_bit_in_the_saved_weights_is_refused(fitted: stillhouse.FiveNumbers, tmp_path: Path) -> None:
    fitted.save(tmp_path / "five")
    weights = tmp_path / "five" / "student.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"student\.safetensors"):
        stillhouse.load(tmp_path / "five")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("n_components", 64, "student.levels: expected a first level below the teacher's width 64, got 64"),
        ("normalize", "yes", "normalize"),
        ("random_state", -1, "random_state"),
    ],
)
def test_a_bad_parameter_is_named_as_the_user_knows_it(digits: tuple, name: str, value: object, words: str) -> None:
    """A text of n_components ended in a TypeError, 'yes' was taken, random_state was called data.split_seed."""
    with pytest.raises(ValueError, match=words):
        stillhouse.FiveNumbers(**{"epochs": 1, name: value}).fit(digits[0])


def test_bad_rows_are_refused(fitted: stillhouse.FiveNumbers, digits: tuple) -> None:
    for rows, words in ((np.full((100, 8), np.nan), "NaN"), (digits[0][:20], "minimum of 100")):
        with pytest.raises(ValueError, match=words):
            stillhouse.FiveNumbers().fit(rows)
    with pytest.raises(ValueError, match="64 features"):
        fitted.transform(digits[0][:, :10])


def test_random_state_is_scikit_learns(digits: tuple) -> None:
    """None and a RandomState were refused; each draws a number, and the number alone makes the same fit."""
    few = digits[0][:100]
    states = (None, np.random.RandomState(4), np.int64(7))
    found = [stillhouse.FiveNumbers(3, epochs=1, random_state=state).fit(few) for state in states]
    assert len({one.seed_ for one in found}) == 3
    assert found[2].seed_ == 7
    assert found[1].seed_ == np.random.RandomState(4).randint(2**32, dtype=np.uint32)
    again = stillhouse.FiveNumbers(3, epochs=1, random_state=found[0].seed_).fit(few)
    assert (again.transform(few) == found[0].transform(few)).all()


def test_what_is_saved_is_loaded(fitted: stillhouse.FiveNumbers, digits: tuple, tmp_path: Path) -> None:
    """Without the estimator: numpy alone."""
    fitted.save(tmp_path / "five")
    assert (stillhouse.load(tmp_path / "five").predict(digits[0]) == fitted.transform(digits[0])).all()
