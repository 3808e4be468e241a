"""Scores against hand counts, costs against counts that are known."""

import time

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.metrics.cost import fastest_ms, measure_cost
from stillhouse.tasks.classification.predict import evaluate

FAIR = np.array([[0.9, 0.1], [0.4, 0.6]])


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


@pytest.mark.parametrize(
    ("probabilities", "labels", "told", "words"),
    [
        ([[np.nan, 1.0], [0.5, 0.5]], [0, 1], None, "1 of 2 samples"),
        (FAIR, [0, 1], [[np.nan, 1.0], [0.4, 0.6]], "teacher's predictions of 1 of 2 samples"),
        (FAIR, [0, -1], None, "labels: expected whole numbers from 0 to 1"),
        (FAIR, [0, 1, 1], None, "labels: expected whole numbers from 0 to 1"),
        ([[3.0, -2.0], [0.0, 1.0]], [0, 1], None, "logits need a softmax first"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), None, "at least one sample"),
    ],
)
def test_what_gives_a_wrong_score_is_refused(probabilities, labels, told, words):
    """argmax of NaN is 0, label -1 is the last class, logits have a likelihood below zero, a mean of nothing is NaN."""
    with pytest.raises(InputError, match=words):
        evaluate(np.array(probabilities), np.array(labels), None if told is None else np.array(told))


def test_a_rounding_above_one_does_not_change_the_calibration():
    """torchmetrics takes anything outside [0, 1] for logits: one 1.0000001 and every confidence becomes another."""
    p, y = np.array([[1.0, 0.0], [0.9, 0.1]], dtype=np.float32), np.array([0, 0])
    above = p.copy()
    above[0, 0] = np.nextafter(np.float32(1), np.float32(2))
    assert evaluate(above, y, None)["ece"] == pytest.approx(evaluate(p, y, None)["ece"])
    assert evaluate(p, y, None)["ece"] == pytest.approx(0.05)


def test_costs_are_counted_and_timed(tmp_path):
    """A linear layer has 2 x in x out operations (a multiply-add is two), in x out + out parameters."""
    file = tmp_path / "w"
    file.write_bytes(b"x" * 123)
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 10))
    cost = measure_cost(module, lambda count: torch.rand(count, 3, 4, 4), file)
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

    assert measure_cost(Attend(), lambda count: torch.rand(count, 2, 8, 4))["flops"] == 2 * 2 * (2 * 8 * 8 * 4)


def test_measuring_leaves_modes_and_random_numbers_alone(tmp_path):
    """Else the arm that is measured would be trained on other random numbers than the others, and without dropout."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Dropout(), nn.BatchNorm1d(2)).train()
    module[3].eval()  # a frozen part stays frozen
    before = torch.get_rng_state()
    measure_cost(module, lambda count: torch.rand(count, 1, 2, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in module] == [True, True, True, False]
    with pytest.raises(InputError, match="expected a file"):
        measure_cost(module, lambda count: torch.rand(count, 1, 2, 2), tmp_path / "missing")


@pytest.mark.parametrize("calm", [1, 2, 10])
def test_another_program_does_not_move_a_time(calm, monkeypatch):
    """A network of 2 ms, of whose calls one in `calm` is not stopped for 30: the mean says 2 to 29, the median 2 or 32."""
    monkeypatch.setattr("stillhouse.metrics.cost.BUDGET_SECONDS", 0.2)
    clock, calls = [0.0], [0]

    class Stopped(nn.Module):
        def forward(self, x):
            calls[0] += 1
            clock[0] += 0.002 if calls[0] % calm == 0 else 0.032
            return x

    found = fastest_ms(Stopped(), lambda count: torch.zeros(count, 1), timer=lambda: clock[0])
    assert found == pytest.approx(2)


def test_waiting_is_no_time_of_a_network():
    """A call of many milliseconds is never left alone on a busy machine: by the clock even its smallest is too long."""

    class Waits(nn.Module):
        def forward(self, x):
            time.sleep(0.05)
            return x

    assert fastest_ms(Waits(), lambda count: torch.zeros(count, 1)) < 25


def test_a_time_is_of_one_thread_and_leaves_the_others():
    """A run with one thread and a comparison with two would show two speeds of one network."""
    seen, before = [], torch.get_num_threads()

    class Looks(nn.Module):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return x

    try:
        torch.set_num_threads(2)
        fastest_ms(Looks(), lambda count: torch.zeros(count, 1))
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
