"""Under `torch.compile` every loss of a signal has the gradients of eager mode, in one graph; so has a learned temperature."""

import pytest
import torch

from stillhouse.core.checks import InputError
from stillhouse.core.schedules import Linear
from stillhouse.core.types import OutputSpec, Progress
from stillhouse.losses.attention import attention_kl, attention_score_mse, attention_scores, relation_kl
from stillhouse.losses.divergence import decoupled_kl, forward_kl
from stillhouse.losses.neighbours import supervised_contrastive
from stillhouse.losses.regression import label_cross_entropy
from stillhouse.losses.softened import checked_temperature, standardize_logits
from stillhouse.losses.top_k import Scores, scores_kl
from stillhouse.signals.dynamics import delta_loss
from stillhouse.signals.exits import binary_kl
from stillhouse.signals.features import DISTANCES
from stillhouse.signals.relations import RELATIONS
from stillhouse.temperature import LearnedTemperature

B, K, D, L = 6, 5, 4, 3
LABELS = torch.tensor([0, 4, 2, 1, 1, 3])
MASK = torch.ones(B, L, dtype=torch.bool).index_put((torch.tensor(0), torch.tensor(2)), torch.tensor(False))


def draw(seed, *shape):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check_compiled(step, *leaves, one_graph=True):
    """Values and gradients of both modes to 1e-6, and that there is a gradient in every leaf."""
    torch.compiler.reset()
    found = []
    for run in (step, torch.compile(step, backend="aot_eager", fullgraph=one_graph, dynamic=False)):
        value = run(*leaves)
        found.append((value, *torch.autograd.grad(value.sum(), leaves)))
    for eager, compiled in zip(*found, strict=True):
        assert eager.abs().sum() > 0
        torch.testing.assert_close(compiled, eager, atol=1e-6, rtol=1e-6)


def of_scores(compare, **settings):
    def loss(s, t):
        return compare(*(attention_scores(x, x.flip(1), heads=2) for x in (s, t)), **settings)

    return loss


def kept(t):
    top = (t - t.amax(1, keepdim=True)).topk(2, 1)
    return Scores(top.indices, top.values, torch.zeros(len(t), 1), (1.0,), K - 2)


DRAWN = ("rkd", "rkd-angle")
ROWS = {
    # rkd is the sum of two, and angles are drawn: see below
    name: row.function
    for name, row in RELATIONS.items()
    if name not in DRAWN
}
TOKENS = {
    **DISTANCES,
    "attention-kl": of_scores(attention_kl, mask=MASK, causal=True),
    "attention-score-mse": of_scores(attention_score_mse, mask=MASK),
    "relation-kl": lambda s, t: relation_kl(s, t, heads=2, mask=MASK),
    "delta": lambda s, t: delta_loss([s, s * s], [t, t * t], student_depths=(0.5, 1.0), teacher_depths=(0.5, 1.0)),
}
CLASSES = {
    "binary-kl": binary_kl,
    "standardized": lambda s, t: forward_kl(*(standardize_logits(x) for x in (s, t))),
    "labels": lambda s, t: label_cross_entropy(s, LABELS, smoothing=0.1),
    "supervised-contrastive": lambda s, t: supervised_contrastive(s, LABELS),
    "supervised-contrastive-mixed": lambda s, t: supervised_contrastive(s, t.softmax(1)),
    "top-k": lambda s, t: scores_kl(s, kept(t), 2.0),
}


@pytest.mark.parametrize(
    ("loss", "shape"),
    [pytest.param(loss, (B, D), id=name) for name, loss in ROWS.items()]
    + [pytest.param(loss, (B, L, D), id=name) for name, loss in TOKENS.items()]
    + [pytest.param(loss, (B, K), id=name) for name, loss in CLASSES.items()],
)
def test_losses_of_rows_tokens_and_classes(loss, shape):
    """A check by `bool(tensor)` or an index by a mask would cut the graph: `fullgraph` raises there."""
    s, t = draw(0, *shape).requires_grad_(), draw(1, *shape)
    check_compiled(lambda s: loss(s, t), s)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("per_sample", "reversal", "broken"),
    [(False, True, False), (False, True, True), (False, False, True), (True, True, True), (True, False, True)],
)
def test_a_learned_temperature_keeps_its_sign_and_its_strength(per_sample, reversal, broken):
    """A view behind a break of the graph was rebuilt without the reversal: the temperature helped the student, at full strength."""
    torch.manual_seed(0)
    config = LearnedTemperature(strength=Linear(start=0.25, end=1.0), per_sample=per_sample, reversal=reversal)
    temperature = config.build(OutputSpec(K), OutputSpec(K))
    s, t = draw(0, B, K), draw(1, B, K)

    def step(now):
        hot = temperature(s, t, now)
        if broken:
            torch._dynamo.graph_break()
        return forward_kl(s, t, temperature=hot).mean()

    def gradient(run, now):
        return torch.autograd.grad(run(now), list(temperature.parameters())[-1])[0]

    torch.compiler.reset()
    compiled = torch.compile(step, backend="aot_eager", fullgraph=not broken)
    slope = 0.0
    for now in (Progress(0, 10), Progress(10, 10)):  # a strength of the first trace must not stay
        eager = gradient(step, now)
        torch.testing.assert_close(gradient(compiled, now), eager, atol=1e-6, rtol=1e-6)
        slope = eager / config.strength(now)
    with torch.no_grad():  # minus strength times the slope of the loss, by finite differences
        last = list(temperature.parameters())[-1]
        losses_at = []
        for move in (1e-2, -2e-2):
            last.add_(move)
            losses_at.append(forward_kl(s, t, temperature=temperature(s, t, now).detach()).mean())
    torch.testing.assert_close(slope.sum(), (1, -1)[reversal] * (losses_at[0] - losses_at[1]) / 2e-2, rtol=1e-2, atol=0)


def test_eager_mode_still_looks_at_the_numbers():
    """The checks are left out of compiled graphs alone."""
    with pytest.raises(InputError, match="temperature: expected positive and finite"):
        checked_temperature(torch.tensor([1.0, -1.0]), 2)
    with pytest.raises(InputError, match="expected class numbers from 0 to 4, got 0 to 9"):
        decoupled_kl(draw(0, B, K), draw(1, B, K), torch.tensor([0, 4, 2, 1, 1, 9]))
