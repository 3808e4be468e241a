"""Vectors and a finished run, made once for all tests of this folder."""

import pytest
from embed_tiny import config_of, distill, write_vectors


@pytest.fixture(scope="session")
def vectors(tmp_path_factory):
    return write_vectors(tmp_path_factory.mktemp("vectors") / "x.npz")


@pytest.fixture(scope="session")
def finished(vectors, tmp_path_factory):
    """A finished run with every kind of arm, shared: do not change it."""
    out = tmp_path_factory.mktemp("run") / "out"
    config = config_of(vectors, anchors=["pca", "random-projection", "autoencoder"])
    return out, distill(config, out)
