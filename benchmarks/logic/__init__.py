"""Clauses as logic: speed of kernels."""
