"""Integer programs: one call of the core gives what the reference gives step by step, in every buffer."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import reference
from programs import KINDS, random_program, weights
from samples import LAYOUTS, codes, same_bytes

from qlite import _core
from qlite.nn.program import Buffer, Dequantize, Gemm, Program, Quantize

BATCHES = [0, 1, 2, 13, 100, 1000]  # around the plan's block of 96 rows
WIDTHS = [[1, 1], [7, 5], [13, 33, 7], [64, 128, 64, 10], [3, 65, 1, 17]]


def check(program, x):
    expected = reference.evaluate(program, x)
    got = program.intermediates(x)
    assert list(got) == [buffer.name for buffer in program.buffers]
    for value, reference_value in zip(got.values(), expected, strict=True):
        same_bytes(value, reference_value)
    same_bytes(program.run(x), expected[program.output])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_random_programs(isa, rng, kind, widths):
    program = random_program(rng, kind, widths)
    for rows in BATCHES:
        check(program, rng.normal(size=(rows, widths[0])).astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_its_batch(isa, rng, kind):
    program = random_program(rng, kind, [13, 33, 7])
    x = rng.normal(size=(100, 13)).astype(np.float32)
    together = program.run(x)
    for i in range(0, 100, 9):
        same_bytes(program.run(x[i : i + 1]), together[i : i + 1])


@pytest.mark.parametrize("kind", KINDS)
def test_same_bytes_on_every_isa(rng, kind):
    before, answers = _core.info()["isa"], set()
    made_by = random_program(rng, kind, [64, 128, 10])
    x = rng.normal(size=(131, 64)).astype(np.float32)
    try:
        for name in _core.info()["isas_runnable"]:
            _core.isa_select(name)
            program = pickle.loads(pickle.dumps(made_by))
            answers.add(b"".join(value.tobytes() for value in program.intermediates(x).values()))
    finally:
        _core.isa_select(before)
    assert len(answers) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_keeps_the_isa_it_was_made_on(rng, kind):
    before = _core.info()["isa"]
    program = random_program(rng, kind, [64, 128, 10])
    x = rng.normal(size=(50, 64)).astype(np.float32)
    expected = program.run(x)
    try:
        for name in _core.info()["isas_runnable"]:
            _core.isa_select(name)
            same_bytes(program.run(x), expected)
    finally:
        _core.isa_select(before)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_a_plan(isa, rng, kind):
    program = random_program(rng, kind, [64, 128, 10])
    batches = [rng.normal(size=(rows, 64)).astype(np.float32) for rows in (1, 97, 200, 3) * 10]
    expected = [program.run(x) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        for got, alone in zip(pool.map(program.run, batches), expected, strict=True):
            same_bytes(got, alone)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_input_that_is_codes_already(isa, rng, dtype):
    k, n = 21, 18
    buffers = [
        Buffer("input", "input", k, dtype, 0.02, 5),
        Buffer("hidden", "hidden", n, dtype, 0.9, -3 if dtype == "int8" else 3),
        Buffer("output", "hidden", n, "float32"),
    ]
    step = Gemm(0, 1, **weights(rng, k, n, True), bias=None, relu=True, fixed=False)
    program = Program(buffers, [step, Dequantize(1, 2)])
    integer_output = Program(buffers[:2], [step])
    for rows in BATCHES:
        x = codes(rng, (rows, k), np.dtype(dtype))
        check(program, x)
        check(integer_output, x)
    with pytest.raises(TypeError, match=r"^x: "):
        program.run(np.zeros((2, k), np.float32))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_input(isa, rng, layout):
    for kind in ("signed", "dynamic", "weight_only"):
        program = random_program(rng, kind, [7, 5])
        x = rng.normal(size=(9, 7)).astype(np.float32)
        same_bytes(program.run(LAYOUTS[layout](x)), reference.evaluate(program, x)[program.output])
    with pytest.raises(ValueError, match=r"^x: expected shape \(samples, 7\), got \(9, 7, 1\)"):
        program.run(x.reshape(9, 7, 1))


@pytest.mark.parametrize("kind", ["static", "dynamic", "weight_only"])
def test_bad_inputs(isa, rng, kind):
    program = random_program(rng, kind, [7, 5])
    for bad in (np.nan, np.inf):
        x = np.zeros((130, 7), np.float32)
        x[129, 6] = bad
        with pytest.raises(ValueError, match=r"^x: "):
            program.run(x)
        with pytest.raises(ValueError, match=r"^x: "):
            program.intermediates(x)
    for shape in ((3, 8), (7,), (), (0,), (3, 7, 2)):
        with pytest.raises(ValueError, match=r"^x: "):
            program.run(np.zeros(shape, np.float32))
    with pytest.raises(TypeError, match=r"^x: "):
        program.run(np.zeros((3, 7), complex))


@pytest.mark.parametrize("field", ["weight_scale", "bias"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float_parameters_must_be_finite(rng, field, value):
    for kind in ("static", "dynamic", "weight_only"):
        program = random_program(rng, kind, [3, 2])
        *before, last = program.steps
        if field == "bias" and kind == "static":
            continue
        with pytest.raises(ValueError):
            Program(list(program.buffers), [*before, replace(last, **{field: np.float32([1, value])})])


@pytest.mark.parametrize("kind", ["dynamic", "weight_only"])
def test_overflow_between_layers(isa, rng, kind):
    """Finite inputs and weights whose products leave float32: the same infinities as the reference's, no harm done."""
    program = random_program(rng, kind, [4, 6, 3])
    steps = [
        replace(step, weight_scale=np.full_like(step.weight_scale, 1e38)) if hasattr(step, "weight") else step
        for step in program.steps
    ]
    x = (rng.normal(size=(50, 4)) * 1e37).astype(np.float32)
    check(Program(list(program.buffers), steps), x)


BUFFERS = [
    Buffer("input", "input", 3, "float32"),
    Buffer("codes", "input", 3, "uint8", 0.1, 3),
    Buffer("output", "layer", 2, "uint8", 0.1, 3),
]


def gemm(**changes):
    fields = {"weight": np.ones((3, 2), np.int8), "weight_scale": np.ones(2, np.float32), "weight_zero_point": None}
    fields |= {"bias": None, "relu": False, "fixed": False}
    return Gemm(**{"input": 1, "output": 2} | fields | changes)


def with_codes(**changes):
    return [BUFFERS[0], replace(BUFFERS[1], **changes), BUFFERS[2]]


STEPS = [Quantize(0, 1), gemm()]
BROKEN = {
    "no buffers": ([], []),
    "no steps": (BUFFERS, []),
    "a step reads what nobody wrote": (BUFFERS, STEPS[::-1]),
    "a step writes twice": (BUFFERS, [*STEPS, STEPS[1]]),
    "a step writes the input": (BUFFERS, [*STEPS, Dequantize(2, 0)]),
    "a buffer out of range": (BUFFERS, [Quantize(0, 3)]),
    "a huge buffer number": (BUFFERS, [Quantize(0, 2**62)]),
    "a negative buffer number": (BUFFERS, [Quantize(0, -2)]),
    "widths differ": (BUFFERS, [Quantize(0, 2)]),
    "width 0": ([replace(BUFFERS[0], width=0), *BUFFERS[1:]], STEPS),
    "width beyond memory": ([*BUFFERS, Buffer("x", "x", 2**60, "float32")], STEPS),
    "a scale of 0": (with_codes(scale=0.0), STEPS),
    "a scale of NaN": (with_codes(scale=np.nan), STEPS),
    "a subnormal scale": (with_codes(scale=1e-40), STEPS),
    "a zero point of 256": (with_codes(zero_point=256), STEPS),
    "a zero point of -1": (with_codes(zero_point=-1), STEPS),
    "a zero point beyond int32": (with_codes(zero_point=2**40), STEPS),
    "a row scale that is not float": (with_codes(row_scale=1, row_zero_point=2), STEPS),
    "a row scale out of range": (with_codes(row_scale=9, row_zero_point=9), STEPS),
    "a dtype of another kind": ([replace(BUFFERS[0], dtype="float64"), *BUFFERS[1:]], STEPS),
    "weights of another shape": (BUFFERS, [STEPS[0], gemm(weight=np.ones((2, 3), np.int8))]),
    "weights of rank 1": (BUFFERS, [STEPS[0], gemm(weight=np.ones(6, np.int8))]),
    "weights of float": (BUFFERS, [STEPS[0], gemm(weight=np.ones((3, 2), np.float32))]),
    "no weights": (BUFFERS, [STEPS[0], gemm(weight=None)]),
    "no weight scales": (BUFFERS, [STEPS[0], gemm(weight_scale=None)]),
    "weight scales too short": (BUFFERS, [STEPS[0], gemm(weight_scale=np.ones(1, np.float32))]),
    "a weight scale of NaN": (BUFFERS, [STEPS[0], gemm(weight_scale=np.float32([1, np.nan]))]),
    "a weight scale of 0": (BUFFERS, [STEPS[0], gemm(weight_scale=np.float32([1, 0]))]),
    "a multiplier beyond 2**30": (BUFFERS, [STEPS[0], gemm(weight_scale=np.float32([1, 1e30]))]),
    "weight zero points too long": (BUFFERS, [STEPS[0], gemm(weight_zero_point=np.zeros(3, np.int32))]),
    "a weight zero point of 200": (BUFFERS, [STEPS[0], gemm(weight_zero_point=np.int32([0, 200]))]),
    "a bias of float": (BUFFERS, [STEPS[0], gemm(bias=np.ones(2, np.float32))]),
    "a bias too long": (BUFFERS, [STEPS[0], gemm(bias=np.ones(3, np.int32))]),
    "a bias that can overflow": (BUFFERS, [STEPS[0], gemm(bias=np.full(2, 2**31 - 1, np.int32))]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_programs_are_refused(name):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        Program(*BROKEN[name]).run(np.zeros((2, 3), np.float32))


def test_row_buffers_must_be_written():
    """Codes with a scale per row are only there once quantize_dynamic has written both."""
    buffers = [
        Buffer("input", "input", 3, "uint8", row_scale=1, row_zero_point=2),
        Buffer("scale", "input", 1, "float32"),
        Buffer("zero_point", "input", 1, "int32"),
        Buffer("output", "layer", 2, "float32"),
    ]
    with pytest.raises(ValueError):
        Program(buffers, [gemm(input=0, output=3)]).run(np.zeros((2, 3), np.uint8))
