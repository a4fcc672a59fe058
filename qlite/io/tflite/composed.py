"""Steps of float32 that take several operators of the format. `patterns` finds the layers again."""

from collections.abc import Callable
from typing import Any

import numpy as np

from qlite.io.tflite.exporter import Exporter
from qlite.nn.program import Step
from qlite.nn.steps import Activate, Embedding, LayerNorm


def _silu(e: Exporter, step: Activate) -> None:
    """``x * sigmoid(x)``."""
    x = e.tensor(step.inputs[0])
    _last(e, step, "MUL", x, _part(e, step, "gate", "LOGISTIC", x))


def _hard_sigmoid(e: Exporter, step: Activate) -> None:
    """``relu6(x + 3) * (1 / 6)``."""
    three, sixth = _number(e, step, "three", 3), _number(e, step, "sixth", 1 / 6)
    relu6: dict[str, Any] = e.fused("relu6")
    clamped = _part(e, step, "clamped", "ADD", e.tensor(step.inputs[0]), three, **relu6)
    _last(e, step, "MUL", clamped, sixth)


def _softplus(e: Exporter, step: Activate) -> None:
    """``relu(x) - log(sigmoid(abs(x)))``, which overflows nowhere."""
    _check_floats(e, step)
    x = e.tensor(step.inputs[0])
    far = _part(e, step, "far", "RELU", x)
    gate = _part(e, step, "gate", "LOGISTIC", _part(e, step, "size", "ABS", x))
    _last(e, step, "SUB", far, _part(e, step, "near", "LOG", gate))


#: By the name of the function.
FUNCTIONS: dict[str, Callable[[Exporter, Activate], None]] = {
    "silu": _silu,
    "hard_sigmoid": _hard_sigmoid,
    "softplus": _softplus,
}


def layer_norm(e: Exporter, step: LayerNorm) -> None:
    """``(x - mean) * rsqrt(variance + epsilon) * gamma + beta``."""
    _check_floats(e, step)
    (x,), name = step.inputs, e.buffer(step.output).name
    shape = e.buffer(x).shape
    row, axis = (*shape[:-1], 1), e.integers(step, "axis", [len(shape)])
    gamma, beta = e.constant(f"{name}/gamma", step.gamma), e.constant(f"{name}/beta", step.beta)
    mean = _part(e, step, "mean", "MEAN", e.tensor(x), axis, shape=row, keep_dims=True)
    centred = _part(e, step, "centred", "SUB", e.tensor(x), mean)
    squared = _part(e, step, "squared", "MUL", centred, centred)
    variance = _part(e, step, "variance", "MEAN", squared, axis, shape=row, keep_dims=True)
    radicand = _part(e, step, "radicand", "ADD", variance, _number(e, step, "epsilon", step.epsilon), shape=row)
    normalized = _part(e, step, "rows", "MUL", centred, _part(e, step, "factor", "RSQRT", radicand, shape=row))
    _last(e, step, "ADD", _part(e, step, "scaled", "MUL", normalized, gamma), beta)


def embedding(e: Exporter, step: Embedding) -> None:
    """Rows of a constant."""
    _check_floats(e, step)
    if step.weight.dtype != np.float32:
        raise e.refused(step, f"expected a table of float32, got {step.weight.dtype}")
    table = e.constant(f"{e.buffer(step.output).name}/table", step.weight)
    e.operator("GATHER", [table, e.tensor(step.inputs[0])], e.tensor(step.output))


def _check_floats(e: Exporter, step: Step) -> None:
    """Refuse a step whose last bits are not the runtime's where codes depend on them."""
    if any(b.is_codes for b in e.program.buffers):
        raise e.refused(step, f"the format has no operator for {getattr(step, 'function', step.kind)} among codes")


def _part(
    e: Exporter, step: Step, what: str, name: str, *inputs: int, shape: tuple[int, ...] | None = None, **options: Any
) -> int:
    """Append an operator before the last one, and return the tensor that it gives, of the result's shape."""
    b = e.buffer(step.output)
    result = e.between(step.output, f"{b.name}/{what}", b.shape if shape is None else shape)
    e.operator(name, inputs, result, **options)
    return result


def _last(e: Exporter, step: Step, name: str, *inputs: int) -> None:
    e.operator(name, inputs, e.tensor(step.output), **e.fused(None))


def _number(e: Exporter, step: Step, what: str, value: float) -> int:
    return e.constant(f"{e.buffer(step.output).name}/{what}", np.array([value], np.float32))
