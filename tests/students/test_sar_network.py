"""The focusing network: phase, selectivity, taps, gradients, configuration, and that it can learn what theory says it can."""

import math

import numpy as np
import pytest
import torch
from benchmarks.sar.bars import linear_bar

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.students.network import DYNAMICS

KINDS = [
    {},
    {"look_ahead": 0},
    {"look_ahead": 7, "use_selectivity": True, "activation_function": "relu"},
    {"input_dim": 3, "use_pos_encoding": True, "use_selectivity": True},
]


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def network(seed=0, **settings):
    torch.manual_seed(seed)
    model = StateSpaceConfig(**{"model_dim": 6, "state_dim": 16, "num_layers": 3, **settings}).build().eval()
    for parameter in model.parameters():  # zero starts would hide parts that do nothing
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    return model


def scene(model, length=60, batch=2):
    lines = noise(batch, length, model.config.input_dim)
    if model.config.use_pos_encoding:
        across = torch.tensor(0.4)
        lines[..., -1] = torch.complex(*torch.broadcast_tensors(across, torch.arange(length) / 100))
    return lines


@pytest.mark.parametrize("settings", KINDS)
def test_a_global_phase_passes_through(settings):
    """The phase of a scene is arbitrary: a network that sees it learns nothing that holds for the next scene."""
    model = network(**settings)
    lines, turn = scene(model), torch.exp(torch.tensor(1.3j))
    turned = lines.clone()
    turned[..., : model.config.signal_channels] *= turn
    with torch.no_grad():
        torch.testing.assert_close(model(turned), turn * model(lines), rtol=1e-4, atol=1e-5)


def test_every_switch_changes_the_output():
    """The public factory dropped `use_selectivity`: teacher and student were the same network."""
    base = {"input_dim": 2, "use_pos_encoding": True, "look_ahead": 6}
    lines = scene(network(**base))
    plain = network(**base)(lines)
    for change in (
        {"use_selectivity": True},
        {"activation_function": "gelu"},
        {"look_ahead": 0},
        {"look_ahead": None},
        {"memory": 5.0},
        {"doppler_band": 0.5},
    ):
        assert (network(**{**base, **change})(lines) - plain).abs().max().item() > 1e-3, change
    moved = lines.clone()
    moved[..., 1] += 0.3
    assert (network(**base)(moved) - plain).abs().max().item() > 1e-3, "the position is not read"


def test_selectivity_makes_the_network_time_varying():
    """Without it (and with a linear activation) twice the scene gives twice the output: there is no selection."""
    gated, linear = network(use_selectivity=True), network()
    lines = scene(gated)
    assert (gated(3 * lines) - 3 * gated(lines)).abs().max().item() > 1e-2
    torch.testing.assert_close(linear(3 * lines), 3 * linear(lines), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", KINDS)
def test_gradients_reach_every_parameter(settings):
    """A part outside the graph is dead weight in the optimizer; complex parameters are real pairs, so any optimizer takes them."""
    model = network(**settings)
    out = model(scene(model))
    out.abs().square().mean().backward()
    dead = [
        n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all() or not p.grad.any()
    ]
    assert dead == []
    assert not any(p.is_complex() for p in model.parameters())


def test_the_documented_batch_shape_is_taken():
    """The documented loader gives (B, L, 1, C)."""
    model, lines = network(input_dim=2, use_pos_encoding=True), noise(2, 9, 2)
    assert torch.equal(model(lines.unsqueeze(2)), model(lines))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (torch.zeros(2, 9, 1), "lines: expected complex numbers, got torch.float32"),
        (torch.zeros(2, 9, 2) + 0j, r"lines: expected shape \(batch, length, 1\)"),
        (torch.zeros(2, 0, 1) + 0j, "without empty axes"),
    ],
)
def test_wrong_lines_are_named(lines, words):
    """Real lines would be promoted and focus to nothing."""
    with pytest.raises(InputError, match=words):
        network()(lines)


def test_parameter_groups():
    """Decay pulls a log-decay to a memory of one line and every frequency to zero Doppler."""
    model = network(use_selectivity=True, activation_function="relu", input_dim=2, use_pos_encoding=True)
    decayed, free = model.parameter_groups(0.1)
    names = {id(p): n for n, p in model.named_parameters()}
    assert sorted(names[id(p)] for g in (decayed, free) for p in g["params"]) == sorted(names.values())
    assert {names[id(p)].rpartition(".")[2] for p in decayed["params"]} == {"weight", "output", "later_output"}
    assert set(DYNAMICS) <= {names[id(p)].rpartition(".")[2] for p in free["params"]}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    torch.optim.AdamW(model.parameter_groups(0.1), lr=1e-3)


@pytest.mark.parametrize(("layers", "total"), [(3, 8), (3, 2), (1, 5), (4, 0)])
def test_the_look_ahead_is_shared_out(layers, total):
    """The latency that is promised is the sum over the layers."""
    even = StateSpaceConfig(num_layers=layers, look_ahead=total).layer_look_ahead()
    assert sum(even) == total
    assert max(even) - min(even) <= 1


TAPS, LENGTH = 33, 160  # time-bandwidth product 33 / 1.3 = 25


def focusing(batch, generator):
    """Range-compressed lines of a white scene and their matched filter, unit power, by the physics of a chirp."""
    t = torch.arange(TAPS, dtype=torch.float64) - TAPS // 2
    chirp = torch.exp(-1j * math.pi / (1.3 * TAPS) * t.square())
    scene = torch.randn(batch, LENGTH + 4 * TAPS, dtype=torch.complex128, generator=generator)
    size = 2 * scene.shape[1]
    spectrum = torch.fft.fft(chirp, n=size)
    raw = torch.fft.ifft(torch.fft.fft(scene, n=size) * spectrum)
    focused = torch.fft.ifft(torch.fft.fft(raw) * spectrum.conj())
    lines, target = raw[:, 2 * TAPS + TAPS // 2 :][:, :LENGTH], focused[:, 2 * TAPS :][:, :LENGTH]
    return (lines / TAPS**0.5).to(torch.complex64)[..., None], (target / TAPS / 1.3**-0.5).to(torch.complex64)[
        ..., None
    ]


def trained(steps=120, **settings):
    torch.manual_seed(0)
    base = {"model_dim": 6, "state_dim": 64, "num_layers": 1, "memory": 30.0}
    model = StateSpaceConfig(**{**base, **settings}).build()
    optimizer = torch.optim.AdamW(model.parameter_groups(0.0), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps, pct_start=0.1)
    generator, inside = torch.Generator().manual_seed(1), slice(TAPS, LENGTH - TAPS)
    for _ in range(steps):
        lines, target = focusing(8, generator)
        error = (model(lines) - target)[:, inside].abs().square().sum() / target[:, inside].abs().square().sum()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        lines, target = focusing(64, torch.Generator().manual_seed(2))
        return ((model(lines) - target)[:, inside].abs().square().sum() / target[:, inside].abs().square().sum()).item()


def test_the_bar_of_theory_for_a_causal_network():
    """No causal filter can focus (about half of the energy): ours reaches that bar, only one that looks ahead passes it."""
    t = np.arange(TAPS) - TAPS // 2
    echo = np.exp(-1j * np.pi / (1.3 * TAPS) * t**2)
    causal = linear_bar(echo, look_ahead=0)
    assert 0.4 < causal < 0.5
    assert trained(look_ahead=0) == pytest.approx(causal, abs=0.03)
    assert trained() < 0.01
    assert trained(look_ahead=TAPS // 2) < 0.05
