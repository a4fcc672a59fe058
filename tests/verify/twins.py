"""PyTorch's form of layers and models, with copies of their arrays. Images keep their channels last, as here."""

import numpy as np
import torch
from torch import nn

import qlite as ql


class ChannelsLast(nn.Module):
    """A module of images with channels first, for images with channels last; `pads` tells the padding of a size."""

    def __init__(self, module, pads=None):
        super().__init__()
        self.module, self.pads = module, pads

    def forward(self, x):
        images = x.permute(0, 3, 1, 2)
        if self.pads is not None:
            top, bottom, left, right = self.pads(tuple(x.shape[1:]))
            images = nn.functional.pad(images, (left, right, top, bottom))
        return self.module(images).permute(0, 2, 3, 1)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(dim=tuple(range(1, x.ndim - 1)))


class Sum(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.activation = activation

    def forward(self, x, y):
        return self.activation(x + y)


class Twin(nn.Module):
    """A model of qlite with one input and one output, in training."""

    def __init__(self, model):
        super().__init__()
        self.names, self.sources = model.names, model.sources
        ranks = [len(model.shapes[read[0]]) for read in model.sources]
        self.layers = nn.ModuleList(twin(layer, rank) for layer, rank in zip(model.layers, ranks, strict=True))

    def forward(self, x):
        values = {"input": x}
        for name, layer, read in zip(self.names, self.layers, self.sources, strict=True):
            values[name] = layer(*(values[source] for source in read))
        return values[self.names[-1]]


def modules(slope=0.01):
    """PyTorch's form of each activation, by its name here."""
    return {
        None: nn.Identity(),
        "relu": nn.ReLU(),
        "relu6": nn.ReLU6(),
        "leaky_relu": nn.LeakyReLU(float(np.float32(slope))),
        "sigmoid": nn.Sigmoid(),
        "tanh": nn.Tanh(),
        "gelu": nn.GELU(),
        "silu": nn.SiLU(),
        "hard_swish": nn.Hardswish(),
        "elu": nn.ELU(),
        "hard_sigmoid": nn.Hardsigmoid(),
        "softplus": nn.Softplus(),
        "softmax": nn.Softmax(-1),
    }


def twin(layer, rank=1):
    """PyTorch's form of a layer of samples of this rank, with copies of its arrays, in training."""
    if isinstance(layer, (ql.Dense, ql.Conv2D)):
        product = _dense(layer) if isinstance(layer, ql.Dense) else _conv(layer)
        return nn.Sequential(product, modules()[layer.activation]) if layer.activation else product
    if isinstance(layer, ql.BatchNorm):
        norm = (nn.BatchNorm2d if rank == 3 else nn.BatchNorm1d)(
            len(layer.gamma), eps=layer.epsilon, momentum=1 - layer.momentum
        )
        _copy((norm.weight, layer.gamma), (norm.bias, layer.beta))
        _copy((norm.running_mean, layer.mean), (norm.running_var, layer.variance))
        return ChannelsLast(norm) if rank == 3 else norm
    if isinstance(layer, ql.Add):
        return Sum(modules()[layer.activation])
    if isinstance(layer, ql.GlobalAveragePool):
        return Mean()
    return nn.Flatten() if isinstance(layer, ql.Flatten) else modules(layer.slope)[layer.activation]


def _dense(layer):
    linear = nn.Linear(*layer.weight.shape)
    _copy((linear.weight, layer.weight.T), (linear.bias, layer.bias))
    return linear


def _conv(layer):
    height, width, channels, filters = layer.weight.shape
    conv = nn.Conv2d(channels * layer.groups, filters, (height, width), layer.stride, 0, layer.dilation, layer.groups)
    _copy((conv.weight, layer.weight.transpose(3, 2, 0, 1)), (conv.bias, layer.bias))
    return ChannelsLast(conv, lambda shape: layer.fields(shape)["padding"])


def _copy(*pairs):
    with torch.no_grad():
        for to, values in pairs:
            to.copy_(torch.from_numpy(np.ascontiguousarray(values)))
