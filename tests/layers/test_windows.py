"""Windows against a loop over tokens: who may attend to whom is decided by where the tokens stand in the map."""

import pytest
import torch

from stillhouse.layers.norms import ScaleNorm, make_norm
from stillhouse.tasks.classification.students.attention import Windows

CASES = [
    (8, 8, 4, True),
    (6, 6, 4, True),
    (7, 5, 3, True),
    (7, 5, 3, False),
    (4, 4, 4, True),
    (3, 9, 4, True),
    (1, 1, 7, True),
]


@pytest.mark.parametrize(("height", "width", "side", "shifted"), CASES)
def test_split_and_join_are_inverse(height, width, side, shifted):
    """A roll or a crop the wrong way round moves every token, and nothing else notices."""
    windows = Windows(height, width, side, shifted=shifted)
    x = torch.rand(2, height, width, 3)
    parts = windows.split(x)
    assert parts.shape == (2 * windows.count, windows.tokens, 3)
    assert torch.equal(windows.join(parts), x)


@pytest.mark.parametrize(("height", "width", "side", "shifted"), CASES)
def test_mask_against_a_loop(height, width, side, shifted):
    """Without the mask, tokens of opposite borders and padding attend to each other (the public code has none)."""
    windows = Windows(height, width, side, shifted=shifted)
    places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1) + 1.0
    parts = windows.split(places[None])  # (G, N, 2), padding is (0, 0)
    for group, tokens in enumerate(parts.tolist()):
        for i, a in enumerate(tokens):
            for j, b in enumerate(tokens):
                real_a, real_b = a != [0.0, 0.0], b != [0.0, 0.0]
                # of one region: both real, and no further apart than a window is wide
                near = all(abs(p - q) < m for p, q, m in zip(a, b, windows.sides))
                expected = (real_a and real_b and near) if real_a or real_b else None
                got = True if windows.mask is None else bool(windows.mask[group, i, j])
                if expected is not None:
                    assert got == expected
    if windows.mask is not None:
        assert windows.mask.diagonal(dim1=1, dim2=2).all()  # a row without any key would be NaN


def test_an_uncapped_window_pads_the_map():
    """The documents' SwinTM: a map of 2 x 2 in a window of 4 is 4 real tokens that see each other and no padding."""
    windows = Windows(2, 2, 4, shifted=True, cap=False)
    assert (windows.padded, windows.shift, windows.tokens) == ((4, 4), (0, 0), 16)
    real = windows.split(torch.ones(1, 2, 2, 1)).flatten().bool()
    assert torch.equal(windows.mask[0][real][:, real], torch.ones(4, 4, dtype=torch.bool))
    assert not windows.mask[0][real][:, ~real].any()


def test_norms_by_name():
    """Each name gives its formula: unit mean square, or the learned length."""
    x = torch.randn(5, 16) * 3
    torch.testing.assert_close(
        make_norm("rms", 16)(x), x / x.square().mean(-1, keepdim=True).sqrt(), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(make_norm("scalenorm", 16)(x).norm(dim=-1), torch.full((5,), 4.0))
    torch.testing.assert_close(make_norm("ln", 16)(x).mean(-1), torch.zeros(5), atol=1e-5, rtol=0)
    assert ScaleNorm(4)(torch.zeros(1, 4)).tolist() == [[0.0] * 4]
