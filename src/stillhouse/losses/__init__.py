"""Losses: plain functions of tensors to (B,), student first, teacher second, one paper each."""
