"""The packed file: the same machine, with numpy alone, and nothing else taken for one."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from stillhouse.core.checks import InputError
from stillhouse.core.hashes import sealed
from stillhouse.logic.packed import load_packed, packed_bytes, save_packed
from stillhouse.tasks.classification.lower import lower
from stillhouse.tasks.classification.students.flat import DeepTMClassifier

ALONE = """
import sys
for name in ("torch", "numba", "llvmlite", "timm", "scipy"):
    sys.modules[name] = None
import warnings
warnings.simplefilter("ignore")
import numpy as np
from stillhouse.logic.packed import load_packed
machine = load_packed(sys.argv[1])
print(machine.predict(np.load(sys.argv[2])).tolist())
"""


@pytest.fixture(scope="module")
def machine():
    torch.manual_seed(0)
    return lower(
        DeepTMClassifier(image_size=8, in_channels=1, hidden_dims=(16,), clauses=20, num_classes=3, levels=2), "abc"
    )


@pytest.fixture(scope="module")
def content(machine):
    return packed_bytes(machine)


def images(count=50):
    return np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)


def about(content):
    size = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["machine"])


def changed(content, **metadata):
    """A file with other metadata and a hash that fits."""
    return sealed(save(load(content), metadata={"machine": json.dumps({**about(content), **metadata})}))


def test_what_is_read_is_what_was_written(machine, tmp_path):
    path = tmp_path / "deep" / "m.safetensors"
    save_packed(machine, path)
    read = load_packed(path)
    np.testing.assert_array_equal(read.scores(images()), machine.scores(images(), definition=True))
    assert (read.class_names, read.image_shape, read.scale) == (machine.class_names, machine.image_shape, machine.scale)
    assert path.read_bytes() == packed_bytes(read)


def test_it_predicts_with_numpy_alone(machine, tmp_path):
    """No torch, no numba, no pydantic can be imported there."""
    path = tmp_path / "m.safetensors"
    save_packed(machine, path)
    np.save(tmp_path / "images.npy", images())
    command = [sys.executable, "-c", ALONE, str(path), str(tmp_path / "images.npy")]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == machine.scores(images(), definition=True).argmax(1).tolist()


def test_truncated_and_flipped_files_are_refused(content, tmp_path):
    path = tmp_path / "m.safetensors"
    for cut in (0, 4, 100, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=r"m\.safetensors"):
            load_packed(path)
    generator = np.random.default_rng(0)
    for place in generator.integers(0, 8 * len(content), 40):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << int(place % 8)
        path.write_bytes(bytes(flipped))
        with pytest.raises(InputError, match=r"m\.safetensors"):
            load_packed(path)
    with pytest.raises(InputError, match="cannot read"):
        load_packed(tmp_path / "missing")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"version": 2}, "version 1"),
        ({"format": "other"}, "expected a packed machine"),
        ({"image_shape": [1, 8, 9]}, "layer 0: expected 144 bits, got 128"),
        ({"image_shape": "nonsense"}, "malformed"),
        ({"class_names": ["a"]}, "expected 1 scores, one a class, got 3"),
        ({"layers": []}, "join between"),
        ({"layers": [{"bits": 128, "scale": float("nan")}, {"bits": 16, "scale": 1}]}, "positive scale"),
        ({"joins": [{"shift": 99, "epsilon": 1}]}, "fit its layer"),
    ],
)
def test_parts_that_do_not_fit_are_refused(content, tmp_path, metadata, words):
    """Each with a hash that fits: somebody wrote it on purpose, or another program did."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(changed(content, **metadata))
    with pytest.raises(InputError, match=words):
        load_packed(path)
