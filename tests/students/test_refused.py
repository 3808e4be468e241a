"""What no student can be built from is refused in a line that names the setting, what was expected and what came."""

import pytest
import torch

from stillhouse.core.checks import InputError, StillhouseError
from stillhouse.core.config import kinds, parse
from stillhouse.core.types import FeatureSpec, ImageSpec, TextSpec
from stillhouse.tasks.classification.students import StudentConfig

SPECS = {
    "images": ImageSpec(("a", "b", "c"), (1, 16, 16), (0.5,), (0.25,)),
    "words": FeatureSpec(("a", "b"), ("v", "w"), (1.2, 2.0), {"kind": "words", "ngrams": 1}),
    "texts": TextSpec(("a", "b"), length=6, vocabulary=20),
}
READS = dict.fromkeys(("text-transformer", "spiking-text"), "texts")
READS |= dict.fromkeys(("rules", "tf-idf", "scorecard", "tree"), "words")
SWIN = {"architecture": "swin", "embed_dim": 8, "num_heads": 2, "window_size": 4, "depths": (2, 1)}


@pytest.mark.parametrize("kind", kinds(StudentConfig))
def test_every_student_refuses_data_of_another_kind(kind):
    """A transformer of texts on pixels would index its table with numbers from 0 to 1."""
    student, reads = kinds(StudentConfig)[kind](), READS.get(kind, "images")
    for name, spec in SPECS.items():
        if name != reads:
            with pytest.raises(InputError, match="expected"):
                student.build(spec)
        elif kind.endswith("-tm") and kind not in {"resnet-tm", "swin-tm", "unified-tm"}:
            with pytest.raises(InputError, match=r"\(B, 1, 16, 16\), got \(2, 3, 16, 16\)"):
                student.build(spec)(torch.zeros(2, 3, 16, 16))


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("unified-tm", {"patch_size": 33}, r"at most the image \(32 x 32\), got 33"),
        ("unified-tm", {"embed_dim": 25}, r"multiple of num_heads \(3\), got 25"),
        ("unified-tm", {"use_cls_token": False, "pool": "cls"}, "class token"),
        ("unified-tm", {"architecture": "conv"}, "'vit' or 'swin', got 'conv'"),
        ("unified-tm", {"tm_clauses": (256,) * 3 + (31,)}, "even numbers of at least 2, got 31"),
        ("unified-tm", {"tm_clauses": (32, 32)}, "tm_clauses: expected one positive number or a list of 1"),
        ("unified-tm", {"depths": (1, 1)}, "one number for a ViT"),
        ("unified-tm", {"depths": 0}, "at least 1 block"),
        ("unified-tm", {"tm_tau": 1.0}, "tm_tau: expected less than 0.95"),
        ("unified-tm", {"relative_position_type": "rotary", "embed_dim": 18}, "multiple of 4 channels"),
        ("unified-tm", {"tm_clause": 32}, "tm_clause: unknown key; did you mean 'tm_clauses'"),
        ("unified-tm", SWIN | {"window_size": 13}, "at most the first map"),
        ("unified-tm", SWIN | {"num_heads": (2,)}, "num_heads: expected one positive number or a list of 2"),
        ("unified-tm", SWIN | {"pool": "cls"}, "Swin reads the mean"),
        ("unified-tm", SWIN | {"patch_size": 16, "window_size": 2, "depths": (1, 1, 1)}, "one token after stage 2"),
        ("tsetlin-vit", {"embed_dim": 25}, "multiple of heads"),
        ("flat-tm", {"clauses": 7}, "clauses: expected a multiple of 2, got 7"),
        ("flat-tm", {"num_classes": 1}, "num_classes"),
        ("flat-tm", {"rule": {"tau": 1.0}}, "rule.tau: expected less than 0.95"),
        ("deep-tm", {"hidden_dims": (8, 0)}, "greater than 0"),
        ("resnet-tm", {"layers": 19}, "18, 34, 50 or 101"),
        ("swin-tm", {"num_heads": (5, 3, 3, 3)}, "multiple of num_heads"),
        ("pyramid-tm", {"pools": (16, 8)}, "widths: expected 2 numbers"),
        ("pyramid-tm", {"pools": (64, 16, 8, 1)}, "sides up to the image's"),
        ("text-transformer", {"width": 9}, "multiple of heads"),
    ],
)
def test_impossible_settings_are_refused(kind, change, message):
    with pytest.raises(StillhouseError, match=message):
        parse(kinds(StudentConfig)[kind], change)
