"""Synthetic aperture radar: range-compressed lines and their azimuth focus, simulated or read from products. No torch on import."""
