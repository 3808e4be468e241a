"""What is called idle is idle: changing it leaves every answer and gradient of the network as it was."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from stillhouse.core.config import to_mapping
from stillhouse.tasks.classification.students.base_config import PixelClauseOptions
from stillhouse.tasks.classification.students.config import UnifiedTMConfig
from stillhouse.tasks.classification.students.flat import FlatTM
from stillhouse.tasks.classification.students.transformer import UnifiedTMTransformer
from stillhouse.tasks.classification.students.unused import unused_settings

TINY = {"image_size": 8, "in_channels": 1, "patch_size": 2, "embed_dim": 12, "depths": 3, "tm_clauses": 12}
OTHER = {
    "window_size": 2,
    "tau_ema_beta": 0.9,
    "tau_min": 0.2,
    "tau_max": 0.8,
    "tm_tau": 0.3,
    "deeptm_last_factor": 1,
    "ff_gate_activation": "tanh",
    "bypass_scale": 0.3,
    "layerscale_init": 0.2,
    "drop_path_schedule": "cosine",
    "diagnostic_gradient": True,
    "tm_failures": 9,
    "tm_literals": 5.0,
    "tm_literal_budget": 3,
    "clause_dropout": 0.3,
    "literal_dropout": 0.3,
    "ff_gate": "geglu",
}
BASES = [
    {},
    {"feed_forward": "mlp"},
    {"feed_forward": "none"},
    {"use_layerscale": False},
]


def outcome(model):
    """Answers and all gradients of one training batch."""
    torch.manual_seed(1)
    said = model.train()(torch.rand(4, 1, 8, 8))
    said.square().sum().backward()
    return torch.cat([said.detach().flatten(), *(p.grad.flatten() for p in model.parameters() if p.grad is not None)])


def transformer(config):
    torch.manual_seed(0)
    return UnifiedTMTransformer(**{key: value for key, value in to_mapping(config).items() if key != "kind"})


@pytest.mark.parametrize("base", BASES, ids=str)
def test_idle_settings_of_a_transformer_change_nothing(base):
    config = UnifiedTMConfig(**TINY, drop_path_rate=0.0, **base)
    usual = outcome(transformer(config))
    tried = 0
    for name, value in OTHER.items():
        try:
            changed = replace(config, **{name: value})
        except ValidationError:
            continue  # refused, which says more
        if any(line.startswith(f"{name}: ") for line in unused_settings(changed)):
            assert torch.equal(outcome(transformer(changed)), usual), name
            tried += 1
    assert tried >= 8


@pytest.mark.parametrize("change", [{"tau_ema": 0.9}, {"tau_min": 0.2}, {"tau_max": 0.8}])
def test_idle_settings_of_a_rule_change_nothing(change):
    def made(**rule):
        torch.manual_seed(0)
        return FlatTM(image_size=8, in_channels=1, clauses=20, rule=rule)

    assert len(list(unused_settings(made(**change).config))) == 1
    assert torch.equal(outcome(made(**change)), outcome(made()))
    assert not list(unused_settings(made().config))
    assert PixelClauseOptions(**change) != PixelClauseOptions()
