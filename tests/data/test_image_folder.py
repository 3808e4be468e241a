"""Folders of images and their cache."""

import multiprocessing
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from stillhouse.classification.data import DataConfig, folder_cache
from stillhouse.classification.data.decode import decode
from stillhouse.classification.photos import PhotoClasses
from stillhouse.core.checks import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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


def cached(cache):
    return sorted(cache.rglob("*.npy"))


def test_classes_are_folders_in_alphabetical_order(root):
    data = build(root)
    assert (data.name, data.task.class_names, data.task.shape) == ("pets", ("cat", "dog"), (3, 10, 10))
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


def test_classes_may_be_called_train_and_test(tmp_path):
    """Vehicles: bus, car, train."""
    assert build(write_classes(tmp_path / "d", {"bus": 20, "train": 20})).task.class_names == ("bus", "train")


def test_files_that_are_no_images_and_hidden_ones_are_passed_over(root):
    (root / "cat" / "notes.txt").write_text("x")
    (root / "cat" / "._000.png").write_text("made by a Mac")
    (root / ".git").mkdir()
    (root / "labels.csv").write_text("x")
    assert sum(build(root).sizes.values()) == 40


def test_images_of_different_sizes_become_squares_of_64(root):
    Image.new("RGB", (30, 12)).save(root / "cat" / "wide.jpg")
    assert build(root).task.shape == (3, 64, 64)
    assert build(root, image_size=16).task.shape == (3, 16, 16)


def test_resizing_keeps_the_middle(root):
    """A squeezed image is another image: of 30x10, white but for its middle third, only that third is left."""
    for number in range(4):
        image = Image.new("L", (30, 10), 255)
        image.paste(0, (10, 0, 20, 10))
        image.save(root / "cat" / f"wide{number}.png")
    data = build(root, image_size=10, channels=3)
    black = [split.images.flatten(1).sum(1) == 0 for split in (data.train, data.validation, data.test)]
    assert sum(int(rows.sum()) for rows in black) == 4


def test_gray_images_stay_gray_and_channels_can_be_asked_for(tmp_path):
    root = write_classes(tmp_path / "d", {"a": 20, "b": 20}, size=(8, 12), gray=True)
    assert build(root).task.shape == (1, 8, 12)
    assert build(root, channels=3).task.shape == (3, 8, 12)


def test_colours_are_never_dropped_unasked(tmp_path):
    """The first image decides; were it gray, all colours would go without a word."""
    root = write_classes(tmp_path / "d", {"a": 20, "b": 20}, gray=True)
    Image.new("RGB", (10, 10), (200, 0, 0)).save(root / "b" / "red.png")
    with pytest.raises(
        InputError, match=r"expected gray images like the first .*got colours in .*red.png \(1 such files\)"
    ):
        build(root)
    assert build(root, channels=1).task.shape == (1, 10, 10)


def test_16_bit_images_keep_their_gray_levels(tmp_path):
    """Pillow's conversion to 8 bits turns everything above 255 of 65535 white."""
    for name in ("a", "b"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(np.full((6, 6), 32768 + number, np.uint16)).save(tmp_path / "d" / name / f"{number}.png")
    assert set(build(tmp_path / "d").train.images.flatten().tolist()) == {127}


def test_32_bit_images_are_refused(root):
    Image.fromarray(np.full((10, 10), 0.5, np.float32)).save(root / "dog" / "float.tif")
    with pytest.raises(InputError, match=r"float.tif: expected 8 or 16 bits a channel, got 32 \(mode F\)"):
        build(root, channels=3, image_size=10)


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
def test_an_unreadable_image_is_named(root, cache, content, size):
    """One bad file among thousands: without its name nobody finds it."""
    bad = root / "dog" / "007.png"
    bad.write_bytes(bad.read_bytes()[:150] if content == "torn" else content)
    with pytest.raises(InputError, match=r"image .*dog/007.png: "):
        build(root, image_size=size, channels=3 if size else None)
    assert cached(cache) == []


def test_an_empty_class_folder_is_named(root):
    (root / "eel").mkdir()
    (root / "eel" / "readme.txt").write_text("x")
    with pytest.raises(InputError, match=r"class folder .*pets/eel: expected images .*, got none"):
        build(root)


def test_classes_that_differ_between_splits_are_named(tmp_path):
    """By position, `dog` of one split would be `cow` of the other."""
    write_classes(tmp_path / "d" / "train", {"cat": 10, "dog": 10})
    write_classes(tmp_path / "d" / "test", {"cat": 2, "cow": 2})
    with pytest.raises(InputError, match=r"only in .*train: dog; only in .*test: cow"):
        build(tmp_path / "d")


def test_other_layouts_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected a folder of images, got nothing there"):
        build(tmp_path / "none")
    (tmp_path / "flat").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "flat" / "a.png")
    with pytest.raises(InputError, match="expected a folder for every class with images in it, got no folders"):
        build(tmp_path / "flat")
    write_classes(tmp_path / "d" / "test", {"a": 2, "b": 2})
    with pytest.raises(InputError, match="expected train/ beside test/, got none"):
        build(tmp_path / "d")
    for name in ("train", "val", "valid"):
        write_classes(tmp_path / "e" / name, {"a": 2, "b": 2})
    with pytest.raises(InputError, match="expected one validation folder, got valid and val"):
        build(tmp_path / "e")


def test_a_link_to_nothing_is_an_input_error(root):
    (root / "cat" / "gone.png").symlink_to(root / "nowhere.png")
    with pytest.raises(InputError, match=r"gone.png: expected a file, got a link to nothing; remove it"):
        build(root)


# ---------------------------------------------------------------------------------------------- the cache


def test_the_second_build_reads_the_cache(root, cache, monkeypatch):
    """Decoding again at every start costs minutes on real data."""
    first = build(root)
    assert len(cached(cache)) == 1
    monkeypatch.setattr(folder_cache, "decode", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr(folder_cache, "look", lambda *_: pytest.fail("looked again"))
    assert build(root).sha256 == first.sha256
    assert build(root, split_seed=1).sizes == first.sizes


def test_a_changed_file_is_decoded_again_and_the_old_cache_goes(root, cache):
    """A cache that outlives its images trains on what is no longer there."""
    first, old = build(root), cached(cache)
    path = root / "cat" / "003.png"
    when = path.stat().st_mtime_ns
    Image.new("RGB", (10, 10), (9, 9, 9)).save(path)
    os.utime(path, ns=(when, when + 1_000_000_000))
    second = build(root)
    assert second.sha256 != first.sha256
    assert len(cached(cache)) == 1
    assert cached(cache) != old
    path.unlink()
    assert sum(build(root).sizes.values()) == 39


def test_size_and_channels_have_caches_of_their_own(root, cache):
    build(root)
    build(root, image_size=6)
    build(root, channels=1)
    assert len(cached(cache)) == 3
    assert build(root).task.shape == (3, 10, 10)


def test_two_roots_never_share_a_cache(root, tmp_path, cache):
    """Copies keep names, sizes and times; their pixels may differ all the same."""
    build(root)
    shutil.copytree(root, tmp_path / "copy")
    build(tmp_path / "copy")
    assert len(cached(cache)) == 2


@pytest.mark.parametrize("damage", ["tear", "no manifest", "bad manifest"])
def test_a_damaged_cache_is_built_again(root, cache, damage):
    first, (array,) = build(root).sha256, cached(cache)
    if damage == "tear":
        array.write_bytes(array.read_bytes()[:-100])
    elif damage == "no manifest":
        array.with_suffix(".json").unlink()
    else:
        array.with_suffix(".json").write_text("{")
    assert build(root).sha256 == first


def test_an_interrupted_build_leaves_nothing(root, cache, monkeypatch):
    """Ctrl-C in the middle of decoding."""
    count, decode = iter(range(100)), folder_cache.decode

    def interrupted(*arguments):
        if next(count) == 20:
            raise KeyboardInterrupt
        return decode(*arguments)

    monkeypatch.setattr(folder_cache, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(root)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def build_and_be_killed(root):
    folder_cache.AT_ONCE, seen, decode = 4, [], folder_cache.decode

    def killed(*arguments):
        seen.append(1)
        if len(seen) > 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(*arguments)

    folder_cache.decode = killed
    build(root)


def test_a_killed_build_leaves_no_half_cache(root, cache):
    """kill -9 cannot be caught: what it leaves must not be taken for a cache, and must go some day."""
    process = multiprocessing.get_context("fork").Process(target=build_and_be_killed, args=(root,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    left = [path for path in cache.rglob("*") if path.is_file()]
    assert cached(cache) == []
    assert all(path.name.startswith(".") for path in left)
    for path in left:
        os.utime(path, (time.time() - 7200,) * 2)
    assert sum(build(root).sizes.values()) == 40
    assert sorted(path.suffix for path in cache.rglob("*") if path.is_file()) == [".json", ".npy"]


def test_several_builds_at_once_all_succeed(root, cache):
    """Arms started side by side: one must not pull the cache away from under another."""
    with ThreadPoolExecutor(4) as pool:
        fingerprints = list(pool.map(lambda _: build(root).sha256, range(8)))
    assert len(set(fingerprints)) == 1
    assert sorted(path.suffix for path in cache.rglob("*") if path.is_file()) == [".json", ".npy"]


def test_a_cache_that_cannot_be_written_says_how_to_move_it(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot write .*; STILLHOUSE_CACHE can name another folder"):
        build(root)


def test_writing_to_the_images_does_not_reach_the_cache(tmp_path):
    """The test split is mapped from the file."""
    for name, count in (("train", 10), ("test", 3)):
        write_classes(tmp_path / "d" / name, {"a": count, "b": count})
    first = build(tmp_path / "d")
    before = first.sha256
    first.test.images.zero_()
    assert build(tmp_path / "d").sha256 == before


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_file_is_named(root, stream):
    """A named pipe was waited for without end."""
    config = DataConfig(name="folder", root=str(root), image_size=8, channels=1, stream=stream)
    os.mkfifo(root / "cat" / "x.png")
    with pytest.raises(InputError, match=r"x\.png: expected a file, got a pipe or device; remove it"):
        config.build()
    with pytest.raises(InputError, match="got a pipe"):
        decode(root / "cat" / "x.png", 1, 8, 8)
    (root / "cat" / "x.png").unlink()
    (root / "cat" / "x.png").symlink_to(root / "nowhere")
    with pytest.raises(InputError, match=r"x\.png: expected a file, got a link to nothing"):
        config.build()
    names = PhotoClasses.read(SimpleNamespace(shape=(1, 8, 8)), str(root)).names
    assert str(root / "cat" / "x.png") in names  # predict names it too, where it left it out without a word


def test_pixels_can_be_written_to(root):
    """Of Pillow's own memory they could not, and torch warned of it in every streamed run."""
    write_classes(root.parent / "gray", {"a": 1}, size=(8, 8), gray=True)
    assert decode(root.parent / "gray" / "a" / "000.png", 1, 8, 8).flags.writeable
