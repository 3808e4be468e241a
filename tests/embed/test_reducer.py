"""`stillhouse.Reducer`, as a user of scikit-learn would take it."""

from copy import copy
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import stillhouse
from stillhouse.core.checks import InputError
from stillhouse.core.hashes import verify_files
from stillhouse.core.records import read_json


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return x[:300].astype(np.float32), y[:300]


@pytest.fixture(scope="module")
def fitted(digits: tuple[np.ndarray, np.ndarray]) -> stillhouse.Reducer:
    return stillhouse.Reducer(5, epochs=1, random_state=3).fit(digits[0])


def test_a_code_does_not_depend_on_the_rows_beside_it(fitted: stillhouse.Reducer, digits: tuple) -> None:
    x = digits[0]
    np.testing.assert_allclose(fitted.transform(x)[41], fitted.transform(x[41:42])[0], atol=1e-5)


def test_it_is_a_step_of_a_pipeline(digits: tuple) -> None:
    x, y = digits
    pipeline = make_pipeline(stillhouse.Reducer(5, epochs=1), LogisticRegression(max_iter=2000))
    assert pipeline.fit(x[:200], y[:200]).score(x[200:], y[200:]) > 0.5  # chance is a tenth
    assert pipeline[:-1].get_feature_names_out().tolist() == [f"reducer{n}" for n in range(5)]
    assert clone(pipeline[0]).get_params() == pipeline[0].get_params()


def test_saved_and_loaded_codes_are_equal_to_the_bit(fitted: stillhouse.Reducer, digits: tuple, tmp_path: Path) -> None:
    fitted.save(tmp_path / "five")
    loaded = stillhouse.Reducer.load(tmp_path / "five")
    assert (loaded.transform(digits[0]) == fitted.transform(digits[0])).all()
    with pytest.raises(InputError, match="does not exist yet"):
        fitted.save(tmp_path / "five")


def test_a_flipped_bit_in_the_saved_weights_is_refused(fitted: stillhouse.Reducer, tmp_path: Path) -> None:
    fitted.save(tmp_path / "five")
    weights = tmp_path / "five" / "student.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"student\.safetensors"):
        stillhouse.Reducer.load(tmp_path / "five")


def test_bad_input_is_refused(fitted: stillhouse.Reducer, digits: tuple) -> None:
    with pytest.raises(ValueError, match="NaN"):
        stillhouse.Reducer().fit(np.full((100, 8), np.nan))
    with pytest.raises(ValueError, match="minimum of 100"):
        stillhouse.Reducer().fit(digits[0][:20])
    with pytest.raises(ValueError, match="64 features"):
        fitted.transform(digits[0][:, :10])
    with pytest.raises(InputError, match="1 to 63"):
        stillhouse.Reducer(64).fit(digits[0])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("n_components", "5", r"n_components: expected a whole number, 1 to 63 \(below D\), got '5'"),
        ("n_components", True, "n_components: expected a whole number"),
        ("n_components", 2.5, "n_components: expected a whole number"),
        ("epochs", 0, "epochs: expected a whole number, 1 or more, got 0"),
        ("epochs", "many", "epochs: expected a whole number"),
        ("normalize", "yes", "normalize: expected True, False or None, got 'yes'"),
        ("normalize", 1, "normalize: expected True, False or None, got 1"),
        ("random_state", -1, "random_state: expected None, a whole number"),
        ("random_state", "3", "random_state: expected None, a whole number"),
    ],
)
def test_a_bad_parameter_is_named_as_the_user_knows_it(digits: tuple, name: str, value: object, words: str) -> None:
    """A text of n_components ended in a TypeError, 'yes' was taken, random_state was called data.split_seed."""
    with pytest.raises(InputError, match=f"^{words}"):
        stillhouse.Reducer(**{"epochs": 1, name: value}).fit(digits[0])


def test_random_state_is_scikit_learns(digits: tuple) -> None:
    """None, a RandomState and a Generator were refused; each draws a number, and the number alone makes the same fit."""
    few = digits[0][:100]
    states = (None, np.random.RandomState(4), np.random.default_rng(4), np.int64(7))
    found = [stillhouse.Reducer(3, epochs=1, random_state=state).fit(few) for state in states]
    assert len({one.seed_ for one in found}) == 4
    assert found[3].seed_ == 7
    assert found[1].seed_ == np.random.RandomState(4).randint(2**32, dtype=np.uint32)
    again = stillhouse.Reducer(3, epochs=1, random_state=found[0].seed_).fit(few)
    assert (again.transform(few) == found[0].transform(few)).all()
    assert clone(found[0]).get_params() == found[0].get_params()


@pytest.mark.parametrize("state", [3, None, np.int64(3)])
def test_a_loaded_reducer_is_the_same_estimator(
    fitted: stillhouse.Reducer, digits: tuple, tmp_path: Path, state: int | None
) -> None:
    """epochs 1, random_state 3 and normalize None came back as 24, 0 and False: `clone(loaded)` was another estimator."""
    made = copy(fitted).set_params(random_state=state)
    made.save(tmp_path / "five")
    loaded = stillhouse.Reducer.load(tmp_path / "five")
    assert clone(loaded).get_params() == made.get_params()
    assert (loaded.seed_, loaded.epochs, loaded.normalize) == (3, 1, None)
    loaded.set_params(random_state=np.random.RandomState(0)).save(tmp_path / "again")
    assert stillhouse.Reducer.load(tmp_path / "again").random_state == 3
    verify_files(tmp_path / "again", read_json(tmp_path / "again" / "card.json"), ["student.safetensors"])
