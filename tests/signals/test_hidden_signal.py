"""Many layers at once: the right pairs, every layer taught, published recipes expressible, gates alive."""

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.config import ConfigError, parse
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.signals.features import FeaturesConfig
from stillhouse.signals.hidden import HiddenConfig

NOW = Progress(0, 1)
NO_BATCH = Batch(torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def net(layers, shape, prefix="b", seed=0, rows=4):
    """Specification and outputs of a network of many layers; an embedding is `<prefix>.e`."""
    torch.manual_seed(seed)
    names = [*(f"{prefix}.{i}" for i in range(layers)), f"{prefix}.e"]
    features = {name: torch.randn(rows, *shape) for name in names}
    return OutputSpec(3, dict.fromkeys(names, shape)), Outputs(torch.zeros(rows, 3), features)


def config(student=2, teacher=4, **more):
    return HiddenConfig(student="b.{}", student_layers=student, teacher="t.{}", teacher_layers=teacher, **more)


def built(made, ours=(5, 6), theirs=(5, 8), student=2, teacher=4):
    spec, said = net(student, ours, "b", 1)
    other, told = net(teacher, theirs, "t", 2)
    torch.manual_seed(0)
    return made.build(spec, other), said, told


@pytest.mark.parametrize("distance", ["mse", "normalized-mse", "cosine", "smooth-l1", "cka"])
@pytest.mark.parametrize("pool", ["mean", "none"])
def test_every_matched_layer_is_taught(distance, pool):
    """A list of modules outside the module tree, or a loop over the first pair, would train one layer."""
    made = config(distance=distance, pool=pool, projector="none" if distance == "cka" else "linear")
    signal, said, told = built(made)
    for name in ("b.0", "b.1"):
        said.features[name].requires_grad_()
    for x in told.features.values():
        x.requires_grad_()
    value = signal(said, told, NO_BATCH, NOW)
    assert value.shape == (() if distance == "cka" else (4,))
    value.sum().backward()
    assert all(said.features[name].grad.abs().sum() > 0 for name in ("b.0", "b.1"))
    assert all(x.grad is None for x in told.features.values())
    parameters = list(signal.parameters())
    assert len(parameters) == (0 if distance == "cka" else 4)
    assert all(p.grad.abs().sum() > 0 for p in parameters)


def test_the_value_is_the_mean_of_the_single_places():
    """The same as one `features` signal a pair of the map, by a part that is tested on its own."""
    signal, said, told = built(config(projector="none"), theirs=(5, 6))
    singles = []
    for ours, theirs in (("b.0", "t.1"), ("b.1", "t.3")):
        one = FeaturesConfig(student=ours, teacher=theirs, projector="none")
        spec = OutputSpec(3, {ours: (5, 6)}), OutputSpec(3, {theirs: (5, 6)})
        singles.append(one.build(*spec)(said, told, NO_BATCH, NOW))
    torch.testing.assert_close(signal(said, told, NO_BATCH, NOW), sum(singles) / 2)
    figures = signal.figures()
    assert figures == pytest.approx({f"layer_{j}": x.mean().item() for j, x in enumerate(singles, 1)})


@pytest.mark.parametrize(
    ("more", "pairs"),
    [
        ({}, [("b.0", "t.2"), ("b.1", "t.5"), ("b.2", "t.8"), ("b.3", "t.11")]),
        ({"map": "skip"}, [("b.0", "t.2"), ("b.1", "t.5"), ("b.2", "t.8")]),
        ({"map": "last"}, [("b.0", "t.8"), ("b.1", "t.9"), ("b.2", "t.10")]),
        ({"map": "last-only"}, [("b.3", "t.11")]),
        ({"map": "explicit", "mapping": {1: 12, 4: 1}}, [("b.0", "t.11"), ("b.3", "t.0")]),
    ],
)
def test_layers_are_paired_and_tapped(more, pairs):
    """TinyBERT's released map counts the embedding as layer 0; paths count from 0, layers from 1."""
    made = config(4, 12, **more)
    assert [(ours, *theirs) for ours, theirs in made.targets()] == pairs
    assert made.student_paths == tuple(ours for ours, _ in pairs)
    assert made.teacher_paths == tuple(theirs for _, theirs in pairs)


def test_gates_start_near_the_uniform_map_and_learn():
    """The losses detach their target: without care a gate never gets a gradient and LAD is a blurred uniform map."""
    signal, said, told = built(config(map="learned"), teacher=4)
    near, _, _ = built(config())
    near.load_state_dict({k: v for k, v in signal.state_dict().items() if "gates" not in k})
    first = signal(said, told, NO_BATCH, NOW)
    plain = near(said, told, NO_BATCH, NOW)
    assert (first - plain).abs().max() < 0.1 * plain.max()
    assert not torch.allclose(first, plain)
    figures = signal.figures()
    assert {name: value for name, value in figures.items() if "gate" in name} == pytest.approx(
        {"gate_t.1": 0.9526, "gate_t.3": 0.9526}, abs=1e-4
    )
    first.sum().backward()
    gates = dict(signal.gates.named_parameters())
    assert len(gates) == 4
    assert all(p.grad.abs().sum() > 0 for p in gates.values())


@pytest.mark.parametrize(("layer", "low", "high"), [("t.0", 0.0, 0.4), ("t.1", 0.96, 1.0)])
def test_gates_turn_to_the_layer_that_is_matched(layer, low, high):
    """The sign: a student that equals the block's first layer closes the gate to the last, one that equals the last opens it."""
    made = config(1, 2, map="learned", projector="none", pool="none")
    signal, said, told = built(made, theirs=(5, 6), teacher=2)
    said = Outputs(said.logits, {"b.0": told.features[layer]})
    optimizer = torch.optim.Adam(signal.parameters(), lr=0.1)
    values = []
    for _ in range(50):
        value = signal(said, told, NO_BATCH, NOW).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert low < signal.figures()["gate_t.1"] < high
    assert values[-1] < 0.3 * values[0]


def test_layer_weights_are_shares():
    """Their size is no hidden weight: (1, 3) is a quarter and three; a 0 leaves a layer out."""
    values = {}
    for weights in ((1.0, 3.0), (2.0, 6.0), (0.0, 1.0), (1.0, 0.0)):
        signal, said, told = built(config(layer_weights=weights, projector="none"), theirs=(5, 6))
        values[weights] = signal(said, told, NO_BATCH, NOW)
    torch.testing.assert_close(values[1.0, 3.0], values[2.0, 6.0])
    torch.testing.assert_close(values[1.0, 3.0], 0.25 * values[1.0, 0.0] + 0.75 * values[0.0, 1.0])


def test_distilberts_cosine_of_the_last_layer():
    """Against torch's own loss on flattened tokens."""
    made = config(map="last-only", distance="cosine", projector="none", normalize=False, pool="none")
    signal, said, told = built(made, theirs=(5, 6))
    a, b = said.features["b.1"].flatten(0, 1), told.features["t.3"].flatten(0, 1)
    expected = torch.nn.functional.cosine_embedding_loss(a, b, torch.ones(len(a)))
    torch.testing.assert_close(signal(said, told, NO_BATCH, NOW).mean(), expected)


def test_patient_distillations_class_tokens():
    """Squared distance of class tokens of length 1, the last layer left out; by hand."""
    made = config(4, 12, map="skip", distance="normalized-mse", projector="none", normalize=False, pool="first")
    signal, said, told = built(made, theirs=(5, 6), student=4, teacher=12)
    unit = torch.nn.functional.normalize
    gaps = [
        unit(said.features[f"b.{j}"][:, 0], dim=1) - unit(told.features[f"t.{k}"][:, 0], dim=1)
        for j, k in ((0, 2), (1, 5), (2, 8))
    ]
    expected = torch.stack([gap.square().sum(1) for gap in gaps]).mean(0)
    torch.testing.assert_close(signal(said, told, NO_BATCH, NOW), expected)


def test_cka_is_blind_to_rotation_and_scale_and_takes_unlike_networks():
    """A map of 3 x 3 and tokens, widths 6 and 8: no place and no channel in common."""
    made = config(1, 1, distance="cka", projector="none", normalize=False)
    torch.manual_seed(0)
    x, (q, _) = torch.randn(16, 6), torch.linalg.qr(torch.randn(6, 6))
    spec = OutputSpec(3, {"b.0": (6,)}), OutputSpec(3, {"t.0": (6,)})
    signal = made.build(*spec)
    told = Outputs(x, {"t.0": 5 * x @ q})
    same = signal(Outputs(x, {"b.0": x}), told, NO_BATCH, NOW)
    other = signal(Outputs(x, {"b.0": torch.randn(16, 6)}), told, NO_BATCH, NOW)
    assert same.item() == pytest.approx(0, abs=1e-4)
    assert other > 0.3
    incomparable_reason = made.build(OutputSpec(3, {"b.0": (6, 3, 3)}), OutputSpec(3, {"t.0": (5, 8)}))
    said = Outputs(x, {"b.0": torch.randn(16, 6, 3, 3)})
    assert incomparable_reason(said, Outputs(x, {"t.0": torch.randn(16, 5, 8)}), NO_BATCH, NOW).isfinite()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"student_layers": 9}, "as many as the teacher's 4, got 9"),
        ({"distance": "cka"}, "projector: expected none with distance cka"),
        ({"layer_weights": (1.0,)}, "layer_weights: expected 2"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_written(more, words):
    """Before a model is built."""
    values = {"student": "b.{}", "student_layers": 2, "teacher": "t.{}", "teacher_layers": 4, **more}
    with pytest.raises(ConfigError, match=words):
        parse(HiddenConfig, values)


@pytest.mark.parametrize(
    ("more", "ours", "theirs", "words"),
    [
        ({"projector": "none"}, (5, 6), (5, 8), "widths 6 and 8 differ; take projector: linear"),
        ({"distance": "cka", "projector": "none"}, (5, 2), (5, 8), "at least 3 channels to standardize, got 2"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_before_training(more, ours, theirs, words):
    """Both names, both shapes, and a way out."""
    with pytest.raises(InputError, match=words):
        built(config(**more), ours, theirs)


def test_cka_leaves_out_a_last_batch_that_is_too_small():
    """Three rows have no unbiased estimate: the run must neither stop there nor count a 0 as a success unseen."""
    made = config(distance="cka", projector="none")
    signal, said, told = built(made)
    assert "skipped" not in signal.figures()
    whole = signal(said, told, NO_BATCH, NOW)
    few = [Outputs(o.logits[:3], {k: v[:3].requires_grad_() for k, v in o.features.items()}) for o in (said, told)]
    value = signal(*few, NO_BATCH, Progress(1, 2))
    value.backward()
    assert whole > 0
    assert value == 0
    assert signal.figures() == {"skipped": 1.0}
    assert few[0].features["b.0"].grad.abs().max() == 0
