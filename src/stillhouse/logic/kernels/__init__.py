"""Evaluating clause sets: by bit-sliced counters (numba, numpy), one image at a time (numba), as a matrix product (torch)."""
