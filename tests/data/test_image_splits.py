"""Which rows go where."""

import numpy as np
import pytest
import torch
from numbered_images import numbered, rows_of

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData


def test_no_row_is_in_two_splits_and_none_is_lost(data):
    """A row in train and test makes every score a lie."""
    assert sorted(rows_of(data.train) + rows_of(data.validation) + rows_of(data.test)) == list(range(200))


def test_every_split_has_the_shares_of_the_whole(data):
    """An unstratified split of unequal classes starves the rare one."""
    for split in (data.train, data.validation, data.test):
        got = torch.bincount(split.labels, minlength=3) / len(split)
        assert torch.allclose(got, torch.tensor([0.6, 0.3, 0.1]), atol=1 / len(split))


def test_splits_are_fixed_by_their_seed_alone():
    """A split that moves from run to run leaks test rows into a resumed training."""
    images, labels = numbered([50, 50])
    one, two, other = (ImageData.from_arrays(images, labels, config=DataConfig(split_seed=seed)) for seed in (3, 3, 4))
    np.random.seed(1)
    torch.manual_seed(1)
    assert rows_of(one.test) == rows_of(two.test)
    assert rows_of(one.train) == rows_of(two.train)
    assert rows_of(one.test) != rows_of(other.test)


def test_given_test_and_validation_splits_are_kept_whole():
    """Taking a second test split out of train throws labels away in silence."""
    images, labels = numbered([30, 30])
    more = {"test": (images[:10], labels[:10]), "validation": (images[10:16], labels[10:16])}
    data = ImageData.from_arrays(images[16:], labels[16:], **more)
    assert data.sizes == {"train": 44, "validation": 6, "test": 10}


def test_a_train_limit_leaves_validation_and_test_alone_and_keeps_the_shares():
    """A limit that shrinks the validation split makes arms of different limits incomparable."""
    images, labels = numbered([120, 60, 20])
    whole = ImageData.from_arrays(images, labels)
    few = ImageData.from_arrays(images, labels, config=DataConfig(train_limit=20, test_limit=10))
    assert few.sizes == {"train": 20, "validation": 12, "test": 10}
    assert rows_of(few.validation) == rows_of(whole.validation)
    assert torch.bincount(few.train.labels).tolist() == [12, 6, 2]
    assert set(rows_of(few.train)) < set(rows_of(whole.train))


def test_a_class_too_rare_to_be_split_is_named():
    images, labels = numbered([40, 1])
    with pytest.raises(InputError, match="class 'b': expected at least 2 rows to take a test split from, got 1"):
        ImageData.from_arrays(images, labels, class_names=["a", "b"])


def test_a_row_alone_in_its_class_is_never_taken_for_validation():
    images, labels = numbered([40, 1])
    data = ImageData.from_arrays(images, labels, class_names=["a", "b"], test=(images, labels))
    assert torch.bincount(data.train.labels).tolist()[1] == 1
    assert torch.bincount(data.validation.labels, minlength=2).tolist()[1] == 0


def test_validation_has_a_row_of_every_class():
    """A hundred labels of eleven classes: a tenth of them would be fewer than one a class."""
    images, labels = numbered([4] * 5)
    data = ImageData.from_arrays(images, labels)
    assert sorted(data.validation.labels.tolist()) == [0, 1, 2, 3, 4]
    assert DataConfig(name="digits", validation_fraction=0.002).build().sizes["validation"] == 10


def test_too_few_rows_to_leave_one_a_class_are_refused():
    images, labels = numbered([2] * 5)
    with pytest.raises(InputError, match=r"validation split: expected at least 5 rows .* to be left, got 4 of 5"):
        ImageData.from_arrays(images, labels)
