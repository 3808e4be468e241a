"""The spiking language model: one pass equals single steps, every switch does something, products take real spikes."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stillhouse.tasks.lm.students import SpikeConfig, SpikingLMConfig

SMALL = SpikingLMConfig(vocab_size=13, width=16, layers=2, heads=2, ffn=2.0, chunk=8)


def model(config=SMALL, seed=0):
    torch.manual_seed(seed)
    made = config.build()
    for name, parameter in made.named_parameters():
        if name.endswith((".up", ".bias", ".bonus")):
            parameter.data += 0.3 * torch.randn_like(parameter)  # what is zero at the start must not hide a fault
    return made


def tokens(length=20, batch=2, seed=1):
    return torch.randint(0, 13, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [1, 7, 8, 9, 65])
def test_single_steps_equal_one_pass(length):
    """What is trained and what generates would be two models; borders of chunks are where they part."""
    made, ids = model().double(), tokens(length)
    whole = made(ids).logits
    state, steps = made.initial_state(2), []
    for t in range(length):
        logits, state = made.read(ids[:, t : t + 1], state)
        steps.append(logits)
    torch.testing.assert_close(torch.stack(steps, 1), whole, atol=1e-4, rtol=1e-4)


class Products(TorchDispatchMode):
    """Keeps the left factor of every matrix product that it sees."""

    def __init__(self):
        super().__init__()
        self.inputs = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.mm.default:
            self.inputs.append(args[0].detach().clone())
        return function(*args, **(kwargs or {}))


def test_matrix_products_are_given_ternary_inputs_and_ternary_weights():
    """In the public design nothing multiplies by its spikes: here the factor of the product itself is looked at."""
    made, ids = model(), tokens()
    for name, layer in made.linear_layers().items():
        x = torch.randn(40, layer.inputs)
        with Products() as seen, torch.no_grad():
            layer(x)
        spikes_here = ".decay." not in name and ".gate." not in name and ".rate." not in name
        (factor,) = seen.inputs
        values = (factor / layer.spike.amplitude).unique() if spikes_here else factor.unique()
        assert set(values.tolist()) <= {-1.0, 0.0, 1.0} if spikes_here else len(values) > 3, name
        assert (len(layer.effective_weight().abs().unique()) <= 2) == spikes_here, name
    with Products() as seen, torch.no_grad():
        made(ids)
    spiking = sum(len(x.abs().unique()) <= 1 + x.shape[1] and (x == 0).float().mean() > 0.2 for x in seen.inputs)
    assert spiking >= 2 * 6  # r, k, v, output and two of the feed-forward layer, in both blocks


@pytest.mark.parametrize(
    "change",
    [
        {"spikes": None},
        {"spikes": SpikeConfig(parts=("mixer",))},
        {"spikes": SpikeConfig(parts=("mixer", "output", "ffn", "gates"))},
        {"spikes": SpikeConfig(levels=3)},
        {"spikes": SpikeConfig(hidden_levels=3)},
        {"spikes": SpikeConfig(density=0.6)},
        {"ternary_weights": ()},
        {"ternary_weights": ("ffn",)},
        {"ternary_weights": ("mixer", "output", "ffn", "gates")},
    ],
)
def test_every_switch_changes_what_is_said(change):
    """A flag that reaches nothing makes an ablation of nothing; the weights are the same on both sides."""
    plain, other = model(), model(replace(SMALL, **change))
    missing, _ = other.load_state_dict(
        {
            k: v
            for k, v in plain.state_dict().items()
            if "share" not in k and "threshold" not in k and "amplitude" not in k
        },
        strict=False,
    )
    assert not [name for name in missing if not name.endswith(("share", "threshold", "amplitude"))]
    assert (plain(tokens()).logits - other(tokens()).logits).abs().max() > 1e-3


def test_signed_squares_enter_the_down_projection_as_they_are():
    """Both signs pass and nothing of them is a spike; the layer before still takes spikes."""
    made = model(replace(SMALL, activation="signed-square"))
    ffn, x, last = made.blocks[0].ffn, torch.randn(2, 5, 16), torch.zeros(2, 16)
    assert ffn.down.spike is None
    assert ffn.up.spike is not None
    assert ffn.down.ternary
    h = ffn.up(ffn.shift(x, last)[0])
    wanted = torch.where(h > 0, h**2, -(h**2)) @ ffn.down.effective_weight().T
    torch.testing.assert_close(ffn(x, last), wanted)
    assert (wanted - ffn.down(torch.relu(h).square())).abs().max() > 1e-3


def test_a_factored_embedding_is_a_product_of_two_matrices():
    """The readout is that product too, from the other side; weights are fewer where tokens are many."""
    made, ids = model(replace(SMALL, embedding_width=6)), tokens()
    wide = model(SMALL)
    shared = {n: x for n, x in made.state_dict().items() if n in wide.state_dict() and n != "embedding.weight"}
    wide.load_state_dict(shared, strict=False)
    with torch.no_grad():
        wide.embedding.weight.copy_(made.embedding.weight @ made.lift.weight.T)
        torch.testing.assert_close(made.readout(made.hidden(ids)[0]), made(ids).logits)
        scores = wide.hidden(ids)[0] @ (made.embedding.weight @ made.lower.weight).T
    torch.testing.assert_close(made(ids).logits, scores, atol=1e-4, rtol=1e-4)
    assert made.hidden(ids)[0].shape == (2, 20, 6)


def test_share_zero_is_the_dense_network_of_equal_size():
    """The ramp starts from the dense student; anything else at share 0 makes the start of the ramp a jump."""
    made, ids = model(), tokens()
    dense = SMALL.without_special_part().build()
    state = made.state_dict()
    dense.load_state_dict(
        {name: state[name] if "share" not in name else value for name, value in dense.state_dict().items()}
    )
    made.quantize(0.0)
    torch.testing.assert_close(made(ids).logits, dense(ids).logits)
    assert made.regularizers() == {}
    assert made.figures() == {}
    said = []
    for shares in ((0.5, None), (1.0, 0.0), (1.0, 1.0)):
        made.quantize(shares[0], spikes=shares[1])
        said.append(made(ids).logits)
    assert all((a - b).abs().max() > 1e-3 for a, b in ((said[0], said[1]), (said[1], said[2]), (said[0], said[2])))
    again = SMALL.build()
    made.quantize(0.25)
    again.load_state_dict(made.state_dict())
    torch.testing.assert_close(again(ids).logits, made(ids).logits)


def test_every_parameter_gets_a_gradient():
    """Thresholds and amplitudes too."""
    made = model()
    made(tokens(60, batch=4)).logits.square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_calibration_gives_the_density_without_training():
    """Thresholds for unit inputs are wrong where a layer's inputs are small; units must be left as they were."""
    made, ids = model(), tokens(200, batch=4)
    for unit in made.spike_units().values():
        unit.raw_threshold.data.fill_(9.0)
    made.calibrate(ids)
    made(ids)
    assert made.figures()["density"] == pytest.approx(0.3, abs=0.06)
    assert all(unit.share.item() == 1_000_000 and unit.recording is None for unit in made.spike_units().values())


def test_parameter_groups_take_every_parameter_once():
    """A parameter in no group is never trained; one in two groups is refused by torch."""
    made = SMALL.build()
    groups = made.parameter_groups(0.1)
    listed = [p for group in groups for p in group["params"]]
    assert len(listed) == len({id(p) for p in listed}) == len(list(made.parameters()))
    decayed = {id(p) for p in groups[0]["params"]}
    names = {name for name, p in made.named_parameters() if id(p) in decayed}
    assert "blocks.0.ffn.up.weight" in names
    assert "embedding.weight" not in names
    assert not [name for name in names if name.endswith(("mu", "norm_gain", "threshold", "amplitude"))]
