"""Steps that runtimes would not prepare, would compute by another rule, or would die from: refused before any file is
written.

LiteRT is meant as it is by default on x86-64, with the XNNPACK delegate, Micro is TensorFlow Lite Micro.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qlite.nn.program import Buffer, Step
from qlite.nn.steps import Add, Dequantize, Lookup, MatMul, Multiply, ResizeBilinear, Subtract
from qlite.nn.steps.products import IntegerProduct

#: Scales of what is multiplied over that of the result: a product that reaches it does not prepare, and one of two
#: computed matrices ends the process.
PRODUCT_LIMIT = 2.0**8
#: The same of a product element by element: below the first the delegate leaves it to a kernel with another multiplier.
LEAST_MULTIPLY, MULTIPLY_LIMIT = 2.0**-16, 2.0**8
#: Scales of what is added over that of the result, likewise.
LEAST_ADD, ADD_LIMIT = 2.0**-10, 2.0**8
#: Scales of what hard_swish reads over that of its result.
LEAST_HARD_SWISH, HARD_SWISH_LIMIT = 2.0**-8, 2.0**7
#: Functions without an operator in Micro.
NOT_IN_MICRO = ("gelu",)


def refusal(step: Step, inputs: Sequence[Buffer], output: Buffer, is_micro: bool) -> str | None:
    """Return why a runtime would not compute a step of codes as the program does, or None where it does."""
    if isinstance(step, ResizeBilinear) and step.align_corners and step.half_pixel_centers:
        return "expected align_corners or half_pixel_centers, got both, which runtimes refuse"
    if isinstance(step, Lookup):
        return _refused_function(step, inputs, output, is_micro)
    if not output.is_codes:
        has_codes = any(b.is_codes for b in inputs) and not isinstance(step, Dequantize)
        return "expected codes as the result, which output_dtype='integer' makes it, got float32" if has_codes else None
    if isinstance(step, IntegerProduct):
        ratio = (np.float32(inputs[0].affine[0]) * step.weight_scale).max() / np.float32(output.affine[0])
        return _outside("weight scale * input scale / output scale", ratio, 0, PRODUCT_LIMIT)
    ratios = [np.float32(b.affine[0]) / np.float32(output.affine[0]) for b in inputs if b.is_codes]
    if isinstance(step, MatMul):
        product = np.float32(inputs[0].affine[0]) * np.float32(inputs[1].affine[0]) / np.float32(output.affine[0])
        return _outside("the product of the input scales / output scale", product, 0, PRODUCT_LIMIT)
    if is_micro:
        return None
    if isinstance(step, Multiply):
        product = np.float32(inputs[0].affine[0]) * np.float32(inputs[1].affine[0]) / np.float32(output.affine[0])
        return _outside("the product of the input scales / output scale", product, LEAST_MULTIPLY, MULTIPLY_LIMIT)
    if isinstance(step, (Add, Subtract)):
        refusals = (_outside("input scale / output scale", ratio, LEAST_ADD, ADD_LIMIT) for ratio in ratios)
        return next((why for why in refusals if why is not None), None)
    return None


def _refused_function(step: Lookup, inputs: Sequence[Buffer], output: Buffer, is_micro: bool) -> str | None:
    if is_micro and step.function in NOT_IN_MICRO:
        return f"TensorFlow Lite Micro has no operator for {step.function}"
    if step.function == "hard_swish":
        ratio = np.float32(inputs[0].affine[0]) / np.float32(output.affine[0])
        return _outside("input scale / output scale", ratio, LEAST_HARD_SWISH, HARD_SWISH_LIMIT)
    return None


def _outside(what: str, ratio: Any, least: float, limit: float) -> str | None:
    return None if least <= ratio < limit else f"expected {what} of {least:g} to below {limit:g}, got {ratio:g}"
