"""Layer-wise rates that outlive the schedule, restarts, centralized gradients."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from stillhouse.core.checks import InputError
from stillhouse.core.types import ImageSpec
from stillhouse.recipes import load_run
from stillhouse.tasks.classification.students.flat import FlatTM
from stillhouse.tasks.classification.students.swin import SwinTM
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer
from stillhouse.tasks.classification.task import TASK
from stillhouse.training import TrainingConfig
from stillhouse.training.optimizer import build_optimizer, layer_numbers


def net():
    torch.manual_seed(0)
    module = nn.Module()
    module.stem = nn.Linear(4, 4)
    module.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    module.norm = nn.LayerNorm(4)
    module.head = nn.Linear(4, 2)
    return module


def rates(optimizer, module):
    """Learning rate of every parameter by name."""
    by_id = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: by_id[id(p)] for name, p in module.named_parameters()}


QUICK = TrainingConfig(epochs=4, learning_rate=1e-2, warmup_epochs=1, final_learning_rate=1e-4, layer_decay=0.5)


def test_layer_rates_keep_their_ratio_at_every_step():
    """The published schedule overwrites the rates of all groups with one number."""
    module = net()
    optimizer, schedule = build_optimizer(module, nn.Module(), QUICK, 10)
    for step in range(40):
        found = rates(optimizer, module)
        assert found["blocks.0.weight"] / found["head.weight"] == pytest.approx(0.5**3)
        assert found["stem.weight"] / found["norm.weight"] == pytest.approx(0.5**4)
        if step == 10:  # warm-up is over
            assert found["head.weight"] == pytest.approx(1e-2)
        optimizer.step()
        schedule.step()
    assert rates(optimizer, module)["head.weight"] == pytest.approx(1e-4, rel=0.1)


def test_restarts_are_those_of_torch():
    """Period, floor and jump, after the warm-up."""
    config = replace(QUICK, cycle_steps=7, warmup_epochs=0)
    module = net()
    optimizer, schedule = build_optimizer(module, nn.Module(), config, 10)
    other = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-2)
    expected = CosineAnnealingWarmRestarts(other, T_0=7, eta_min=1e-4)
    for _ in range(30):
        assert rates(optimizer, module)["head.weight"] == pytest.approx(other.param_groups[0]["lr"], rel=1e-6)
        for part in (optimizer, other, schedule, expected):
            part.step()


def test_layers_of_known_architectures():
    """Stages with blocks inside count block by block; a network without blocks is told so."""
    import timm

    with torch.device("meta"):
        vit = layer_numbers(timm.create_model("test_vit", pretrained=False))
        resnet = layer_numbers(timm.create_model("resnet18", pretrained=False))
    assert vit["cls_token"] == 0
    assert vit["patch_embed.proj.weight"] == 0
    assert vit["head.weight"] == max(vit.values())
    assert resnet["layer1.0.conv1.weight"] == 1
    assert resnet["layer4.1.conv2.weight"] == 8
    assert resnet["fc.weight"] == 9
    with pytest.raises(InputError, match="has no blocks"):
        layer_numbers(nn.Sequential(nn.Linear(2, 2)))


def test_centralized_gradients_have_mean_zero_and_include_logits_are_left_alone():
    """In micro-batches too; without the mean of an include logit's gradient no clause could grow."""
    module = net()
    module.include_logits = nn.Parameter(torch.randn(2, 3, 4))
    build_optimizer(module, nn.Module(), replace(QUICK, layer_decay=1.0, centralize_gradients=True), 10)
    for _ in range(2):
        x = torch.randn(8, 4)
        (module.head(module.stem(x)) ** 2).sum().backward()
        (module.include_logits.exp().sum()).backward()
    assert module.stem.weight.grad.mean(1).abs().max() < 1e-6
    assert module.stem.weight.grad.abs().max() > 1e-3
    assert module.stem.bias.grad.abs().max() > 1e-3
    assert module.include_logits.grad.mean() > 0.1


def test_matrices_decay_and_vectors_do_not():
    """Without a gradient AdamW moves by decay alone: 1 - rate x decay for matrices, nothing for norms and biases."""
    module = net()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    config = replace(QUICK, layer_decay=1.0, warmup_epochs=0, weight_decay=0.5)
    optimizer, _ = build_optimizer(module, nn.Module(), config, steps_per_epoch=10)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in module.named_parameters():
        kept = 1 - 1e-2 * 0.5 if parameter.ndim == 2 else 1.0
        torch.testing.assert_close(parameter.detach(), kept * before[name], msg=name)


SMALL = {"image_size": 8, "in_channels": 1}
CLAUSED = {
    FlatTM: {"clauses": 4},
    UnifiedTMTransformer: {"patch_size": 4, "embed_dim": 12, "depths": 1, "tm_clauses": 4},
    SwinTM: {"patch_size": 2, "embed_dim": 12, "depths": (1,), "num_heads": (3,), "clauses": 4, "head_clauses": 4},
}


@pytest.mark.parametrize("kind", CLAUSED, ids=lambda kind: kind.__name__)
def test_clauses_keep_their_own_rate_at_every_step(kind):
    """At the rate of ordinary weights include logits hardly reach the threshold, and the student stays as it was drawn."""
    model = kind(**SMALL, **CLAUSED[kind])
    model.clause_learning_rate_factor = 10.0
    optimizer, schedule = build_optimizer(model, nn.Module(), replace(QUICK, layer_decay=1.0), 10)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    for _ in range(40):
        found = rates(optimizer, model)
        common = found.get("head.weight", found.get("patch_embed.weight", optimizer.param_groups[-1]["lr"] / 10))
        own = {name for name, rate in found.items() if rate == pytest.approx(10 * common)}
        assert own == {name for name in found if any(word in name for word in ("include", "votes", "clause_bias"))}
        optimizer.step()
        schedule.step()


def test_the_factor_of_a_run_reaches_its_student():
    """A setting that stops at the configuration changes nothing, and the run says that it did."""
    config = load_run("digits", ["training.clause_learning_rate_factor=7", "training.epochs=1"])
    context = SimpleNamespace(
        config=config, data=SimpleNamespace(input_spec=ImageSpec(("a", "b"), (1, 8, 8), (0.0,), (1.0,)))
    )
    groups = TASK.student(None, config.student, 0, context).parameter_groups(0.1)
    assert {group.get("rate_factor", 1.0) for group in groups} == {1.0, 7.0}
