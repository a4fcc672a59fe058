"""Operators that compute element by element."""

import math
from typing import Any

import numpy as np

from qlite.io.tflite.operators.node import Chain, Node, converts, number, unit_clamp
from qlite.io.tflite.patterns import LAYER_NORM, SOFTPLUS
from qlite.nn.layers.activation import Activation, Softmax
from qlite.nn.layers.binary import Add, Multiply, Subtract
from qlite.nn.layers.layer_norm import LayerNorm
from qlite.nn.layers.prelu import PReLU


@converts("ADD", "SUB", "MUL", reads=(0, 1))
def _binary(node: Node) -> Chain:
    layer: Any = {"ADD": Add, "SUB": Subtract, "MUL": Multiply}[node.operator.name]
    return [layer(node.activation)]


ACTIVATIONS = {"RELU": "relu", "RELU6": "relu6", "LOGISTIC": "sigmoid", "TANH": "tanh"}
ACTIVATIONS |= {"ELU": "elu", "HARD_SWISH": "hard_swish"}


@converts(*ACTIVATIONS)
def _activation(node: Node) -> Chain:
    return [Activation(ACTIVATIONS[node.operator.name])]


@converts("ABS")
def _abs(node: Node) -> Chain:
    """``relu(x) + relu(-x)``."""
    below: Chain = [([], number(-1)), Multiply(), Activation("relu")]
    return [([Activation("relu")], below), Add()]


@converts("NEG")
def _negative(node: Node) -> Chain:
    return [([], number(-1)), Multiply()]


@converts("SQUARED_DIFFERENCE", reads=(0, 1))
def _squared_difference(node: Node) -> Chain:
    return [Subtract(), ([], []), Multiply()]


@converts(SOFTPLUS)
def _softplus(node: Node) -> Chain:
    return [Activation("softplus")]


@converts(LAYER_NORM)
def _layer_norm(node: Node) -> Chain:
    gamma, beta = (np.broadcast_to(node.option(name), node.shape()[-1:]) for name in ("gamma", "beta"))
    return [LayerNorm(gamma, beta, node.option("epsilon"))]


@converts("RELU_N1_TO_1")
def _relu_n1_to_1(node: Node) -> Chain:
    return unit_clamp()


@converts("GELU")
def _gelu(node: Node) -> Chain:
    """The approximation ``x * (1 + tanh(y)) / 2 = x * sigmoid(2 * y)`` with ``2 * y = x * (a + b * x * x)``."""
    if not node.option("approximate"):
        return [Activation("gelu")]
    a = math.sqrt(8 / math.pi)
    factor: Chain = [([], []), Multiply(), ([], number(0.044715 * a)), Multiply(), ([], number(a)), Add()]
    return [([], [([], factor), Multiply(), Activation("sigmoid")]), Multiply()]


@converts("LEAKY_RELU")
def _leaky_relu(node: Node) -> Chain:
    return [Activation("leaky_relu", slope=node.option("alpha"))]


#: Channels that one slope stands for, at most: each gets its own.
MOST_CHANNELS = 1 << 20


@converts("PRELU")
def _prelu(node: Node) -> Chain:
    slope, channels = node.real(1), node.shape()[-1]
    if channels > MOST_CHANNELS or slope.size not in (1, channels) or slope.shape[-1] != slope.size:
        raise ValueError(f"expected a slope for each of {channels} channels, got {slope.shape}")
    return [PReLU(np.broadcast_to(slope.ravel(), channels))]


@converts("SOFTMAX")
def _softmax(node: Node) -> Chain:
    beta = node.option("beta")
    return [Softmax()] if beta == 1 else [([], number(beta)), Multiply(), Softmax()]
