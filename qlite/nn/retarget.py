"""From one target's conventions to another's: signedness, zero points, requantization rule, dtype of the output."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from qlite import _check
from qlite.grids.qparams import QParams
from qlite.nn.program import Buffer, Program
from qlite.nn.scheme import TARGETS, Scheme, Target
from qlite.nn.steps import Dequantize, Gemm, Quantize, Requantize
from qlite.ops.epilogue import integer_bias


def resolve_target(target: str, output_dtype: str | None, requant: str | None, schemes: Iterable[Scheme]) -> Target:
    """A named target with single conventions overridden, as far as layers of these schemes have what they apply to."""
    resolved = TARGETS[_check.choice("target", target, tuple(TARGETS))]
    schemes = list(schemes)
    floats = [scheme.name for scheme in schemes if not scheme.is_static or scheme.group_size is not None]
    if floats and target != "numpy":
        raise ValueError(f"target: expected 'numpy' for {floats[0]!r}, which needs float steps, got {target!r}")
    narrow = [scheme.name for scheme in schemes if (scheme.activation_bits or 8) < 8]
    if narrow and not resolved.narrow_activations:
        possible = " or ".join(repr(name) for name, t in TARGETS.items() if t.narrow_activations)
        raise ValueError(
            f"target: expected {possible} for {narrow[0]!r}, whose activations have fewer than 8 bits, got {target!r}"
        )
    if not any(scheme.is_static for scheme in schemes):
        for name, value in (("output_dtype", output_dtype), ("requant", requant)):
            if value is not None:
                raise ValueError(f"{name}: expected None for {floats[0]!r}, which requantizes nothing, got {value!r}")
    if output_dtype is not None:
        is_integer = _check.choice("output_dtype", output_dtype, ("float32", "integer")) == "integer"
        resolved = replace(resolved, integer_output=is_integer)
    if requant is not None:
        resolved = replace(resolved, requant=_check.choice("requant", requant, ("float", "fixed")))
    return resolved


def convert(program: Program, target: Target) -> Program:
    """Bring a static program with one output under a target's conventions.

    The integers of the weights stay; zero points move with the sign. Where a scale changes (symmetric targets), biases
    are rounded anew.
    """
    old, steps = program.buffers, list(program.steps)
    (last,) = program.outputs
    if isinstance(steps[-1], Dequantize) and steps[-1].output == last:
        (last,) = steps.pop().inputs
    if isinstance(steps[-1], Quantize) and not target.integer_output:  # of float sums, which are the output then
        name, (last,) = old[last].name, steps.pop().inputs
        old = (*old[:last], replace(old[last], name=name))
    if any(step.output > last for step in steps):
        raise ValueError("target: expected a program whose last step gives the output")
    buffers = [b if b.scale is None else _as_codes(b, target) for b in old[: last + 1]]
    if old[last].scale is None:
        if target.integer_output:
            raise ValueError("output_dtype: expected 'float32' after a layer that gives no codes, got 'integer'")
    elif not target.integer_output:
        buffers[last] = replace(_as_codes(old[last], TARGETS["numpy"]), dtype="float32")
    scale_of_sums: dict[int, float] = {}
    for i, step in enumerate(steps):
        if target.symmetric_weights and getattr(step, "weight_zero_point", None) is not None:
            layer = old[step.output].layer
            raise ValueError(
                f"target: expected one for weights with zero points, which layer {layer!r} has "
                "(quantize_model(target=...) makes others)"
            )
        if isinstance(step, Gemm) and old[step.inputs[0]].scale is not None:
            (x,) = step.inputs
            bias = _rebiased(step, old[x], buffers[x], old[step.output].layer)
            steps[i] = replace(step, bias=bias, requant=target.requant)
            scale_of_sums[step.output], _ = buffers[x].affine
        elif isinstance(step, Requantize):
            steps[i] = replace(step, input_scale=scale_of_sums[step.inputs[0]], requant=target.requant)
    output = last
    if target.integer_output:
        output = last + 1
        buffers.append(Buffer("output", buffers[last].layer, buffers[last].shape, "float32"))
        steps.append(Dequantize((last,), output))
    return Program(buffers, steps, program.inputs, (output,))


def _as_codes(buffer: Buffer, target: Target) -> Buffer:
    """A buffer as codes of a target; what the codes stand for changes only if it must be symmetric."""
    (scale, zero_point), dtype = buffer.affine, "int8" if target.signed else "uint8"
    half = 1 << (buffer.bits - 1)
    lowest = -half if target.signed else 0
    zero_point += lowest - buffer.code_range[0]
    if target.symmetric and zero_point != lowest + half:
        low, high = (lowest - zero_point) * scale, (lowest + 2 * half - 1 - zero_point) * scale
        p = QParams.from_range(np.float32(low), np.float32(high), buffer.bits, symmetric=True, signed=target.signed)
        scale, zero_point = float(p.scale.item()), int(p.zero_point.item())
    return replace(buffer, dtype=dtype, scale=scale, zero_point=zero_point)


def _rebiased(step: Gemm, before: Buffer, after: Buffer, layer: str) -> np.ndarray | None:
    """A step's bias when the scale of its input changes."""
    (old, _), (new, _) = before.affine, after.affine
    if old == new or step.bias is None:
        return step.bias
    real = step.bias * (np.float64(old) * step.weight_scale)
    return integer_bias(f"layer {layer!r}", real, new, step.weight_scale)
