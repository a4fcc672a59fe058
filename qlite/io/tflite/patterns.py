"""Operators that together are a layer: layer normalization and softplus, which the format has no operator for.

Each becomes one operator of a name of its own, whose options are the layer's.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qlite.io.tflite.graph import Graph, Operator

LAYER_NORM, SOFTPLUS = "layer_norm", "softplus"


def with_layers(graph: Graph) -> Graph:
    """Return the graph in which the last operator of each pattern stands for all of it.

    The others stay, as what nothing reads is not converted.
    """
    found = _Search(graph)
    return replace(graph, operators=[found.matched(operator) for operator in graph.operators])


class _Search:
    """The operators that give the tensors of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.tensors = graph.tensors
        self.writers = {number: operator for operator in graph.operators for number in operator.outputs}

    def matched(self, operator: Operator) -> Operator:
        """An operator, or the one that stands for the pattern that it ends."""
        for match in (self._layer_norm, self._softplus):
            options = match(operator)
            if options is not None:
                x = options.pop("x")
                return Operator(options.pop("name"), (x,), operator.outputs, options)
        return operator

    def _softplus(self, last: Operator) -> dict[str, Any] | None:
        """``relu(x) - log(sigmoid(abs(x)))``."""
        far, near = self._reads(last, "SUB", 2)
        (x,) = self._reads(self._writer(far), "RELU", 1)
        (sigmoid,) = self._reads(self._writer(near), "LOG", 1)
        (size,) = self._reads(self._writer(sigmoid), "LOGISTIC", 1)
        is_found = x is not None and self._reads(self._writer(size), "ABS", 1) == [x]
        return {"name": SOFTPLUS, "x": x} if is_found else None

    def _layer_norm(self, last: Operator) -> dict[str, Any] | None:
        """A sum with beta behind a product with gamma; or ``x * f + (beta - mean * f)`` with ``f = factor * gamma``."""
        one, other = self._reads(last, "ADD", 2)
        beta = self._vector(other)
        if beta is not None:
            product, gamma = self._with_vector(self._writer(one), "MUL")
            return None if gamma is None else self._normalized(self._writer(product), gamma, beta)
        x, scaled = self._reads(self._writer(one), "MUL", 2)
        shift, moved = self._reads(self._writer(other), "SUB", 2)
        mean, again = self._reads(self._writer(moved), "MUL", 2)
        factor, gamma = self._with_vector(self._writer(scaled), "MUL")
        beta = self._vector(shift)
        if gamma is None or beta is None or again != scaled:
            return None
        return self._of_rows(x, mean, factor, gamma, beta)

    def _normalized(self, product: Operator | None, gamma: np.ndarray, beta: np.ndarray) -> dict[str, Any] | None:
        """``(x - mean) * factor``."""
        centred, factor = self._reads(product, "MUL", 2)
        x, mean = self._reads(self._writer(centred), "SUB", 2)
        return self._of_rows(x, mean, factor, gamma, beta)

    def _of_rows(
        self, x: int | None, mean: int | None, factor: int | None, gamma: np.ndarray, beta: np.ndarray
    ) -> dict[str, Any] | None:
        """Whether a factor is one over the root of the variance and an epsilon."""
        (radicand,) = self._reads(self._writer(factor), "RSQRT", 1)
        variance, epsilon = self._with_vector(self._writer(radicand), "ADD")
        squares = self._mean_of(variance)
        is_found = epsilon is not None and epsilon.size == 1 and x is not None and self._mean_of(mean) == x
        if not is_found or not self._are_squares(squares, x, mean):
            return None
        assert epsilon is not None
        return {"name": LAYER_NORM, "x": x, "epsilon": float(epsilon[0]), "gamma": gamma, "beta": beta}

    def _are_squares(self, squares: int | None, x: int | None, mean: int | None) -> bool:
        writer = self._writer(squares)
        if self._reads(writer, "SQUARED_DIFFERENCE", 2) in ([x, mean], [mean, x]):
            return True
        centred, again = self._reads(writer, "MUL", 2)
        return centred == again and self._reads(self._writer(centred), "SUB", 2) == [x, mean]

    def _mean_of(self, number: int | None) -> int | None:
        """What a tensor is the mean of, along the last axis, which stays."""
        writer = self._writer(number)
        x, axes = self._reads(writer, "MEAN", 2)
        values = None if axes is None else self.tensors[axes].data
        if writer is None or x is None or values is None or not writer.options["keep_dims"]:
            return None
        rank = len(self.tensors[x].shape)
        return x if values.size == 1 and int(values.ravel()[0]) in (-1, rank - 1) else None

    def _with_vector(self, operator: Operator | None, name: str) -> tuple[int | None, np.ndarray | None]:
        """What an operator reads beside a constant, and that constant."""
        one, other = self._reads(operator, name, 2)
        if self._vector(other) is not None:
            return one, self._vector(other)
        return other, self._vector(one)

    def _vector(self, number: int | None) -> np.ndarray | None:
        """A constant of floats along the last axis."""
        data = None if number is None else self.tensors[number].data
        is_vector = data is not None and data.dtype == np.float32 and data.size == max((1, *data.shape[-1:]))
        return data.ravel() if data is not None and is_vector else None

    def _writer(self, number: int | None) -> Operator | None:
        return None if number is None else self.writers.get(number)

    def _reads(self, operator: Operator | None, name: str, count: int) -> Sequence[Any]:
        """The tensors that an operator of this name and without an activation reads; None for all where it is none."""
        is_one = operator is not None and operator.name == name and len(operator.inputs) == count
        if operator is None or not is_one or operator.options.get("fused_activation_function", 0):
            return [None] * count
        return [number if number >= 0 else None for number in operator.inputs]
