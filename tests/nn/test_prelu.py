"""PReLU: as float32 and as codes, equal to the reference on every instruction set, to LiteRT's, and in training."""

import litert
import numpy as np
import pytest
import reference
from gradients import check_gradients
from samples import codes, same_bytes

import qlite as ql
from qlite import _core
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Prelu

DTYPES = ["int8", "uint8"]
RULES = ["float", "fixed"]


def program(shape, dtype, grid, grid_y, slope, slope_scale=None, slope_zero_point=None, requant="float", bits=8):
    source = Buffer("x", "x", shape, dtype, *grid, bits=bits)
    step = Prelu((0,), 1, slope, slope_scale, slope_zero_point, requant)
    return Program([source, Buffer("y", "y", shape, dtype, *grid_y, bits=bits)], [step])


def scale(value):
    return float(np.float32(value))


def any_grid(rng, dtype, scales=(-8, 3)):
    value = 2.0 ** (rng.integers(*scales) if rng.random() < 0.4 else rng.uniform(*scales))
    lowest = int(np.iinfo(dtype).min)
    return scale(value), lowest + int(rng.choice([0, 128, 255, rng.integers(0, 256)]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("requant", RULES)
def test_all_codes_on_any_grids(isa, rng, requant, dtype):
    """Of every length, and over what it reads."""
    all_codes = np.arange(256, dtype=np.uint8).view(dtype)
    for trial in range(60):
        n = int(rng.choice([1, 2, 3, 8, 24, 31, 32, 33, 64, 100, 257]))
        slope = codes(rng, n, np.int8)
        grids = any_grid(rng, dtype), any_grid(rng, dtype)
        slope_grid = scale(2.0 ** rng.uniform(-12, 0)), int(rng.integers(-128, 128))
        made = program((n,), dtype, *grids, slope, *slope_grid, requant)
        x = np.tile(all_codes[:, None], (1 + trial % 2, n))
        same_bytes(Plan(made).run(x), reference.evaluate(made, x)[1])


@pytest.mark.parametrize("ratios", [(1e-30, 1e-8), (2.0**19, 1.0), (1.0, 2.0**19), (2.0**-20, 2.0**-25), (2e-38, 1.0)])
@pytest.mark.parametrize("requant", RULES)
def test_scales_far_apart(isa, rng, requant, ratios):
    all_codes = np.arange(256, dtype=np.uint8)[:, None]
    for zero_point in (0, 7, 255):
        slope = np.array([-128, -1, 0, 1, 127], np.int8)
        grids = (scale(ratios[0]), zero_point), (1.0, 100)
        slope_scale = max(scale(ratios[1] / max(ratios[0], 1)), 1e-37)
        made = program((5,), "uint8", *grids, slope, slope_scale, 0, requant)
        x = np.tile(all_codes, (1, 5))
        same_bytes(Plan(made).run(x), reference.evaluate(made, x)[1])


@pytest.mark.parametrize("bits", [1, 2, 4, 7])
def test_few_bits(isa, rng, bits):
    for dtype in DTYPES:
        lowest = -(2 ** (bits - 1)) if dtype == "int8" else 0
        grid = 0.3, lowest + 2 ** (bits - 1)
        made = program((9,), dtype, grid, (0.1, lowest), codes(rng, 9, np.int8), 0.01, 3, bits=bits)
        x = rng.integers(lowest, lowest + 2**bits, (40, 9)).astype(dtype)
        same_bytes(Plan(made).run(x), reference.evaluate(made, x)[1])


def test_floats(isa, rng):
    x = rng.normal(size=(7, 3, 50)).astype(np.float32)
    x[0, 0, :6] = [0.0, -0.0, np.finfo(np.float32).max, np.finfo(np.float32).min, 1e-45, -1e-45]
    slope = rng.normal(size=50).astype(np.float32)
    made = Program([Buffer(n, n, (3, 50), "float32") for n in "xy"], [Prelu((0,), 1, slope, None, None, "float")])
    got = Plan(made).run(x)
    same_bytes(got, reference.evaluate(made, x)[1])
    same_bytes(got, ql.PReLU(slope)(x))


@pytest.mark.parametrize("resolver", ["default", "reference", "micro"])
def test_is_that_of_litert(rng, resolver):
    """All codes on random grids, some of whose scales are powers of two."""
    for _ in range(60):
        n = int(rng.integers(1, 9))
        slope, all_codes = codes(rng, n, np.int8), np.arange(256, dtype=np.uint8).view(np.int8)
        x = np.tile(all_codes[None, :, None], (1, 1, n))
        grid, grid_y = any_grid(rng, "int8", (-6, 1)), any_grid(rng, "int8", (-6, 1))
        slope_grid = any_grid(rng, "int8", (-9, -5))
        constant = litert.Weights(slope, slope_grid[0], 0, slope_grid[1])
        content = litert.model("PRELU", x, x, grid, grid_y, constants=(constant,))
        requant = "fixed" if resolver == "micro" else "float"
        made = program(x.shape[1:], "int8", grid, grid_y, slope, *slope_grid, requant)
        same_bytes(Plan(made).run(x), litert.run(content, x, resolver))


# ---- the layer --------------------------------------------------------------------------------------


def network(rng, slope=None):
    x = ql.Input((6, 5, 3))
    y = ql.Conv2D(rng.normal(0, 0.3, (3, 3, 3, 8)), rng.normal(0, 0.2, 8), padding="same")(x)
    y = ql.PReLU(slope)(y)
    return ql.Model(x, ql.Dense(rng.normal(0, 0.1, (240, 4)))(ql.Flatten()(y)))


def test_gradients(rng):
    layer = ql.PReLU(rng.normal(size=3))
    x = rng.normal(size=(4, 2, 3))
    x = np.where(np.abs(x) < 0.1, 0.2, x).astype(np.float32)
    check_gradients(layer, (x,), rng.normal(size=x.shape).astype(np.float32))


def test_slopes_are_made_for_the_samples():
    m = ql.Sequential([ql.Dense(units=3), ql.PReLU(init=0.1)], input_shape=(2,))
    np.testing.assert_array_equal(m.layers[1].slope, np.float32([0.1] * 3))


@pytest.mark.parametrize("scheme", ["w8a8", "w4a8", "w8", "dynamic", "w4a4"])
def test_in_a_network(rng, scheme):
    m = network(rng, np.linspace(-0.3, 1.2, 8))
    x = rng.normal(size=(200, 6, 5, 3)).astype(np.float32)
    qm = ql.quantize_model(m, scheme, x)
    same_bytes(qm(x), reference.evaluate(qm.program, x)[qm.program.outputs[0]])
    error = qm(x) - m(x)
    expected = {"w8a8": 30, "dynamic": 30, "w8": 30, "w4a8": 12, "w4a4": 8}[scheme]
    assert 10 * np.log10((m(x) ** 2).sum() / (error**2).sum()) > expected


@pytest.mark.parametrize("target", ["onnx", "tflite", "tflm", "c", "tensorrt"])
def test_targets(rng, target):
    m, x = network(rng, np.linspace(-0.3, 1.2, 8)), rng.normal(size=(100, 6, 5, 3)).astype(np.float32)
    qm = ql.quantize_model(m, "w8a8", x, target=target)
    same_bytes(qm(x), reference.evaluate(qm.program, x)[qm.program.outputs[0]])
    from_numpy = ql.quantize_model(m, "w8a8", x).retarget(target)
    same_bytes(qm(x), from_numpy(x))


def test_what_it_refuses():
    for wrong in (np.zeros((2, 3)), np.zeros(0), 0.25):
        with pytest.raises(ValueError, match=r"^slope: expected shape \(channels,\)"):
            ql.PReLU(wrong)
    with pytest.raises(ValueError, match=r"^slope: expected finite"):
        ql.PReLU([np.nan])
    with pytest.raises(ValueError, match=r"^init: expected a finite number"):
        ql.PReLU(init=np.inf)
    with pytest.raises(TypeError, match=r"^init: expected a number"):
        ql.PReLU(init="0.1")
    with pytest.raises(ValueError, match=r"^x: expected 2 channels, got samples of shape \(3,\)"):
        ql.PReLU([0.1, 0.2])(np.zeros((1, 3), np.float32))


def test_what_its_step_refuses():
    slope, grids = np.zeros(3, np.int8), ((1.0, 0), (1.0, 0))
    good = slope, 0.1, 0
    program((3,), "int8", *grids, *good)
    for message, fields, scales in (
        (r"slope: expected int8 \(3,\), got int8 \(2,\)", (slope[:2], 0.1, 0), grids),
        (r"slope: expected int8 \(3,\), got float32 \(3,\)", (slope.astype(np.float32), 0.1, 0), grids),
        (r"slope_scale: expected a number, got None", (slope, None, 0), grids),
        (r"slope_scale: expected normal, positive", (slope, 0.0, 0), grids),
        (r"slope_zero_point: expected an integer of -128 to 127, got 128", (slope, 0.1, 128), grids),
        (r"requant: expected one of", (*good, "half"), grids),
        (r"slope_scale: expected it times scale / output scale below 2\*\*20", (slope, 2.0**21, 0), grids),
        (r"inputs: expected scale / output scale below 2\*\*20", good, ((2.0**20, 0), (1.0, 0))),
    ):
        with pytest.raises(ValueError, match=message):
            program((3,), "int8", *scales, *fields)
    core = _core.Plan([("int8", (3,), 1.0, 0, -1, -1, 8), ("int8", (3,), 2.0**-20, 0, -1, -1, 8)], (0,), (1,))
    with pytest.raises(ValueError, match=r"^prelu: "):
        core.add("prelu", {"inputs": (0,), "output": 1, "slope": slope, "slope_scale": 0.1, "slope_zero_point": 0,
                           "requant": "float"})  # fmt: skip
