"""Layers taken over from the teacher: the right ones, bit by bit, or an error and nothing changed."""

import pytest
import timm
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.training.distillation import init_layers_from_teacher


def vit(depth, seed, width=24):
    torch.manual_seed(seed)
    return timm.create_model(
        "vit_tiny_patch16_224",
        pretrained=False,
        img_size=32,
        patch_size=8,
        embed_dim=width,
        depth=depth,
        num_heads=3,
        num_classes=5,
    ).eval()


def pairs():
    same = {name: name for name in ("patch_embed", "pos_embed", "cls_token", "blocks.0")}
    return {**same, "blocks.1": "blocks.2"}


def test_inherited_layers_put_out_what_the_teachers_do():
    """Bit by bit: the student's second block is the teacher's third."""
    student, teacher = vit(2, 1), vit(4, 2)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    head = student.head.weight.clone()
    copied = init_layers_from_teacher(student, teacher, pairs())
    x, tokens = torch.rand(2, 3, 32, 32), torch.randn(2, 17, 24)
    with torch.no_grad():
        assert torch.equal(student.patch_embed(x), teacher.patch_embed(x))
        assert torch.equal(student.blocks[0](tokens), teacher.blocks[0](tokens))
        assert torch.equal(student.blocks[1](tokens), teacher.blocks[2](tokens))
        assert not torch.equal(student.blocks[1](tokens), teacher.blocks[1](tokens))
    assert {"pos_embed", "cls_token", "blocks.1.mlp.fc1.weight", "patch_embed.proj.bias"} <= set(copied)
    assert not [name for name in copied if name.startswith(("head", "norm"))]
    assert torch.equal(student.head.weight, head)
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    every = {"norm": "norm", "head": "head"}
    init_layers_from_teacher(student, teacher, every)
    short = nn.Sequential(*[teacher.blocks[k] for k in (0, 2)])
    teacher.blocks = short
    with torch.no_grad():
        assert torch.equal(student(x), teacher(x))


def test_statistics_of_batch_norm_come_along():
    """Weights without their running statistics put out something else in evaluation."""
    student, teacher = nn.Sequential(nn.BatchNorm1d(3)), nn.Sequential(nn.BatchNorm1d(3))
    teacher(torch.randn(64, 3) * 4 + 2)
    copied = init_layers_from_teacher(student, teacher, {"0": "0"})
    assert "0.running_mean" in copied
    x = torch.randn(5, 3)
    assert torch.equal(student.eval()(x), teacher.eval()(x))


def test_nothing_copied_is_an_error_with_shapes():
    """A wider student would start at random, and its user would believe otherwise; no half-copied student either."""
    student, teacher = vit(2, 1, width=48), vit(4, 2)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    with pytest.raises(
        InputError, match=r"blocks.0.attn.qkv.weight \(144, 48\) <- blocks.0.attn.qkv.weight \(72, 24\)"
    ):
        init_layers_from_teacher(student, teacher, {"blocks.0": "blocks.0"})
    with pytest.raises(InputError, match=r"cls_token \(1, 1, 48\) <- cls_token \(1, 1, 24\)"):
        init_layers_from_teacher(student, teacher, {"head.bias": "head.bias", "cls_token": "cls_token"})
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())
