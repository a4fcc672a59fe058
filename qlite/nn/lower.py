"""From a float model to an integer program, and from one target's conventions to another's."""

from dataclasses import replace
from typing import Any

import numpy as np

from qlite import _check
from qlite.arrays.qarray import QArray
from qlite.arrays.quantize import quantize
from qlite.grids.calibrator import Calibrator
from qlite.grids.qparams import QParams
from qlite.grids.spec import METHODS
from qlite.nn.layers import Dense
from qlite.nn.program import Buffer, Dequantize, Gemm, GemmF32, Normalize, Program, Quantize, QuantizeDynamic, Step
from qlite.nn.scheme import TARGETS, Scheme, Target
from qlite.nn.sequential import Sequential
from qlite.ops.epilogue import integer_bias
from qlite.ops.packing import columns_of

#: Rows of calibration data that pass through the float model at once: bounds the memory, not the result.
CALIBRATION_ROWS = 4096


def quantize_weights(model: Sequential, weight_method: str) -> list[QArray]:
    """Quantize every weight: int8 in [-127, 127], a scale per output."""
    return [quantize(layer.weight, axis=1, method=weight_method) for layer in model.layers]


def calibrate(model: Sequential, data: Any, method: str) -> dict[str, QParams]:
    """Find the uint8 grid of what the first layer reads and of every layer's output."""
    x = _check.finite("data", model._samples("data", data))
    if len(x) == 0:
        raise ValueError("data: expected at least one sample to calibrate with, got none")
    calibrators = {name: Calibrator() for name in (model._sources[0], *model.names)}
    for first in range(0, len(x), CALIBRATION_ROWS):
        values = model.intermediates(x[first : first + CALIBRATION_ROWS])
        for name, calibrator in calibrators.items():
            calibrator.update(values[name])
    return {name: calibrator.qparams(method) for name, calibrator in calibrators.items()}


def _grid(qparams: QParams) -> dict[str, Any]:
    return {"scale": float(qparams.scale.item()), "zero_point": int(qparams.zero_point.item())}


def _weight_fields(q: QArray) -> dict[str, Any]:
    scale, zero_point = columns_of(q, "weight")
    return {"weight": q.codes, "weight_scale": scale, "weight_zero_point": zero_point if zero_point.any() else None}


#: A bias may take up half of an int32 sum; the other half is the product's.
BIAS_ROOM = 2.0**30


def _with_room_for_bias(layer: Dense, q: QArray, input_scale: float) -> QArray:
    """Quantize the outputs anew whose weights are so small that the bias would not fit int32 at their scale.

    A relu unit that training gave up has weights near 1e-9 and an ordinary bias. At the coarser scale its weights lose
    digits that are some 2**30 times smaller than the bias. A unit without weights has its scale from the bias alone.
    """
    least = np.abs(layer.bias.astype(np.float64)) / (np.float64(input_scale) * BIAS_ROOM)
    is_only_bias = ~q.codes.any(axis=0) & (least > 0)
    least = np.maximum(least, np.finfo(np.float32).smallest_normal).astype(np.float32)
    scale = np.where(is_only_bias, least, np.maximum(q.scale, least))
    return q if np.array_equal(scale, q.scale) else quantize(layer.weight, axis=1, scale=scale)


def _start(model: Sequential) -> tuple[list[Buffer], list[Step]]:
    """The input, and its normalization if the model has one: what the first layer reads is the last buffer."""
    buffers, steps = [Buffer("input", "input", model.in_features, "float32")], list[Step]()
    if model.mean is not None and model.scale is not None:
        buffers.append(Buffer("normalized", "input", model.in_features, "float32"))
        steps.append(Normalize(0, 1, model.mean, model.scale))
    return buffers, steps


def static_program(model: Sequential, weights: list[QArray], grids: dict[str, QParams]) -> Program:
    """All activations on grids known ahead: uint8 inside, the last layer's output in float32 (target numpy)."""
    buffers, steps = _start(model)
    steps.append(Quantize(len(buffers) - 1, len(buffers)))
    buffers.append(Buffer("input_codes", "input", model.in_features, "uint8", **_grid(grids[model._sources[0]])))
    for i, (name, layer, q) in enumerate(zip(model.names, model.layers, weights, strict=True), 1):
        is_last = i == len(weights)
        input_scale, _ = buffers[-1].grid
        q = _with_room_for_bias(layer, q, input_scale)
        buffers.append(Buffer(name, name, q.shape[1], "float32" if is_last else "uint8", **_grid(grids[name])))
        columns = _weight_fields(q)
        bias = integer_bias(f"layer {name!r}", layer.bias, input_scale, columns["weight_scale"])
        relu = layer.activation == "relu"
        steps.append(Gemm(len(buffers) - 2, len(buffers) - 1, **columns, bias=bias, relu=relu, fixed=False))
    return Program(buffers, steps)


def dynamic_program(model: Sequential, weights: list[QArray]) -> Program:
    """Float32 between the layers; each layer quantizes every row of its input on a grid of the row's own."""
    buffers, steps = _start(model)
    for name, layer, q in zip(model.names, model.layers, weights, strict=True):
        source = len(buffers) - 1
        width = buffers[source].width
        buffers += [
            Buffer(f"{name}_scale", name, 1, "float32"),
            Buffer(f"{name}_zero_point", name, 1, "int32"),
            Buffer(f"{name}_codes", name, width, "uint8", row_scale=source + 1, row_zero_point=source + 2),
            Buffer(name, name, q.shape[1], "float32"),
        ]
        relu = layer.activation == "relu"
        steps.append(QuantizeDynamic(source, source + 3))
        steps.append(Gemm(source + 3, source + 4, **_weight_fields(q), bias=layer.bias, relu=relu, fixed=False))
    return Program(buffers, steps)


def weight_only_program(model: Sequential, weights: list[QArray]) -> Program:
    """Float32 activations, 8-bit weights."""
    buffers, steps = _start(model)
    for name, layer, q in zip(model.names, model.layers, weights, strict=True):
        source, relu = len(buffers) - 1, layer.activation == "relu"
        buffers.append(Buffer(name, name, q.shape[1], "float32"))
        steps.append(GemmF32(source, source + 1, **_weight_fields(q), bias=layer.bias, relu=relu))
    return Program(buffers, steps)


def _as_codes(buffer: Buffer, target: Target) -> Buffer:
    """A buffer with a grid as codes of a target; what the codes stand for changes only if it must be symmetric."""
    (scale, zero_point), lowest = buffer.grid, -128 if target.signed else 0
    zero_point += lowest - (-128 if buffer.dtype == "int8" else 0)
    if target.symmetric and zero_point != lowest + 128:
        low, high = (lowest - zero_point) * scale, (lowest + 255 - zero_point) * scale
        grid = _grid(QParams.from_range(np.float32(low), np.float32(high), symmetric=True, signed=target.signed))
        scale, zero_point = grid["scale"], grid["zero_point"]
    return replace(buffer, dtype="int8" if target.signed else "uint8", scale=scale, zero_point=zero_point)


def _rebiased(step: Gemm, before: Buffer, after: Buffer, layer: str) -> np.ndarray | None:
    """A step's bias when the scale of its input changes."""
    (old, _), (new, _) = before.grid, after.grid
    if old == new or step.bias is None:
        return step.bias
    real = step.bias * (np.float64(old) * step.weight_scale)
    return integer_bias(f"layer {layer!r}", real, new, step.weight_scale)


def convert(program: Program, target: Target) -> Program:
    """Bring a static program under a target's conventions.

    The integers of the weights stay; zero points move with the sign. Where a scale changes (symmetric targets), biases
    are rounded anew.
    """
    steps = [step for step in program.steps if not isinstance(step, Dequantize)]
    last = steps[-1].output
    old = program.buffers
    buffers = [b if b.scale is None else _as_codes(b, target) for b in old[: last + 1]]
    if not target.integer_output:
        buffers[last] = replace(_as_codes(old[last], TARGETS["numpy"]), dtype="float32")
    for i, step in enumerate(steps):
        if isinstance(step, Gemm):
            bias = _rebiased(step, old[step.input], buffers[step.input], old[step.output].layer)
            steps[i] = replace(step, bias=bias, fixed=target.fixed)
    if target.integer_output:
        buffers.append(Buffer("output", buffers[last].layer, buffers[last].width, "float32"))
        steps.append(Dequantize(last, last + 1))
    return Program(buffers, steps)


def resolve_target(target: str, output: str | None, requant: str | None, scheme: Scheme) -> Target:
    """A named target with single conventions overridden, as far as a scheme has integers that they apply to."""
    resolved = TARGETS[_check.choice("target", target, tuple(TARGETS))]
    if not scheme.is_static:
        if target != "numpy":
            raise ValueError(f"target: expected 'numpy' for {scheme.name!r}, got {target!r}")
        for name, value in (("output", output), ("requant", requant)):
            if value is not None:
                raise ValueError(f"{name}: expected None for {scheme.name!r}, which requantizes nothing, got {value!r}")
    if output is not None:
        integer = _check.choice("output", output, ("float", "integer")) == "integer"
        resolved = replace(resolved, integer_output=integer)
    if requant is not None:
        resolved = replace(resolved, fixed=_check.choice("requant", requant, ("float", "fixed")) == "fixed")
    return resolved


def build_program(
    model: Sequential, scheme: Scheme, data: Any, target: Target, method: str, weight_method: str
) -> Program:
    """Build the program of a scheme, checked options given."""
    _check.choice("method", method, METHODS)
    _check.choice("weight_method", weight_method, METHODS)
    if not scheme.is_static:
        weights = quantize_weights(model, weight_method)
        return dynamic_program(model, weights) if scheme.dynamic else weight_only_program(model, weights)
    if data is None:
        raise ValueError(f"data: expected samples to calibrate the activations of {scheme.name!r} with, got None")
    grids = calibrate(model, data, method)
    return convert(static_program(model, quantize_weights(model, weight_method), grids), target)
