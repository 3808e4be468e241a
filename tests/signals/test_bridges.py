"""Tensors of any kind read as (B, N, D), and joined place by place or with a reason why not."""

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.signals.bridges import LAYOUTS, Bridge, Side
from stillhouse.signals.features import FeaturesConfig

NOW = Progress(0, 1)
NO_BATCH = Batch(torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def side(shape, layout="auto", who="student"):
    return Side.of(who, "x", OutputSpec(2, {"x": shape}), layout)


def read(x, layout="auto"):
    return side(tuple(x.shape[1:]), layout).tokens(x)


PLAIN = {  # (B, N, D) -> the layout
    "vector": ((2, 1, 3), lambda t: t[:, 0]),
    "tokens": ((2, 5, 3), lambda t: t),
    "sequence": ((2, 5, 3), lambda t: t),
    "nchw": ((2, 6, 3), lambda t: t.transpose(1, 2).reshape(2, 3, 2, 3)),
    "nhwc": ((2, 6, 3), lambda t: t.reshape(2, 2, 3, 3)),
}


@pytest.mark.parametrize("layout", PLAIN)
def test_a_plain_layout_is_read_back(layout):
    """A transposed axis trains too, on nonsense."""
    torch.manual_seed(0)
    shape, to = PLAIN[layout]
    x = torch.randn(shape)
    assert torch.equal(read(to(x), layout), x)
    made = side(tuple(to(x).shape[1:]), layout)
    assert (made.positions, made.width) == shape[1:]


@pytest.mark.parametrize("layout", [name for name, (_, time) in LAYOUTS.items() if time is not None])
def test_spikes_are_read_as_rates(layout):
    """Time first is the batch of no ordinary tensor: its mean must be over steps, never over samples."""
    torch.manual_seed(0)
    plain, time = LAYOUTS[layout]
    shape, to = PLAIN[plain]
    spikes = (torch.rand(7, *shape) < 0.3).float()  # (T, B, N, D)
    tensor = torch.stack([to(step) for step in spikes], dim=time)
    torch.testing.assert_close(read(tensor, layout), spikes.mean(0))
    grown = tensor.clone().requires_grad_()
    read(grown, layout).sum().backward()
    torch.testing.assert_close(grown.grad, torch.full_like(grown, 1 / 7))


def test_complex_tensors_are_pairs_of_real_ones():
    """The real part alone throws the phase away, which in radar is the signal."""
    torch.manual_seed(0)
    layout = "complex-tokens"
    shape, to = PLAIN["tokens"]
    x = torch.randn(*shape, dtype=torch.complex64)
    made = read(to(x), layout)
    assert made.shape == (shape[0], shape[1], 2 * shape[2])
    assert side(tuple(to(x).shape[1:]), layout).width == 2 * shape[2]
    torch.testing.assert_close(torch.view_as_complex(made.unflatten(2, (shape[2], 2))), x)
    turned = read(to(x * 1j), layout)
    assert (turned - made).abs().max() > 0.1
    torch.testing.assert_close(turned.square().sum(), made.square().sum())


def test_complex_numbers_are_never_halved_in_silence():
    """float() on a complex tensor keeps its real part with no more than a warning."""
    with pytest.raises(InputError, match=r"expected real numbers.*complex-tokens.*got torch.complex64"):
        read(torch.zeros(2, 5, 3, dtype=torch.complex64))
    with pytest.raises(InputError, match=r"expected complex numbers, got torch.float32"):
        read(torch.zeros(2, 5, 3), "complex-tokens")


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((2, 3, 4, 5), "auto"), ((), "auto"), ((5, 3), "vector"), ((5,), "tbnd"), ((5, 3), "nchw")],
)
def test_axes_that_do_not_fit_are_named(shape, layout):
    """Rather than reshaped into something."""
    with pytest.raises(InputError, match=r"student feature 'x'.*a layout that names") as error:
        side(shape, layout)
    assert str(shape) in str(error.value)


def bridge(ours, theirs, **options):
    return Bridge.between(side(*ours), side(*theirs, who="teacher"), **options)


def positions(made):
    batch = {"x": torch.zeros(2, *made.student_side.shape)}, {"x": torch.zeros(2, *made.teacher_side.shape)}
    return made.student(batch[0]).shape[1], made.teacher(batch[1]).shape[1]


@pytest.mark.parametrize(
    ("ours", "theirs", "count"),
    [
        (((3, 4, 4),), ((5, 2, 2),), 4),
        (((3, 2, 2),), ((5, 4, 4),), 4),
        (((16, 3), "sequence"), ((5, 4, 4),), 16),
        (((6, 3), "sequence"), ((6, 5),), 6),
    ],
)
def test_unlike_sizes_meet(ours, theirs, count):
    """At the coarser of both."""
    assert positions(bridge(ours, theirs, pool="none")) == (count, count)


def test_first_is_the_class_token():
    """Patient distillation compares it alone; a map has none."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 5, 3), torch.randn(2, 3)
    made = bridge(((5, 3),), ((3,),), pool="first")
    assert torch.equal(made.student({"x": x}), x[:, :1])
    assert torch.equal(made.teacher({"x": y}), y.unsqueeze(1))
    with pytest.raises(InputError, match="expected tokens to take the first of, got tokens and nchw"):
        bridge(((5, 3),), ((3, 4, 4),), pool="first")


class Spiking(torch.nn.Module):
    """Time first inside, as SpikingJelly; rates at the end."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(6, 4)

    def forward(self, x):
        steps = torch.stack([x, 2 * x, 3 * x])  # (T, B, D)
        return self.body(steps).mean(0)


def test_a_spiking_student_is_tapped_and_taught():
    """From the tap's shapes on: the first axis that the tap drops is time, not batch."""
    torch.manual_seed(0)
    extractor = FeatureExtractor(Spiking(), ["body"])
    spec = extractor.spec(torch.zeros(2, 6))
    teacher = OutputSpec(4, {"c": (9,)})
    signal = FeaturesConfig(student="body", teacher="c", student_layout="tbd").build(spec, teacher)
    value = signal(extractor(torch.randn(5, 6)), Outputs(torch.zeros(5, 4), {"c": torch.randn(5, 9)}), NO_BATCH, NOW)
    assert value.shape == (5,)
    value.sum().backward()
    assert extractor.module.body.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("projector", ["linear", "none"])
def test_complex_features_are_matched_to_complex_ones(projector):
    """Equal ones are at 0 without a projector, and a turned phase is seen."""
    torch.manual_seed(0)
    x = torch.randn(3, 5, 2, dtype=torch.complex64)
    config = FeaturesConfig(
        student="x",
        teacher="x",
        student_layout="complex-tokens",
        teacher_layout="complex-tokens",
        pool="none",
        projector=projector,
        normalize=False,
    )
    signal = config.build(OutputSpec(2, {"x": (5, 2)}), OutputSpec(2, {"x": (5, 2)}))
    said = Outputs(torch.zeros(3, 2), {"x": x.clone().requires_grad_()})
    value = signal(said, Outputs(torch.zeros(3, 2), {"x": 1j * x}), NO_BATCH, NOW)
    value.sum().backward()
    assert said.features["x"].grad.abs().sum() > 0
    if projector == "none":
        torch.testing.assert_close(value, (x - 1j * x).abs().square().mean((1, 2)) / 2)
        assert signal(said, Outputs(torch.zeros(3, 2), {"x": x}), NO_BATCH, NOW).sum() == 0
