"""Cross-entropy of labels against its definition."""

import math

import pytest
import torch

from stillhouse.losses import label_cross_entropy


def test_label_smoothing_mixes_in_the_uniform_distribution():
    """(1 - e) CE + e mean over classes of -log q; smoothing over the other classes only would give another number."""
    torch.manual_seed(0)
    x, y = 3 * torch.randn(5, 7, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4])
    log_q = torch.log_softmax(x, 1)
    expected = -(0.9 * log_q[torch.arange(5), y] + 0.1 * log_q.mean(1))
    torch.testing.assert_close(label_cross_entropy(x, y, smoothing=0.1), expected)


def test_bf16_logits_are_summed_in_float32():
    """ln 1000 in bf16 is off by a hundredth."""
    value = label_cross_entropy(torch.zeros(2, 1000, dtype=torch.bfloat16), torch.tensor([0, 999]))
    assert value.tolist() == pytest.approx([math.log(1000)] * 2, rel=1e-6)


@pytest.mark.parametrize(
    ("labels", "smoothing"),
    [
        (torch.tensor([0]), 0.0),
        (torch.tensor([0.0, 1.0]), 0.0),
        (torch.tensor([0, 1]), 1.0),
        (torch.tensor([0, 1]), -0.1),
    ],
)
def test_what_does_not_fit_is_refused_by_torch(labels, smoothing):
    """And never broadcast, or cut to whole numbers."""
    with pytest.raises((ValueError, RuntimeError)):
        label_cross_entropy(torch.zeros(2, 3), labels, smoothing=smoothing)
