"""Samples that are bytes, such as the pixels of images: the numbers 0 to 255."""

from typing import Any

import numpy as np


def as_floats(x: Any) -> Any:
    """Return an array of bytes as float32; of a dict, tuple or list each; all else as it is."""
    if isinstance(x, dict):
        return {name: as_floats(array) for name, array in x.items()}
    if isinstance(x, (tuple, list)):
        return tuple(as_floats(array) for array in x) if any(isinstance(array, np.ndarray) for array in x) else x
    return x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype == np.uint8 else x


def as_bytes(name: str, array: np.ndarray) -> np.ndarray:
    """Return floats that are bytes as these; `name` is for the error."""
    with np.errstate(invalid="ignore"):
        found = array.astype(np.uint8)
    if (found != array).any():
        raise ValueError(f"{name}: expected bytes, or floats that are, got {array[found != array].flat[0]}")
    return found
