"""Programs as data: what they refuse, in words that name the step and the layer, before anything is packed."""

from dataclasses import replace

import numpy as np
import pytest
from programs import random_program

from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Dequantize, Gemm, Quantize, QuantizeDynamic

BUFFERS = [
    Buffer("input", "input", (3,), "float32"),
    Buffer("codes", "input", (3,), "uint8", 0.1, 3),
    Buffer("output", "layer", (2,), "uint8", 0.1, 3),
]


def gemm(**changes):
    fields = {"weight": np.ones((3, 2), np.int8), "weight_scale": np.ones(2, np.float32), "weight_zero_point": None}
    fields |= {"bias": None, "activation": None, "requant": "float"}
    return Gemm(**{"inputs": (1,), "output": 2} | fields | changes)


def buffer(i, **changes):
    return [replace(b, **changes) if j == i else b for j, b in enumerate(BUFFERS)]


STEPS = [Quantize((0,), 1), gemm()]


def second(**changes):
    return BUFFERS, [STEPS[0], gemm(**changes)]


# What is wrong: the program, and what the message says.
BROKEN = {
    "no buffers": (lambda: ([], []), "^inputs: "),
    "no steps": (lambda: (BUFFERS, []), "^outputs: .*output"),
    "a step reads what nobody wrote": (lambda: (BUFFERS, STEPS[::-1]), "^step 0, layer 'layer': gemm: inputs: .*codes"),
    "a step writes twice": (lambda: (BUFFERS, [*STEPS, STEPS[1]]), "^step 2.*output: .*output"),
    "a step writes the input": (lambda: (BUFFERS, [*STEPS, Dequantize((2,), 0)]), "^step 2.*output: .*input"),
    "a buffer out of range": (lambda: (BUFFERS, [Quantize((0,), 3)]), "^step 0.*buffers 0 to 2, got 3"),
    "a huge buffer number": (lambda: (BUFFERS, [Quantize((0,), 2**62)]), "^step 0.*buffers 0 to 2"),
    "a negative buffer number": (lambda: (BUFFERS, [Quantize((0,), -2)]), "^step 0.*buffers 0 to 2, got -2"),
    "no input": (lambda: (BUFFERS, [Quantize((), 1)]), "^step 0.*inputs: expected 1, got 0"),
    "shapes differ": (lambda: (BUFFERS, [Quantize((0,), 2)]), r"^step 0.*output: expected shape \(3,\)"),
    "a length of 0": (lambda: (buffer(0, shape=(0,)), STEPS), "^shape: "),
    "a length of 2.5": (lambda: (buffer(0, shape=(2.5,)), STEPS), "^shape: "),
    "five axes": (lambda: (buffer(0, shape=(1, 1, 1, 1, 3)), STEPS), "^shape: "),
    "a shape beyond memory": (lambda: ([*BUFFERS, Buffer("x", "x", (2**60,), "float32")], STEPS), "^shape: "),
    "a shape that wraps": (lambda: ([*BUFFERS, Buffer("x", "x", (2**32, 2**32), "float32")], STEPS), "^shape: "),
    "a scale of 0": (lambda: (buffer(1, scale=0.0), STEPS), "^scale: "),
    "a scale of NaN": (lambda: (buffer(1, scale=np.nan), STEPS), "^scale: "),
    "a subnormal scale": (lambda: (buffer(1, scale=1e-40), STEPS), "^scale: "),
    "no scale": (lambda: (buffer(1, scale=None, zero_point=None), STEPS), "^scale: "),
    "a scale alone": (lambda: (buffer(1, zero_point=None), STEPS), "^scale, zero_point: "),
    "two scales": (lambda: (buffer(1, row_scale=0, row_zero_point=2), STEPS), "^scale: "),
    "a zero point of 256": (lambda: (buffer(1, zero_point=256), STEPS), "^zero_point: "),
    "a zero point of -1": (lambda: (buffer(1, zero_point=-1), STEPS), "^zero_point: "),
    "a zero point beyond int32": (lambda: (buffer(1, zero_point=2**40), STEPS), "^zero_point: "),
    "a row scale that is not float": (
        lambda: (buffer(1, scale=None, zero_point=None, row_scale=1, row_zero_point=2), STEPS),
        r"^buffers\[1\]: .*float32",
    ),
    "a row scale out of range": (
        lambda: (buffer(1, scale=None, zero_point=None, row_scale=9, row_zero_point=9), STEPS),
        r"^buffers\[1\]: .*number 9",
    ),
    "a dtype of another kind": (lambda: (buffer(0, dtype="float64"), STEPS), "^dtype: "),
    "one name twice": (lambda: (buffer(1, name="input"), STEPS), "^buffers: .*input"),
    "weights of another shape": (lambda: second(weight=np.ones((2, 3), np.int8)), "^step 1.*weight: "),
    "weights of rank 1": (lambda: second(weight=np.ones(6, np.int8)), "^step 1.*weight: "),
    "weights of float": (lambda: second(weight=np.ones((3, 2), np.float32)), "^step 1.*weight: "),
    "no weights": (lambda: second(weight=None), "^step 1.*weight: "),
    "no weight scales": (lambda: second(weight_scale=None), "^step 1.*weight_scale: "),
    "weight scales too short": (lambda: second(weight_scale=np.ones(1, np.float32)), "^step 1.*weight_scale: "),
    "a weight scale of NaN": (lambda: second(weight_scale=np.float32([1, np.nan])), "^step 1.*weight_scale: "),
    "a weight scale of 0": (lambda: second(weight_scale=np.float32([1, 0])), "^step 1.*weight_scale: "),
    "a multiplier beyond 2**30": (lambda: second(weight_scale=np.float32([1, 1e30])), "^step 1.*below 2"),
    "weight zero points too long": (lambda: second(weight_zero_point=np.zeros(3, np.int32)), "^step 1.*weight_zero_"),
    "a weight zero point of 200": (lambda: second(weight_zero_point=np.int32([0, 200])), "^step 1.*weight_zero_point"),
    "a bias of float": (lambda: second(bias=np.ones(2, np.float32)), "^step 1.*bias: "),
    "a bias too long": (lambda: second(bias=np.ones(3, np.int32)), "^step 1.*bias: "),
    "an activation that there is not": (lambda: second(activation="swish"), "^step 1.*activation: "),
    "a rule that there is not": (lambda: second(requant="double"), "^step 1.*requant: "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_programs_are_refused(name):
    make, message = BROKEN[name]
    with pytest.raises(ValueError, match=message):
        Program(*make())


def test_sums_that_could_overflow():
    limit = 2**31 - 1 - 3 * 252
    Program(*second(bias=np.full(2, limit, np.int32)))
    for bias in (limit + 1, -limit - 1, 2**31 - 1, -(2**31)):
        with pytest.raises(OverflowError, match=r"^step 1, layer 'layer': gemm: expected sums that int32 holds"):
            Program(*second(bias=np.full(2, bias, np.int32)))


@pytest.mark.parametrize("field", ["weight_scale", "bias"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float_parameters_must_be_finite(rng, field, value):
    for kind in ("static", "dynamic", "weight_only") if field == "weight_scale" else ("dynamic", "weight_only"):
        program = random_program(rng, kind, [3, 2])
        *before, last = program.steps
        with pytest.raises(ValueError, match=f"{field}: "):
            Program(program.buffers, [*before, replace(last, **{field: np.float32([1, value])})])


def test_row_buffers_must_be_written():
    """Codes with a scale per row are only there once quantize_dynamic has written both."""
    buffers = [
        Buffer("input", "input", (3,), "uint8", row_scale=1, row_zero_point=2),
        Buffer("scale", "input", (1,), "float32"),
        Buffer("zero_point", "input", (1,), "int32"),
        Buffer("output", "layer", (2,), "float32"),
    ]
    with pytest.raises(ValueError, match=r"^step 0.*inputs: .*\['input'\]"):
        Program(buffers, [gemm(inputs=(0,), output=3)])


def test_rows_are_of_one_buffer_of_codes():
    """Zero points of uint8 rows that other codes wrote could lie outside of 0 to 255."""
    buffers = [
        Buffer("input", "input", (3,), "float32"),
        Buffer("scale", "input", (1,), "float32"),
        Buffer("zero_point", "input", (1,), "int32"),
        Buffer("codes", "input", (3,), "uint8", row_scale=1, row_zero_point=2),
        Buffer("others", "input", (3,), "uint8", row_scale=1, row_zero_point=2),
    ]
    Program(buffers[:4], [QuantizeDynamic((0,), 3)])
    with pytest.raises(ValueError, match=r"^buffers\[4\]: .*no other codes"):
        Program(buffers, [QuantizeDynamic((0,), 3), QuantizeDynamic((0,), 4)])


def test_arrays_of_a_step_are_its_own():
    weight = np.ones((3, 2), np.int8)
    step = gemm(weight=weight)
    weight[:] = 7
    assert (step.weight == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        step.weight[0, 0] = 2


def test_repr_shows_every_step():
    text = repr(Program(BUFFERS, STEPS))
    assert text.splitlines() == [
        "Program(2 steps, 14 bytes)",
        "  quantize: input float32 -> codes uint8[3]",
        "  gemm: codes uint8 -> output uint8[2]",
    ]
