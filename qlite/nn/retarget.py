"""From one target's conventions to another's: signedness, zero points, requantization rule, dtype of the output."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from qlite import _check
from qlite.grids.qparams import QParams
from qlite.nn.activation_tables import activation_table
from qlite.nn.program import Buffer, Program, Step
from qlite.nn.scheme import TARGETS, Scheme, Target
from qlite.nn.steps import Activate, Dequantize, Gemm, GemmGrouped, Lookup, Quantize, Requantize, Reshape, SoftmaxX8
from qlite.ops.activations import SLOPE
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
    are rounded and tables made anew. With a float output the last product gives float32, and so do the activations
    behind it.
    """
    old, steps = program.buffers, list(program.steps)
    (last,) = program.outputs
    if isinstance(steps[-1], Dequantize) and steps[-1].output == last:
        (last,) = steps.pop().inputs
    if any(step.output > last for step in steps):
        raise ValueError("target: expected a program whose last step gives the output")
    if old[last].scale is None and target.integer_output:
        raise ValueError("output_dtype: expected 'float32' after a layer that gives no codes, got 'integer'")
    product, ending = _ending(old, steps, last)
    if product is not None and isinstance(steps[product], Quantize) and not target.integer_output:
        old, steps, last = _with_float_sums(old, steps, last, product)
        product, ending = product - 1, [i - 1 for i in ending]
    buffers = [b if b.scale is None else _as_codes(b, target) for b in old[: last + 1]]
    is_integer = target.integer_output or (product is None and old[last].scale is not None)
    if product is not None and not is_integer:
        has_grid = old[steps[product].output].scale is not None
        for number in (steps[i].output for i in (product, *ending)):
            buffers[number] = _as_floats(old[number], has_grid)
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
        elif isinstance(step, (Activate, Lookup, SoftmaxX8)) and old[step.output].scale is not None:
            steps[i] = _converted(step, old, buffers, target)
    output = last
    if is_integer:
        output = last + 1
        buffers.append(Buffer("output", buffers[last].layer, buffers[last].shape, "float32"))
        steps.append(Dequantize((last,), output))
    return Program(buffers, steps, program.inputs, (output,))


def _ending(buffers: Sequence[Buffer], steps: Sequence[Step], last: int) -> tuple[int | None, list[int]]:
    """The number of the step that makes codes of the sums that the output comes from, or None, and those behind it."""
    writers = {step.output: i for i, step in enumerate(steps)}
    ending: list[int] = []
    while (i := writers.get(last)) is not None and buffers[last].scale is not None:
        step = steps[i]
        if isinstance(step, (Gemm, Requantize)):
            return i, ending
        if isinstance(step, Quantize) and isinstance(steps[writers.get(step.inputs[0], i)], GemmGrouped):
            return i, ending
        if not isinstance(step, (Activate, Lookup, SoftmaxX8, Reshape)):
            break
        ending.append(i)
        (last,) = step.inputs
    return None, []


def _with_float_sums(
    buffers: Sequence[Buffer], steps: Sequence[Step], last: int, i: int
) -> tuple[tuple[Buffer, ...], list[Step], int]:
    """Buffers, steps and output without step i, which quantizes float sums: they take its place."""
    (sums,), codes = steps[i].inputs, steps[i].output

    def moved(buffer: int) -> int:
        return sums if buffer == codes else buffer - (buffer > codes)

    named = [b if j != sums else replace(b, name=buffers[codes].name) for j, b in enumerate(buffers)]
    behind = [replace(s, inputs=tuple(map(moved, s.inputs)), output=moved(s.output)) for s in steps[i + 1 :]]
    return (*named[:codes], *named[codes + 1 :]), [*steps[:i], *behind], moved(last)


def _converted(
    step: Activate | Lookup | SoftmaxX8, old: Sequence[Buffer], new: Sequence[Buffer], target: Target
) -> Step:
    """An activation on the new buffers: of floats, or of codes."""
    (x,), y = step.inputs, step.output
    function, slope = ("softmax", SLOPE) if isinstance(step, SoftmaxX8) else (step.function, step.slope)
    if not new[y].is_codes:
        if function is None:
            raise ValueError("output_dtype: expected 'integer' after a table of an unknown function, got 'float32'")
        return Activate((x,), y, function, slope)
    if function == "softmax":
        if target.symmetric:
            raise ValueError(
                "target: expected one whose zero points need not be 0 for a softmax of codes; without it "
                "(Sequential(m.logits_layers)) predict_proba gives the same"
            )
        return SoftmaxX8((x,), y, target.requant)
    if function is not None:
        return Lookup((x,), y, activation_table(function, slope, new[x], new[y]), function, slope)
    assert isinstance(step, Lookup)
    if (old[x].scale, old[y].scale) != (new[x].scale, new[y].scale):
        raise ValueError("target: expected one that keeps scales for a table of an unknown function")
    in_flip, out_flip = (0x80 * (old[i].dtype != new[i].dtype) for i in (x, y))
    table = (step.table.view(np.uint8)[np.arange(256) ^ in_flip] ^ np.uint8(out_flip)).view(new[y].dtype)
    return replace(step, table=table)


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


def _as_floats(buffer: Buffer, has_grid: bool) -> Buffer:
    """A buffer as float32, with the grid of its codes if a product could give these."""
    if not has_grid:
        return Buffer(buffer.name, buffer.layer, buffer.shape, "float32")
    return replace(_as_codes(buffer, TARGETS["numpy"]), dtype="float32")


def _rebiased(step: Gemm, before: Buffer, after: Buffer, layer: str) -> np.ndarray | None:
    """A step's bias when the scale of its input changes."""
    (old, _), (new, _) = before.affine, after.affine
    if old == new or step.bias is None:
        return step.bias
    real = step.bias * (np.float64(old) * step.weight_scale)
    return integer_bias(f"layer {layer!r}", real, new, step.weight_scale)
