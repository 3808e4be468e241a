"""A deep machine of whole numbers, for every target."""

from dataclasses import replace

import numpy as np
import pytest
from conftest_logic import random_set

from stillhouse.logic.machine import IntegerLayerNorm, PackedModel


@pytest.fixture(scope="session")
def deep_machine():
    """Two layers of random clauses, and between them every kind of number: negative ones, zeros, a shift, roots that round."""
    generator = np.random.default_rng(0)
    first = random_set(1, bits=18, clauses=20, failures=4, outputs=12, longest=8)
    second = random_set(2, bits=12, clauses=30, failures=3, outputs=5, longest=5)
    usual = first.scores(generator.random((1000, 18)) < 0.5).mean(0).astype(np.int64)
    first = replace(first, bias=first.bias - usual)  # so that the bits after it are as often 0 as 1
    join = IntegerLayerNorm(
        path=generator.integers(-(2**12), 2**12, (12, 18)).astype(np.int32),
        shift=3,
        gain=generator.integers(-(2**17), 2**17, 12),
        offset=generator.integers(-(2**14), 2**14, 12),
        epsilon=12345,
    )
    edges = np.array([0.3, 0.6], np.float32)
    machine = PackedModel((1, 3, 3), edges, (first, second), (join,), tuple("abcde"))
    machine.check()
    return machine
