"""Fixtures of the data tests."""

import os
from pathlib import Path

import pytest
from numbered_images import numbered

from stillhouse.tasks.classification.data.images import ImageData


@pytest.fixture
def data():
    images, labels = numbered([120, 60, 20])
    return ImageData.from_arrays(images, labels)


@pytest.fixture(scope="session")
def real_data():
    """torchvision's root among the shared assets."""
    repository = Path(__file__).resolve().parents[2]
    root = Path(os.environ.get("STILLHOUSE_ASSETS") or repository.parent / "shared" / "assets") / "data"
    if not root.is_dir():
        pytest.skip(f"no real data in {root}")
    return root
