"""Steps of two inputs, element by element, and constants: equal to the reference on every instruction set, for shapes
that broadcast, and what they refuse."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import reference
from samples import codes, same_bytes

from qlite import _core
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Add, Constant, Multiply, Subtract

DTYPES = ["int8", "uint8"]
RULES = ["float", "fixed"]
RULES_OF_PRODUCTS = ["float", "aarch64", "fixed"]
KINDS = [Add, Subtract, Multiply]


def buffer(name, shape, dtype="float32", scale=None, zero_point=None, bits=8):
    return Buffer(name, name, shape, dtype, scale and float(np.float32(scale)), zero_point, bits=bits)


def program(step, inputs, output):
    """One step from these buffers to that one."""
    numbers = tuple(range(len(inputs)))
    return Program([*inputs, output], [step(numbers, len(inputs))], numbers)


def check(made, rng, *arrays, rows=3):
    """A program's output is the reference's."""
    if not arrays:
        arrays = [samples(rng, made.buffers[i], rows) for i in made.inputs]
    got = Plan(made).run(*arrays)
    same_bytes(got, reference.evaluate(made, *arrays)[made.outputs[0]])
    return got


def samples(rng, b, rows):
    shape = (rows, *b.shape)
    return rng.normal(size=shape).astype(np.float32) if b.dtype == "float32" else codes(rng, shape, np.dtype(b.dtype))


def middle(dtype):
    return 0 if dtype == "int8" else 128


def every_code(dtype):
    """All codes beside four, two at the ends: a sample of a row each."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return [np.array(v, dtype).reshape(1, -1) for v in np.meshgrid([low, 123, 7, high], np.arange(low, high + 1))]


def zero_points_of(dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return (low, low, low), (high, high, high), (low, high, middle(dtype)), (middle(dtype), 3, high)


# ---- sums and differences ---------------------------------------------------------------------------

BELOW = np.nextafter(np.float32(2**20), np.float32(0))


@pytest.mark.parametrize(
    "ratios",
    [
        (BELOW, BELOW),
        (2.0**19, 1e-9),
        (33, 31.9),
        (2.0**-10, 2.0**-11),
        (2.0**-12, 0.2),
        (2.0**-11, 2.0**-11),
        (1e-5, 1e-5),
        (1e-35, 2e-38),
        (1.0, 1e-30),
        (1.0, 1.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("requant", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [Add, Subtract])
def test_sums_of_scales_far_apart(isa, rng, kind, dtype, requant, ratios):
    """All codes, at both ends of zero points: no sum leaves int32."""
    a, b = every_code(dtype)
    for zero_points in zero_points_of(dtype):
        grids = zip((*ratios, 1.0), zero_points, strict=True)
        left, right, y = (buffer(n, a.shape[1:], dtype, *g) for n, g in zip("abc", grids, strict=True))
        check(program(lambda i, o: kind(i, o, None, requant), (left, right), y), rng, a, b)


# ---- products ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scales",
    [
        (1.0, 1.0, 1.0),
        (0.1, 0.02, 0.05),
        (0.3, 0.7, 0.011),
        (2.0**-7, 2.0**-8, 2.0**-9),
        (2.0**10, 2.0**5, 1.0),
        (1.0, float(BELOW), 1.0),
        (1e-3, 1e-3, 1e3),
        (1e-20, 1e-20, 1e-3),
        (2e-38, 3.0, 1e-37),
    ],
    ids=str,
)
@pytest.mark.parametrize("requant", RULES_OF_PRODUCTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_scales_far_apart(isa, rng, dtype, requant, scales):
    a, b = every_code(dtype)
    for zero_points in zero_points_of(dtype):
        grids = zip(scales, zero_points, strict=True)
        left, right, y = (buffer(n, a.shape[1:], dtype, *g) for n, g in zip("abc", grids, strict=True))
        check(program(lambda i, o: Multiply(i, o, None, requant), (left, right), y), rng, a, b)


def test_products_of_all_codes(isa, rng):
    """Every pair of codes, where many products lie half way between two results."""
    a, b = (v.astype(np.uint8).reshape(1, -1) for v in np.meshgrid(np.arange(256), np.arange(256)))
    for requant, factor in itertools.product(RULES_OF_PRODUCTS, (0.5, 2.0**-8, 1 / 255, 0.0078)):
        x, z, y = (buffer(n, a.shape[1:], "uint8", s, 128) for n, s in (("a", 1.0), ("b", factor), ("y", 1.0)))
        check(program(lambda i, o: Multiply(i, o, None, requant), (x, z), y), rng, a, b)  # noqa: B023


# ---- what all have ----------------------------------------------------------------------------------


@pytest.mark.parametrize("requant", RULES)
@pytest.mark.parametrize("bits", [1, 2, 4, 7])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("kind", KINDS)
def test_few_bits(isa, rng, kind, requant, bits, activation):
    for dtype in DTYPES:
        lowest = -(2 ** (bits - 1)) if dtype == "int8" else 0
        a, b = (buffer(n, (5, 9), dtype, 0.3, lowest + 1, bits) for n in "ab")
        y = buffer("y", (5, 9), dtype, 0.7, lowest, bits)
        inputs = [rng.integers(lowest, lowest + 2**bits, (20, 5, 9)).astype(dtype) for _ in range(2)]
        got = check(program(lambda i, o: kind(i, o, activation, requant), (a, b), y), rng, *inputs)
        assert lowest <= got.min() <= got.max() < lowest + 2**bits


@pytest.mark.parametrize("kind", KINDS)
def test_one_buffer_twice_and_every_length(isa, rng, kind):
    for n in (1, 7, 8, 31, 32, 33, 63, 64, 65, 100, 257):
        x, y = buffer("x", (n,), "uint8", 0.1, 3), buffer("y", (n,), "uint8", 0.2, 9)
        for requant in RULES:
            made = Program([x, y], [kind((0, 0), 1, None, requant)])
            check(made, rng, codes(rng, (1, n), np.uint8))


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("kind", KINDS)
def test_floats(isa, kind, activation):
    """Rounded once; what overflows, what has no value and the sign of zero pass the clamps as comparisons do."""
    a = np.float32([[1, 3e38, -3e38, 0.0, -0.0, 5, 7, 1e-45, 16777216]])
    b = np.float32([[2, 3e38, 3e38, -0.0, -0.0, -9, 8, 1e-45, 1]])
    x = [buffer(n, a.shape[1:]) for n in "abc"]
    made = Program(x, [kind((0, 1), 2, activation)], (0, 1))
    got = check(made, None, a, b)
    expected = {Add: (-4, 15), Subtract: (14, -1), Multiply: (-45, 56)}[kind]
    low, high = {None: (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}[activation]
    np.testing.assert_array_equal(got[0, 5:7], np.clip(expected, low, high))


SHAPES = {
    "squeeze and excite": ((5, 6, 20), (1, 1, 20)),
    "channels alone": ((20,), (7, 3, 20)),
    "many channels": ((3, 2, 1500), (1500,)),
    "more channels than a block": ((2, 3, 3000), (1, 1, 3000)),
    "one channel": ((9, 8, 1), (1,)),
    "a map of one channel": ((4, 5, 13), (4, 5, 1)),
    "a map and many channels": ((3, 1), (3, 5001)),
    "a number": ((1,), (5, 40, 50)),
    "a number of no axes": ((), (5, 7)),
    "rows and columns": ((6, 1, 8), (1, 7, 8)),
    "rows and channels": ((6, 5, 1), (6, 1, 9)),
    "both sides, nothing in common": ((4, 1), (1, 33)),
    "in the middle": ((3, 1, 5), (3, 7, 5)),
    "four axes, each other one": ((3, 1, 4, 1), (1, 5, 1, 6)),
    "four axes, the others": ((2, 3, 1, 5), (1, 3, 4, 1)),
    "equal": ((3, 4, 5), (3, 4, 5)),
    "equal but for axes of 1": ((1, 1, 5), (5,)),
    "single": ((1, 1), (1,)),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_shapes_that_broadcast(isa, rng, kind, name):
    """Either side first, some samples, in the caller's memory and in the plan's own, over an input where it may."""
    for dtype, (first, second) in itertools.product(("float32", *DTYPES), (SHAPES[name], SHAPES[name][::-1])):
        shape = np.broadcast_shapes(first, second)
        grids = [()] * 3 if dtype == "float32" else [(0.02, 3), (0.1, -7 if dtype == "int8" else 90), (0.07, 9)]
        a, b, y = (buffer(n, s, dtype, *g) for n, s, g in zip("aby", (first, second, shape), grids, strict=True))
        z = replace(y, name="z")
        for rule in RULES if dtype != "float32" else RULES[:1]:
            check(program(lambda i, o: kind(i, o, None, rule), (a, b), y), rng, rows=1)  # noqa: B023
            last = [kind((0, 1), 2, None, rule), kind((2, 1), 3, "relu", rule)]
            check(Program([a, b, y, z], last, (0, 1)), rng, rows=5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_steps_of_two_refuse(kind):
    a, b, y = (buffer(n, (3, 4), "uint8", 0.1, 3) for n in "aby")

    def made(inputs=(a, b), output=y, **fields):
        return program(lambda i, o: kind(i, o, **fields), inputs, output)

    made()
    with pytest.raises(ValueError, match=r"inputs: expected 2, got 1"):
        made((a,))
    with pytest.raises(ValueError, match=r"inputs: expected shapes that broadcast, got \(3, 4\) and \(3,\)"):
        made((a, replace(b, shape=(3,))))
    with pytest.raises(ValueError, match=r"inputs: expected uint8 as 'a', got 'b' of int8"):
        made((a, replace(b, dtype="int8")))
    with pytest.raises(ValueError, match=r"inputs: expected float32 or uint8 or int8, got 'a' of int32"):
        made([buffer(n, (3, 4), "int32") for n in "ab"])
    with pytest.raises(ValueError, match=r"output: expected shape \(3, 4\)"):
        made((a, replace(b, shape=(4,))), replace(y, shape=(4,)))
    with pytest.raises(ValueError, match=r"activation: expected one of None, 'relu', 'relu6', got 'tanh'"):
        made(activation="tanh")
    rules = ", ".join(map(repr, kind.rules))
    with pytest.raises(ValueError, match=rf"requant: expected one of {rules}, got 'both'"):
        made(requant="both")
    what = "product of scales" if kind is Multiply else "scale"
    with pytest.raises(ValueError, match=rf"inputs: expected {what} / output scale below 2\*\*20, got 1048576.0"):
        made((replace(a, scale=1.0), replace(b, scale=1.0)), replace(y, scale=2.0**-20))
    core = _core.Plan([("uint8", s, 1.0, 0, -1, -1, 8) for s in ((3, 4), (3,), (4,), (3, 1))], (0, 1, 2), (3,))
    for inputs, output in (((0, 1), 3), ((0, 2), 3), ((0,), 3), ((0, 2, 2), 3), ((), 3)):
        with pytest.raises(ValueError, match=f"^{kind.kind}: "):
            core.add(kind.kind, {"inputs": inputs, "output": output, "activation": None, "requant": "float"})


# ---- constants --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", *DTYPES])
def test_constants(isa, rng, dtype):
    """The same for every sample; beside an input, which says how many there are."""
    grid = () if dtype == "float32" else (0.1, 3)
    for shape in ((1,), (7,), (3, 1, 5), (2, 3, 4, 5)):
        b = buffer("b", shape, dtype, *grid)
        value = samples(rng, b, 1)[0]
        x, y = buffer("x", (3, 4, 5), dtype, *grid), buffer("y", (1,), dtype, *grid)
        made = Program([x, b], [Constant((), 1, value)])
        same_bytes(Plan(made).run(samples(rng, x, 6)), np.repeat(value[None], 6, axis=0))
        if shape != (7,):
            y = replace(y, shape=np.broadcast_shapes(shape, x.shape))
            check(Program([x, b, y], [Constant((), 1, value), Multiply((1, 0), 2)]), rng, rows=4)


def test_what_constants_refuse():
    x, y = buffer("x", (2,)), buffer("y", (3,))
    Program([x, y], [Constant((), 1, np.zeros(3, np.float32))])
    with pytest.raises(ValueError, match=r"inputs: expected none, got 1"):
        Program([x, y], [Constant((0,), 1, np.zeros(3, np.float32))])
    for value, got in ((1.0, "'float'"), (np.zeros(3), "'float64'"), (np.zeros(3, np.int32), "'int32'")):
        with pytest.raises(ValueError, match=rf"value: expected one of 'float32', 'uint8', 'int8', got {got}"):
            Program([x, y], [Constant((), 1, value)])
    with pytest.raises(ValueError, match=r"value: expected finite values, got nan"):
        Program([x, y], [Constant((), 1, np.float32([1, np.nan, 2]))])
    with pytest.raises(ValueError, match=r"output: expected shape \(4,\) and float32, got \(3,\) and float32"):
        Program([x, y], [Constant((), 1, np.zeros(4, np.float32))])
    narrow = buffer("y", (3,), "uint8", 0.1, 3, bits=4)
    with pytest.raises(ValueError, match=r"value: expected 0 to 15, got 1 to 16"):
        Program([x, narrow], [Constant((), 1, np.array([1, 16, 2], np.uint8))])
    core = _core.Plan([("uint8", (3,), 0.1, 0, -1, -1, 8), ("uint8", (3,), 0.1, 0, -1, -1, 4)], (0,), (1,))
    for inputs, value in (((0,), np.zeros(3, np.uint8)), ((), np.zeros(4, np.uint8)), ((), np.uint8([1, 16, 2]))):
        with pytest.raises(ValueError, match=r"^constant: "):
            core.add("constant", {"inputs": inputs, "output": 1, "value": value})
