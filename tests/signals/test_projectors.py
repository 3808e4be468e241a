"""Projectors: each does what its name says, before and after training, through a checkpoint."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from stillhouse.signals.projectors import LeastSquaresLinear, build_projector, project


@pytest.mark.parametrize("kind", ["linear", "mlp", "orthogonal"])
def test_every_projector_learns(kind):
    """One without gradient would leave the student to learn a random map."""
    torch.manual_seed(0)
    made = build_projector(kind, 6, 9)
    x, y = torch.randn(40, 6), torch.randn(40, 9)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.01)
    losses = []
    for _ in range(50):
        loss = (made(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad.abs().sum() > 0 for p in made.parameters())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("student", "teacher"), [(6, 9), (9, 6), (6, 6)])
def test_an_orthogonal_projector_stays_one(student, teacher):
    """An optimizer step leaves the manifold unless the map is parametrized; then it keeps no geometry at all."""
    torch.manual_seed(0)
    made = build_projector("orthogonal", student, teacher)
    x, y = torch.randn(40, student), torch.randn(40, teacher)
    before = made.weight.detach().clone()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.5)
    for _ in range(5):
        optimizer.zero_grad()
        (made(x) - y).square().mean().backward()
        optimizer.step()
    w = made.weight.detach()
    assert (w - before).abs().max() > 0.01
    inner = w.T @ w if teacher >= student else w @ w.T
    torch.testing.assert_close(inner, torch.eye(min(student, teacher)), atol=1e-5, rtol=0)
    if teacher >= student:
        torch.testing.assert_close(torch.pdist(made(x)), torch.pdist(x), atol=1e-4, rtol=1e-4)


def test_least_squares_start_at_scikit_learns_solution():
    """The first batch alone sets it; a second one, or evaluation, must not move what is being trained."""
    torch.manual_seed(0)
    x, y = torch.randn(50, 4) + 3, torch.randn(50, 3)
    made = LeastSquaresLinear(4, 3, ridge=0.0)
    made.eval()
    start = made.weight.detach().clone()
    project(made, x.unsqueeze(1), y.unsqueeze(1))
    assert torch.equal(made.weight, start)
    made.train()
    out = project(made, x.unsqueeze(1), y.unsqueeze(1))
    expected = LinearRegression().fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(made.weight.detach().numpy(), expected.coef_, atol=1e-5)
    np.testing.assert_allclose(out.detach().squeeze(1).numpy(), expected.predict(x.numpy()), atol=1e-5)
    kept = made.weight.detach().clone()
    project(made, y[:, :1].expand(-1, 4), y)
    assert torch.equal(made.weight, kept)
    out.sum().backward()
    assert made.weight.grad.abs().sum() > 0


def test_least_squares_survive_few_rows_and_a_checkpoint():
    """One row has no slope: finite, and the target itself; after resume it is not fitted again."""
    torch.manual_seed(0)
    made = build_projector("linear", 8, 5, initialize="least-squares")
    x, y = torch.randn(1, 8), torch.randn(1, 5)
    torch.testing.assert_close(project(made, x, y), y)
    other = build_projector("linear", 8, 5, initialize="least-squares")
    other.load_state_dict(made.state_dict())
    project(other, torch.randn(20, 8), torch.randn(20, 5))
    assert torch.equal(other.weight, made.weight)
    bad = LeastSquaresLinear(8, 5)
    bad.fit_once(torch.full((3, 8), float("nan")), torch.randn(3, 5))
    assert bad.weight.isfinite().all()
    assert not bad.fitted
