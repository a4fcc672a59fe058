"""Operators that reduce windows or whole axes to a number."""

from typing import Any

from qlite.io.tflite.operators.node import Chain, Node, converts
from qlite.nn.layers.l2_normalize import L2Normalize
from qlite.nn.layers.pool import AveragePool, MaxPool
from qlite.nn.layers.reduce import Max, Mean, Min, Sum
from qlite.nn.layers.shape import Reshape


@converts("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(node: Node) -> Chain:
    layer = MaxPool if node.operator.name == "MAX_POOL_2D" else AveragePool
    return [layer((node.option("filter_height"), node.option("filter_width")), **node.window), *node.behind()]


@converts("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
def _reduce(node: Node) -> Chain:
    """Along the axis of samples nothing is reduced where a file has one of them; a number is a vector of one."""
    layer: Any = {"MEAN": Mean, "SUM": Sum, "REDUCE_MAX": Max, "REDUCE_MIN": Min}[node.operator.name]
    rank = len(node.tensor(0).shape)
    numbers = [n for n in node.integers(1) if n not in (0, -rank) or node.tensor(0).shape[:1] != (1,)]
    axes = tuple(dict.fromkeys(node.axis(n) for n in numbers))
    keepdims = bool(node.option("keep_dims"))
    if len(axes) < rank - 1 or keepdims:
        return [layer(axes, keepdims=keepdims)]
    return [layer(axes, keepdims=True), Reshape((1,))]


@converts("L2_NORMALIZATION")
def _l2_normalize(node: Node) -> Chain:
    return [L2Normalize(), *node.behind()]
