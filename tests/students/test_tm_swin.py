"""The Swin form: windows, positions, merging, and the whole against attention worked out token by token."""

import pytest
import torch

from stillhouse.tasks.classification.students.attention import Attention, Place, WindowAttention, Windows
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer
from stillhouse.tasks.classification.students.transformer_config import SwinTMConfig

SMALL = {"num_classes": 3, "architecture": "swin", "image_size": 12, "in_channels": 1, "patch_size": 1, "embed_dim": 8}
SMALL |= {"depths": (2, 1), "num_heads": 2, "mlp_ratio": 2.0, "tm_clauses": 8, "window_size": 4, "drop_path_rate": 0.0}


def build(**change):
    torch.manual_seed(0)
    return UnifiedTMTransformer(**{**SMALL, **change})


@pytest.mark.parametrize(("side", "stages"), [(4, 1), (8, 2), (12, 3), (28, 4)])
def test_small_pictures_have_fewer_stages(side, stages):
    """At its defaults it was refused for 8 x 8 digits: the map is one token after two stages."""
    config = SwinTMConfig(image_size=side)
    assert len(config.backbone().stages()) == stages
    assert config.backbone().num_heads == (3, 6, 12, 24)[:stages]


def dense(attention, x, mask=None):
    """Softmax attention without torch's kernel."""
    q, k, v = attention.qkv(x).unflatten(-1, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return attention.projection((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_fused_attention_is_attention():
    """The kernel against the formula; the weights for pictures give the same context."""
    torch.manual_seed(0)
    attention, x = Attention(8, 2), torch.randn(3, 5, 8)
    torch.testing.assert_close(attention(x).out, dense(attention, x))
    assert torch.allclose(attention.weights(x).sum(-1), torch.ones(3, 2, 5))


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (4, 4)])
def test_shifted_windows_attend_within_their_region_only(size):
    """Each token against a softmax over the tokens of its shifted window, found by its place in the map."""
    torch.manual_seed(0)
    windows = Windows(*size, 4, shifted=True)
    attention = Attention(8, 2)
    x = torch.randn(2, size[0] * size[1], 8)
    got = WindowAttention(windows, attention)(x).out
    for row in range(size[0]):
        for column in range(size[1]):
            cell = [(p + (m - s if s else 0)) // m for p, s, m in zip((row, column), windows.shift, windows.sides)]
            near = [
                r * size[1] + c
                for r in range(size[0])
                for c in range(size[1])
                if [(p + (m - s if s else 0)) // m for p, s, m in zip((r, c), windows.shift, windows.sides)] == cell
            ]
            here = row * size[1] + column
            expected = dense(attention, x[:, near])[:, near.index(here)]
            torch.testing.assert_close(got[:, here], expected, atol=1e-5, rtol=1e-4)


def test_head_gains_weight_heads_and_are_saved():
    """A gain of 0 takes a head out; gains that are not in the state dict would be lost (they were)."""
    torch.manual_seed(0)
    attention, x = Attention(8, 2), torch.randn(2, 5, 8)
    attention.head_gains.copy_(torch.tensor([1.0, 0.0]))
    context = attention(x).context
    assert context[..., 4:].abs().sum() == 0
    assert context[..., :4].abs().sum() > 0
    assert "head_gains" in attention.state_dict()


@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_relative_positions_see_distance_and_not_place(position):
    """Moving content within a window moves the answer with it, up to what the window shows."""
    torch.manual_seed(0)
    attention = Attention(8, 2, place=Place(position, (1, 6)))
    if position == "learned":
        torch.nn.init.normal_(attention.bias.relative_position_bias_table)
    pair = torch.randn(1, 2, 8)
    blank = torch.zeros(1, 4, 8)
    weights = [
        attention.weights(torch.cat([blank[:, :k], pair, blank[:, k:]], 1))[0, :, k, k + 1]
        / attention.weights(torch.cat([blank[:, :k], pair, blank[:, k:]], 1))[0, :, k, k]
        for k in (0, 2, 4)
    ]
    torch.testing.assert_close(weights[0], weights[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(weights[0], weights[2], atol=1e-5, rtol=1e-4)
    shuffled = attention.weights(torch.cat([pair[:, :1], blank, pair[:, 1:]], 1))[0]
    assert not torch.allclose(shuffled[:, 0, 5] / shuffled[:, 0, 0], weights[0], atol=1e-4)


def test_documented_window_on_small_maps_runs():
    """Window 7 on 8 x 8 patches and stages of 4, 2 and 1 patches, as the documents' CIFAR-10 command has it."""
    model = UnifiedTMTransformer(
        architecture="swin",
        embed_dim=(8, 16, 32, 64),
        num_heads=(1, 2, 4, 8),
        depths=(1, 2, 1, 1),
        tm_clauses=8,
        mlp_ratio=1.0,
    )
    assert [stage.grid for stage in model.config.stages()] == [(8, 8), (4, 4), (2, 2), (1, 1)]
    assert model.eval()(torch.rand(2, 3, 32, 32)).isfinite().all()


@pytest.mark.parametrize(
    ("change", "told"), [({}, True), ({"relative_position_type": "none"}, False), ({"embed_dim": 12}, True)]
)
def test_swin_sees_where_in_a_window_a_token_is(change, told):
    """Without positions a window is a bag: the sum over its tokens stays when two of them change places."""
    attention = build(**change).stages[0].blocks[0].attention.attention.eval()
    if attention.bias is not None:
        torch.nn.init.normal_(attention.bias.relative_position_bias_table)
    x = torch.randn(1, 16, attention.qkv.in_features)
    swapped = x[:, [5, *range(1, 5), 0, *range(6, 16)]]
    same = torch.allclose(attention(x).out.sum(1), attention(swapped).out.sum(1), atol=1e-4)
    assert same is not told
    kinds = {name for name in ("bias", "rotary") if getattr(attention, name) is not None}
    assert kinds == (set() if not told else {"bias"} if change else {"rotary"})  # 12 / 2 is no multiple of 4
