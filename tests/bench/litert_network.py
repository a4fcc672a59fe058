"""A network as a float model of LiteRT: one operator for each node, activations in the operators."""

from math import prod

import numpy as np

from . import litert_model
from .litert_model import Operator, Tensor

ACTIVATIONS = {None: 0, "relu": 1, "relu6": 3}
PADDINGS = {"same": 0, "valid": 1}
HEIGHT_AND_WIDTH = (1, 2)


def model(network, batch):
    """The bytes of the model for so many samples."""
    values = {name: Tensor((batch, *shape), np.float32) for name, shape in network.shapes.items()}
    return litert_model.model([_operator(node, values) for node in network.nodes])


def _operator(node, values):
    inputs, output = [values[name] for name in node.inputs], values[node.name]
    activation = {"fusedActivationFunction": ACTIVATIONS[node.activation]}
    window = {"padding": PADDINGS[node.padding], "strideH": node.stride[0], "strideW": node.stride[1]}
    if node.op == "conv":
        depthwise = node.groups > 1
        weight = node.weight.transpose(2, 0, 1, 3) if depthwise else node.weight.transpose(3, 0, 1, 2)
        inputs += [Tensor.constant(weight), Tensor.constant(node.bias)]
        if depthwise:
            return Operator("DepthwiseConv2D", inputs, output, {**window, **activation, "depthMultiplier": 1})
        return Operator("Conv2D", inputs, output, {**window, **activation})
    if node.op == "dense":
        inputs += [Tensor.constant(node.weight.T), Tensor.constant(node.bias)]
        return Operator("FullyConnected", inputs, output, activation)
    if node.op == "max_pool":
        size = {"filterHeight": node.size[0], "filterWidth": node.size[1]}
        return Operator("MaxPool2D", inputs, output, {**window, **size}, kind="Pool2D")
    if node.op == "mean":
        inputs.append(Tensor.constant(np.array(HEIGHT_AND_WIDTH, np.int32)))
        return Operator("Mean", inputs, output, {"keepDims": False}, kind="Reducer")
    if node.op == "flatten":
        shape = (output.shape[0], prod(output.shape[1:]))
        inputs.append(Tensor.constant(np.array(shape, np.int32)))
        return Operator("Reshape", inputs, output, {"newShape": list(shape)})
    return Operator("Add", inputs, output, activation)
