"""Formats of codes, quantization parameters, and how these are chosen for data."""
