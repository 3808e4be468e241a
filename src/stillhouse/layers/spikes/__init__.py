"""Spikes on the inputs of matrix products, and the linear layers that take them."""

from stillhouse.layers.spikes.linear import Quantization, SpikeLinear
from stillhouse.layers.spikes.unit import SHARE_UNIT, SpikeUnit, share_of, spike_counts

__all__ = ["SHARE_UNIT", "Quantization", "SpikeLinear", "SpikeUnit", "share_of", "spike_counts"]
