"""A network as a PyTorch module: channels first, as all of PyTorch is."""

import torch
from torch import nn
from torch.nn import functional

from .description import INPUT

ACTIVATIONS = {
    None: nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}
#: Where an axis of a sample that is an image stands in a batch with channels first.
AXES = (2, 3, 1)


class TorchNetwork(nn.Module):
    """Takes and gives what the network does, images with their channels first."""

    def __init__(self, network):
        super().__init__()
        self.nodes, self.outputs = network.nodes, network.outputs
        self.layers = nn.ModuleDict({node.name: LAYERS[node.op](node, network) for node in network.nodes})

    def forward(self, x):
        values = {INPUT: x}
        for node in self.nodes:
            values[node.name] = self.layers[node.name](*(values[name] for name in node.inputs))
        outputs = tuple(values[name] for name in self.outputs)
        return outputs if len(outputs) > 1 else outputs[0]


class Of(nn.Module):
    """A function of arrays, and an activation behind it."""

    def __init__(self, function, activation=None):
        super().__init__()
        self.function, self.activation = function, ACTIVATIONS[activation]()

    def forward(self, *x):
        return self.activation(self.function(*x))


class Attention(nn.Module):
    """Softmax of the products of queries and keys, each scaled by the root of a head's width, times the values."""

    def __init__(self, weight, bias, heads):
        super().__init__()
        self.heads = heads
        self.projections = nn.ModuleList(_linear(w, b) for w, b in zip(weight, bias, strict=True))

    def forward(self, x):
        *sources, last = self.projections
        query, key, value = (linear(x).reshape(*x.shape[:2], self.heads, -1).permute(0, 2, 1, 3) for linear in sources)
        attended = functional.scaled_dot_product_attention(query, key, value)
        return last(attended.permute(0, 2, 1, 3).reshape(x.shape))


def _set(layer, weight, bias):
    layer.weight.data, layer.bias.data = torch.tensor(weight.copy()), torch.tensor(bias)
    return layer


def _linear(weight, bias):
    return _set(nn.Linear(*weight.shape), weight.T, bias)


def _dense(node, network):
    return nn.Sequential(_linear(_channels_first(node, network), node.bias), ACTIVATIONS[node.activation]())


def _channels_first(node, network):
    """A dense layer's weights with the rows in the order in which a flattened image with channels first has them."""
    flatten = next((other for other in network.nodes if other.name == node.inputs[0] and other.op == "flatten"), None)
    if flatten is None:
        return node.weight
    image = network.shapes[flatten.inputs[0]]
    return node.weight.reshape(*image, -1).transpose(2, 0, 1, 3).reshape(node.weight.shape)


def _conv(node, network):
    shape = network.shapes[node.inputs[0]]
    (top, bottom), (left, right) = node.pads(*shape[:2])
    even = top == bottom and left == right
    padding = (top, left) if even else (0, 0)
    layer = nn.Conv2d(shape[2], node.weight.shape[3], node.size, node.stride, padding, groups=node.groups)
    before = [] if even else [nn.ZeroPad2d((left, right, top, bottom))]
    weighted = _set(layer, node.weight.transpose(3, 2, 0, 1), node.bias)
    return nn.Sequential(*before, weighted, ACTIVATIONS[node.activation]())


def _conv_transpose(node, network):
    layer = nn.ConvTranspose2d(*node.weight.shape[2:], node.size, node.stride)
    weighted = _set(layer, node.weight.transpose(2, 3, 0, 1), node.bias)
    return nn.Sequential(weighted, ACTIVATIONS[node.activation]())


def _max_pool(node, network):
    at_the_end = any(after for _, after in node.pads(*network.shapes[node.inputs[0]][:2]))
    return nn.MaxPool2d(node.size, node.stride, ceil_mode=at_the_end)


def _mean(node, network):
    pool = nn.AvgPool2d(network.shapes[node.inputs[0]][:2])
    return pool if node.options["keepdims"] else nn.Sequential(pool, nn.Flatten())


def _layer_norm(node, network):
    return _set(nn.LayerNorm(node.weight.shape), node.weight, node.bias)


def _prelu(node, network):
    layer = nn.PReLU(node.weight.size)
    layer.weight.data = torch.tensor(node.weight)
    return layer


def _resize_bilinear(node, network):
    return nn.Upsample(node.options["size"], mode="bilinear")


def _pad(node, network):
    height, width, channels = node.options["padding"]
    return Of(lambda x: functional.pad(x, (*width, *height, *channels)))


def _concatenate(node, network):
    is_image = len(network.shapes[node.name]) == 3
    axis = AXES[node.options["axis"]] if is_image else node.options["axis"] + 1
    return Of(lambda *x: torch.cat(x, axis))


def _reshape(node, network):
    """To rows, in the order of channels last."""
    is_image, shape = len(network.shapes[node.inputs[0]]) == 3, node.options["shape"]
    return Of(lambda x: (x.permute(0, 2, 3, 1) if is_image else x).reshape(-1, *shape))


LAYERS = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "attention": lambda node, network: Attention(node.weight, node.bias, node.options["heads"]),
    "layer_norm": _layer_norm,
    "prelu": _prelu,
    "activation": lambda node, network: ACTIVATIONS[node.activation](),
    "max_pool": _max_pool,
    "mean": _mean,
    "resize_bilinear": _resize_bilinear,
    "pad": _pad,
    "flatten": lambda node, network: nn.Flatten(),
    "reshape": _reshape,
    "add": lambda node, network: Of(torch.add, node.activation),
    "multiply": lambda node, network: Of(torch.mul),
    "concatenate": _concatenate,
}
