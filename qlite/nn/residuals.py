"""Sums of two values in the products before them: what is added joins a product's sums before they become codes.

The codes between, on a grid of their own, are rounded no more. Targets whose runtimes have no such products get the two
steps back, and the grid between, without data.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from qlite.nn.program import Buffer, Program, Step
from qlite.nn.renumbering import renumbered
from qlite.nn.steps import Add
from qlite.nn.steps.products import IntegerProduct
from qlite.nn.steps.residuals import Summed


def with_residuals(program: Program) -> Program:
    """Return the program whose products of 8-bit codes add what is added to their results alone.

    Where both values of a sum come from products it is the later one that does so.
    """
    readers = Counter(i for step in program.steps for i in step.inputs) + Counter(program.outputs)
    writers = {step.output: i for i, step in enumerate(program.steps)}
    buffers, steps = list(program.buffers), list[Step | None](program.steps)
    for i, step in enumerate(program.steps):
        if not isinstance(step, Add) or step.requant != "float":
            continue
        for place in sorted((0, 1), key=lambda place: -writers.get(step.inputs[place], -1)):
            x = step.inputs[place]
            product = steps[writers[x]] if x in writers and readers[x] == 1 else None
            if not isinstance(product, IntegerProduct) or not _takes(product) or buffers[x].bits != 8:
                continue
            joined = _joined(product, step, place, buffers)
            if _fits(joined, buffers):
                steps[i], steps[writers[x]] = joined, None
                buffers[step.output] = replace(buffers[step.output], layer=buffers[x].layer)
                break
    return renumbered(buffers, [step for step in steps if step is not None], program.inputs, program.outputs)


def _takes(product: IntegerProduct) -> bool:
    is_plain = product.activation is None and product.curve is None and product.requant == "float"
    return is_plain and len(product.inputs) == 1 and product.takes_residual


def _joined(product: IntegerProduct, step: Add, place: int, buffers: Sequence[Buffer]) -> IntegerProduct:
    """The product and the sum, of which it gives the input of this number, as one step."""
    between = buffers[step.inputs[place]]
    scale, zero_point = between.affine
    return replace(
        product,
        inputs=(*product.inputs, step.inputs[1 - place]),
        output=step.output,
        activation=step.activation,
        residual_place=1 - place,
        product_name=between.name,
        product_scale=scale,
        product_zero_point=zero_point,
    )


def _fits(step: IntegerProduct, buffers: Sequence[Buffer]) -> bool:
    """Whether the sums' shapes are the same, without broadcasting, and int32 holds them."""
    inputs, output = [buffers[i] for i in step.inputs], buffers[step.output]
    try:
        shape, _ = step.infer(*inputs)
        step.check(inputs, output)
    except (ValueError, OverflowError):
        return False
    return output.shape == shape


def without_residuals(program: Program) -> Program:
    """Return the program whose sums of two values are steps of their own."""
    buffers, steps = list(program.buffers), list[Step]()
    for step in program.steps:
        if not isinstance(step, IntegerProduct) or step.residual_place is None:
            steps.append(step)
            continue
        x, residual = step.inputs
        result, number = buffers[step.output], len(buffers)
        grid = step.product_scale, step.product_zero_point
        buffers.append(Buffer(str(step.product_name), result.layer, result.shape, result.dtype, *grid))
        buffers[step.output] = replace(result, layer=result.name)
        none: dict[str, Any] = dict.fromkeys(field.name for field in fields(Summed))
        steps.append(replace(step, inputs=(x,), output=number, activation=None, **none))
        summands = (residual, number) if step.residual_place == 0 else (number, residual)
        steps.append(Add(summands, step.output, step.activation, "float"))
    return renumbered(buffers, steps, program.inputs, program.outputs)
