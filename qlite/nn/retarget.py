"""From one target's conventions to another's: signedness, zero points, requantization rule, dtype of the output."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from qlite import _check
from qlite.grids.qparams import QParams
from qlite.nn.activation_tables import activation_table
from qlite.nn.curves import without_curves
from qlite.nn.operators import with_operators, without_operators
from qlite.nn.program import Buffer, Program, Step
from qlite.nn.renumbering import renumbered
from qlite.nn.residuals import without_residuals
from qlite.nn.scheme import CPU_SYNONYMS, RULES_OF_CPUS, TARGETS, Scheme, Target
from qlite.nn.steps import (
    Activate,
    Concatenate,
    Constant,
    Dequantize,
    GemmGrouped,
    L2Normalize,
    Lookup,
    MatMul,
    Multiply,
    Quantize,
    Requantize,
    Reshape,
    SoftmaxX8,
)
from qlite.nn.steps.products import IntegerProduct
from qlite.ops.activations import SLOPE
from qlite.ops.epilogue import integer_bias


def resolve_target(
    target: str,
    output_dtype: str | None,
    requant: str | None,
    schemes: Mapping[str, Scheme],
    cpu: str | None = None,
) -> Target:
    """A named target with single conventions overridden, as far as layers of these schemes have what they apply to."""
    resolved = TARGETS[_check.choice("target", target, tuple(TARGETS))]
    floats = [name for name, scheme in schemes.items() if not scheme.is_static or scheme.group_size is not None]
    if floats and target != "numpy":
        raise ValueError(
            f"target: expected 'numpy' for layer {floats[0]!r} of scheme {schemes[floats[0]].name!r}, which needs "
            f"float steps, got {target!r} ('w8a8' for the layer would serve any)"
        )
    narrow = [name for name, scheme in schemes.items() if (scheme.activation_bits or 8) < 8]
    if narrow and not resolved.narrow_activations:
        possible = " or ".join(repr(name) for name, t in TARGETS.items() if t.narrow_activations)
        raise ValueError(
            f"target: expected {possible} for layer {narrow[0]!r} of scheme {schemes[narrow[0]].name!r}, whose "
            f"activations have fewer than 8 bits, got {target!r}"
        )
    if not any(scheme.is_static for scheme in schemes.values()):
        for option, value in (("output_dtype", output_dtype), ("requant", requant)):
            if value is not None:
                what = schemes[floats[0]].name
                raise ValueError(f"{option}: expected None for {what!r}, which requantizes nothing, got {value!r}")
    if output_dtype is not None:
        is_integer = _check.choice("output_dtype", output_dtype, ("float32", "integer")) == "integer"
        resolved = replace(resolved, integer_output=is_integer)
    if requant is not None:
        resolved = replace(resolved, requant=_check.choice("requant", requant, ("float", "fixed")))
    if cpu is not None:
        if resolved.cpu is None:
            what = "whose rules are the same on all processors (cpu is for 'tflite')"
            raise ValueError(f"cpu: expected None for target {target!r}, {what}, got {cpu!r}")
        _check.choice("cpu", cpu, tuple(RULES_OF_CPUS), CPU_SYNONYMS)
        resolved = replace(resolved, cpu=cpu)
    return resolved


def convert(program: Program, target: Target) -> Program:
    """Bring a static program under a target's conventions.

    The integers of the weights stay; zero points move with the sign. Where a scale changes (symmetric targets), biases
    are rounded and tables made anew. With a float output the last products before it give float32, and so does
    what lies behind them.
    """
    program = without_operators(without_residuals(without_curves(program)))
    old, steps = list(program.buffers), list(program.steps)
    results = _without_dequantizing(program, steps)
    floats: set[int] = set()
    for result in results:
        if old[result].scale is None and target.integer_output:
            raise ValueError(
                "output_dtype: expected codes from the last layer, as 'integer' and most targets have it, got "
                f"{old[result].layer!r}, which gives float32 alone (output_dtype='float32' keeps that; or end the "
                "model before it)"
            )
        if not target.integer_output:
            floats |= _ending(old, steps, result, results)
    results = _give_float_sums(old, steps, results, floats)
    buffers = [b if b.scale is None or i in program.inputs else _as_codes(b, target) for i, b in enumerate(old)]
    for i in floats:
        buffers[i] = _as_floats(old[i])
    scale_of_sums: dict[int, float] = {}
    for i, step in enumerate(steps):
        if isinstance(step, IntegerProduct) and not target.codebooks:
            step = steps[i] = step.without_codebook
        if target.symmetric_weights and getattr(step, "weight_zero_point", None) is not None:
            layer = old[step.output].layer
            raise ValueError(
                f"target: expected one for weights with zero points, which layer {layer!r} has "
                "(quantize_model(target=...) makes others, or train(target=...) of one that is trained with a scheme)"
            )
        if isinstance(step, IntegerProduct) and old[step.inputs[0]].scale is not None:
            (x,) = step.inputs
            bias = _rebiased(step, old[x], buffers[x], old[step.output].layer)
            steps[i] = replace(step, bias=bias, requant=target.requant)
            scale_of_sums[step.output], _ = buffers[x].affine
        elif isinstance(step, Requantize):
            steps[i] = replace(step, input_scale=scale_of_sums[step.inputs[0]], requant=target.requant)
        elif isinstance(step, (Activate, Lookup, SoftmaxX8)) and old[step.output].scale is not None:
            steps[i] = _converted(step, old, buffers, target)
        elif isinstance(step, Constant) and buffers[step.output].is_codes:
            steps[i] = replace(step, value=_moved_codes(step.value, old[step.output], buffers[step.output]))
        elif isinstance(step, MatMul) and buffers[step.output].is_codes:
            steps[i] = step.with_fields({"requant": _rule_of_matmul(buffers[step.inputs[1]], target)})
        elif isinstance(step, Multiply) and buffers[step.output].is_codes:
            steps[i] = step.with_fields({"requant": target.requant_on_cpu})
        elif hasattr(step, "requant") and buffers[step.output].is_codes:
            steps[i] = step.with_fields({"requant": target.requant})
    outputs = []
    for result in results:
        if buffers[result].is_codes:
            name = "output" if len(results) == 1 else f"{buffers[result].layer}_values"
            buffers.append(Buffer(name, buffers[result].layer, buffers[result].shape, "float32"))
            steps.append(Dequantize((result,), len(buffers) - 1))
            result = len(buffers) - 1
        outputs.append(result)
    converted = renumbered(buffers, steps, program.inputs, outputs)
    return converted if target.tables == "exact" else with_operators(converted, target)


def gives_codes(program: Program) -> bool:
    """Whether all outputs are codes, or floats that a last step makes of codes."""
    return all(program.buffers[i].scale is not None for i in _without_dequantizing(program, list(program.steps)))


def _without_dequantizing(program: Program, steps: list[Step]) -> list[int]:
    """Take out the steps that only make floats of outputs; returns what these are made of."""
    results = []
    read = {i for step in steps for i in step.inputs}
    for output in program.outputs:
        last = next(step for step in program.steps if step.output == output)
        if isinstance(last, Dequantize) and output not in read:
            steps.remove(last)
            (output,) = last.inputs
        results.append(output)
    return results


def _ending(buffers: Sequence[Buffer], steps: Sequence[Step], result: int, results: Sequence[int]) -> set[int]:
    """The buffers from the last products to a result, both ends included, if only activations, changes of shape and
    concatenations lie between and nothing else reads them: these may be floats. Else none."""
    writers = {step.output: step for step in steps}
    reads = Counter(i for step in steps for i in step.inputs)
    found: set[int] = set()
    waiting = [result]
    while waiting:
        x = waiting.pop()
        step, is_inner = writers.get(x), x != result
        if step is None or buffers[x].scale is None or reads[x] > is_inner or (is_inner and x in results):
            return set()
        found.add(x)
        if isinstance(step, (IntegerProduct, Requantize)):
            continue
        if isinstance(step, Quantize) and isinstance(writers.get(step.inputs[0]), GemmGrouped):
            continue
        is_table = isinstance(step, Lookup) and step.function in (None, "identity")
        if is_table or not isinstance(step, (Activate, Lookup, SoftmaxX8, L2Normalize, Reshape, Concatenate)):
            return set()
        waiting.extend(step.inputs)
    return found


def _give_float_sums(old: list[Buffer], steps: list[Step], results: list[int], floats: set[int]) -> list[int]:
    """Take out the steps that make codes of float sums which may stay floats: the sums take their place and name;
    returns the results."""
    for step in list(steps):
        if not (isinstance(step, Quantize) and step.output in floats):
            continue
        (sums,), codes = step.inputs, step.output
        old[sums] = replace(old[sums], name=old[codes].name)
        old[codes] = replace(old[codes], name=f"{old[codes].name} (taken out)")
        steps.remove(step)
        floats.remove(codes)
        for i, other in enumerate(steps):
            if codes in other.inputs:
                steps[i] = replace(other, inputs=tuple(sums if j == codes else j for j in other.inputs))
        results = [sums if i == codes else i for i in results]
    return results


def _converted(
    step: Activate | Lookup | SoftmaxX8, old: Sequence[Buffer], new: Sequence[Buffer], target: Target
) -> Step:
    """An activation on the new buffers: of floats, or of codes."""
    (x,), y = step.inputs, step.output
    function, slope = ("softmax", SLOPE) if isinstance(step, SoftmaxX8) else (step.function, step.slope)
    if not new[y].is_codes:
        assert function is not None
        return Activate((x,), y, function, slope)
    if function == "softmax":
        if target.symmetric:
            raise ValueError(
                "target: expected one whose zero points need not be 0 for a softmax of codes; without it "
                "(m.part(m.logits_layers)) predict_proba gives the same"
            )
        return SoftmaxX8((x,), y, target.requant_on_cpu)
    if function is not None:
        return Lookup((x,), y, activation_table(function, slope, new[x], new[y], target.tables), function, slope)
    assert isinstance(step, Lookup)
    if (old[x].scale, old[y].scale) != (new[x].scale, new[y].scale):
        layer = old[y].layer
        raise ValueError(
            f"target: expected one that keeps scales for a table of an unknown function, which layer {layer!r} has"
        )
    in_flip, out_flip = (0x80 * (old[i].dtype != new[i].dtype) for i in (x, y))
    table = (step.table.view(np.uint8)[np.arange(256) ^ in_flip] ^ np.uint8(out_flip)).view(new[y].dtype)
    return replace(step, table=table)


def _rule_of_matmul(b: Buffer, target: Target) -> str:
    """LiteRT's delegate, whose rule its other products have, takes none by codes that have a zero point."""
    is_kernel = target.tables == "litert" and target.requant == "float" and b.affine[1] != 0
    return "fixed32" if is_kernel else target.requant


def _moved_codes(codes: np.ndarray, before: Buffer, after: Buffer) -> np.ndarray:
    """Codes on the grid of another buffer: the nearest ones where its scale is another."""
    (old, old_zero), (new, new_zero) = before.affine, after.affine
    steps = codes.astype(np.float64) - old_zero
    if old != new:
        steps = np.rint(steps * old / new)
    return np.clip(steps + new_zero, *after.code_range).astype(after.dtype)


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


def _as_floats(buffer: Buffer) -> Buffer:
    """A buffer as float32, with the grid that its codes would have as uint8."""
    return buffer if buffer.scale is None else replace(_as_codes(buffer, TARGETS["numpy"]), dtype="float32")


def _rebiased(step: IntegerProduct, before: Buffer, after: Buffer, layer: str) -> np.ndarray | None:
    """A step's bias when the scale of its input changes."""
    (old, _), (new, _) = before.affine, after.affine
    if old == new or step.bias is None:
        return step.bias
    real = step.bias * (np.float64(old) * step.weight_scale)
    return integer_bias(f"layer {layer!r}", real, new, step.weight_scale)
