"""torchvision beside a torch without CUDA: the registry's torchvision is built for CUDA, and its import fails there.

Where its library cannot be loaded, the two operators that its import asks for are defined (`nms`, `qnms`; nothing here calls them).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept: list[Any] = []  # what a torch.library.Library defines is gone with it


class BeforeTorchvision:
    """A finder that finds nothing: it is asked when torchvision is imported for the first time, by whomever."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        """See to the operators, once."""
        if name == "torchvision":
            sys.meta_path.remove(self)
            define_missing()


def define_missing() -> None:
    """Define torchvision's operators where its library cannot be loaded."""
    import torch

    spec = PathFinder.find_spec("torchvision")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for library in sorted(Path(folder).glob("_C*")):
            try:
                torch.ops.load_library(library)
            except OSError:
                _kept.append(torch.library.Library("torchvision", "DEF"))
                for name in ("nms", "qnms"):
                    _kept[0].define(name + NMS)
            return
