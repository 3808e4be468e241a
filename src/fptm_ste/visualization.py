"""Overlays: images, the last block's attention, clause strength and top classes."""

from stillhouse.families.classification.overlays_report import draw_overlays
from stillhouse.families.classification.vision.overlays import maps_of, write_overlays

__all__ = ["draw_overlays", "maps_of", "write_overlays"]
