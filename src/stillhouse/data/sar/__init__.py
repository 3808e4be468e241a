"""Synthetic aperture radar: range-compressed azimuth lines and their focus, simulated or read from products. No torch on import.

    SarConfig(preset="toy-64").build()                       -> SarData: train, validation, test, valid, scale, kernels, points
    SarConfig(source="zarr", length=1000,
              products=ProductsConfig(root="Maya4")).build() -> the same from Zarr products

`SarData.valid` is part of the task: outside it a line does not hold the whole aperture of its targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stillhouse.data.sar.config import ProductsConfig, SarConfig
from stillhouse.data.sar.parameters import PRESETS, SarParameters, preset
from stillhouse.data.sar.scene import SceneConfig

if TYPE_CHECKING:
    from stillhouse.data.sar.sequences import SarData, SarScale, SarSplit

__all__ = [
    "PRESETS",
    "ProductsConfig",
    "SarConfig",
    "SarData",
    "SarParameters",
    "SarScale",
    "SarSplit",
    "SceneConfig",
    "preset",
]


def __getattr__(name: str) -> Any:
    # these hold tensors; `--help` reads SarConfig and must not wait for torch
    if name in {"SarData", "SarScale", "SarSplit"}:
        from stillhouse.data.sar import sequences

        return getattr(sequences, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
