"""Gradients of layers, and finite differences to hold them against."""

import numpy as np

#: Of central differences with steps of STEP: outputs near 1 in float32 are good to 6e-8, differences to 6e-8 / STEP.
STEP, TOLERANCE = 2**-7, 3e-4


def loss_and_gradients(layer, x, weights):
    """The loss sum(weights * layer(*x)), the gradients of the inputs and those of the parameters."""
    y, saved = layer.forward(*x, rng=np.random.default_rng(5))
    of_inputs, of_parameters = layer.backward(saved, weights.copy())
    return float((y.astype(np.float64) * weights).sum()), of_inputs, of_parameters


def differences(layer, x, weights, values):
    """Central differences of the loss by each of `values`, an array that the layer reads, in place."""
    result = np.zeros(values.shape)
    for i in np.ndindex(values.shape):
        losses = []
        before = values[i]
        for sign in (1, -1):
            values[i] = before + sign * STEP
            losses.append(loss_and_gradients(layer, x, weights)[0])
        values[i] = before
        result[i] = (losses[0] - losses[1]) / (2 * STEP)
    return result


def check_gradients(layer, x, weights):
    """Hold the gradients of all inputs, a tuple, and parameters against differences."""
    _, of_inputs, of_parameters = loss_and_gradients(layer, x, weights)
    assert len(of_inputs) == len(x)
    assert set(of_parameters) == set(layer.parameters)
    pairs = [*zip(of_inputs, x, strict=True)]
    pairs += [(of_parameters[name], values) for name, values in layer.parameters.items()]
    for gradient, values in pairs:
        assert (gradient.shape, gradient.dtype) == (values.shape, np.float32)
        scale = max(1.0, np.abs(gradient).max())
        np.testing.assert_allclose(gradient, differences(layer, x, weights, values), atol=TOLERANCE * scale)
