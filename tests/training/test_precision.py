"""Half precision is taken where the device computes in it, not where it can only emulate it."""

import pytest
import torch

from stillhouse.training import TrainingConfig
from stillhouse.training.device import precision


@pytest.mark.parametrize(("has_units", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_that_emulates_bf16_trains_in_float32(monkeypatch, has_units, expected):
    """torch says of a GPU before Ampere that it supports bf16: it does, slower than float32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or has_units
    )
    assert precision(TrainingConfig(device="cuda")) == expected
    assert precision(TrainingConfig(device="cpu")) == "32-true"
