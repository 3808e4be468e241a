"""Recurrent token mixers in two forms each, a parallel one to train and a stepwise one to generate."""

from stillhouse.layers.recurrent.delta import LOWEST_LOG_DECAY, delta_chunked, delta_recurrent
from stillhouse.layers.recurrent.mixers import MatrixMixer, Mixer, MixerState, ScalarMixer, TokenShift
from stillhouse.layers.recurrent.scalar import published_scalar_scan, scalar_chunked, scalar_recurrent

__all__ = [
    "LOWEST_LOG_DECAY",
    "MatrixMixer",
    "Mixer",
    "MixerState",
    "ScalarMixer",
    "TokenShift",
    "delta_chunked",
    "delta_recurrent",
    "published_scalar_scan",
    "scalar_chunked",
    "scalar_recurrent",
]
