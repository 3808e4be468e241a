"""`stillhouse.Reducer`, as a user of scikit-learn would take it."""

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
def fitted(digits: tuple[np.ndarray, np.ndarray]) -> stillhouse.Reducer:
    return stillhouse.Reducer(5, epochs=1, random_state=3).fit(digits[0])


def test_new_rows_have_codes_that_keep_neighbours(fitted: stillhouse.Reducer) -> None:
    assert fitted.quality_["knn_overlap@10"] > 2 * fitted.quality_["knn_chance@10"]


def test_a_code_does_not_depend_on_the_rows_beside_it(fitted: stillhouse.Reducer, digits: tuple) -> None:
    x = digits[0]
    assert (fitted.transform(x)[41] == fitted.transform(x[41:42])[0]).all()


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


def test_one_thread_or_two_make_the_same_student(digits: tuple) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = stillhouse.Reducer(3, epochs=1).fit(digits[0][:100])
        torch.set_num_threads(1)
        one = stillhouse.Reducer(3, epochs=1).fit(digits[0][:100])
    finally:
        torch.set_num_threads(before)
    assert (one.transform(digits[0]) == two.transform(digits[0])).all()
