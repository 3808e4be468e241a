"""Scores against hand counts, costs against counts that are known."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

from stillhouse.checks import InputError
from stillhouse.metrics import evaluate, measure_cost


def test_scores_equal_independent_ones():
    """scikit-learn's log loss, and ECE by its definition, bin by bin."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 500).astype(np.float32)
    y = rng.integers(0, 4, 500)
    told = rng.dirichlet(np.ones(4), 500)
    found = evaluate(p, y, told)
    confidence, right = p.max(1), p.argmax(1) == y
    ece = 0.0
    for low in np.arange(15) / 15:
        here = (confidence > low) & (confidence <= low + 1 / 15)
        if here.any():
            ece += here.mean() * abs(right[here].mean() - confidence[here].mean())
    assert found["accuracy"] == right.mean()
    assert found["nll"] == pytest.approx(log_loss(y, p), rel=1e-5)
    assert found["ece"] == pytest.approx(ece, abs=1e-5)
    assert found["agreement"] == (p.argmax(1) == told.argmax(1)).mean()


def test_a_sure_mistake_costs_a_finite_amount():
    """log 0 would make the whole mean infinite."""
    assert np.isfinite(evaluate(np.array([[1.0, 0.0]]), np.array([1]), None)["nll"])


def test_nan_predictions_are_an_error():
    """argmax of NaN is 0: a broken model would score as a constant one."""
    with pytest.raises(InputError, match="1 of 2 samples"):
        evaluate(np.array([[np.nan, 1.0], [0.5, 0.5]]), np.array([0, 1]), None)


def test_shapes_are_printed():
    """Expected and got."""
    with pytest.raises(InputError, match=r"\(2, 2\) and \(3,\)"):
        evaluate(np.ones((2, 2)), np.zeros(3, dtype=int), None)


def test_costs_are_counted_and_timed(tmp_path):
    """A linear layer has 2 x in x out operations (a multiply-add is two), in x out + out parameters."""
    file = tmp_path / "w"
    file.write_bytes(b"x" * 123)
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 10))
    cost = measure_cost(module, (3, 4, 4), file)
    assert (cost["params"], cost["flops"], cost["bytes_on_disk"]) == (490, 960, 123)
    assert 0 < cost["ms_batch_1"] < 1000
    assert 0 < cost["ms_batch_64"] < 1000


def test_attention_is_counted():
    """Counters of the usual packages miss scaled_dot_product_attention."""

    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(x, x, x) * self.w

    assert measure_cost(Attend(), (2, 8, 4))["flops"] == 2 * 2 * (2 * 8 * 8 * 4)
