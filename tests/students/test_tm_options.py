"""Every option of the clause transformer is alive: it changes a forward value, a gradient, a loss term, or the work done."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer
from stillhouse.tasks.classification.students.transformer_config import UnifiedTMConfig

VIT = {
    "num_classes": 3,
    "image_size": 8,
    "in_channels": 1,
    "patch_size": 2,
    "embed_dim": 24,
    "depths": 2,
    "num_heads": 2,
}
VIT |= {"mlp_ratio": 2.0, "tm_clauses": 32, "drop_path_rate": 0.0}
SWIN = VIT | {"architecture": "swin", "depths": (2, 1), "window_size": 2}
LEARNED = VIT | {"learnable_tau": True}

LABELS = torch.arange(24) % 3


def build(settings, seed=0):
    torch.manual_seed(seed)
    return UnifiedTMTransformer(**settings)


def pixels_for(model, count=24):
    return torch.rand(count, *model.image_shape, generator=torch.Generator().manual_seed(5))


def twins(base, change):
    """The plain model, and the changed one with the same weights wherever both have them."""
    plain, changed = build(base), build(base | change)
    missing = changed.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.missing_keys
    return plain, changed


def answer(model, training=False):
    model.train(training)
    torch.manual_seed(7)
    return model(pixels_for(model))


def gradients(model, loss):
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}


def test_option_adds_a_loss_term_that_moves_the_include_logits():
    """A penalty that is made but reaches nothing."""
    plain, changed = twins(VIT, {"ff_sparsity_weight": 0.5})
    answer(plain, True)
    assert plain.regularizers() == {}
    answer(changed, True)
    ((weight, term),) = changed.regularizers().values()
    assert weight == 0.5
    assert 0 < term.item() < 4
    grad = gradients(changed, term)["blocks.0.feed_forward.core.layers.0.bank.include_logits"]
    assert grad is not None
    assert grad.abs().sum() > 0


def test_drop_path_schedules():
    """Linear and cosine in closed form over three blocks; a one-block model drops nothing."""
    base, change = VIT | {"depths": 3, "drop_path_rate": 0.6}, {"drop_path_schedule": "cosine"}
    rates = [
        [getattr(b.drop_path, "drop_prob", 0.0) for _, b in build(s).named_blocks()] for s in (base, base | change)
    ]
    assert rates[0] == pytest.approx([0.0, 0.3, 0.6])
    assert rates[1] == pytest.approx([0.0, 0.3, 0.6])
    five = UnifiedTMConfig(depths=5, drop_path_rate=0.4, drop_path_schedule="cosine").drop_paths()
    assert five == pytest.approx([0.0, 0.4 * 0.1464466, 0.2, 0.4 * 0.8535534, 0.4])
    assert UnifiedTMConfig(depths=1, drop_path_rate=0.4).drop_paths() == [0.0]


def test_checkpointing_recomputes_blocks_and_keeps_gradients():
    """The same gradients to the bit, from a second run of every block."""
    plain, changed = twins(VIT | {"drop_rate": 0.2, "ff_sparsity_weight": 0.1}, {"grad_checkpoint": True})
    runs, grads = [], []
    for model in (plain, changed):
        calls = []
        model.blocks[0].norm1.register_forward_hook(lambda *a, calls=calls: calls.append(1))
        loss = cross_entropy(answer(model, True), LABELS) + model.regularizers()["clause_sparsity"][1]
        grads.append(gradients(model, loss))
        runs.append(len(calls))
    assert runs == [1, 2]
    assert all(torch.equal(a, b) for a, b in zip(grads[0].values(), grads[1].values()))


def test_average_of_tau_lags_behind_and_stands_still_in_eval():
    """The public average ran in eval mode too, and its tau never moved because nothing reached it."""
    model = build(LEARNED | {"tau_ema_beta": 0.9})
    threshold = model.blocks[0].feed_forward.bank.threshold
    with torch.no_grad():
        threshold.raw.fill_(threshold.raw.new_tensor((0.7 - 0.05) / 0.9).logit())
    answer(model)
    assert threshold().item() == pytest.approx(0.5)
    answer(model, True)
    assert threshold().item() == pytest.approx(0.9 * 0.5 + 0.1 * 0.7, abs=1e-6)
    assert threshold.now().item() == pytest.approx(0.7, abs=1e-6)


def test_learned_tau_moves_towards_fewer_literals_when_asked():
    """The public learnable tau got no gradient at all. The loss counts literals: tau must rise."""
    model = build(LEARNED)
    bank = model.blocks[0].feed_forward.bank
    sum(mask.sum() for mask in bank.masks()).backward()
    assert bank.threshold.raw.grad.item() < 0


def test_fused_kernels_only(monkeypatch):
    """The flag must reach the kernel choice; without it the slow one stays allowed."""
    seen = []
    real = torch.nn.functional.scaled_dot_product_attention

    def spy(*args, **kwargs):
        seen.append(torch.backends.cuda.math_sdp_enabled())
        return real(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    plain, changed = twins(VIT, {"use_flash_attention": True})
    torch.testing.assert_close(answer(plain), answer(changed))
    assert seen == [True, True, False, False]


def test_where_no_fused_kernel_fits_the_ordinary_one_is_taken_and_said():
    """Document 001: "when available". With dropout on a CPU there is none, and the run ended in torch's RuntimeError."""
    from stillhouse.tasks.classification.students.attention import Attention

    torch.manual_seed(0)
    fused = Attention(8, 2, dropout=0.3, fused=True)
    torch.manual_seed(0)
    plain = Attention(8, 2, dropout=0.3)
    x = torch.randn(2, 5, 8)
    torch.manual_seed(1)
    with pytest.warns(UserWarning, match="no fused kernel takes these inputs"):
        found = fused(x).out
    torch.manual_seed(1)
    assert torch.equal(found, plain(x).out)


@pytest.mark.parametrize("base", [VIT, SWIN], ids=["vit", "swin"])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"backend": "deeptm"},
        {"ff_gate": "linear"},
        {"ff_gate": "geglu"},
        {"ff_gate": "swiglu"},
        {"ff_gate": "tm", "ff_gate_activation": "tanh"},
        {"ff_gate": "deeptm"},
        {"ff_mix_type": "linear_depthwise", "ff_bitwise_mix": True},
        {"learnable_tau": True, "tau_ema_beta": 0.9},
        {"clause_attention": True, "clause_routing": True, "continuous_bypass": True},
        {"norm_type": "rms", "use_residual_attention": True},
        {"norm_type": "scale", "relative_position_type": "learned"},
        {"relative_position_type": "rotary"},
        {"tm_literal_budget": 6},
        {"clause_bias_init": None, "use_layerscale": False},
        {"feed_forward": "mlp"},
        {"feed_forward": "none"},
    ],
    ids=lambda change: "-".join(change) or "plain",
)
def test_gradients_reach_every_parameter(base, change):
    """A frozen mask, a detached vote or a part that is never called leaves None or zeros somewhere."""
    model = build(base | change)
    grads = gradients(model, cross_entropy(answer(model, True), LABELS))
    silent = [n for n, g in grads.items() if g is None or not g.abs().sum() > 0]
    assert silent == []
