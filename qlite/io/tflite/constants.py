"""Constants of a TensorFlow Lite graph as float32: what half-precision, integer and sparse weights stand for."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qlite.io.tflite.graph import Graph, Operator, Tensor

#: Operators that only say how a constant is stored.
STORING = ("DEQUANTIZE", "DENSIFY")


def real_values(tensor: Tensor) -> np.ndarray:
    """Return what a constant stands for, float32: ``(code - zero_point) * scale`` where it has scales."""
    data = tensor.data
    assert data is not None
    if tensor.scale is None or tensor.zero_point is None:
        return data.astype(np.float32)
    shape = [1] * data.ndim
    if tensor.scale.size > 1:
        shape[tensor.axis] = -1
    difference = data.astype(np.int64) - tensor.zero_point.reshape(shape)
    return difference.astype(np.float32) * tensor.scale.reshape(shape)


def without_storing(graph: Graph) -> Graph:
    """Return the graph whose constants are float32, without the operators that made them so.

    A DEQUANTIZE of half-precision weights, a DENSIFY of sparse ones, and both one behind the other.
    """
    tensors, kept = list(graph.tensors), []
    for operator in graph.operators:
        source = _read(tensors, operator, 0) if operator.name in STORING else None
        if source is None or source.data is None:
            kept.append(operator)
            continue
        number = operator.outputs[0]
        name = tensors[number].name
        if operator.name == "DENSIFY":
            tensors[number] = replace(source, name=name)
        else:
            tensors[number] = Tensor(name, source.shape, "FLOAT32", real_values(source))
    return replace(graph, tensors=tensors, operators=kept)


def simplified(graph: Graph) -> Graph:
    """Return the graph in which a float constant multiplies by its reciprocal instead of dividing, and rows that are
    gathered from a constant are looked up."""
    tensors, operators = list(graph.tensors), []
    for operator in graph.operators:
        options = operator.options
        first, divisor = _read(tensors, operator, 0), _read(tensors, operator, 1)
        if operator.name == "DIV" and divisor is not None and divisor.data is not None and divisor.type == "FLOAT32":
            with np.errstate(divide="ignore"):
                tensors.append(replace(divisor, data=np.float32(1) / divisor.data))
            operator = replace(operator, name="MUL", inputs=(operator.inputs[0], len(tensors) - 1))
        elif operator.name == "GATHER" and first is not None and first.data is not None and not any(options.values()):
            operator = replace(operator, name="EMBEDDING_LOOKUP", inputs=operator.inputs[1::-1])
        operators.append(operator)
    return replace(graph, tensors=tensors, operators=operators)


def _read(tensors: Sequence[Tensor], operator: Operator, i: int) -> Tensor | None:
    """The i-th input of an operator, if it has one."""
    is_there = i < len(operator.inputs) and operator.inputs[i] >= 0
    return tensors[operator.inputs[i]] if is_there else None
