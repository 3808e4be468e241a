"""The real sets, where the shared assets are there."""

import pytest

from stillhouse.tasks.classification.data.config import DataConfig

pytestmark = pytest.mark.assets


@pytest.mark.parametrize(
    ("name", "mean", "std", "first_test_labels"),
    [("mnist", 0.1307, 0.3081, [7, 2, 1, 0, 4]), ("fashion-mnist", 0.2860, 0.3530, [9, 2, 1, 1, 6])],
)
def test_mnist_and_its_kin_are_whole(real_data, name, mean, std, first_test_labels):
    """60,000 and 10,000 images; mean and deviation as everybody quotes them."""
    data = DataConfig(name=name, root=str(real_data), download=False).build()
    assert data.sizes == {"train": 54_000, "validation": 6_000, "test": 10_000}
    assert data.input_spec.pixel_mean == pytest.approx([mean], abs=1e-3)
    assert data.input_spec.pixel_std == pytest.approx([std], abs=1e-3)
    assert data.test.labels[:5].tolist() == first_test_labels


def test_cifar10_is_whole(real_data):
    """Made by get_assets.py from a package: the same pixels in other pickles."""
    if not (real_data / "cifar-10-batches-py").is_dir():
        pytest.skip("no CIFAR-10 among the assets")
    data = DataConfig(name="cifar10", root=str(real_data), download=False).build()
    assert data.sizes == {"train": 45_000, "validation": 5_000, "test": 10_000}
    assert data.input_spec.pixel_mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-3)
    assert data.test.labels[:5].tolist() == [3, 8, 8, 0, 6]
