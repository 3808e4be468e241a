"""Ordinary networks (timm, a text transformer) that learn classes from any teacher."""
