"""Ease of samples against closed forms, torch, scikit-learn and a brute force."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.curricula import fuse, ranks, reciprocal_rank_fusion, rouge_l
from stillhouse.curricula.difficulty import loss_of_samples, margin_of_samples

LETTERS = st.lists(st.sampled_from("abc"), max_size=7)


def scores(seed, rows=40, classes=5):
    generator = np.random.default_rng(seed)
    return 3 * generator.standard_normal((rows, classes)), generator.integers(0, classes, rows)


def common_subsequence(a, b):
    """Length of the longest, by trying all."""
    found = {s for size in range(len(a) + 1) for s in itertools.combinations(a, size)}
    return max(len(s) for size in range(len(b) + 1) for s in itertools.combinations(b, size) if s in found)


def test_fused_scores_have_the_published_values():
    """k = 60, ranks from 1: from 0 it would be 2 / 60."""
    fused = reciprocal_rank_fusion([1, 2, 3], [1, 3, 2])
    assert fused.tolist() == pytest.approx([2 / 61, 1 / 62 + 1 / 63, 1 / 63 + 1 / 62])
    assert round(fused[0], 6) == 0.032787
    assert reciprocal_rank_fusion([1.0], k=1.0).tolist() == [0.5]


def test_ranks_start_at_the_easy_end_and_ties_share():
    """A low loss is easy and a high ROUGE is: with one direction for both the fusion cancels out."""
    assert ranks([3.0, 1.0, 2.0], easy="low").tolist() == [3, 1, 2]
    assert ranks([3.0, 1.0, 2.0], easy="high").tolist() == [1, 3, 2]
    assert ranks([1.0, 1.0, 1.0, 5.0], easy="low").tolist() == [2, 2, 2, 4]


def test_high_is_hard_in_every_measure():
    """The sample with the lower loss, the wider margin, the better text must score lower."""
    for measure, values in {"loss": [0.1, 5.0], "margin": [9.0, -3.0], "rouge-l": [0.9, 0.1]}.items():
        easy, hard = fuse({measure: values})
        assert easy < hard
    easy, hard = fuse({"loss": [0.1, 5.0], "rouge-l": [0.9, 0.1]})
    assert (easy, hard) == pytest.approx((-2 / 61, -2 / 62))


def test_loss_and_margin_are_torchs():
    """Independent formulas on the same numbers."""
    z, y = scores(0)
    tz, ty = torch.from_numpy(z), torch.from_numpy(y)
    expected = torch.nn.functional.cross_entropy(tz, ty, reduction="none").numpy()
    np.testing.assert_allclose(loss_of_samples(z, y), expected)
    right = tz.gather(1, ty[:, None])[:, 0]
    others = tz.masked_fill(torch.nn.functional.one_hot(ty, 5).bool(), -torch.inf).max(1).values
    np.testing.assert_allclose(margin_of_samples(z, y), (right - others).numpy())
    assert ((margin_of_samples(z, y) > 0) == (z.argmax(1) == y)).all()


@settings(max_examples=60, deadline=None)
@given(LETTERS, LETTERS.filter(len))
def test_rouge_l_is_the_f_measure_of_a_brute_force(candidate, reference):
    """By the textbook's 2 P R / (P + R)."""
    common = common_subsequence(candidate, reference)
    precision, recall = common / max(1, len(candidate)), common / len(reference)
    expected = 2 * precision * recall / (precision + recall) if common else 0.0
    assert rouge_l(candidate, reference) == pytest.approx(expected)
