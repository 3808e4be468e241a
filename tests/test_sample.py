"""A part of a split that stands for the whole is drawn by class: files in folders come class by class."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from stillhouse.core.labels import sample_rows
from stillhouse.tasks.classification import teachers
from stillhouse.tasks.classification.data.boolean_features import CopiedSplit, PackedSplit
from stillhouse.tasks.classification.data.config import DataConfig
from stillhouse.tasks.classification.data.images import ImageData, ImageSplit
from stillhouse.tasks.classification.data.rows import RowSplit
from stillhouse.tasks.classification.job import clause_usage
from stillhouse.tasks.classification.students import rules
from stillhouse.tasks.classification.students.flat import FlatTM
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer
from stillhouse.tasks.classification.vision.overlays import OVERLAYS, write_overlays
from stillhouse.tasks.lm.corpus import Windows
from stillhouse.teachers.teacher import Teacher

SORTED = torch.arange(4).repeat_interleave(60)  # as a folder of class folders is read


def test_every_class_has_its_share_whatever_the_order():
    """Shares are right to one row: 50, 30, 20 and 1 of 101 rows, of which 21 are wanted."""
    labels = np.repeat([0, 1, 2, 3], [50, 30, 20, 1])
    for order in (np.arange(101), np.random.default_rng(0).permutation(101)):
        rows = sample_rows(101, 21, labels=labels[order])
        assert (np.diff(rows) > 0).all()
        np.testing.assert_allclose(np.bincount(labels[order][rows]), [10.4, 6.2, 4.2, 1], atol=1)


def test_a_draw_without_classes_is_from_everywhere_and_fixed():
    """Unlabelled rows: the mean of a sample is that of the split, within four standard errors of a draw without replacement."""
    rows = sample_rows(10_000, 500)
    error = np.sqrt((10_000**2 - 1) / 12 / 500 * (1 - 500 / 10_000))
    assert abs(rows.mean() - 4999.5) < 4 * error
    np.testing.assert_array_equal(rows, sample_rows(10_000, 500))
    assert not np.array_equal(rows, sample_rows(10_000, 500, seed=1))
    np.testing.assert_array_equal(sample_rows(5, None), np.arange(5))
    np.testing.assert_array_equal(sample_rows(5, 7), np.arange(5))


def splits():
    """Eight rows of two classes, however they are held; the first number of row i is i, or its parity where rows are bits."""
    labels = torch.arange(2).repeat_interleave(4)
    images = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 1, 1, 8)
    bits = np.packbits(np.arange(8, dtype=np.uint8)[:, None].repeat(8, 1) % 2, axis=1)
    return {
        "images": ImageSplit(images, labels),
        "texts": RowSplit(torch.arange(8)[:, None], labels),
        "bits": PackedSplit(bits, labels, (1, 1, 8)),
        "copies": CopiedSplit(ImageSplit(images.expand(8, 1, 8, 8).contiguous(), labels)),
    }


@pytest.mark.parametrize("kind", ["images", "texts", "bits", "copies"])
def test_a_sample_of_any_split_is_its_rows_in_its_order(kind):
    """Rows of one class under the labels of another would pass every test of shapes."""
    split = splits()[kind]
    some = split.sample(len(split) // 2)
    assert len(some) == len(split) // 2
    assert torch.bincount(some.labels).tolist() == [len(some) // 2] * 2
    whole, drawn = split.batch(torch.arange(len(split))), some.batch(torch.arange(len(some)))
    assert (drawn.index.diff() > 0).all()
    torch.testing.assert_close(drawn.inputs, whole.inputs[drawn.index])
    torch.testing.assert_close(drawn.labels, split.labels[drawn.index])
    torch.testing.assert_close(drawn.labels, some.labels)
    torch.testing.assert_close(torch.cat([batch.index for batch in some.batches(3)]), drawn.index)
    assert split.sample(len(split)) is split


@dataclass(frozen=True)
class Watched(ImageSplit):
    """Remembers the rows that were asked for, one list a batch."""

    asked: list = field(default_factory=list)

    def batch(self, index: Tensor):
        self.asked.append(index.tolist())
        return super().batch(index)


@pytest.fixture
def split():
    return Watched((torch.rand(240, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 255).byte(), SORTED)


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return UnifiedTMTransformer(
        4, image_size=8, in_channels=1, patch_size=4, embed_dim=12, depths=1, tm_clauses=16
    ).eval()


def data_of(split):
    task = ImageData.from_arrays(split.images.numpy(), SORTED.numpy(), config=DataConfig(test_fraction=0.2)).input_spec
    parts = SimpleNamespace(train=split, validation=split, test=split, input_spec=task, for_teachers=None)
    parts.for_teachers = parts
    return parts


def overlays(split, vit, tmp_path, monkeypatch):
    write_overlays(vit, data_of(split), tmp_path, samples=8)
    shown = np.load(tmp_path / OVERLAYS)
    assert np.bincount(shown["labels"]).tolist() == [2, 2, 2, 2]


def usage(split, vit, tmp_path, monkeypatch):
    clause_usage(vit, split, batch_size=16, rows=40)


def plain(split, vit, tmp_path, monkeypatch):
    monkeypatch.setattr("stillhouse.tasks.classification.plain.MOST_ROWS", 40)
    assert 0 <= teachers.baseline_score(data_of(split)) <= 1  # of one class there is no classifier


def head(split, vit, tmp_path, monkeypatch):
    """The head of a teacher is re-made, and fitted on a part of a large training split."""
    monkeypatch.setattr(teachers, "HEAD_ROWS", 40)

    def built(source, task, features=()):
        teacher = Teacher.from_module(vit, task, name="vit")
        teacher.head_is_new = True
        return teacher

    monkeypatch.setattr(teachers.TeacherConfig, "build", built)
    monkeypatch.setattr(teachers, "fit_head", lambda teacher, batches: [batch.labels for batch in batches])
    source = teachers.TeacherConfig(source="timm:resnet18")
    config = SimpleNamespace(training=SimpleNamespace(evaluation_batch_size=16))
    teachers._member(source, config, data_of(split), ())


PARTS = [overlays, usage, plain, head]


@pytest.mark.parametrize("taken", PARTS, ids=lambda taken: taken.__name__)
def test_a_part_of_a_split_holds_every_class_in_its_share(taken, split, vit, tmp_path, monkeypatch):
    """The first 40 of 240 rows are of the first class alone."""
    taken(split, vit, tmp_path, monkeypatch)
    rows = sorted({row for batch in split.asked for row in batch})
    assert 8 <= len(rows) < 240
    counts = torch.bincount(SORTED[rows], minlength=4)
    assert (counts == len(rows) // 4).all(), counts


def test_rules_are_chosen_cut_and_judged_on_every_class(split, monkeypatch):
    """Three parts of two splits; the first rows would have chosen, cut and judged on one class."""
    monkeypatch.setattr(rules, "MOST_ROWS", 5)
    monkeypatch.setattr(rules, "CUT_ROWS", 40)
    test = Watched(split.images, split.labels)
    model = FlatTM(image_size=8, in_channels=1, num_classes=4, clauses=8).eval()
    rules.find_rules(model, split, test, "abcd")
    sizes = []
    for batch in (batch for batch in [*split.asked, *test.asked] if len(batch) > 1):
        counts = torch.bincount(SORTED[batch], minlength=4)
        assert (counts == len(batch) // 4).all(), counts
        sizes.append(len(batch))
    assert sizes == [20, 40, 240]
    monkeypatch.setattr(rules, "JUDGED", 200)
    found = rules.find_rules(model, split, test, "abcd").index
    assert (found["judged_on"], found["judged_of"]) == (200, 240)
    assert torch.bincount(SORTED[test.asked[-1]]).tolist() == [50] * 4


def test_windows_of_a_sample_are_from_the_whole_text():
    """The beginning of a text is its title and its licence."""
    windows = Windows(np.arange(4001, dtype=np.uint16), 10)
    found = windows.sample(40)
    assert found.shape == (40, 10)
    starts = found[:, 0]
    assert starts.max() - starts.min() > 2000
    torch.testing.assert_close(found, starts[:, None] + torch.arange(10))
