"""The text student: padding says nothing, position and order do, and labelled texts become its input."""

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.types import ImageSpec, TextSpec
from stillhouse.tasks.classification.students.networks import TextTransformerConfig, TimmStudentConfig

SPEC = TextSpec(("no", "yes"), length=6, vocabulary=20)
IMAGES = ImageSpec(("a", "b", "c"), (1, 28, 28), (0.5,), (0.25,))


def student(**settings):
    torch.manual_seed(0)
    return TextTransformerConfig(width=16, depth=2, heads=2, dropout=0.0, **settings).build(SPEC).eval()


def test_padding_says_nothing():
    """More padding after a text must not change what is read of it."""
    model = student()
    short = torch.tensor([[3, 4, 5]])
    padded = torch.tensor([[3, 4, 5, 0, 0, 0]])
    torch.testing.assert_close(model(short), model(padded))


def test_order_matters():
    """A bag of words would score both alike."""
    model = student()
    assert not torch.allclose(model(torch.tensor([[3, 4, 5]])), model(torch.tensor([[5, 4, 3]])))


def test_a_row_without_tokens_is_finite():
    """Attention over nothing is NaN, and one NaN row poisons a batch's gradient."""
    logits = student()(torch.tensor([[0, 0, 0], [1, 2, 0]]))
    assert torch.isfinite(logits).all()


def test_a_timm_student_normalizes_and_has_the_head_of_the_task():
    """Raw pixels in, as for every student."""
    torch.manual_seed(0)
    model = TimmStudentConfig(architecture="test_resnet").build(IMAGES).eval()
    pixels = torch.rand(2, 1, 28, 28)
    assert model(pixels).shape == (2, 3)
    torch.testing.assert_close(model(pixels), model.network((pixels - 0.5) / 0.25))
    narrow = TimmStudentConfig(architecture="test_resnet", arguments={"channels": (8, 16, 24, 32)}).build(IMAGES)
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in model.parameters())
    for settings, words in [
        ({"architecture": "test_resne"}, "did you mean"),
        ({"arguments": {"depht": 3}}, "cannot be built"),
    ]:
        with pytest.raises(InputError, match=words):
            TimmStudentConfig(**settings).build(IMAGES)


def rows(texts, labels):
    return [(texts, labels)] * 3
