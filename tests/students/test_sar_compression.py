"""Quantization and pruning: what they round, what they leave, and that the cost they report is the cost."""

import copy
import math

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.families.sar.students import StateSpaceConfig
from stillhouse.families.sar.students.pruning import prune
from stillhouse.families.sar.students.quantization import quantize, snr_db, to_int8
from stillhouse.families.sar.students.streaming import Stream

LINES = torch.randn(2, 60, 1, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


def network(**settings):
    torch.manual_seed(0)
    config = {"model_dim": 6, "state_dim": 16, "num_layers": 2, "look_ahead": 4, "memory": 20.0, **settings}
    return StateSpaceConfig(**config).build().eval()


def test_int8_has_the_noise_of_its_step():
    """Uniform noise of a step q has power q^2 / 12: a wrong scale or clipping shows as less SNR."""
    x = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = to_int8(x)
    assert found.values.dtype == torch.int8
    assert found.scale == pytest.approx(1 / 127, rel=1e-3)
    assert found.snr_db == pytest.approx(10 * math.log10((1 / 3) / (found.scale**2 / 12)), abs=0.05)
    assert to_int8(torch.zeros(3)).values.tolist() == [0, 0, 0]
    assert to_int8(torch.zeros(3)).snr_db == math.inf
    with pytest.raises(InputError, match="NaN or an infinity"):
        to_int8(torch.tensor([float("nan")]))


def test_quantized_weights_are_what_is_computed_with_and_the_cost_is_theirs():
    """A report about tensors that the network does not use is the classic of fake quantization."""
    model = network(use_selectivity="gate")
    small, report = quantize(model, LINES)
    for name, parameter in small.named_parameters():
        if name in report.tensors:
            entry = report.tensors[name]
            torch.testing.assert_close(parameter.data, entry.values * entry.scale)
            assert parameter.data.div(entry.scale).round().unique().numel() <= 255
        else:
            assert torch.equal(parameter, dict(model.named_parameters())[name])
    kept = {n.rpartition(".")[2] for n, _ in small.named_parameters() if n not in report.tensors}
    assert kept == {"log_dt", "log_decay", "frequency", "bias"}
    with torch.no_grad():
        assert report.weights_snr_db == pytest.approx(snr_db(model(LINES), small(LINES)))
    assert 15 < report.weights_snr_db < 60
    assert report.bytes_after < 0.5 * report.bytes_before
    assert report.bytes_before == 4 * sum(p.numel() for p in model.parameters())


def test_the_state_costs_too():
    """Weights that survive 8 bits say nothing of a recurrence that accumulates its rounding."""
    model = network()
    small, report = quantize(model, LINES)
    stream = Stream(small, 2, state_steps=report.state_steps)
    focused, largest = [], 0.0
    for t in range(60):
        line = stream.step(LINES[:, t])
        focused += [] if line is None else [line.unsqueeze(1)]
        levels = torch.view_as_real(stream.state["blocks.0.modes"]) / report.state_steps[0]
        torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
        largest = max(largest, levels.abs().max().item())
    assert 120 < largest < 127.5  # the range was taken from these lines: it is used to the full, and nothing is clipped
    with torch.no_grad():
        again = snr_db(model(LINES), torch.cat([*focused, stream.finish()], 1))
    assert report.state_snr_db == pytest.approx(again)
    assert 5 < report.state_snr_db < report.weights_snr_db
    with pytest.raises(InputError, match="line by line"):
        stream.push(LINES)
    with pytest.raises(InputError, match="one for each of 2 layers, got 1"):
        Stream(small, 2, state_steps=(1.0,))


def test_a_bidirectional_network_has_no_state_to_quantize():
    """None says so; a number would be made up."""
    report = quantize(network(look_ahead=None), LINES)[1]
    assert report.state_snr_db is None
    assert report.state_steps == ()


def test_dynamics_are_left_alone_unless_asked_for():
    """One step of a frequency is 1/127 of the band: it defocuses, and must not go unsaid."""
    model = network()
    spared, everything = (quantize(model, LINES, dynamics=d)[1] for d in (False, True))
    assert "blocks.0.s4d.frequency" not in spared.tensors
    assert "blocks.0.s4d.frequency" in everything.tensors
    assert everything.weights_snr_db < spared.weights_snr_db
    poles = quantize(model, LINES, dynamics=True)[0].blocks[0].s4d.poles()
    assert poles.abs().max().item() < 1


def test_pruning_takes_the_smallest_moduli_of_each_matrix():
    """By parts instead of moduli, it would turn phases; over all matrices at once, it empties the small ones."""
    model = network(use_selectivity="gate")
    small, report = prune(model, 0.5, LINES)
    for name, count in report.zeroed.items():
        old, new = dict(model.named_parameters())[name].data, dict(small.named_parameters())[name].data
        size, zero = (old.norm(dim=-1), (new == 0).all(-1)) if old.ndim == 3 else (old.abs(), new == 0)
        assert int(zero.sum()) == count == size.numel() // 2
        assert size[zero].max() <= size[~zero].min()
        assert torch.equal(new[~zero], old[~zero])
    assert {n.rpartition(".")[2] for n in report.zeroed} == {"weight", "output"}
    with torch.no_grad():
        assert report.snr_db == pytest.approx(snr_db(model(LINES), small(LINES)))


def test_more_pruning_costs_more_and_none_costs_nothing():
    """A cost that does not move is not measured."""
    model = network()
    before = copy.deepcopy(model.state_dict())
    costs = [prune(model, share, LINES)[1].snr_db for share in (0.0, 0.1, 0.5, 0.9)]
    assert costs[0] == math.inf
    assert costs == sorted(costs, reverse=True)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="share: expected a number from 0 to below 1"):
            prune(model, share, LINES)
