"""Spikes on the inputs of matrix products, and the linear layers that take them."""
