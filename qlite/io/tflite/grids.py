"""Grids of codes in a TensorFlow Lite graph, and operators that only take codes from one way of writing to another."""

from dataclasses import replace

import numpy as np

from qlite.grids.qparams import QParams
from qlite.io.tflite.graph import Graph, Tensor

#: Types of codes that programs have.
CODES = ("INT8", "UINT8")


def affine_of(tensor: Tensor) -> tuple[float, int]:
    """The scale and the zero point of a tensor's codes."""
    if tensor.scale is None or tensor.zero_point is None or tensor.scale.size != 1:
        raise ValueError(f"tensor {tensor.name!r}: expected one scale and zero point, got {tensor.scale}")
    return float(tensor.scale[0]), int(tensor.zero_point[0])


def grid_of(tensor: Tensor) -> QParams:
    """The grid of a tensor's codes as unsigned ones, which programs are made with."""
    scale, zero_point = affine_of(tensor)
    return QParams(
        np.array([scale], np.float32), np.array([zero_point + (tensor.type == "INT8") * 128]), 8, signed=False
    )


def differ(one: QParams, other: QParams) -> bool:
    return (one.scale.item(), one.zero_point.item()) != (other.scale.item(), other.zero_point.item())


def without_ends(graph: Graph) -> Graph:
    """Return the graph whose inputs and outputs are codes.

    A QUANTIZE of an input goes, and a DEQUANTIZE or QUANTIZE that gives an output, where what they read and write are
    floats, or the same numbers as signed and unsigned codes. Inputs keep their names; an output has the one of its
    codes.
    """
    tensors, kept = list(graph.tensors), []
    inputs, outputs = set(graph.inputs), set(graph.outputs)
    end_of: dict[int, int] = {}  # by the tensor of the codes
    for operator in graph.operators:
        is_end = False
        if operator.name in ("QUANTIZE", "DEQUANTIZE") and len(operator.inputs) == len(operator.outputs) == 1:
            (x,), (y,) = operator.inputs, operator.outputs
            codes, end = (y, x) if x in inputs else (x, y)
            is_end = x in inputs or (y in outputs and x >= 0)
            is_end = is_end and codes not in inputs | outputs | set(end_of) and end not in end_of.values()
            is_end = is_end and _says_the_same(tensors[end], tensors[codes])
        if is_end:
            end_of[codes] = end
            tensors[end] = replace(tensors[codes], name=tensors[end if x in inputs else codes].name)
        elif operator.name == "QUANTIZE" and any(graph.tensors[i].type == "FLOAT32" for i in operator.inputs if i >= 0):
            raise ValueError(f"QUANTIZE: expected floats that are an input and quantized once, got {operator.inputs}")
        else:
            kept.append(operator)
    operators = [
        replace(
            operator,
            inputs=tuple(end_of.get(i, i) for i in operator.inputs),
            outputs=tuple(end_of.get(i, i) for i in operator.outputs),
        )
        for operator in kept
    ]
    return replace(graph, tensors=tensors, operators=operators)


def _says_the_same(end: Tensor, codes: Tensor) -> bool:
    """Whether codes of a program hold what an end has."""
    if codes.type not in CODES:
        return False
    return end.type == "FLOAT32" or (end.type in CODES and not differ(grid_of(end), grid_of(codes)))
