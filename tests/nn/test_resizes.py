"""Steps that resize images: equal to the reference on every instruction set, and what they refuse."""

import numpy as np
import pytest
import reference
from samples import codes, same_bytes

from qlite import _core
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import ResizeBilinear, ResizeNearest

DTYPES = ["int8", "uint8", "float32"]
#: align_corners, half_pixel_centers
MODES = {"plain": (False, False), "corners": (True, False), "centers": (False, True)}
#: Height and width before and after: twice, four and eight times as large, which have weights of few bits; odd ratios;
#: smaller; one pixel; as it is.
SIZES = [
    ((4, 5), (8, 10)),
    ((3, 4), (12, 16)),
    ((2, 3), (16, 24)),
    ((2, 3), (32, 7)),
    ((7, 5), (10, 13)),
    ((9, 8), (4, 3)),
    ((10, 7), (5, 7)),
    ((1, 1), (3, 2)),
    ((5, 1), (1, 6)),
    ((4, 6), (4, 6)),
    ((2, 2), (1, 1)),
    ((1, 3), (5000, 2)),
]


def made(kind, shape, size, dtype, *options, bits=8, zero_point=3):
    grid = () if dtype == "float32" else (0.5, zero_point)
    x = Buffer("x", "x", shape, dtype, *grid, bits=bits)
    y = Buffer("y", "y", (*size, shape[-1]), dtype, *grid, bits=bits)
    return Program([x, y], [kind((0,), 1, size, *options)])


def check(program, rng, rows=3, fill="random"):
    b = program.buffers[0]
    shape = (rows, *b.shape)
    x = rng.normal(size=shape).astype(np.float32) if b.dtype == "float32" else codes(rng, shape, b.dtype, fill)
    got = Plan(program).run(x)
    same_bytes(got, reference.evaluate(program, x)[1])
    return x, got


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nearest(isa, rng, dtype, mode):
    for before, after in SIZES:
        for channels in (1, 3, 4, 17, 150):
            check(made(ResizeNearest, (*before, channels), after, dtype, *MODES[mode]), rng)


@pytest.mark.parametrize("requant", ["float", "fixed"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bilinear(isa, rng, dtype, mode, requant):
    for before, after in SIZES:
        for channels in (1, 2, 3, 4, 8, 17, 40):
            program = made(ResizeBilinear, (*before, channels), after, dtype, *MODES[mode], requant)
            check(program, rng)
            if dtype != "float32":
                check(program, rng, fill="extreme")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("requant", ["float", "fixed"])
def test_images_of_one_value_stay_so(isa, rng, requant, mode):
    for dtype in DTYPES:
        for before, after in SIZES:
            program = made(ResizeBilinear, (*before, 5), after, dtype, *MODES[mode], requant)
            for value in (0, 1, 127):
                x = np.full((1, *before, 5), value, dtype)
                assert (Plan(program).run(x) == value).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_bilinear_codes_of_few_bits_stay_in_their_range(isa, rng, dtype):
    lowest = -8 if dtype == "int8" else 0
    for requant in ("float", "fixed"):
        program = made(ResizeBilinear, (5, 4, 3), (9, 11), dtype, False, True, requant, bits=4)
        x = rng.integers(lowest, lowest + 16, (4, 5, 4, 3)).astype(dtype)
        got = Plan(program).run(x)
        same_bytes(got, reference.evaluate(program, x)[1])
        assert lowest <= got.min() <= got.max() < lowest + 16


REFUSED = {
    "no length": ({"size": (0, 4)}, r"size: expected 2 integers of at least 1"),
    "one length": ({"size": (4,)}, r"size: expected 2 integers"),
    "both": ({"align_corners": True, "half_pixel_centers": True}, r"half_pixel_centers: expected one of False, got"),
    "a text": ({"align_corners": "yes"}, r"align_corners: expected one of False, True, got 'yes'"),
    "no rule": ({"requant": "double"}, r"requant: expected one of 'float', 'fixed', got 'double'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_resizes_refuse(case):
    changes, message = REFUSED[case]
    fields = {"size": (4, 6), "align_corners": False, "half_pixel_centers": False, "requant": "float"} | changes
    x, y = (Buffer(n, n, s, "uint8", 0.5, 3) for n, s in (("x", (2, 3, 4)), ("y", (4, 6, 4))))
    with pytest.raises(ValueError, match=message):
        Program([x, y], [ResizeBilinear((0,), 1, **fields)])
    core = _core.Plan([("uint8", b.shape, 0.5, 3, -1, -1, 8) for b in (x, y)], (0,), (1,))
    with pytest.raises((ValueError, TypeError), match=r"^(resize_bilinear|size|align_corners): "):
        core.add("resize_bilinear", {"inputs": (0,), "output": 1, **fields})


def test_buffers_that_resizes_refuse():
    x = Buffer("x", "x", (2, 3, 4), "uint8", 0.5, 3)
    for y, message in (
        (Buffer("y", "y", (4, 6, 4), "uint8", 0.25, 3), r"output: expected scale, zero point and bits .* as 'x', got"),
        (Buffer("y", "y", (4, 6, 4), "int8", 0.5, 3), r"output: expected shape \(4, 6, 4\) and uint8"),
        (Buffer("y", "y", (4, 6, 5), "uint8", 0.5, 3), r"output: expected shape \(4, 6, 4\) and uint8"),
    ):
        with pytest.raises(ValueError, match=message):
            Program([x, y], [ResizeNearest((0,), 1, (4, 6), False, False)])
    with pytest.raises(ValueError, match=r"inputs: expected images of three axes, got 'x' of \(3, 4\)"):
        made(ResizeNearest, (3, 4), (4, 6), "uint8", False, False)
