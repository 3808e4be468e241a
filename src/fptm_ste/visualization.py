"""Overlays: images, the last block's attention, clause strength and top classes."""

from stillhouse.tasks.classification.vision.overlays import draw_overlays, maps_of, write_overlays

__all__ = ["draw_overlays", "maps_of", "write_overlays"]
