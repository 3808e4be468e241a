"""Folders with links and copies: nothing is read twice, nothing from outside, and no image is in two splits."""

import logging
import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from stillhouse.core.checks import InputError
from stillhouse.core.walk import Passed, files_under
from stillhouse.tasks.classification.data import DataConfig
from stillhouse.tasks.classification.photos import PhotoClasses
from stillhouse.tasks.lm.data import CorpusConfig
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
        ("train/a/loop", ".."),  # all of train
        ("train/a/loop", "../.."),  # the root, with test
        ("train/a/loop", "."),
        ("train/a/deep/loop", "../.."),
        ("train/loop", "."),  # as a class
        ("loop", "."),
    ],
)
def test_a_link_back_up_is_not_followed(root, caplog, where, to, stream):
    """36 files became 796 training, 89 validation and 591 test images, all classes in one, without a word."""
    (root / where).parent.mkdir(exist_ok=True)
    (root / where).symlink_to(to)
    with caplog.at_level(logging.WARNING):
        data = build(root, stream=stream)
    assert data.sizes == WHOLE
    assert data.input_spec.class_names == ("a", "b", "c")
    if where != "loop":  # beside train and test nothing is read at all
        assert f"links that lead back up are not followed (1, first: {root / where})" in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_link_out_of_the_root_is_not_followed(root, tmp_path, caplog, stream):
    """Neither of a file nor of a folder; what is left out is counted and named."""
    outside = picture(tmp_path / "elsewhere" / "z.png", 200)
    (root / "train" / "a" / "file.png").symlink_to(outside)
    (root / "train" / "a" / "folder").symlink_to(outside.parent)
    with caplog.at_level(logging.WARNING):
        assert build(root, stream=stream).sizes == WHOLE
    assert (
        f"links that lead out of the folder are not followed; copy what they lead to (2, first: {root}/train/a/f"
        in caplog.text
    )


def test_a_class_or_split_that_leads_out_is_an_error(root, tmp_path):
    """Passed over, a class would be missing without a word."""
    picture(tmp_path / "elsewhere" / "d" / "z.png", 200)
    (root / "train" / "d").symlink_to(tmp_path / "elsewhere" / "d")
    with pytest.raises(
        InputError, match=r"folder .*train/d is a link that leads out of .*photos, and such links are not followed"
    ):
        build(root)
    (root / "train" / "d").unlink()
    (root / "val").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"folder .*photos/val is a link that leads out"):
        build(root)


@pytest.mark.parametrize("stream", [False, True])
def test_one_file_is_read_once_whatever_it_is_called(root, caplog, stream):
    """A link to a neighbour, a hard link, and a folder that two links lead to."""
    (root / "train" / "a" / "again.png").symlink_to("0.png")
    os.link(root / "train" / "b" / "0.png", root / "train" / "b" / "again.png")
    picture(root / "pool" / "p.png", 200)
    for name in ("one", "two"):
        (root / "train" / "c" / name).symlink_to("../../pool")
    with caplog.at_level(logging.WARNING):
        data = build(root, stream=stream)
    assert sum(data.sizes.values()) == 37
    assert "further names of the same files are passed over (3, " in caplog.text


def test_a_files_own_name_comes_before_those_of_links(tmp_path):
    """Else its class would hang on how a link is called."""
    picture(tmp_path / "z" / "own.png", 1)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").symlink_to("../z")
    (tmp_path / "0.png").symlink_to("z/own.png")
    passed = Passed()
    found = files_under(tmp_path, tmp_path, lambda name: name.endswith(".png"), passed)
    assert [file.path for file in found] == [tmp_path / "z" / "own.png"]
    assert sorted(passed.again) == [tmp_path / "0.png", tmp_path / "a" / "b" / "own.png"]


# ---------------------------------------------------------------------------------------------- two splits, two classes


def linked(source, target):
    target.symlink_to(os.path.relpath(source, target.parent))


def copied(source, target):
    target.write_bytes(source.read_bytes())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("made", [linked, os.link, copied])
@pytest.mark.parametrize("split", ["test", "val"])
def test_an_image_in_two_splits_is_an_error_that_names_it(root, made, split, stream):
    """A student tested on what it was trained on. Of a copy the bytes are compared; of streams only where names are alike."""
    if split == "val":
        for number, name in enumerate("abc"):
            picture(root / "val" / name / "v.png", 300 + number)
    name = "7.png" if made is copied and stream else "other.png"
    made(root / "train" / "b" / "7.png", root / split / "b" / name)
    what = {"test": "test", "val": "validation"}[split]
    with pytest.raises(
        InputError,
        match=rf"image .*{split}/b/{name} of the {what} split is also in the train split, as .*train/b/7\.png:",
    ):
        build(root, stream=stream)


@pytest.mark.parametrize("made", [linked, os.link])
def test_an_image_of_two_classes_is_an_error(root, made):
    """By a link between two class folders of a split."""
    made(root / "train" / "a" / "1.png", root / "train" / "b" / "x.png")
    with pytest.raises(
        InputError, match=r"image .*train/b/x.png is the same file as .*train/a/1.png, of another class"
    ):
        build(root)


# ---------------------------------------------------------------------------------------------- the brothers


def test_predict_reads_each_photo_once_and_none_from_outside(root, tmp_path, caplog):
    """Links of a folder of photos doubled the answers, and a loop would have no end."""
    (root / "test" / "a" / "again.png").symlink_to("0.png")
    (root / "test" / "a" / "loop").symlink_to("..")
    (root / "test" / "a" / "out.png").symlink_to(picture(tmp_path / "z.png", 200))
    names = PhotoClasses.read(SimpleNamespace(shape=(3, 8, 8)), str(root / "test")).names
    assert names == [str(root / "test" / name / f"{n}.png") for name in "abc" for n in (0, 1)]
    assert caplog.text.count("(1, first: ") == 3


def test_a_text_is_one_split_alone(tmp_path):
    """A folder whose test.txt is a link to train.txt, or a copy."""
    for name, word in (("train", "one"), ("valid", "two"), ("test", "three")):
        (tmp_path / f"{name}.txt").write_text(f"{word} and more of it\n" * 30)
    config = CorpusConfig(source=str(tmp_path), tokenizer="bytes", cache=str(tmp_path / "ids"))
    config.build()
    (tmp_path / "test.txt").unlink()
    (tmp_path / "test.txt").symlink_to("train.txt")
    with pytest.raises(InputError, match=r"text .*test.txt: test and train are the same text"):
        config.build()


def test_products_are_found_once_and_none_outside(tmp_path, caplog):
    """A second name with another year would be in training and in the test."""
    day = "s1a-s1-raw-s-vv-{}0331t123129-{}0331t123154-041234-04e6a1.zarr"
    name, other = day.format(2022, 2022), day.format(2023, 2023)
    root = tmp_path / "products"
    (root / "a" / name).mkdir(parents=True)
    (root / "b").mkdir()
    (root / "b" / other).symlink_to(root / "a" / name)
    (tmp_path / "elsewhere" / name).mkdir(parents=True)
    (root / "b" / name).symlink_to(tmp_path / "elsewhere" / name)
    assert [product.path for product in find_products(root)] == [root / "a" / name]
    assert "copy what they lead to (1, " in caplog.text
    assert "passed over (1, " in caplog.text
