"""torch without CUDA beside the registry's torchvision, whose library needs CUDA's."""

import subprocess
import sys

import pytest

BROKEN = """
import torch
def refuse(path): raise OSError(f"libcudart.so.13 is missing, for {path}")
torch.ops.load_library = refuse
"""


@pytest.mark.slow
@pytest.mark.parametrize(("first", "status"), [("", 1), ("import stillhouse", 0)])
def test_torchvision_is_imported_without_its_library(first, status):
    """Without the operators its import ends in `operator torchvision::nms does not exist`."""
    code = f"{BROKEN}\n{first}\nimport torchvision\nfrom torchvision.transforms import v2\nimport timm"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert status == 0 or "nms does not exist" in done.stderr
