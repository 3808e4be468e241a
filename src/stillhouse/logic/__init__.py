"""Trained clauses as exact logic: one intermediate form, a kernel for this machine, files."""
