"""The step form against the training form: every module, every border, constant memory."""

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.tasks.sar.students import StateSpaceConfig
from stillhouse.tasks.sar.students.compression import step_cost
from stillhouse.tasks.sar.students.streaming import Stream

KINDS = {
    "causal": {"look_ahead": 0},
    "ahead": {"look_ahead": 11},
    "gelu": {"look_ahead": 5, "activation_function": "gelu"},
    "relu": {"look_ahead": 5, "activation_function": "relu"},
    "gate": {"look_ahead": 11, "use_selectivity": True, "activation_function": "silu"},
    "positions": {"look_ahead": 11, "input_dim": 3, "use_pos_encoding": True, "use_selectivity": True},
    "own-poles": {"look_ahead": 3, "shared_modes": False},
}


def network(**settings):
    torch.manual_seed(0)
    config = StateSpaceConfig(**{"model_dim": 4, "state_dim": 12, "num_layers": 3, "memory": 500.0, **settings})
    model = config.build().eval()
    for parameter in model.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    return model


def scene(model, length, batch=2):
    generator = torch.Generator().manual_seed(1)
    lines = torch.randn(batch, length, model.config.input_dim, dtype=torch.complex64, generator=generator)
    if model.config.use_pos_encoding:
        across = torch.tensor(0.4)
        lines[..., -1] = torch.complex(*torch.broadcast_tensors(across, torch.arange(length) / 100))
    return lines


def streamed(stream, lines):
    said = [stream.step(lines[:, t]) for t in range(lines.shape[1])]
    assert [x is None for x in said] == [t < stream.latency for t in range(len(said))]
    return torch.stack([*(x for x in said if x is not None), *stream.finish()], 1)


def close(got, expected):
    assert got.shape == expected.shape
    assert ((got - expected).norm() / expected.norm()).item() < 1e-5
    assert ((got - expected).abs().max() / expected.abs().max()).item() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 7, 512])
def test_line_by_line_is_the_training_form(kind, length):
    """In the public code the step form has another gate, no norm, and states that start as None."""
    model = network(**KINDS[kind])
    lines = scene(model, length)
    with torch.no_grad():
        close(streamed(Stream(model, 2), lines), model(lines))


def test_memory_does_not_grow():
    """A recurrence that keeps its history is a convolution in disguise."""
    model = network(look_ahead=6, use_selectivity=True, num_layers=1)
    stream = Stream(model)
    lines = scene(model, 100, 1)
    sizes = set()
    for t in range(2000):
        stream.step(lines[:, t % 100])
        sizes.add(stream.state_bytes)
    assert len(sizes) == 1
    assert stream.state[0]["modes"].untyped_storage().nbytes() == 4 * 6 * 8


def test_a_bidirectional_network_cannot_stream():
    """Its causal half alone would be another network, at half the energy."""
    with pytest.raises(InputError, match="look_ahead, got a bidirectional one"):
        Stream(network())


def test_wrong_lines_leave_the_state_alone():
    """One NaN in a state is there for ever: it is refused before it gets in, with the number of the line."""
    stream = Stream(network(look_ahead=2))
    stream.step(torch.ones(1, 1) + 0j)
    before = [x.clone() for state in stream.state for x in state.values()]
    for line, words in [
        (torch.full((1, 1), float("nan")) + 0j, "line 1: expected finite numbers"),
        (torch.full((1, 1), float("inf")) + 0j, "line 1: expected finite numbers"),
        (torch.ones(1, 1), "line 1: expected complex numbers, got torch.float32"),
        (torch.ones(2, 1) + 0j, r"line 1: expected shape \(1, 1\), got \(2, 1\)"),
    ]:
        with pytest.raises(InputError, match=words):
            stream.step(line)
    assert all(torch.equal(old, new) for old, new in zip(before, (x for state in stream.state for x in state.values())))


def test_costs_by_hand():
    """Counted by the definition: input, output; per layer update and readout, feedthrough, mixing; gates are real."""
    cost = step_cost(network(look_ahead=6, use_selectivity=True))
    assert cost.complex_macs == 4 + 4 + 3 * (2 * 4 * 6 + 4 + 16)
    assert cost.real_macs == 3 * (12 * 4 + 4 * 4)
    assert cost.state_bytes == 8 * (3 * 4 * 6 + 6 * 4 + 3 * 4)
    assert cost.parameters == sum(p.numel() for p in network(use_selectivity=True, look_ahead=6).parameters())
    both = step_cost(network())
    assert both.complex_macs == 4 + 4 + 3 * (4 * 4 * 6 + 4 + 16)
