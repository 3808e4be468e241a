"""Synthetic aperture radar: range-compressed azimuth lines and their focus, simulated or read from products. No torch on import.

    SarConfig(preset="toy-64").build()                       -> SarData: train, validation, test, valid, scale, kernels, points
    SarConfig(source="zarr", length=1000,
              products=ProductsConfig(root="Maya4")).build() -> the same from Zarr products

`SarData.valid` is part of the task: outside it a line does not hold the whole aperture of its targets.
"""

from __future__ import annotations

from stillhouse.tasks.sar.data.config import ProductsConfig, SarConfig
from stillhouse.tasks.sar.data.parameters import PRESETS, SarParameters, preset
from stillhouse.tasks.sar.data.scene import SceneConfig

__all__ = ["PRESETS", "ProductsConfig", "SarConfig", "SarParameters", "SceneConfig", "preset"]
