"""Samples as vectors."""

import math

from qlite._public import public
from qlite.nn.layers.layer import Shape
from qlite.nn.layers.shape import Reshape


@public
class Flatten(Reshape):
    """Samples as vectors, in C order: (samples, ...) becomes (samples, features). It computes nothing.

    Parameters
    ----------
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError
        A name that is no string.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> m = ql.Sequential([ql.Flatten(), ql.Dense(units=10)], input_shape=(28, 28))
    >>> m(np.zeros((5, 28, 28))).shape
    (5, 10)
    """

    kind = "flatten"
    options = ()

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__((-1,), name=name)

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return (math.prod(shape),)

    def __repr__(self) -> str:
        return "Flatten()"
