"""Signals between unlike networks: resolved before training, alive in training, loud when they do not fit."""

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.signals import FeaturesConfig, LogitsConfig, build_signals

NOW = Progress(0, 1)
NO_BATCH = Batch(torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def spec(classes=3, **features):
    return OutputSpec(classes, {name.replace("_", "."): shape for name, shape in features.items()})


def outputs(of, seed):
    torch.manual_seed(seed)
    return Outputs(
        torch.randn(4, of.num_classes), {name: torch.randn(4, *shape) for name, shape in of.features.items()}
    )


SHAPES = [
    ((17, 8), (12, 4, 4)),  # tokens with a class token, and a map of equal grid
    ((17, 8), (12, 7, 7)),  # grids of other size
    ((16, 8), (4, 4, 12)),  # NHWC, as Swin's stages
    ((8,), (12,)),
    ((7, 8), (7, 12)),  # tokens that are no grid, equal in number
    ((17, 8), (17, 12)),  # two class tokens: joined as they are
    ((16, 8), (12, 2, 8)),  # as many positions in a grid that is not square
    ((8, 2, 2), (17, 12)),
]


@pytest.mark.parametrize(("ours", "theirs"), SHAPES)
@pytest.mark.parametrize("pool", ["mean", "none"])
@pytest.mark.parametrize("distance", ["mse", "cosine", "smooth-l1"])
def test_unlike_features_are_joined_and_learnt(ours, theirs, pool, distance):
    """The distance must fall when only the projector and the student's features are moved: gradient reaches both."""
    student, teacher = spec(a_b=ours), spec(c=theirs)
    layout = "nhwc" if theirs == (4, 4, 12) else "auto"
    config = FeaturesConfig(student="a.b", teacher="c", pool=pool, distance=distance, teacher_layout=layout)
    torch.manual_seed(0)
    signal = config.build(student, teacher)
    told, said = outputs(teacher, 1), outputs(student, 2)
    x = said.features["a.b"].requires_grad_()
    first = signal(said, told, NO_BATCH, NOW)
    assert first.shape == (4,)
    optimizer = torch.optim.Adam([x, *signal.parameters()], lr=0.05)
    for _ in range(60):
        loss = signal(said, told, NO_BATCH, NOW).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5 * first.mean()
    assert all(p.grad.abs().sum() > 0 for p in signal.parameters())


def test_position_by_position_compares_the_same_place():
    """A map whose pattern is turned round has the same mean; only joining by place can tell."""
    grid = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(1, 2, 1, 1)
    tokens = grid.flatten(2).transpose(1, 2)
    told = Outputs(torch.zeros(1, 3), {"c": grid})
    by_place = FeaturesConfig(student="a", teacher="c", pool="none", projector="none", normalize=False)
    by_mean = FeaturesConfig(student="a", teacher="c", projector="none", normalize=False)
    for turned, places, means in ((tokens, 0.0, 0.0), (tokens.flip(1), 85.0, 0.0)):
        said = Outputs(torch.zeros(1, 3), {"a": turned})
        student, teacher = spec(a=(16, 2)), spec(c=(2, 4, 4))
        assert by_place.build(student, teacher)(said, told, NO_BATCH, NOW).item() == pytest.approx(places)
        assert by_mean.build(student, teacher)(said, told, NO_BATCH, NOW).item() == pytest.approx(means)


def test_tokens_in_a_grid_that_is_not_square_keep_their_places():
    """Sixteen tokens of a 2 x 8 map read as 4 x 4 would be resized and compared with other places, without a word."""
    grid = torch.randn(1, 3, 2, 8)
    config = FeaturesConfig(student="a", teacher="c", pool="none", projector="none", normalize=False)
    signal = config.build(spec(a=(16, 3)), spec(c=(3, 2, 8)))
    said = Outputs(torch.zeros(1, 3), {"a": grid.flatten(2).transpose(1, 2)})
    assert signal(said, Outputs(torch.zeros(1, 3), {"c": grid}), NO_BATCH, NOW).item() == 0


def test_a_larger_grid_is_averaged_down():
    """Four by four to two by two: means of quarters, by hand."""
    fine = torch.arange(16.0).reshape(1, 1, 4, 4)
    coarse = torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]])
    config = FeaturesConfig(student="a", teacher="c", pool="none", projector="none", normalize=False)
    signal = config.build(spec(a=(1, 4, 4)), spec(c=(1, 2, 2)))
    assert (
        signal(Outputs(torch.zeros(1, 3), {"a": fine}), Outputs(torch.zeros(1, 3), {"c": coarse}), NO_BATCH, NOW).item()
        == 0
    )


@pytest.mark.parametrize(
    ("config", "student", "teacher", "words"),
    [
        (
            {"student": "a", "teacher": "c", "pool": "none"},
            {"a": (7, 8)},
            {"c": (12, 4, 4)},
            ["(7, 8)", "(12, 4, 4)", "pool: mean"],
        ),
        ({"student": "a", "teacher": "cc"}, {"a": (8,)}, {"c": (12,)}, ["teacher feature 'cc'", "did you mean 'c'"]),
        ({"student": "a", "teacher": "c"}, {"a": (8,)}, {"c": (2,)}, ["at least 3 channels", "normalize: false"]),
        (
            {"student": "a", "teacher": "c", "distance": "cosine", "normalize": False},
            {"a": (8,)},
            {"c": (1,)},
            ["one channel", "distance: mse"],
        ),
    ],
)
def test_what_does_not_fit_is_said_before_training(config, student, teacher, words):
    """Both names and both shapes, and what could be done."""
    with pytest.raises(InputError) as error:
        FeaturesConfig(**config).build(spec(**student), spec(**teacher))
    assert all(word in str(error.value) for word in words)


def test_unequal_class_counts_are_refused():
    """A teacher of 1000 classes on 10."""
    with pytest.raises(InputError, match="student has 3, teacher 5"):
        LogitsConfig().build(spec(3), spec(5))


def test_two_signals_of_one_name_are_refused():
    """The second would overwrite the first in the record of terms."""
    with pytest.raises(InputError, match="'logits' stands more than once"):
        build_signals((LogitsConfig(), LogitsConfig(loss="js")), spec(), spec())
