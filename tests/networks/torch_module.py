"""A network as a PyTorch module: channels first, as all of PyTorch is."""

import torch
from torch import nn
from torch.nn import functional

from .description import INPUT

ACTIVATIONS = {None: nn.Identity, "relu": nn.ReLU, "relu6": nn.ReLU6}


class TorchNetwork(nn.Module):
    """Takes and gives what the network does, images with their channels first."""

    def __init__(self, network):
        super().__init__()
        self.nodes = network.nodes
        self.layers = nn.ModuleDict({node.name: _layer(node, network) for node in network.nodes})

    def forward(self, x):
        values = {INPUT: x}
        for node in self.nodes:
            inputs = [values[name] for name in node.inputs]
            values[node.name] = self.layers[node.name](inputs[0] + inputs[1] if node.op == "add" else inputs[0])
        return values[self.nodes[-1].name]


class Padded(nn.Module):
    """A layer with another padding before than after."""

    def __init__(self, pads, layer):
        super().__init__()
        self.pads, self.layer = pads, layer

    def forward(self, x):
        return self.layer(functional.pad(x, self.pads))


def _layer(node, network):
    if node.op in ("conv", "dense"):
        return nn.Sequential(_product(node, network), ACTIVATIONS[node.activation]()).eval()
    shape = network.shapes[node.inputs[0]]
    if node.op == "max_pool":
        at_the_end = any(after for _, after in node.pads(*shape[:2]))
        return nn.MaxPool2d(node.size, node.stride, ceil_mode=at_the_end)
    if node.op == "mean":
        return nn.Sequential(nn.AvgPool2d(shape[:2]), nn.Flatten())
    return {"flatten": nn.Flatten, "add": ACTIVATIONS[node.activation]}[node.op]()


def _product(node, network):
    shape = network.shapes[node.inputs[0]]
    if node.op == "dense":
        layer, weight = nn.Linear(*node.weight.shape), _channels_first(node, network).T
    else:
        (top, bottom), (left, right) = node.pads(*shape[:2])
        even = top == bottom and left == right
        channels, filters = shape[2], node.weight.shape[3]
        padding = (top, left) if even else (0, 0)
        layer = nn.Conv2d(channels, filters, node.size, node.stride, padding, groups=node.groups)
        weight = node.weight.transpose(3, 2, 0, 1)
    layer.weight.data, layer.bias.data = torch.tensor(weight.copy()), torch.tensor(node.bias)
    return layer if node.op == "dense" or even else Padded((left, right, top, bottom), layer)


def _channels_first(node, network):
    """A dense layer's weights with the rows in the order in which a flattened image with channels first has them."""
    flatten = next((other for other in network.nodes if other.name == node.inputs[0] and other.op == "flatten"), None)
    if flatten is None:
        return node.weight
    image = network.shapes[flatten.inputs[0]]
    return node.weight.reshape(*image, -1).transpose(2, 0, 1, 3).reshape(node.weight.shape)
