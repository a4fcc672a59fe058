"""A network as a float model of qlite."""

import qlite as ql

from .description import INPUT


def qlite_model(network):
    values = {INPUT: ql.Input(network.input_shape)}
    for node in network.nodes:
        inputs = [values[name] for name in node.inputs]
        values[node.name] = _layer(node)(*inputs)
    return ql.Model(values[INPUT], values[network.last])


def _layer(node):
    parts = (node.weight, node.bias, node.activation, node.name)
    if node.op == "conv":
        return ql.Conv2D(*parts, stride=node.stride, padding=node.padding, groups=node.groups)
    if node.op == "dense":
        return ql.Dense(*parts)
    if node.op == "max_pool":
        return ql.MaxPool(node.size, stride=node.stride, padding=node.padding, name=node.name)
    if node.op == "add":
        return ql.Add(node.activation, name=node.name)
    return {"mean": ql.GlobalAveragePool, "flatten": ql.Flatten}[node.op](name=node.name)
