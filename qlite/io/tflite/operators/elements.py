"""Operators that compute element by element."""

from typing import Any

import numpy as np

from qlite.io.tflite.operators.node import Node, converts
from qlite.nn.layers.activation import Activation, Softmax
from qlite.nn.layers.binary import Add, Multiply, Subtract
from qlite.nn.layers.layer import Layer
from qlite.nn.layers.prelu import PReLU


@converts("ADD", "SUB", "MUL", reads=(0, 1))
def _binary(node: Node) -> list[Layer]:
    layer: Any = {"ADD": Add, "SUB": Subtract, "MUL": Multiply}[node.operator.name]
    return [layer(node.activation)]


ACTIVATIONS = {"RELU": "relu", "RELU6": "relu6", "LOGISTIC": "sigmoid", "TANH": "tanh"}
ACTIVATIONS |= {"ELU": "elu", "HARD_SWISH": "hard_swish"}


@converts(*ACTIVATIONS)
def _activation(node: Node) -> list[Layer]:
    return [Activation(ACTIVATIONS[node.operator.name])]


@converts("GELU")
def _gelu(node: Node) -> list[Layer]:
    if node.option("approximate"):
        raise ValueError("expected the exact gelu, got its approximation by tanh")
    return [Activation("gelu")]


@converts("LEAKY_RELU")
def _leaky_relu(node: Node) -> list[Layer]:
    return [Activation("leaky_relu", slope=node.option("alpha"))]


#: Channels that one slope stands for, at most: each gets its own.
MOST_CHANNELS = 1 << 20


@converts("PRELU")
def _prelu(node: Node) -> list[Layer]:
    slope, channels = node.real(1), node.shape()[-1]
    if channels > MOST_CHANNELS or slope.size not in (1, channels) or slope.shape[-1] != slope.size:
        raise ValueError(f"expected a slope for each of {channels} channels, got {slope.shape}")
    return [PReLU(np.broadcast_to(slope.ravel(), channels))]


@converts("SOFTMAX")
def _softmax(node: Node) -> list[Layer]:
    if node.option("beta") != 1:
        raise ValueError(f"expected beta 1, got {node.option('beta')}")
    return [Softmax()]
