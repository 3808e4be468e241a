"""Mixing matrices: attention's against torch's own attention, those of recurrences against what they put out."""

import pytest
import torch
from torch.nn import functional as F

from stillhouse.core.checks import InputError
from stillhouse.core.types import Batch, Outputs, OutputSpec, Progress
from stillhouse.layers.hooks import FeatureExtractor
from stillhouse.layers.recurrent import mixers as module
from stillhouse.layers.recurrent.delta import delta_recurrent
from stillhouse.layers.recurrent.mixers import MatrixMixer
from stillhouse.layers.spikes.linear import Quantization
from stillhouse.layers.state_space.s4d import S4D
from stillhouse.losses import mixing_distance
from stillhouse.signals.attention import MixingConfig

NOW = Progress(0, 1)
B, L, D = 2, 5, 8
IDS = torch.tensor([[4, 5, 6, 0, 0], [4, 5, 6, 7, 8]])
BATCH = Batch(IDS, torch.zeros(B, dtype=torch.long), torch.arange(B))


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attention(q, k, heads, **settings):
    """(B, H, L, L) by torch's own attention, of values that are the identity."""
    q, k = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k))
    return F.scaled_dot_product_attention(q, k, torch.eye(q.shape[2]).expand(B, heads, -1, -1), **settings)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_unlike_heads_is_compared_by_its_mean(causal):
    """Packed queries, keys and values with a class token on one side, two paths on the other."""
    qkv, q, k = draw(0, B, L + 1, 3 * D), draw(1, B, L, 6), draw(2, B, L, 6)
    spec = OutputSpec(2, {"qkv": (L + 1, 3 * D)}), OutputSpec(2, {"q": (L, 6), "k": (L, 6)})
    config = MixingConfig(
        student="qkv", teacher=("q", "k"), student_heads=4, teacher_heads=3, student_skip=1, causal=causal
    )
    qkv.requires_grad_()
    found = config.build(*spec)(Outputs(q, {"qkv": qkv}), Outputs(q, {"q": q, "k": k}), BATCH, NOW)
    ours = attention(*qkv.chunk(3, 2)[:2], 4, is_causal=causal)[:, :, 1:, 1:]
    theirs = attention(q, k, 3, is_causal=causal)
    expected = mixing_distance(ours.mean(1, keepdim=True), theirs.mean(1, keepdim=True))
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), qkv)
    assert gradient[:, :, : 2 * D].abs().sum() > 0
    assert gradient[:, :, 2 * D :].abs().sum() == 0  # values mix nothing


def test_the_matrix_of_a_recurrent_mixer_gives_its_answers(monkeypatch):
    """M v is what the definition, a token at a time, answers for the values v."""
    torch.manual_seed(0)
    mixer = MatrixMixer(8, 2, Quantization(), chunk=3)
    torch.nn.init.normal_(mixer.decay.up, std=0.5)
    seen, chunked = [], module.delta_chunked
    monkeypatch.setattr(
        module, "delta_chunked", lambda *given, **more: (seen.append(given), chunked(*given, **more))[1]
    )
    extractor, x = FeatureExtractor(mixer, ("mixing",)), draw(1, B, 7, 8)
    matrix = extractor(x).features["mixing"]
    r, k, v, *rest = next(given for given in seen if given[2].shape[-1] == 4)
    torch.testing.assert_close(matrix @ v, delta_recurrent(r, k, v, *rest)[0], atol=1e-5, rtol=1e-5)
    assert matrix.triu(1).abs().max() == 0
    assert tuple(matrix.shape) == (B, 2, 7, 7)
    extractor.close()
    seen.clear()
    mixer(x)
    assert len(seen) == 1  # nothing is made for nobody


@pytest.mark.parametrize("ahead", [0, 2, None])
def test_the_matrix_of_a_state_space_filter_gives_its_output(ahead):
    """M u, a channel at a time, is the FFT's answer; Toeplitz by the kernel."""
    torch.manual_seed(0)
    layer, u = S4D(3, 4, look_ahead=ahead), torch.randn(B, 6, 3, dtype=torch.complex64)
    extractor = FeatureExtractor(torch.nn.Sequential(layer), ("0.mixing",))
    outputs = extractor(u)
    found = torch.einsum("bhts,bsh->bth", outputs.features["0.mixing"], u)
    torch.testing.assert_close(found, outputs.logits, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_is_refused():
    """Lengths, heads and shapes are found before any training."""
    spec = OutputSpec(2, {"x": (L, 3 * D), "y": (L + 1, 3 * D), "m": (2, L, L), "z": (4,)})
    for given, words in (
        ({"student": "x", "teacher": "y", "student_heads": 2, "teacher_heads": 2}, "as many tokens"),
        ({"student": "x", "teacher": "m"}, "expected heads that divide"),
        ({"student": "z", "teacher": "m"}, "expected \\(L, 3 D\\)"),
        ({"student": "no", "teacher": "m"}, "'no' is not among"),
    ):
        with pytest.raises(InputError, match=words):
            MixingConfig(**given).build(spec, spec)
