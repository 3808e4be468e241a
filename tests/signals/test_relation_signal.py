"""The signal of relations between unlike networks: resolved before training, alive in it, loud when it cannot be."""

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.losses.cka import cka_loss
from stillhouse.losses.relations import rkd_angle, rkd_distance, similarity_preserving
from stillhouse.signals.relations import RELATIONS, RelationsConfig
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer

NOW = Progress(0, 10)
NO_BATCH = Batch(torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
every = pytest.mark.parametrize("relation", RELATIONS)


def spec(**features):
    return OutputSpec(3, dict(features))


def outputs(seed, name, *shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return Outputs(torch.zeros(shape[0], 3), {name: torch.randn(shape, generator=generator, dtype=dtype)})


def value(config, said, told, now=NOW):
    """Of a signal made for these very tensors."""
    shapes = [OutputSpec(3, {n: tuple(x.shape[1:]) for n, x in o.features.items()}) for o in (said, told)]
    return config.build(*shapes)(said, told, NO_BATCH, now)


@every
@pytest.mark.parametrize("pool", ["mean", "none"])
def test_gradient_reaches_the_tapped_student_of_another_kind(relation, pool):
    """A signal whose graph is cut somewhere trains nothing and says nothing."""
    torch.manual_seed(0)
    model = UnifiedTMTransformer(3, image_size=8, in_channels=1, embed_dim=12, depths=1, num_heads=2, patch_size=4)
    student = FeatureExtractor(model, ["blocks.0"])
    teacher = FeatureExtractor(
        torch.nn.Sequential(torch.nn.Conv2d(1, 9, 4, 4), torch.nn.Flatten(), torch.nn.LazyLinear(3)), "0"
    )
    pixels = torch.rand(6, 1, 8, 8)
    config = RelationsConfig(student="blocks.0", teacher="0", relation=relation, pool=pool)
    told = teacher(pixels)
    signal = config.build(student.spec(pixels), teacher.spec(pixels))
    loss = signal(student(pixels), told, NO_BATCH, NOW)
    assert loss.ndim == 0
    assert loss > 0
    loss.backward()
    assert model.patch_embed.weight.grad.abs().sum() > 0
    assert model.blocks[0].attention.qkv.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in teacher.module.parameters())
    assert all(p.grad.abs().sum() > 0 for p in signal.parameters())
    assert bool(list(signal.parameters())) == (relation == "contrastive")


def test_relations_are_those_of_the_losses():
    """A flag that does not arrive is believed and does nothing."""
    said, told = outputs(0, "a", 8, 6), outputs(1, "c", 8, 9)
    ours, theirs = said.features["a"], told.features["c"]

    def of(relation):
        return value(RelationsConfig(student="a", teacher="c", relation=relation), said, told)

    both = rkd_distance(ours, theirs) + 2 * rkd_angle(ours, theirs)
    torch.testing.assert_close(of("rkd"), both)
    torch.testing.assert_close(of("similarity-preserving"), similarity_preserving(ours, theirs))
    torch.testing.assert_close(of("cka"), cka_loss(ours, theirs))


def test_rows_are_means_class_tokens_or_all_positions():
    """Each compares something else."""
    said, told = outputs(0, "a", 8, 5, 6), outputs(1, "c", 8, 5, 9)
    ours, theirs = said.features["a"], told.features["c"]
    expected = {
        "mean": rkd_distance(ours.mean(1), theirs.mean(1)),
        "first": rkd_distance(ours[:, 0], theirs[:, 0]),
        "none": rkd_distance(ours.flatten(0, 1), theirs.flatten(0, 1)),
    }
    names = set()
    for pool, number in expected.items():
        config = RelationsConfig(student="a", teacher="c", relation="rkd-distance", pool=pool)
        torch.testing.assert_close(value(config, said, told), number)
        names.add(config.build(spec(a=(5, 6)), spec(c=(5, 9))).name)
    assert len(names) == 3  # side by side in one run they need names of their own


def test_many_positions_are_drawn_by_the_step(monkeypatch):
    """B N x B N Gram matrices do not fit; a draw that no seed decides would break the bit-exact resume."""
    monkeypatch.setattr("stillhouse.signals.relations.ROWS", 16)
    monkeypatch.setattr("stillhouse.signals.relations.TRIPLES", 50)
    said, told = outputs(0, "a", 6, 10, 6), outputs(1, "c", 6, 10, 9)
    for relation in ("rkd-distance", "rkd-angle"):
        config = RelationsConfig(student="a", teacher="c", relation=relation, pool="none")
        first, again, other = (value(config, said, told, Progress(step, 10)) for step in (0, 0, 1))
        assert first == again != other
    said.features["a"].requires_grad_()
    value(RelationsConfig(student="a", teacher="c", relation="rkd-distance", pool="none"), said, told).backward()
    assert (said.features["a"].grad.abs().sum(2) > 0).sum() == 16
    same = RelationsConfig(student="a", teacher="a", relation="rkd-distance", pool="none")
    assert value(same, said, said) < 1e-6  # the same positions of both sides


@every
def test_a_batch_of_one_is_refused_and_a_small_last_one_left_out(relation):
    """An epoch that ends with one row must not end the run; a run of single rows must not pretend to learn."""
    config = RelationsConfig(student="a", teacher="c", relation=relation)
    signal = config.build(spec(a=(6,)), spec(c=(9,)))
    one = outputs(0, "a", 1, 6), outputs(1, "c", 1, 9)
    with pytest.raises(InputError, match=r"batch of at least [234] samples, got 1"):
        signal(*one, NO_BATCH, NOW)
    one[0].features["a"].requires_grad_()
    left_out = signal(*one, NO_BATCH, Progress(2, 10))
    assert left_out == 0
    left_out.backward()
    assert signal.figures() == {"skipped": 1.0}
