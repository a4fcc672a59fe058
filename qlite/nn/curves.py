"""Activations in the products before them: sums that become codes at once, on the grid of the activation's result.

The codes between, whose grid has to hold what the activation then takes away, are rounded no more: of a PReLU of slope
0.25 they make three quarters of the error. Targets whose runtimes have no such products get the two steps back, and the
grid between, without data.
"""

from collections import Counter
from dataclasses import fields, replace
from typing import Any

from qlite.nn.activation_tables import activation_table
from qlite.nn.program import Buffer, Program, Step
from qlite.nn.renumbering import renumbered
from qlite.nn.steps import Lookup, Prelu
from qlite.nn.steps.curves import CURVES, Curved
from qlite.nn.steps.products import IntegerProduct
from qlite.ops.activations import SLOPE


def with_curves(program: Program) -> Program:
    """Return the program whose products of 8-bit codes apply the activations that alone read their results."""
    readers = Counter(i for step in program.steps for i in step.inputs) + Counter(program.outputs)
    writers = {step.output: i for i, step in enumerate(program.steps)}
    buffers, steps = list(program.buffers), list[Step | None](program.steps)
    for i, step in enumerate(program.steps):
        if not isinstance(step, Prelu | Lookup) or (curve := _curve(step)) is None:
            continue
        (x,) = step.inputs
        product, between, result = steps[writers[x]] if x in writers else None, buffers[x], buffers[step.output]
        if not isinstance(product, IntegerProduct) or readers[x] > 1 or between.bits != 8 or not _takes(product):
            continue
        scale, zero_point = between.affine
        curve |= {"inner_name": between.name, "inner_scale": scale, "inner_zero_point": zero_point}
        steps[i], steps[writers[x]] = replace(product, output=step.output, **curve), None
        buffers[step.output] = replace(result, layer=between.layer)
    return renumbered(buffers, [step for step in steps if step is not None], program.inputs, program.outputs)


def _takes(product: IntegerProduct) -> bool:
    return product.activation is None and product.curve is None and product.requant == "float"


def _curve(step: Prelu | Lookup) -> dict[str, Any] | None:
    """The fields of a curve that does what a step of codes does."""
    if isinstance(step, Prelu):
        if step.slope_scale is None:
            return None
        slopes = {"slope_scale": step.slope_scale, "slope_zero_point": step.slope_zero_point}
        return {"curve": "prelu", "slope": step.slope, **slopes}
    if step.function not in CURVES:
        return None
    return {"curve": step.function, "slope_scale": step.slope if step.function == "leaky_relu" else None}


def without_curves(program: Program) -> Program:
    """Return the program whose activations are steps of their own."""
    buffers, steps = list(program.buffers), list[Step]()
    for step in program.steps:
        if not isinstance(step, IntegerProduct) or step.curve is None:
            steps.append(step)
            continue
        result = buffers[step.output]
        between = Buffer(
            str(step.inner_name), result.layer, result.shape, result.dtype, step.inner_scale, step.inner_zero_point
        )
        buffers.append(between)
        none: dict[str, Any] = dict.fromkeys(field.name for field in fields(Curved))
        buffers[step.output] = replace(result, layer=result.name)
        steps.append(replace(step, output=len(buffers) - 1, **none))
        steps.append(_activation(step, len(buffers) - 1, between, result))
    return renumbered(buffers, steps, program.inputs, program.outputs)


def _activation(step: IntegerProduct, x: int, between: Buffer, result: Buffer) -> Step:
    if step.curve == "prelu":
        assert step.slope is not None
        return Prelu((x,), step.output, step.slope, step.slope_scale, step.slope_zero_point, "float")
    slope = SLOPE if step.slope_scale is None else step.slope_scale
    table = activation_table(str(step.curve), slope, between, result)
    return Lookup((x,), step.output, table, step.curve, slope)
