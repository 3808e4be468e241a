"""Projectors: each does what its name says, before and after training, through a checkpoint."""

import pytest
import torch

from stillhouse.core.types import OutputSpec
from stillhouse.signals.bridges import Bridge, Side
from stillhouse.signals.features import projector_for


def build_projector(kind, student, teacher):
    sides = (Side.of("", "x", OutputSpec(2, {"x": (width,)})) for width in (student, teacher))
    return projector_for(Bridge.between(*sides), kind)


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
