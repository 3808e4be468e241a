"""Hard forward, live backward: the slip that froze every include logit of the public implementation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.layers.straight_through import hard_include, hard_step, revivable_relu


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=1, max_size=20), st.floats(0.05, 0.95))
def test_include_masks_are_hard_and_logits_learn(values, tau):
    """An inverted estimator has a soft value and no gradient: training would change nothing, silently."""
    logits = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    mask = hard_include(logits, tau)
    assert set(mask.tolist()) <= {0.0, 1.0}
    above = torch.sigmoid(logits.detach()) - tau
    clear = above.abs() > 1e-9  # on the threshold itself the last digit decides
    assert torch.equal(mask.detach()[clear], (above[clear] > 0).double())
    mask.sum().backward()
    p = torch.sigmoid(logits.detach())
    torch.testing.assert_close(logits.grad, p * (1 - p))


@pytest.mark.parametrize("slope", [0.5, 1.0, 4.0])
def test_step_has_the_gradient_of_the_sigmoid(slope):
    """The surrogate is the logistic density, whatever the slope."""
    x = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    hard_step(x, slope).sum().backward()
    y = x.detach().clone().requires_grad_(True)
    torch.sigmoid(slope * y).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_a_silent_unit_still_gets_a_gradient():
    """With an ordinary relu a clause that never fires can never come back."""
    x = torch.tensor([-5.0, 5.0], requires_grad=True)
    y = revivable_relu(x, leak=0.25)
    assert y.tolist() == [0.0, 5.0]
    y.sum().backward()
    assert x.grad.tolist() == [0.25, 1.0]
