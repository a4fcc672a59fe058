"""Operators that reduce windows or whole axes to a number."""

from typing import Any

from qlite.io.tflite.operators.node import Node, converts
from qlite.nn.layers.l2_normalize import L2Normalize
from qlite.nn.layers.layer import Layer
from qlite.nn.layers.pool import AveragePool, MaxPool
from qlite.nn.layers.reduce import Max, Mean, Min, Sum


@converts("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(node: Node) -> list[Layer]:
    layer = MaxPool if node.operator.name == "MAX_POOL_2D" else AveragePool
    return [layer((node.option("filter_height"), node.option("filter_width")), **node.window), *node.behind()]


@converts("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
def _reduce(node: Node) -> list[Layer]:
    layer: Any = {"MEAN": Mean, "SUM": Sum, "REDUCE_MAX": Max, "REDUCE_MIN": Min}[node.operator.name]
    axes = tuple(node.axis(n) for n in node.integers(1))
    return [layer(axes, keepdims=bool(node.option("keep_dims")))]


@converts("L2_NORMALIZATION")
def _l2_normalize(node: Node) -> list[Layer]:
    return [L2Normalize(), *node.behind()]
