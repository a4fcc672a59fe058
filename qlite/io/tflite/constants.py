"""Constants of a TensorFlow Lite graph as float32: what half-precision, integer and sparse weights stand for."""

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
        source = tensors[operator.inputs[0]] if operator.inputs and operator.inputs[0] >= 0 else None
        if operator.name in STORING and source is not None and source.data is not None:
            (y,) = operator.outputs
            values = source.data if operator.name == "DENSIFY" else real_values(source)
            same = (source.type, source.scale, source.zero_point, source.axis) if operator.name == "DENSIFY" else ()
            tensors[y] = Tensor(tensors[y].name, source.shape, *_typed(values, same))
        else:
            kept.append(operator)
    return Graph(tensors, kept, graph.inputs, graph.outputs, graph.input_names, graph.output_names, graph.description)


def _typed(values: np.ndarray, same: tuple) -> tuple:
    """Type, data and grid of a tensor."""
    if not same:
        return "FLOAT32", values
    kind, *grid = same
    return kind, values, *grid


def constant(graph: Graph, operator: Operator, i: int) -> np.ndarray:
    """Return the i-th input of an operator, which has to be a constant."""
    number = operator.inputs[i] if i < len(operator.inputs) else -1
    tensor = graph.tensors[number] if number >= 0 else None
    if tensor is None or tensor.data is None:
        name = "none" if tensor is None else repr(tensor.name)
        raise ValueError(f"{operator.name}: inputs[{i}]: expected a constant, got {name}")
    return tensor.data
