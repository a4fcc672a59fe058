"""Quantized arrays: how they are made, stored and measured."""
