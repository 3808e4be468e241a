"""What every loss promises, asked of all of them in the same words; values and limits stand in the file of each."""

import math

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.losses.attention import attention_kl, attention_score_mse, relation_kl
from stillhouse.losses.cka import cka_loss, kernel_alignment_loss
from stillhouse.losses.complex import coherence_loss, complex_mse, complex_nmse, robust_nmse
from stillhouse.losses.correlation import dist_inter, dist_intra, dist_relations, pearson_distance
from stillhouse.losses.divergence import (
    decoupled_kl,
    forward_kl,
    generalized_js,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    symmetric_kl,
    target_enhanced_kl,
    total_variation,
)
from stillhouse.losses.neighbours import contrastive_distillation, cosine_neighbor_kl, neighbor_kl
from stillhouse.losses.regression import cosine_distance, mse, mse_logits, normalized_mse, smooth_l1
from stillhouse.losses.relations import pearson_of_distances, pkt, rkd_angle, rkd_distance, similarity_preserving


def by_name(*functions):
    return {function.__name__: function for function in functions}


LABELS = torch.tensor([0, 1, 2, 0, 1, 3])
SCORES = {  # of rows (B, K), one value a row
    **by_name(forward_kl, reverse_kl, symmetric_kl, generalized_js, skew_forward_kl, skew_reverse_kl),
    **by_name(total_variation, mse_logits, pearson_distance, dist_inter),
    "decoupled_kl": lambda s, t: decoupled_kl(s, t, LABELS[: len(s)]),
    "target_enhanced_kl": lambda s, t: target_enhanced_kl(s, t, LABELS[: len(s)], gamma=1.5),
}
FEATURES = by_name(mse, smooth_l1, cosine_distance, normalized_mse)
LINES = {  # complex lines (B, L, 1)
    **by_name(complex_mse, complex_nmse, coherence_loss),
    "robust_nmse": lambda s, t: robust_nmse(s, t, temperature=0.7),
}
SQUARES = by_name(attention_kl, attention_score_mse)  # (B, H, L, L)
TOKENS = {"relation_kl": lambda s, t: relation_kl(s, t, heads=2)}  # (B, L, D)
TOGETHER = {  # of rows (B, D) that are compared with each other
    **by_name(rkd_distance, rkd_angle, similarity_preserving, pkt, cka_loss, kernel_alignment_loss, dist_intra),
    **by_name(dist_relations, contrastive_distillation, pearson_of_distances, cosine_neighbor_kl),
    "neighbor_kl": lambda s, t: neighbor_kl(s, t, perplexity=3.0),
}
SHAPES = dict.fromkeys(SCORES | FEATURES | TOGETHER, (6, 4))
SHAPES |= dict.fromkeys(LINES, (6, 8, 1)) | dict.fromkeys(SQUARES, (6, 2, 3, 3))
SHAPES |= dict.fromkeys(TOKENS, (6, 3, 4))
EVERY = SCORES | FEATURES | LINES | SQUARES | TOKENS | TOGETHER
ALONE = sorted(set(EVERY) - set(TOGETHER))  # a sample's value does not know the rest of its batch
NOT_ZERO = {"target_enhanced_kl", "contrastive_distillation", "neighbor_kl"}  # their least value is elsewhere
every = pytest.mark.parametrize("name", EVERY)


def pair(name, dtype=None):
    kind = dtype or (torch.complex128 if name in LINES else torch.float64)
    return [torch.randn(SHAPES[name], dtype=kind, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]


@every
def test_the_student_alone_gets_the_gradient_and_it_is_that_of_the_value(name):
    """A teacher that is pulled towards its student teaches less each step; a scale taken as constant bends the pull."""
    s, t = (x.requires_grad_() for x in pair(name))
    EVERY[name](s, t).sum().backward()
    assert t.grad is None
    assert s.grad.abs().sum() > 0
    if name != "neighbor_kl":  # its bandwidths are found by bisection and held fixed
        assert torch.autograd.gradcheck(lambda x: EVERY[name](x, t.detach()), (s.detach().requires_grad_(),))


@every
@pytest.mark.parametrize("side", [0, 1])
def test_nan_is_never_hidden(name, side):
    """The loop stops on a NaN if it sees one: masks and clamps must not make a good number of a broken row."""
    both = pair(name)
    both[side].view(6, -1)[2, 1] = math.nan
    value = EVERY[name](*both)
    assert value.isnan().any()
    if name in ALONE:
        assert value.isnan().tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize("name", sorted(set(EVERY) - NOT_ZERO))
def test_between_equals_there_is_nothing_to_learn(name):
    """A floor above 0 hides progress and pulls a perfect student away."""
    s, _ = pair(name)
    assert EVERY[name](s, s.clone()).abs().max() < 1e-7


@pytest.mark.parametrize("name", [name for name in ALONE if name not in ("decoupled_kl", "target_enhanced_kl")])
def test_a_batch_is_the_list_of_its_samples(name):
    """A mean over the batch inside would make micro-batches change the weight."""
    s, t = pair(name)
    parts = [EVERY[name](s[i : i + 1], t[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(EVERY[name](s, t), torch.cat(parts))
    assert EVERY[name](s, t).shape == (6,)


@every
def test_other_rows_on_the_other_side_are_refused(name):
    """Broadcasting would compare every row with the same one."""
    s, t = pair(name)
    with pytest.raises(InputError, match="expected"):
        EVERY[name](s, t[:1])


@pytest.mark.parametrize("name", sorted(set(EVERY) - set(LINES)))
def test_half_precision_and_autocast_do_not_reach_the_sums(name):
    """The loop runs losses under autocast: products in bf16 have two digits."""
    s, t = pair(name, torch.float32)
    plain = EVERY[name](s, t)
    with torch.autocast("cpu", torch.bfloat16):
        inside = EVERY[name](s, t)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, plain, rtol=1e-6, atol=1e-6)
    half = EVERY[name](s.bfloat16(), t.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, EVERY[name](s.bfloat16().float(), t.bfloat16().float()), rtol=1e-3, atol=1e-3)
