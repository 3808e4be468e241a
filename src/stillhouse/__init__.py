"""Distil any pretrained network into a student of a different kind, and prove whether the teacher helped."""

__version__ = "0.1.0"
