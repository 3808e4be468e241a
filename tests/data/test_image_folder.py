"""Folders of images."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.decode import decode


@pytest.fixture
def root(tmp_path):
    return write_classes(tmp_path / "pets", {"cat": 20, "dog": 20})


def write_classes(place, counts, size=(10, 10), gray=False):
    """Noise, with the class number as red (or gray) in the whole first row."""
    rng = np.random.default_rng(len(str(place)))
    for label, (name, count) in enumerate(sorted(counts.items())):
        (place / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, size if gray else (*size, 3), dtype=np.uint8)
            pixels[0] = 40 * label
            Image.fromarray(pixels).save(place / name / f"{number:03}.png")
    return place


def build(root, **settings):
    return DataConfig(name="folder", root=str(root), **settings).build()


def test_classes_are_folders_in_alphabetical_order(root):
    data = build(root)
    assert (data.name, data.input_spec.class_names, data.input_spec.shape) == ("pets", ("cat", "dog"), (3, 10, 10))
    assert data.sizes == {"train": 21, "validation": 3, "test": 16}
    for split in (data.train, data.validation, data.test):
        assert torch.equal(split.images[:, 0, 0, 0].long(), 40 * split.labels)


def test_pixels_are_those_of_the_files(tmp_path):
    """PNG is lossless: what NumPy wrote must come back, channels first."""
    place = write_classes(tmp_path / "d" / "train", {"a": 10, "b": 10})
    write_classes(tmp_path / "d" / "test", {"a": 2, "b": 1})
    data = build(tmp_path / "d")
    expected = [np.asarray(Image.open(path)).transpose(2, 0, 1) for path in sorted(tmp_path.glob("d/test/*/*.png"))]
    assert np.array_equal(data.test.images.numpy(), np.stack(expected))
    assert data.test.labels.tolist() == [0, 0, 1]
    assert len(list(place.rglob("*.png"))) == len(data.train) + len(data.validation)


@pytest.mark.parametrize(
    ("others", "sizes"),
    [
        (("test",), {"train": 36, "validation": 4, "test": 6}),
        (("val",), {"train": 36, "validation": 4, "test": 6}),
        (("test", "validation"), {"train": 40, "validation": 6, "test": 6}),
    ],
)
def test_split_folders_are_used(tmp_path, others, sizes):
    """`val` alone is the test split (ImageNet), beside `test` it is the validation split."""
    write_classes(tmp_path / "d" / "train", {"a": 20, "b": 20})
    for name in others:
        write_classes(tmp_path / "d" / name, {"a": 3, "b": 3})
    assert build(tmp_path / "d").sizes == sizes


def test_resizing_keeps_the_middle(root):
    """A squeezed image is another image: of 30x10, white but for its middle third, only that third is left."""
    for number in range(4):
        image = Image.new("L", (30, 10), 255)
        image.paste(0, (10, 0, 20, 10))
        image.save(root / "cat" / f"wide{number}.png")
    data = build(root, image_size=10, channels=3)
    black = [split.images.flatten(1).sum(1) == 0 for split in (data.train, data.validation, data.test)]
    assert sum(int(rows.sum()) for rows in black) == 4


def test_colours_are_never_dropped_unasked(tmp_path):
    """One image of many has some."""
    root = write_classes(tmp_path / "d", {"a": 20, "b": 20}, gray=True)
    assert build(root).input_spec.shape == (1, 10, 10)
    Image.new("RGB", (10, 10), (200, 0, 0)).save(root / "b" / "red.png")
    assert build(root).input_spec.shape == (3, 10, 10)
    assert build(root, channels=1).input_spec.shape == (1, 10, 10)


def test_16_bit_images_keep_their_gray_levels(tmp_path):
    """Pillow's conversion to 8 bits turns everything above 255 of 65535 white."""
    for name in ("a", "b"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(np.full((6, 6), 32768 + number, np.uint16)).save(tmp_path / "d" / name / f"{number}.png")
    assert set(build(tmp_path / "d").train.images.flatten().tolist()) == {127}


def test_photographs_are_turned_upright(root):
    """Cameras store the turn in EXIF; sideways images are another class."""
    pixels = Image.new("RGB", (10, 10))
    pixels.paste((255, 255, 255), (0, 0, 10, 5))
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row is the right side
    pixels.save(root / "cat" / "000.png", exif=exif)
    data = build(root)
    images = torch.cat([split.images for split in (data.train, data.validation, data.test)])
    sides = (images[:, :, :, 5:] == 255).flatten(1).all(1) & (images[:, :, :, :5] == 0).flatten(1).all(1)
    assert int(sides.sum()) == 1


@pytest.mark.parametrize("content", [b"", b"no image", "torn"])
@pytest.mark.parametrize("size", [None, 10])
def test_an_unreadable_image_is_named(root, content, size):
    """One bad file among thousands: without its name nobody finds it."""
    bad = root / "dog" / "007.png"
    bad.write_bytes(bad.read_bytes()[:150] if content == "torn" else content)
    with pytest.raises(InputError, match=r"image .*dog/007.png: "):
        build(root, image_size=size, channels=3 if size else None)


def layout(root, **splits):
    for split, classes in splits.items():
        write_classes(root / split, classes)
    return root


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (None, "expected a folder of images, got none there"),
        ({"flat": {}}, r"expected a folder for every class \(\), got no folders"),
        ({"train": {"a": 2, "b": 0}}, r"class folder .*b: expected images"),
        ({"train": {"cat": 4, "dog": 4}, "test": {"cat": 2, "cow": 2}}, r"test: expected .*\(cat, dog\), got cat, cow"),
        ({"test": {"a": 2, "b": 2}}, "expected train/, .* got test"),
        ({name: {"a": 2, "b": 2} for name in ("train", "val", "valid")}, "one validation folder or none, got"),
    ],
)
def test_other_layouts_are_refused(tmp_path, splits, message):
    """Classes that differ between splits too: by position, `dog` of one would be `cow` of the other."""
    if splits is not None:
        (tmp_path / "d").mkdir()
        layout(tmp_path / "d", **{name: classes for name, classes in splits.items() if name != "flat"})
    with pytest.raises(InputError, match=message):
        build(tmp_path / "d")


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_file_is_named(root, stream):
    """A named pipe was waited for without end."""
    config = DataConfig(name="folder", root=str(root), image_size=8, channels=1, stream=stream)
    os.mkfifo(root / "cat" / "x.png")
    with pytest.raises(InputError, match=r"x\.png: expected a file"):
        config.build().train.batch(torch.arange(30))
    with pytest.raises(InputError, match=r"x\.png: expected a file"):
        decode(root / "cat" / "x.png", 1, 8, 8)
