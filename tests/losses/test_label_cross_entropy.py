"""Cross-entropy of labels against its definition."""

import torch

from stillhouse.losses.regression import label_cross_entropy


def test_label_smoothing_mixes_in_the_uniform_distribution():
    """(1 - e) CE + e mean over classes of -log q; smoothing over the other classes only would give another number."""
    torch.manual_seed(0)
    x, y = 3 * torch.randn(5, 7, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4])
    log_q = torch.log_softmax(x, 1)
    expected = -(0.9 * log_q[torch.arange(5), y] + 0.1 * log_q.mean(1))
    torch.testing.assert_close(label_cross_entropy(x, y, smoothing=0.1), expected)
