"""Ways to apply activations, and to go back through them."""

from dataclasses import dataclass

import numpy as np

from qlite.ops.activations import activation, activation_gradient_, bias_activation_

from .harness import Work

#: PyTorch's names, in torch.nn.functional; those in place have an underscore behind them.
TORCH = {"relu6": "relu6", "hard_swish": "hardswish"}


@dataclass(frozen=True)
class Layer:
    """Sums of a layer, a bias, and a gradient of its results; all float32."""

    name: str
    sums: np.ndarray
    bias: np.ndarray
    gradient: np.ndarray

    @classmethod
    def random(cls, name, rows, columns):
        rng = np.random.default_rng(0)
        sums, gradient = (rng.normal(size=(rows, columns)).astype(np.float32) for _ in range(2))
        return cls(name, sums, rng.normal(size=columns).astype(np.float32), gradient)


def apply(case):
    out = np.empty_like(case.sums)
    return Work(lambda: activation(case.name, case.sums, out), lambda: out)


def torch_apply(case):
    import torch

    x, function = torch.from_numpy(case.sums), getattr(torch.nn.functional, TORCH.get(case.name, case.name))
    held = {}

    def call():
        held["y"] = function(x)

    return Work(call, lambda: held["y"].numpy())


def numpy_apply(case):
    x, out = case.sums, np.empty_like(case.sums)
    if case.name == "relu":
        return Work(lambda: np.maximum(x, 0, out=out), lambda: out)
    if case.name == "tanh":
        return Work(lambda: np.tanh(x, out=out), lambda: out)
    raise NotImplementedError("several calls")


def bias_apply(case):
    y = case.sums.copy()
    return Work(lambda: bias_activation_(y, case.bias, case.name))


def numpy_bias_apply(case):
    y = case.sums.copy()

    def call():
        np.add(y, case.bias, out=y)
        np.maximum(y, 0, out=y)

    return Work(call)


def gradient(case):
    g, sums = case.gradient.copy(), np.empty_like(case.bias)
    return Work(lambda: activation_gradient_(g, case.sums, case.name, out=sums))


def numpy_gradient(case):
    g, sums = case.gradient.copy(), np.empty_like(case.bias)

    def call():
        np.multiply(g, case.sums > 0, out=g)
        np.sum(g, axis=0, out=sums)

    return Work(call)
