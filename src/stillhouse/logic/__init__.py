"""Trained clauses as exact logic: one intermediate form, passes on it, kernels for this machine, files and circuits."""
