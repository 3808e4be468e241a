"""Random clause sets: empty clauses, contradictions, capacities that cannot be reached, duplicates."""

import numpy as np
from hypothesis import strategies as st

from stillhouse.logic.clause_set import ClauseSet


def random_set(seed, *, bits, clauses, failures, outputs, longest=24):
    generator = np.random.default_rng(seed)
    lists = []
    for _ in range(clauses):
        count = generator.integers(0, min(2 * bits, longest) + 1)
        lists.append(np.sort(generator.choice(2 * bits, count, replace=False)))
    if clauses > 2:
        lists[1] = lists[0]  # a duplicate
        lists[2] = np.array([0, bits], dtype=np.int64)  # bit 0 and not bit 0
    capacity = generator.integers(0, failures + 1, clauses)
    capacity[-1] = failures
    votes = generator.integers(-5000, 5000, (clauses, outputs))
    bias = generator.integers(-(10**6), 10**6, outputs)
    return ClauseSet.of(lists, bits=bits, capacity=capacity, votes=votes, bias=bias)


def random_bits(seed, rows, bits):
    """Some rows near all zeros, some near all ones: clauses at every value."""
    generator = np.random.default_rng(seed)
    return generator.random((rows, bits)) < generator.random((rows, 1))


word_edges = st.sampled_from([1, 2, 7, 63, 64, 65, 127, 128, 130])
batches = st.sampled_from([1, 2, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1000])
sets = st.builds(
    random_set,
    st.integers(0, 2**32 - 1),
    bits=word_edges,
    clauses=st.sampled_from([1, 3, 63, 64, 65, 130]),
    failures=st.sampled_from([1, 2, 5, 8]),  # crisp, and counters of 3 bits
    outputs=st.sampled_from([9, 10, 17]),
)
