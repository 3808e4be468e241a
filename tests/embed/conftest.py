"""Vectors and a finished run, made once for all tests of this folder."""

import pytest
from embed_tiny import HASHED, config_of, distill, write_vectors


@pytest.fixture(scope="session")
def vectors(tmp_path_factory):
    return write_vectors(tmp_path_factory.mktemp("vectors") / "x.npz")


@pytest.fixture(scope="session")
def finished(vectors, tmp_path_factory):
    """A finished run with every kind of arm, shared: do not change it."""
    out = tmp_path_factory.mktemp("run") / "out"
    summary = distill(config_of(vectors, text=HASHED, frontier=[0.0]), out, command="stillhouse embed")
    return out, summary
