"""Networks in training with a scheme, and whether the model that is made of one has its codes."""

import numpy as np
from samples import same_bytes

import qlite as ql
from qlite.training.batches import Rows
from qlite.training.quantization import Quantization


def quantization(model, scheme, method="lsq", per_layer=None, target="numpy"):
    return Quantization.of(model, scheme, per_layer, method, "mse", 2000, target)


def network_of(model, scheme, x, method="lsq", frozen=(), per_layer=None):
    """A network on the first grids for samples."""
    rows = Rows((x,), np.zeros(len(x), int), None, np.arange(len(x)), 64)
    return quantization(model, scheme, method, per_layer).network(model, frozenset(frozen), rows)


def codes_agree(model, network, x, y, classes=10):
    """Whether every buffer of a network in training, after some steps, is that of the model that is made of it."""
    rng = np.random.default_rng(0)
    for first in range(0, min(320, len(x)), 64):
        raw, saved = network.forward(x[first : first + 64], rng)
        wanted = np.eye(classes, dtype=np.float32)[y[first : first + 64]]
        gradients = network.backward(saved, (raw - wanted) / 64)
        for key, array in network.parameters.items():
            array -= np.float32(1e-3) * gradients[key]
    network.publish()
    qm, ours = ql.quantize_model(model), network.plan.intermediates(x)
    found = qm.intermediates(x)
    assert len(found) > len(model.layers)
    for name, values in found.items():
        if name in ours:
            same_bytes(values, ours[name])
    return qm
