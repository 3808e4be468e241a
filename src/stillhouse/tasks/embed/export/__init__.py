"""Embedding students outside torch."""
