"""Blocks that several students and teachers share."""
