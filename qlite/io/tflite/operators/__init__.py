"""The layers that operators become, by family: importing a family, for nothing else, puts its operators into the
table."""

from qlite.io.tflite.operators import elements, products, shapes, windows  # noqa: F401
from qlite.io.tflite.operators.node import CONVERSIONS, Chain, Conversion, Node, converts

__all__ = ["CONVERSIONS", "Chain", "Conversion", "Node", "converts"]
