"""Muon beside AdamW: who moves what, one schedule, one state, and a resume that repeats the run."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from stillhouse.core.checks import InputError
from stillhouse.training import TrainingConfig
from stillhouse.training.optimizer import STRIDE, build_optimizer, orthogonalized

CONFIG = TrainingConfig(epochs=2, learning_rate=1e-2, warmup_epochs=0, final_learning_rate=1e-4, optimizer="muon")


def net():
    torch.manual_seed(0)
    module = nn.Module()
    module.stem = nn.Linear(6, 8)
    module.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
    module.head = nn.Linear(8, 3)
    return module


def give_gradients(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def steps(module, optimizer, schedule, seeds):
    for seed in seeds:
        give_gradients(module, seed)
        optimizer.step()
        schedule.step()


def test_matrices_in_blocks_move_along_orthogonal_directions_and_the_rest_as_under_adamw():
    module, plain = net(), net()
    optimizer, _ = build_optimizer(module, nn.Module(), CONFIG, 10)
    adamw, _ = build_optimizer(plain, nn.Module(), replace(CONFIG, optimizer="adamw"), 10)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    for network, its in ((module, optimizer), (plain, adamw)):
        give_gradients(network, 1)
        its.step()
    for (name, mine), other in zip(module.named_parameters(), plain.parameters()):
        if name.startswith("blocks") and name.endswith("weight"):
            decay = 1 - STRIDE * CONFIG.learning_rate * CONFIG.weight_decay
            values = torch.linalg.svdvals((mine - decay * before[name]).detach())
            # 0.2 sqrt(8) x STRIDE x lr, which five Newton-Schulz steps meet within 0.68 and 1.14
            size = 0.2 * 8**0.5 * STRIDE * CONFIG.learning_rate
            assert values.min() > 0.6 * size, name
            assert values.max() < 1.2 * size, name
        else:
            assert torch.equal(mine, other), name


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6)])
def test_orthogonalized_is_the_quintic_of_singular_values(shape):
    """By an SVD in float64, and to float32's precision: bf16 on a CPU without it takes ten times as long."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.square().sum().sqrt()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    torch.testing.assert_close(orthogonalized(matrix).double(), left @ values.diag() @ right, atol=2e-5, rtol=0)


def test_matrices_move_as_under_torchs_muon():
    """To what torch's bf16 leaves: three steps of momentum 0.95, decay and size included."""
    mine, other = net(), net()
    optimizer, schedule = build_optimizer(mine, nn.Module(), replace(CONFIG, final_learning_rate=1e-2), 10)
    matrices = [block.weight for block in other.blocks]
    rates = {"lr": STRIDE * CONFIG.learning_rate, "weight_decay": CONFIG.weight_decay}
    theirs = torch.optim.Muon(matrices, **rates, adjust_lr_fn="match_rms_adamw")
    for seed in range(3):
        steps(mine, optimizer, schedule, [seed])
        give_gradients(other, seed)
        theirs.step()
    for block, weight in zip(mine.blocks, matrices):
        torch.testing.assert_close(block.weight, weight, atol=1e-3, rtol=0)


def test_the_student_comes_first_and_what_is_learnt_along_last():
    module, extras = net(), nn.Linear(2, 2)
    optimizer, _ = build_optimizer(module, extras, CONFIG, 10)
    order = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert set(order[: len(list(module.parameters()))]) == {id(p) for p in module.parameters()}
    assert set(order[-2:]) == {id(p) for p in extras.parameters()}


@pytest.mark.parametrize("changes", [{}, {"layer_decay": 0.5}, {"cycle_steps": 7}])
def test_one_schedule_for_both(changes):
    module = net()
    optimizer, schedule = build_optimizer(module, nn.Module(), replace(CONFIG, **changes), 10)
    start = [group["lr"] for group in optimizer.param_groups]
    for step in range(20):
        ratios = {round(group["lr"] / first, 6) for group, first in zip(optimizer.param_groups, start)}
        assert len(ratios) == 1, step
        steps(module, optimizer, schedule, [step])
    assert changes or ratios.pop() < 0.02


def test_a_checkpoint_holds_the_state_of_both():
    whole, cut = net(), net()
    optimizer, schedule = build_optimizer(whole, nn.Module(), CONFIG, 10)
    steps(whole, optimizer, schedule, range(8))

    first, clock = build_optimizer(cut, nn.Module(), CONFIG, 10)
    steps(cut, first, clock, range(4))
    saved = copy.deepcopy((cut.state_dict(), first.state_dict(), clock.state_dict()))
    again = net()
    second, clock = build_optimizer(again, nn.Module(), CONFIG, 10)
    again.load_state_dict(saved[0])
    second.load_state_dict(saved[1])
    clock.load_state_dict(saved[2])
    steps(again, second, clock, range(4, 8))
    for name, expected in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], expected), name


def test_a_network_without_blocks_is_told_so():
    with pytest.raises(InputError, match=r"muon.*Sequential has none; take adamw"):
        build_optimizer(nn.Sequential(nn.Linear(2, 2)), nn.Module(), CONFIG, 10)
