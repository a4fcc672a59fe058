"""A network as a float model of LiteRT: activations in the operators that can have them, and behind the others."""

import numpy as np

from ..litert_file import Operator, Tensor
from ..litert_file import model as file_of
from ..networks.description import INPUT

ACTIVATIONS = {None: 0, "relu": 1, "relu6": 3}
FUNCTIONS = {"relu": "RELU", "relu6": "RELU6", "hard_swish": "HARD_SWISH", "sigmoid": "LOGISTIC", "gelu": "GELU"}
PADDINGS = {"same": 0, "valid": 1}
EPSILON = 1e-5  # of layer_norm


def model(network, batch):
    """The bytes of the model for so many samples."""
    values = {name: Tensor((batch, *shape), np.float32) for name, shape in network.shapes.items()}
    operators = Operators()
    for node in network.nodes:
        WRITERS[node.op](operators, node, values[node.name], *(values[name] for name in node.inputs))
    return file_of(operators.written, [values[INPUT]], [values[name] for name in network.outputs])


class Operators:
    """Operators, one after the other."""

    def __init__(self):
        self.written = []

    def append(self, name, inputs, output, version=1, **options):
        """`output`: a tensor or a shape. Inputs that are arrays are constants. Returns the tensor."""
        inputs = [Tensor.constant(x) if isinstance(x, np.ndarray) else x for x in inputs]
        output = output if isinstance(output, Tensor) else Tensor(output, np.float32)
        self.written.append(Operator(name, inputs, output, options, version))
        return output

    def activated(self, name, inputs, output, activation, version=1, **options):
        """The same with an activation: in the operator, or in others behind it."""
        fused = activation in ACTIVATIONS
        options["fusedActivationFunction"] = ACTIVATIONS[activation] if fused else 0
        made = self.append(name, inputs, output if fused else output.shape, version, **options)
        return output if fused else self.activation(activation, made, output)

    def activation(self, function, x, output):
        if function == "hard_sigmoid":
            up = self.append("ADD", [x, _scalar(3)], x.shape, fusedActivationFunction=ACTIVATIONS["relu6"])
            return self.append("MUL", [up, _scalar(1 / 6)], output)
        return self.append(FUNCTIONS[function], [x], output)

    def reshape(self, x, output):
        shape = output.shape if isinstance(output, Tensor) else output
        return self.append("RESHAPE", [x, _integers(shape)], output, newShape=list(shape))


def _scalar(value):
    return np.array(value, np.float32)


def _integers(values):
    return np.array(values, np.int32)


def _window(node):
    return {"padding": PADDINGS[node.padding], "strideH": node.stride[0], "strideW": node.stride[1]}


def _conv(operators, node, y, x):
    if node.groups > 1:
        parts = [x, node.weight.transpose(2, 0, 1, 3), node.bias]
        operators.activated("DEPTHWISE_CONV_2D", parts, y, node.activation, depthMultiplier=1, **_window(node))
    else:
        parts = [x, node.weight.transpose(3, 0, 1, 2), node.bias]
        operators.activated("CONV_2D", parts, y, node.activation, **_window(node))


def _conv_transpose(operators, node, y, x):
    parts = [_integers(y.shape), node.weight.transpose(3, 0, 1, 2), x, node.bias]
    operators.activated("TRANSPOSE_CONV", parts, y, node.activation, version=3, **_window(node))


def _dense(operators, node, y, x, weight=None, bias=None):
    weight, bias = (node.weight, node.bias) if weight is None else (weight, bias)
    options = {"keepNumDims": True, "version": 5} if len(x.shape) > 2 else {}
    return operators.activated("FULLY_CONNECTED", [x, weight.T, bias], y, node.activation, **options)


def _attention(operators, node, y, x):
    batch, rows, width = x.shape
    heads = node.options["heads"]
    parted, swapped = (batch, rows, heads, width // heads), (batch, heads, rows, width // heads)

    def head(i):
        projected = _dense(operators, node, Tensor(x.shape, np.float32), x, node.weight[i], node.bias[i])
        return operators.append("TRANSPOSE", [operators.reshape(projected, parted), _integers([0, 2, 1, 3])], swapped)

    query, key, value = (head(i) for i in range(3))
    query = operators.append("MUL", [query, _scalar(parted[3] ** -0.5)], swapped)
    scores = operators.append("BATCH_MATMUL", [query, key], (batch, heads, rows, rows), adjY=True)
    shares = operators.append("SOFTMAX", [scores], scores.shape, beta=1.0)
    mixed = operators.append("BATCH_MATMUL", [shares, value], swapped)
    together = operators.append("TRANSPOSE", [mixed, _integers([0, 2, 1, 3])], parted)
    _dense(operators, node, y, operators.reshape(together, x.shape), node.weight[3], node.bias[3])


def _layer_norm(operators, node, y, x):
    rows, last = (*x.shape[:-1], 1), _integers([len(x.shape) - 1])
    mean = operators.append("MEAN", [x, last], rows, keepDims=True)
    centered = operators.append("SUB", [x, mean], x.shape)
    squares = operators.append("MUL", [centered, centered], x.shape)
    variance = operators.append("MEAN", [squares, last], rows, keepDims=True)
    inverse = operators.append("RSQRT", [operators.append("ADD", [variance, _scalar(EPSILON)], rows)], rows)
    scaled = operators.append("MUL", [operators.append("MUL", [centered, inverse], x.shape), node.weight], x.shape)
    operators.append("ADD", [scaled, node.bias], y)


def _max_pool(operators, node, y, x):
    height, width = node.size
    operators.append("MAX_POOL_2D", [x], y, filterHeight=height, filterWidth=width, **_window(node))


def _resize_bilinear(operators, node, y, x):
    operators.append("RESIZE_BILINEAR", [x, _integers(node.options["size"])], y, version=3, halfPixelCenters=True)


def _pad(operators, node, y, x):
    operators.append("PAD", [x, _integers([(0, 0), *node.options["padding"]])], y)


WRITERS = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "attention": _attention,
    "layer_norm": _layer_norm,
    "prelu": lambda operators, node, y, x: operators.append("PRELU", [x, node.weight.reshape(1, 1, -1)], y),
    "activation": lambda operators, node, y, x: operators.activation(node.activation, x, y),
    "max_pool": _max_pool,
    "mean": lambda operators, node, y, x: operators.append(
        "MEAN", [x, _integers([1, 2])], y, keepDims=node.options["keepdims"]
    ),
    "resize_bilinear": _resize_bilinear,
    "pad": _pad,
    "flatten": lambda operators, node, y, x: operators.reshape(x, y),
    "reshape": lambda operators, node, y, x: operators.reshape(x, y),
    "add": lambda operators, node, y, *x: operators.activated("ADD", list(x), y, node.activation),
    "multiply": lambda operators, node, y, *x: operators.activated("MUL", list(x), y, node.activation),
    "concatenate": lambda operators, node, y, *x: operators.append(
        "CONCATENATION", list(x), y, axis=node.options["axis"] + 1
    ),
}
