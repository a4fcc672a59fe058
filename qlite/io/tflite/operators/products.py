"""Operators that multiply by weights or by each other."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from qlite.io.tflite.graph import CUSTOM
from qlite.io.tflite.operators.node import Chain, Node, converts
from qlite.nn.layers.conv import Conv2D, DepthwiseConv2D
from qlite.nn.layers.conv_transpose import Conv2DTranspose
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.embedding import Embedding
from qlite.nn.layers.layer import Shape
from qlite.nn.layers.matmul import MatMul
from qlite.nn.layers.shape import Reshape


@converts("CONV_2D")
def _conv(node: Node) -> Chain:
    weight = node.real(1).transpose(1, 2, 3, 0)
    channels = node.shape()[-1]
    if channels % weight.shape[2]:
        raise ValueError(f"expected channels that {weight.shape[2]} divides, got {channels}")
    dilation = node.option("dilation_h_factor"), node.option("dilation_w_factor")
    options: dict[str, Any] = {"dilation": dilation, "groups": channels // weight.shape[2]}
    return [Conv2D(weight, node.bias(2), node.activation, **node.window, **options)]


@converts("DEPTHWISE_CONV_2D")
def _depthwise(node: Node) -> Chain:
    (_, height, width, outputs), channels = node.tensor(1).shape, node.shape()[-1]
    if outputs % channels:
        raise ValueError(f"expected outputs that {channels} channels divide, got {outputs}")
    weight = node.real(1).reshape(height, width, channels, outputs // channels)
    dilation = node.option("dilation_h_factor"), node.option("dilation_w_factor")
    options: dict[str, Any] = {"dilation": dilation, "multiplier": outputs // channels}
    return [DepthwiseConv2D(weight, node.bias(2), node.activation, **node.window, **options)]


@converts("TRANSPOSE_CONV", reads=(2,))
def _transposed(node: Node) -> Chain:
    """A size that the file computes is the one that converters compute."""
    stride, padding = node.window["stride"], node.window["padding"]
    if node.tensor(0).data is not None:
        size = node.integers(0)[1:3]
    else:
        more = [
            max(k - s, 0) if padding == "valid" else 0 for k, s in zip(node.real(1).shape[1:3], stride, strict=True)
        ]
        size = [n * s + m for n, s, m in zip(node.shape(2)[:2], stride, more, strict=True)]
    return [_spread(node, node.shape(2), node.bias(3), stride, padding, size, node.activation)]


@converts(f"{CUSTOM}Convolution2DTransposeBias")
def _transposed_with_bias(node: Node) -> Chain:
    """MediaPipe's: its options are padding (1: same, 2: valid), and the stride's width and height, as int32."""
    padding, width, height = np.frombuffer(node.option("custom"), "<i4", 3).tolist()
    kind = "same" if padding == 1 else "valid"
    return [_spread(node, node.shape(0), node.bias(2), (height, width), kind, node.output_shape[:2])]


def _spread(
    node: Node,
    image: Shape,
    bias: np.ndarray | None,
    stride: Sequence[int],
    padding: str,
    size: Sequence[int],
    activation: str | None = None,
) -> Conv2DTranspose:
    """A transposed convolution whose result has a size, of which "same" cuts as much as a convolution would add."""
    weight = node.real(1)
    sides: list[tuple[int, int]] = []
    more, beyond = [], []  # than windows cover, and than "same" gives
    for n, k, s, out in zip(image[:2], weight.shape[1:3], stride, size, strict=True):
        before = max((-(-out // s) - 1) * s + k - out, 0) // 2 if padding == "same" else 0
        behind = (n - 1) * s + k - before - out
        sides.append((before, max(behind, 0)))
        more.append(max(-behind, 0))
        beyond.append(out - n * s if before == max(k - s, 0) // 2 else s)
    kernel = weight.transpose(1, 2, 3, 0)
    options: dict[str, Any] = {"stride": tuple(stride), "padding": tuple(sides), "output_padding": tuple(more)}
    if any(n >= s for n, s in zip(more, stride, strict=True)) and all(
        0 <= n < s for n, s in zip(beyond, stride, strict=True)
    ):
        options |= {"padding": "same", "output_padding": tuple(beyond)}
    return Conv2DTranspose(kernel, bias, activation, **options)


@converts("FULLY_CONNECTED")
def _dense(node: Node) -> Chain:
    weight = node.real(1).T
    dense = Dense(weight, node.bias(2), node.activation)
    shape = node.shape()
    if len(shape) == 1 or (node.option("keep_num_dims") and shape[-1] == len(weight)):
        return [dense]
    return [Reshape((-1, len(weight)) if math.prod(shape) != len(weight) else (len(weight),)), dense]


@converts("BATCH_MATMUL", reads=(0, 1))
def _matmul(node: Node) -> Chain:
    if node.option("adj_x"):
        raise ValueError("expected a first factor as it is, got adj_x, a transposed one")
    return [MatMul(transpose_b=bool(node.option("adj_y")))]


@converts("EMBEDDING_LOOKUP")
def _embedding(node: Node) -> Chain:
    return [Embedding(node.real(1))]
