"""Quantization and pruning: what they round, what they leave, and that the cost they report is the cost."""

import math

import pytest
import torch

from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.students.compression import prune, quantize, snr_db, to_int8

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
    assert snr_db(x, found.values * found.scale) == pytest.approx(
        10 * math.log10((1 / 3) / (found.scale**2 / 12)), abs=0.05
    )
    assert to_int8(torch.zeros(3)).values.tolist() == [0, 0, 0]


def test_quantized_weights_are_what_is_computed_with_and_the_cost_is_theirs():
    """A report about tensors that the network does not use is the classic of fake quantization."""
    model = network(use_selectivity=True)
    small, tensors, cost = quantize(model, LINES)
    for name, parameter in small.named_parameters():
        if name in tensors:
            entry = tensors[name]
            torch.testing.assert_close(parameter.data, entry.values * entry.scale)
            assert parameter.data.div(entry.scale).round().unique().numel() <= 255
        else:
            assert torch.equal(parameter, dict(model.named_parameters())[name])
    kept = {n.rpartition(".")[2] for n, _ in small.named_parameters() if n not in tensors}
    assert kept == {"log_dt", "log_decay", "frequency", "bias"}
    with torch.no_grad():
        assert cost == pytest.approx(snr_db(model(LINES), small(LINES)))
    assert 15 < cost < 60


def test_pruning_takes_the_smallest_moduli_of_each_matrix():
    """By parts instead of moduli, it would turn phases; over all matrices at once, it empties the small ones."""
    model = network(use_selectivity=True)
    small, zeroed, cost = prune(model, 0.5, LINES)
    for name, count in zeroed.items():
        old, new = dict(model.named_parameters())[name].data, dict(small.named_parameters())[name].data
        size, zero = (old.norm(dim=-1), (new == 0).all(-1)) if old.ndim == 3 else (old.abs(), new == 0)
        assert int(zero.sum()) == count == size.numel() // 2
        assert size[zero].max() <= size[~zero].min()
        assert torch.equal(new[~zero], old[~zero])
    assert {n.rpartition(".")[2] for n in zeroed} == {"weight", "output"}
    with torch.no_grad():
        assert cost == pytest.approx(snr_db(model(LINES), small(LINES)))
