"""Balanced truncation against theory: Lyapunov equations, the Hankel bound, exact order, chirps."""

import numpy as np
import pytest
import torch
from scipy.linalg import hankel, solve_discrete_lyapunov, svdvals
from threadpoolctl import threadpool_info

from stillhouse.layers.state_space.s4d import S4D
from stillhouse.tasks.sar.students import StateSpaceConfig, compression
from stillhouse.tasks.sar.students.compression import balance, truncate, truncate_layer
from stillhouse.tasks.sar.students.streaming import Stream


def system(modes=12, seed=0, outputs=1):
    random = np.random.default_rng(seed)
    poles = random.uniform(0.5, 0.97, modes) * np.exp(1j * random.uniform(-np.pi, np.pi, modes))
    return poles, random.normal(size=(outputs, modes)) + 1j * random.normal(size=(outputs, modes))


def response(poles, weights, points=2048):
    z = np.exp(2j * np.pi * np.arange(points) / points)
    return (weights[:, None, :] / (1 - poles / z[:, None])).sum(-1)


def test_the_values_are_those_of_the_hankel_operator():
    """By two independent roads: Lyapunov solver, and the singular values of the Hankel matrix of the kernel itself."""
    poles, weights = system()
    values = balance(poles, weights, 4)[2]
    reach = solve_discrete_lyapunov(np.diag(poles), np.ones((12, 12)).astype(complex))
    seen = solve_discrete_lyapunov(np.diag(poles).conj().T, weights.conj().T @ weights)
    lyapunov = np.sqrt(np.sort(np.linalg.eigvals(reach @ seen).real)[::-1].clip(0))
    np.testing.assert_allclose(values, lyapunov, rtol=1e-6, atol=1e-6 * lyapunov[0])
    kernel = (weights[0, :, None] * poles[:, None] ** np.arange(1600)).sum(0)
    np.testing.assert_allclose(values, svdvals(hankel(kernel[:800], kernel[799:1599]))[:12], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("order", [1, 3, 6, 9, 11])
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_error_is_below_the_bound(order, outputs):
    """2 x the sum of what was dropped, at every frequency; and cutting more can only cost what the values say."""
    poles, weights = system(outputs=outputs)
    small_poles, small_weights, values = balance(poles, weights, order)
    error = np.linalg.norm(response(poles, weights) - response(small_poles, small_weights), axis=0).max()
    assert error <= 2 * values[order:].sum() * (1 + 1e-9)
    assert error >= values[order] * (1 - 1e-6)  # nothing of that order does better
    assert np.abs(small_poles).max() < 1


def test_a_system_of_low_order_is_found_exactly():
    """Eight modes, four of them copies: four remain and nothing is lost."""
    poles, weights = system(4)
    twice = balance(np.tile(poles, 2), np.tile(weights, 2), 4)
    np.testing.assert_allclose(response(twice[0], twice[1]), response(poles, 2 * weights), rtol=1e-6, atol=1e-6)
    beyond = balance(np.tile(poles, 2), np.tile(weights, 2), 6)  # asked for more than there is
    np.testing.assert_allclose(response(beyond[0], beyond[1]), response(poles, 2 * weights), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("settings", [{"look_ahead": 0}, {"look_ahead": 5}, {"look_ahead": None}])
def test_a_layer_keeps_its_bound_and_its_class(settings):
    """Also in float32, and for both kernels of a bidirectional layer at once."""
    torch.manual_seed(0)
    layer = S4D(3, 16, memory=15.0, **settings)
    small, report = truncate_layer(layer, 6)
    assert isinstance(small, S4D)
    assert (small.modes, small.look_ahead) == (6, layer.look_ahead)
    with torch.no_grad():
        error = torch.zeros(3, 4096)
        for later in (False, True) if layer.look_ahead is None else (False,):
            kernels = [s.kernel(600, later=later) for s in (layer, small)]
            error = error + torch.fft.fft(kernels[0] - kernels[1], n=4096).abs()
    assert (error.amax(1).numpy() <= report.bound * 1.001 + 1e-4).all()
    assert (np.diff(report.singular_values, axis=1) <= 1e-9).all()


def test_a_network_is_cut_without_training_and_still_streams():
    """The result is a network of the same class: it trains, saves, loads and streams."""
    torch.manual_seed(0)
    config = StateSpaceConfig(model_dim=4, state_dim=32, num_layers=2, look_ahead=6, use_selectivity=True, memory=10.0)
    model = config.build().eval()
    before = {n: p.clone() for n, p in model.named_parameters()}
    lines = torch.randn(2, 80, 1, dtype=torch.complex64)
    with torch.no_grad():
        told, errors = model(lines), []
        for size in (30, 24, 16, 8, 4):
            small, reports = truncate(model, size)
            errors.append(((small(lines) - told).norm() / told.norm()).item())
            assert len(reports) == 2
        again = small.config.build()
        again.load_state_dict(small.state_dict())
        torch.testing.assert_close(again.eval()(lines), small(lines))
        stream = Stream(small, 2)
        made = [line for t in range(lines.shape[1]) if (line := stream.step(lines[:, t])) is not None]
        torch.testing.assert_close(torch.stack([*made, *stream.finish()], 1), small(lines), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())
    assert errors[0] < 0.02
    assert errors == sorted(errors)
    small.train()(lines).abs().sum().backward()
    assert small.blocks[0].s4d.frequency.grad.abs().max() > 0


def test_truncation_takes_one_thread_and_each_root_once(monkeypatch):
    """Two threads of a busy machine took 17 times as long for these small matrices, and each root was found twice."""
    roots, threads = [], []
    root, balance = compression._root, compression.balance
    monkeypatch.setattr(compression, "_root", lambda gramian: roots.append(gramian) or root(gramian))

    def watched(*given):
        threads.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return balance(*given)

    monkeypatch.setattr(compression, "balance", watched)
    model = StateSpaceConfig(model_dim=3, state_dim=16, num_layers=2).build()
    compression.truncate(model, 8)
    assert len(roots) == 2 * 3 * 2
    assert set(threads) == {1}
