"""Pseudo targets of clauses: which side of a plane a teacher's activations lie on, where the teacher looks."""

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.signals.clause_targets import ClauseTargetsConfig

NOW, BATCH = Progress(0, 1), Batch(torch.zeros(3, 1), torch.zeros(3, dtype=torch.long), torch.arange(3))


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(student=(5, 6), teacher=(5, 8), **settings):
    return ClauseTargetsConfig(student="bank", teacher="y", **settings).build(
        OutputSpec(2, {"bank": student}), OutputSpec(2, {"y": teacher, "qkv": (5, 12)})
    )


def test_by_hand_with_the_class_tokens_attention():
    """Numpy's words: bits of a fixed projection, weighed by row 0 of the softmax over the four patches, both heads' mean."""
    signal = made(attention="qkv", attention_heads=2)
    strength, y, qkv = torch.rand(3, 5, 6).requires_grad_(), draw(1, 3, 5, 8).requires_grad_(), draw(2, 3, 5, 12)
    found = signal(Outputs(y, {"bank": strength}), Outputs(y, {"y": y, "qkv": qkv}), BATCH, NOW)
    patches = y.detach()[:, 1:]
    z = (patches - patches.mean((0, 1))) / patches.std((0, 1), correction=0)
    directions = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    bits = (z @ directions > 0).float()
    q, k = qkv[..., :4].unflatten(2, (2, 2)), qkv[..., 4:8].unflatten(2, (2, 2))
    looked = (torch.einsum("bhd,blhd->bhl", q[:, 0], k) / 2**0.5).softmax(-1).mean(1)[:, 1:]
    looked = looked / looked.sum(1, keepdim=True)
    expected = ((strength[:, 1:] - bits).square().mean(2) * looked).sum(1)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert strength.grad[:, 1:].abs().min() > 0
    assert y.grad is None


def test_where_the_teacher_does_not_look_nothing_is_taught():
    """Half of the places are dark: their clauses get no gradient."""
    signal = made(student=(4, 6), teacher=(8, 2, 2))
    y = draw(1, 3, 8, 2, 2).sign()
    y[:, :, 1] = 0
    strength = torch.rand(3, 4, 6).requires_grad_()
    signal(Outputs(y, {"bank": strength}), Outputs(y, {"y": y}), BATCH, NOW).sum().backward()
    assert strength.grad[:, 2:].abs().max() == 0
    assert strength.grad[:, :2].abs().min() > 0


def test_clauses_can_learn_their_targets():
    """A bank that reads the teacher's own bits of activation gets nearer: targets are a function of what is seen."""
    from stillhouse.tasks.classification.students.clauses import ClauseBank
    from stillhouse.tasks.classification.students.config import ClauseOptions

    torch.manual_seed(0)
    bank, signal = ClauseBank(16, 6, ClauseOptions(failures=2, literals=6)), made(student=(4, 6), teacher=(4, 16))
    y = draw(3, 64, 4, 16)
    teacher, bits = Outputs(y, {"y": y}), (y > 0).float()
    optimizer = torch.optim.Adam(bank.parameters(), lr=0.05)
    values = []
    for _ in range(60):
        value = signal(Outputs(y, {"bank": bank(bits)}), teacher, BATCH, NOW).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.8 * values[0]


def test_what_does_not_fit_is_refused():
    """Attention without heads, over fewer places, or of no name."""
    with pytest.raises(ValueError, match="both or neither"):
        ClauseTargetsConfig(student="bank", teacher="y", attention="qkv")
    for name, words in (("q", "did you mean|known"), ("qkv", "4 places or more")):
        with pytest.raises(InputError, match=words):
            ClauseTargetsConfig(student="bank", teacher="y", attention=name, attention_heads=1).build(
                OutputSpec(2, {"bank": (4, 6)}), OutputSpec(2, {"y": (4, 8), "qkv": (3, 12)})
            )


def test_a_layer_that_is_no_bank_is_refused_with_the_banks_there_are():
    """`blocks.1.feed_forward` puts out as many numbers a place as any layer: it was trained on, and no clause learned."""
    from stillhouse.layers.hooks import FeatureExtractor
    from stillhouse.tasks.classification.students.clauses import ClauseBank

    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Sequential(ClauseBank(8, 6)), torch.nn.Linear(6, 2))
    spec = FeatureExtractor(model, ("0", "1.0")).spec(torch.zeros(2, 4, 8))
    teacher = OutputSpec(2, {"y": (4, 8)})
    assert ClauseTargetsConfig(student="1.0", teacher="y").build(spec, teacher).directions.shape == (8, 6)
    with pytest.raises(
        InputError, match=r"expected the path of a bank of clauses, got '0'; banks of this student: 1\.0"
    ):
        ClauseTargetsConfig(student="0", teacher="y").build(spec, teacher)
    plain = FeatureExtractor(torch.nn.Sequential(torch.nn.Linear(8, 2)), ("0",)).spec(torch.zeros(2, 4, 8))
    with pytest.raises(InputError, match="it has none"):
        ClauseTargetsConfig(student="0", teacher="y").build(plain, teacher)
