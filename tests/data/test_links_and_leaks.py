"""Folders with links and copies: nothing is read twice, nothing from outside, and no image is in two splits."""

import os

import numpy as np
import pytest
from PIL import Image

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.lm.corpus import CorpusConfig, load_corpus
from stillhouse.tasks.sar.data.products import find_products


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    """36 pictures: 10 a class to train on, 2 a class to test, of three classes."""
    number = iter(range(100))
    for split, count in (("train", 10), ("test", 2)):
        for name in "abc":
            for one in range(count):
                picture(tmp_path / "photos" / split / name / f"{one}.png", next(number))
    return tmp_path / "photos"


def build(root, **settings):
    return DataConfig(name="folder", root=str(root), image_size=8, **settings).build()


WHOLE = {"train": 27, "validation": 3, "test": 6}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("where", "to"),
    [
        ("train/a/loop", "../.."),  # the root, with test
        ("train/a/deep/loop", "../.."),
        ("train/loop", "."),  # as a class
        ("loop", "."),
    ],
)
def test_a_link_back_up_is_not_followed(root, where, to, stream):
    """36 files became 796 training, 89 validation and 591 test images, all classes in one, without a word."""
    (root / where).parent.mkdir(exist_ok=True)
    (root / where).symlink_to(to)
    data = build(root, stream=stream)
    assert data.sizes == WHOLE
    assert data.input_spec.class_names == ("a", "b", "c")


def linked(source, target):
    target.symlink_to(os.path.relpath(source, target.parent))


def copied(source, target):
    target.write_bytes(source.read_bytes())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("made", [linked, os.link, copied])
@pytest.mark.parametrize("split", ["test", "val"])
def test_an_image_in_two_splits_is_an_error_that_names_it(root, made, split, stream):
    """A student tested on what it was trained on. Bytes are compared; of streams only where names are alike."""
    if split == "val":
        for number, name in enumerate("abc"):
            picture(root / "val" / name / "v.png", 300 + number)
    name = "7.png" if stream else "other.png"
    made(root / "train" / "b" / "7.png", root / split / "b" / name)
    what = {"test": "test", "val": "validation"}[split]
    with pytest.raises(
        InputError,
        match=rf"image .*{split}/b/{name} of the {what} split is also in the train split, as .*train/b/7\.png:",
    ):
        build(root, stream=stream)


def test_a_text_is_one_split_alone(tmp_path):
    """A folder whose test.txt is a link to train.txt, or a copy."""
    for name, word in (("train", "one"), ("valid", "two"), ("test", "three")):
        (tmp_path / f"{name}.txt").write_text(f"{word} and more of it\n" * 30)
    config = CorpusConfig(source=str(tmp_path), tokenizer="bytes", cache=str(tmp_path / "ids"))
    load_corpus(config)
    (tmp_path / "test.txt").unlink()
    (tmp_path / "test.txt").symlink_to("train.txt")
    with pytest.raises(InputError, match="train and test are the same text"):
        load_corpus(config)


def test_products_are_found_once_and_none_outside(tmp_path):
    """A second name with another year would be in training and in the test."""
    day = "s1a-s1-raw-s-vv-{}0331t123129-{}0331t123154-041234-04e6a1.zarr"
    name, other = day.format(2022, 2022), day.format(2023, 2023)
    root = tmp_path / "products"
    (root / "a" / name).mkdir(parents=True)
    (root / "b").mkdir()
    (root / "b" / other).symlink_to(root / "a" / name)
    (tmp_path / "elsewhere" / name).mkdir(parents=True)
    (root / "b" / name).symlink_to(tmp_path / "elsewhere" / name)
    assert [product.path for product in find_products(root, [2022, 2023])] == [root / "a" / name]
