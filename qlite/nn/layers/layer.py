"""What all layers have in common."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from qlite import _check
from qlite.nn.lower import Builder


def finite_float32(name: str, value: Any) -> np.ndarray:
    """Return `value`, of a real floating dtype and finite, as C-contiguous float32."""
    return np.ascontiguousarray(_check.finite(name, _check.real_array(name, value)))


class Layer(ABC):
    """A layer of a float model.

    Attributes
    ----------
    name : str or None
        What reports call it; a model numbers its layers otherwise.
    """

    def __init__(self, name: str | None) -> None:
        if name is not None and not (isinstance(name, str) and name):
            raise TypeError(f"name: expected a string that is not empty, or None, got {name!r}")
        self.name = name

    @abstractmethod
    def __call__(self, x: Any) -> np.ndarray:
        """Compute the layer in float32."""

    @abstractmethod
    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        """Append what computes this layer to a program; `inputs` and the result are numbers of its buffers."""
