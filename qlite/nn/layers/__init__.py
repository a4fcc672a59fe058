"""Layers of float models."""
