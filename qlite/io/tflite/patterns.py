"""Operators that together are a layer: layer normalization and softplus, which the format has no operator for, whose
operator has a name of its own here and the layer's options; and products and rows of tables with moves around them.
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
    return replace(
        graph, operators=[found.matched(operator) if operator.outputs else operator for operator in graph.operators]
    )


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
        if operator.name == "EMBEDDING_LOOKUP" and len(operator.inputs) == 2:
            indices, table = operator.inputs
            return replace(operator, inputs=(self._unwrapped(indices), table))
        return self._of_rows_apart(operator) or operator

    def _of_rows_apart(self, last: Operator) -> Operator | None:
        """The product of rows that are taken out of their samples before it, and put back into them behind it."""
        product = self._writer(last.inputs[0]) if last.name == "RESHAPE" and last.inputs else None
        if product is None or product.name != "FULLY_CONNECTED" or len(product.inputs) < 2:
            return None
        before, weights = self._writer(product.inputs[0]), product.inputs[1]
        if before is None or before.name != "RESHAPE" or weights < 0:
            return None
        x = before.inputs[0] if before.inputs else -1
        if x < 0:
            return None
        shape, result = self.tensors[x].shape, self.tensors[last.outputs[0]].shape
        is_of_rows = len(shape) > 2 and shape[:-1] == result[:-1]
        if not is_of_rows or self.tensors[weights].shape != (result[-1], shape[-1]):
            return None
        options = product.options | {"keep_num_dims": True}
        return replace(product, inputs=(x, *product.inputs[1:]), outputs=last.outputs, options=options)

    def _unwrapped(self, indices: int) -> int:
        """What indices are before ``x + n if x < 0 else x``: those that layers take are not negative."""
        writer = self._writer(indices)
        is_negative, wrapped, x = self._reads(writer, writer.name if writer else "", 3)
        is_choice = writer is not None and writer.name in ("SELECT", "SELECT_V2") and x is not None
        compared = self._reads(self._writer(is_negative), "LESS", 2)[0]
        moved = self._reads(self._writer(wrapped), "ADD", 2)[0]
        return x if is_choice and compared == moved == x else indices

    def _softplus(self, last: Operator) -> dict[str, Any] | None:
        """``relu(x) - log(sigmoid(abs(x)))`` or ``log(exp(x) + 1)``."""
        total, one = self._with_vector(self._writer(self._reads(last, "LOG", 1)[0]), "ADD")
        (x,) = self._reads(self._writer(total), "EXP", 1)
        if x is not None and one is not None and one.tolist() == [1]:
            return {"name": SOFTPLUS, "x": x}
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
        mean, again, beta = self._shift(other)
        factor, gamma = self._with_vector(self._writer(scaled), "MUL")
        if gamma is None or beta is None or again is None or again != scaled:
            return None
        return self._of_rows(x, mean, factor, gamma, beta)

    def _shift(self, number: int | None) -> tuple[int | None, int | None, np.ndarray | None]:
        """The mean, f and beta of ``beta - mean * f`` or ``-mean * f + beta``, whose beta may be left out."""
        vector, product = self._reads(self._writer(number), "SUB", 2)
        if product is not None:
            mean, f = self._reads(self._writer(product), "MUL", 2)
            return mean, f, self._vector(vector)
        product, beta = self._with_vector(self._writer(number), "ADD")
        if beta is None:
            product, beta = number, np.zeros(1, np.float32)
        negative, f = self._reads(self._writer(product), "MUL", 2)
        (mean,) = self._reads(self._writer(negative), "NEG", 1)
        return mean, f, beta

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
        if writer is None or x is None or values is None or not writer.options.get("keep_dims"):
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
