"""A network as a float model of qlite."""

import qlite as ql

from .description import INPUT


def qlite_model(network):
    values = {INPUT: ql.Input(network.input_shape)}
    for node in network.nodes:
        values[node.name] = LAYERS[node.op](node)(*(values[name] for name in node.inputs))
    outputs = [values[name] for name in network.outputs]
    return ql.Model(values[INPUT], outputs if network.ends else outputs[0])


def _conv(node):
    window = {"stride": node.stride, "padding": node.padding, "groups": node.groups}
    return ql.Conv2D(node.weight, node.bias, node.activation, node.name, **window)


def _conv_transpose(node):
    window = {"stride": node.stride, "padding": node.padding}
    return ql.Conv2DTranspose(node.weight, node.bias, node.activation, node.name, **window)


def _attention(node):
    parts = {}
    for name, weight, bias in zip(("query", "key", "value", "output"), node.weight, node.bias, strict=True):
        parts |= {f"{name}_weight": weight, f"{name}_bias": bias}
    return ql.MultiHeadAttention(node.options["heads"], **parts, name=node.name)


def _mean(node):
    if node.options["keepdims"]:
        return ql.Mean(axes=(0, 1), keepdims=True, name=node.name)
    return ql.GlobalAveragePool(name=node.name)


LAYERS = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": lambda node: ql.Dense(node.weight, node.bias, node.activation, node.name),
    "attention": _attention,
    "layer_norm": lambda node: ql.LayerNorm(node.weight, node.bias, name=node.name),
    "prelu": lambda node: ql.PReLU(node.weight, name=node.name),
    "activation": lambda node: ql.Activation(node.activation, name=node.name),
    "max_pool": lambda node: ql.MaxPool(node.size, stride=node.stride, padding=node.padding, name=node.name),
    "mean": _mean,
    "resize_bilinear": lambda node: ql.ResizeBilinear(node.options["size"], half_pixel_centers=True, name=node.name),
    "pad": lambda node: ql.Pad(node.options["padding"], name=node.name),
    "flatten": lambda node: ql.Flatten(name=node.name),
    "reshape": lambda node: ql.Reshape(node.options["shape"], name=node.name),
    "add": lambda node: ql.Add(node.activation, name=node.name),
    "multiply": lambda node: ql.Multiply(name=node.name),
    "concatenate": lambda node: ql.Concatenate(node.options["axis"], name=node.name),
}
