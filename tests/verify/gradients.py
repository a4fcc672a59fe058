"""Gradients of layers beside those of PyTorch.

Each layer alone, and a network of all of them, in float32 on the same numbers: outputs, gradients of inputs and
parameters, running statistics of batch norms.
"""

import numpy as np

import qlite as ql
from qlite.ops.activations import ACTIVATIONS

#: Of the largest value: two float32 computations in different order, of products as deep as 784.
BUDGET, LEAST = 2e-5, 0.1
SLOPE = 0.2


def arrays_of(module):
    """The arrays of PyTorch's form of one layer under the names that they have here."""
    from torch import nn

    module = module[0] if isinstance(module, nn.Sequential) else module
    if isinstance(module, nn.Linear):
        return {"weight": module.weight.grad.numpy().T, "bias": module.bias.grad.numpy()}
    if isinstance(module, nn.BatchNorm1d):
        statistics = {"mean": module.running_mean.numpy(), "variance": module.running_var.numpy()}
        return {"gamma": module.weight.grad.numpy(), "beta": module.bias.grad.numpy(), **statistics}
    return {}


def difference(got, expected):
    """Of the largest value, or of LEAST: the gradient of a bias before a batch norm is 0 but for rounding."""
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), LEAST))


def compare(checks, name, layers, x):
    """One step forward and back through layers, and through their twins."""
    import torch

    from .twins import twin

    rng = np.random.default_rng(1)  # other numbers than those of x: through a norm their own gradient is nearly 0
    twins = [twin(layer) for layer in layers]
    y, saved = x, []
    given = torch.from_numpy(x.copy()).requires_grad_()
    expected = given
    for layer, module in zip(layers, twins, strict=True):
        y, kept = layer.forward(y, rng=rng)
        saved.append(kept)
        expected = module(expected)
    differences = {"output": difference(y, expected.detach().numpy())}
    gradient = rng.normal(size=y.shape).astype(np.float32)
    expected.backward(torch.from_numpy(gradient.copy()))
    for layer, module, kept in zip(layers[::-1], twins[::-1], saved[::-1], strict=True):
        (gradient,), gradients = layer.backward(kept, gradient)
        for key, values in arrays_of(module).items():
            differences[f"{layer.kind} {key}"] = difference((gradients | layer.statistics)[key], values)
    differences["input"] = difference(gradient, given.grad.numpy())
    worst = max(differences, key=differences.get)
    checks.line(f"{name:<28} at most {differences[worst]:.1e} ({worst})", differences[worst] <= BUDGET)


def norm(rng, features):
    positive = rng.uniform(0.5, 2, features)
    return ql.BatchNorm(gamma=rng.normal(size=features), beta=rng.normal(size=features), variance=positive)


def verify(checks):
    """Go through all layers."""
    rng = np.random.default_rng(0)

    def dense(n, m, activation=None):
        return ql.Dense(rng.normal(0, n**-0.5, (n, m)), rng.normal(size=m), activation)

    x = rng.normal(0, 2, (128, 784)).astype(np.float32)
    compare(checks, "dense", [dense(784, 128)], x)
    compare(checks, "batch norm", [norm(rng, 784)], x)
    compare(checks, "flatten", [ql.Flatten()], x.reshape(128, 7, 4, 28))
    for name in ACTIVATIONS:
        compare(checks, f"activation {name}", [ql.Activation(name, slope=SLOPE)], x[:, :32].copy())
        if name != "leaky_relu":  # its slope in a dense layer is 0.01
            compare(checks, f"dense {name}", [dense(784, 128, name)], x)
    layers = [dense(784, 128), norm(rng, 128), ql.Activation("silu"), dense(128, 64, "relu"), dense(64, 10, "softmax")]
    compare(checks, "a network", layers, x)
