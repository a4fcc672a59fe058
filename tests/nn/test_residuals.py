"""Sums in the products before them: equal to the reference on every instruction set, and taken apart again."""

from dataclasses import replace

import numpy as np
import pytest
import reference
from programs import curve_fields
from samples import codes, same_bytes

import qlite as ql
from qlite import _core, metrics
from qlite.nn.plan import Plan
from qlite.nn.plan import _described as described
from qlite.nn.program import Buffer, Program
from qlite.nn.residuals import with_residuals, without_residuals
from qlite.nn.steps import Add, Conv, ConvTranspose, Gemm

#: What becomes of the sums: the dtype of the result, an activation, a curve.
ENDS = [
    ("uint8", None, None),
    ("int8", "relu", None),
    ("float32", "relu6", None),
    ("uint8", None, "prelu"),
    ("uint8", None, "hard_swish"),
    ("int8", None, "hard_sigmoid"),
]
#: Image, channels, outputs and options of convolutions: plain products, some of them with columns that fill no
#: register, windows, tiles of fewer products, pixels that are computed together, groups.
IMAGES = [
    ((5, 7), 24, 28, {"kernel": (1, 1)}),
    ((6, 4), 40, 64, {"kernel": (1, 1)}),
    ((3, 3), 9, 5, {"kernel": (1, 1)}),
    ((9, 7), 8, 17, {"stride": (2, 1), "padding": (1, 0, 2, 1)}),
    ((13, 11), 32, 40, {"padding": (1, 1, 1, 1)}),
    ((8, 8), 6, 2, {"padding": (1, 1, 1, 1)}),
    ((4, 6), 12, 20, {"groups": 4}),
]


def program_of(rng, kind, shape, outputs, end=ENDS[0], reach=1.0, **options):
    """A program of one product of codes with a residual, about `reach` times as great as the sums without it."""
    dtype, activation, curve = end
    x = Buffer("x", "x", shape, "uint8", 0.05, 131)
    kernel = (shape[-1], outputs)
    if kind is Conv:
        size = options.pop("kernel", (3, 3))
        options = {"groups": 1, "stride": (1, 1), "dilation": (1, 1), "padding": (0, 0, 0, 0)} | options
        kernel = (*size, shape[-1] // options["groups"], outputs)
    weight = rng.integers(-127, 128, kernel).astype(np.int8)
    scale = rng.uniform(0.5, 1.5, outputs).astype(np.float32) / np.float32(70 * (weight.size // outputs) ** 0.5)
    bias = rng.integers(-3000, 3000, outputs).astype(np.int32)
    fields = {
        "weight": weight,
        "weight_scale": scale,
        "weight_zero_point": None,
        "bias": bias,
        "activation": activation,
    }
    product = kind((0,), 1, **fields, requant="float", **options)
    added = {"residual_place": 0, "product_name": "product", "product_scale": 0.02, "product_zero_point": 7}
    added |= curve_fields(rng, curve, outputs) if curve else {}
    result, _ = product.infer(x)
    r = Buffer("r", "r", result, "uint8", reach * 0.05, 100)
    grid = {} if dtype == "float32" else {"scale": 8 / 255, "zero_point": int(np.iinfo(dtype).min) + 90}
    y = Buffer("y", "y", result, dtype, **grid)
    return Program([x, r, y], [replace(product, inputs=(0, 1), output=2, **added)], inputs=(0, 1))


def check(rng, program, count):
    given = [codes(rng, (count, *program.buffers[i].shape), np.uint8) for i in (0, 1)]
    got = Plan(program).run(*given)
    same_bytes(got, reference.evaluate(program, *given)[2])
    return got


@pytest.mark.parametrize("end", ENDS)
def test_rows(isa, rng, end):
    for rows, depth, outputs in ((1, 3, 1), (2, 17, 8), (7, 64, 16), (6, 31, 33), (13, 8, 100), (30, 64, 64)):
        got = check(rng, program_of(rng, Gemm, (depth,), outputs, end), rows)
        assert rows < 6 or len(np.unique(got)) > 20


@pytest.mark.parametrize("end", ENDS)
def test_images(isa, rng, end):
    for size, channels, outputs, options in IMAGES:
        check(rng, program_of(rng, Conv, (*size, channels), outputs, end, **options), 2)


def test_several_images_for_a_sample(isa, rng):
    for kernel in ((1, 1), (3, 3)):
        check(rng, program_of(rng, Conv, (3, 6, 5, 16), 24, kernel=kernel), 2)


@pytest.mark.parametrize("reach", [1e-9, 0.003, 40.0, 3000.0])
def test_residuals_of_any_reach(isa, rng, reach):
    for end in ENDS[:3]:
        check(rng, program_of(rng, Gemm, (40,), 24, end, reach), 9)
        check(rng, program_of(rng, Conv, (6, 6, 16), 24, end, reach), 2)


def test_threads(rng):
    threads = ql.get_num_threads()
    try:
        ql.set_num_threads(3)
        for kernel in ((1, 1), (3, 3), (3, 2)):
            check(rng, program_of(rng, Conv, (40, 40, 64), 72, kernel=kernel), 2)
    finally:
        ql.set_num_threads(threads)


def test_what_is_added_may_be_what_is_multiplied(isa, rng):
    made = program_of(rng, Conv, (6, 6, 24), 24, kernel=(1, 1))
    (step,) = made.steps
    own = Program([made.buffers[0], made.buffers[2]], [replace(step, inputs=(0, 0), output=1)])
    x = codes(rng, (3, 6, 6, 24), np.uint8)
    same_bytes(Plan(own).run(x), reference.evaluate(own, x)[1])


def test_updates_take_other_weights_and_grids(isa, rng):
    for kind, shape in ((Gemm, (40,)), (Conv, (6, 6, 16)), (Conv, (8, 8, 6))):
        made = program_of(rng, kind, shape, 24 if shape[-1] > 6 else 2)
        (step,) = made.steps
        changed = {"weight": -step.weight, "weight_scale": step.weight_scale[::-1], "bias": None}
        other = made.with_changes({0: changed}, {1: (0.3, 20), 2: (0.05, 99)})
        plan, given = Plan(made), [codes(rng, (5, *made.buffers[i].shape), np.uint8) for i in (0, 1)]
        plan.update(other)
        same_bytes(plan.run(*given), reference.evaluate(other, *given)[2])


@pytest.mark.parametrize("kind", [Gemm, Conv])
def test_what_the_core_refuses(rng, kind):
    made = program_of(rng, kind, (5, 5, 4), 4)
    (step,) = made.steps
    x, r, y = made.buffers

    def plan(residual, result=y, error=ValueError, **changes):
        core = _core.Plan([described(b) for b in (x, residual, result)], (0, 1), (2,))
        with pytest.raises(error, match=f"^{step.kind}: "):
            core.add(step.kind, step.computed_fields() | changes)

    for shape in (y.shape[1:], (1, *y.shape[1:]), (*y.shape[:-1], 1)):
        plan(replace(r, shape=shape))
    plan(replace(r, dtype="int8", zero_point=0))
    plan(replace(r, dtype="float32", scale=None, zero_point=None))
    plan(r, replace(y, dtype="int32", scale=None, zero_point=None))
    plan(r, inputs=(0, 1, 1))
    plan(r, requant="fixed")
    plan(replace(r, scale=1e6), error=OverflowError)
    plan(replace(r, scale=2000.0), error=OverflowError)
    if kind is Conv:
        plan(r, groups=4, weight=np.ones((3, 3, 1, 4), np.int8))


# ---- in models --------------------------------------------------------------------------------------


def network(rng, activation="prelu"):
    """Blocks with a residual: of what is multiplied, of another product, of more channels, of a narrower image."""

    def then(y):
        return ql.PReLU(rng.uniform(-0.1, 0.4, y.shape[-1]))(y) if activation == "prelu" else ql.Activation("relu")(y)

    def conv(y, size, outputs, **options):
        depth = size * size * y.shape[-1]
        weight = rng.normal(0, depth**-0.5, (size, size, y.shape[-1], outputs))
        return ql.Conv2D(weight, rng.normal(0, 0.2, outputs), padding="same", **options)(y)

    x = ql.Input((12, 12, 6))
    y = then(conv(x, 3, 24))
    y = then(ql.Add()([conv(then(conv(y, 1, 12)), 1, 24), y]))
    y = then(ql.Add()([conv(then(conv(y, 3, 24)), 3, 32), conv(y, 1, 32)]))
    y = then(ql.Add()([ql.Pad(((0, 0), (0, 0), (0, 8)))(y), conv(then(conv(y, 1, 16)), 1, 40)]))
    y = then(ql.Add()([conv(y, 3, 40, stride=2), ql.MaxPool(2)(y)]))
    return ql.Model(x, ql.Dense(rng.normal(0, 0.3, (40, 4)))(ql.GlobalAveragePool()(y)))


def data(rng):
    return rng.normal(size=(40, 12, 12, 6)).astype(np.float32)


def kinds(quantized):
    return [step.kind for step in quantized.program.steps]


@pytest.mark.parametrize("activation", ["prelu", "relu"])
def test_a_model_has_no_codes_between(rng, activation):
    m, x = network(rng, activation), data(rng)
    qm = ql.quantize_model(m, "w8a8", x)
    assert not {"add", "prelu", "lookup"} & set(kinds(qm))
    same_bytes(qm(x), reference.evaluate(qm.program, x)[qm.program.outputs[0]])
    apart = qm.retarget("numpy")
    assert kinds(apart).count("add") == 4
    exact = m(x)
    assert metrics.sqnr_db(exact, qm(x)) > metrics.sqnr_db(exact, apart(x))


@pytest.mark.parametrize("target", ["onnx", "tflite", "tflm", "c", "tensorrt"])
def test_targets_get_the_steps_back(rng, target):
    m, x = network(rng), data(rng)
    direct = ql.quantize_model(m, "w8a8", x, target=target)
    again = ql.quantize_model(m, "w8a8", x).retarget(target)
    got, expected = again.intermediates(x[:3]), direct.intermediates(x[:3])
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        same_bytes(got[name], value)


def test_files_and_reports(rng, tmp_path):
    m, x = network(rng), data(rng)
    qm = ql.quantize_model(m, "w8a8", x)
    qm.save(tmp_path / "m.qlite")
    again = ql.load(tmp_path / "m.qlite")
    same_bytes(again(x), qm(x))
    same_bytes(again.retarget("tflite")(x), qm.retarget("tflite")(x))
    report = ql.compare(m, qm, x)
    assert min(row.sqnr_db for row in report.layers) > 25


def test_what_stays_apart(rng):
    """Products that others read too, or that have an activation, depthwise ones, shapes that broadcast, and what was
    trained with a scheme."""
    x = ql.Input((6, 6, 8))
    dense, depthwise = rng.normal(0, 0.3, (8, 8)), rng.normal(0, 0.3, (3, 3, 8, 1))
    y = ql.Dense(dense)(x)
    shared = ql.Model(x, ql.Multiply()([ql.Add()([y, x]), y]))
    clamped = ql.Model(x, ql.Add()([ql.Dense(dense, activation="relu")(x), x]))
    alone = ql.Model(x, ql.Add()([ql.DepthwiseConv2D(depthwise, padding="same")(x), x]))
    broadcast = ql.Model(x, ql.Add()([ql.Dense(dense)(x), ql.GlobalAveragePool(keepdims=True)(x)]))
    samples = rng.normal(size=(50, 6, 6, 8)).astype(np.float32)
    for model in (shared, clamped, alone, broadcast):
        assert kinds(ql.quantize_model(model, "w8a8", samples)).count("add") == 1
    model = ql.Model(x, ql.Dense(rng.normal(size=(8, 2)))(ql.GlobalAveragePool()(ql.Add()([ql.Dense(dense)(x), x]))))
    assert "add" not in kinds(ql.quantize_model(model, "w8a8", samples))
    trained = ql.train(model, samples, rng.integers(0, 2, 50), epochs=1, scheme="w8a8", progress=False)
    assert kinds(ql.quantize_model(trained)).count("add") == 1


def test_sums_that_int32_may_not_hold_stay_apart(rng):
    """Of an output whose weights are tiny a step of the residual is very many of the sums."""
    weight = rng.normal(0, 0.3, (8, 8))
    weight[:, 3] = 1e-9
    x = ql.Input((8,))
    model = ql.Model(x, ql.Add()([ql.Dense(weight)(x), x]))
    samples = rng.normal(size=(50, 8)).astype(np.float32)
    qm = ql.quantize_model(model, "w8a8", samples)
    assert kinds(qm).count("add") == 1
    assert metrics.sqnr_db(model(samples), qm(samples)) > 30


def test_great_sums_of_one_output_and_a_great_residual_of_another_stay_apart(rng):
    """What stands in one program is what the core takes: it does not tell such outputs apart."""
    weight = np.full((4000, 4), 127, np.int8)
    weight[:, 3] = 0
    fields = {"weight": weight, "weight_zero_point": None, "bias": None, "activation": None, "requant": "float"}
    names = ("x", "r", "product", "y")
    x, r, product, y = (Buffer(name, name, (4000 if name == "x" else 4,), "uint8", 1.0, 0) for name in names)
    for ratio, adds in ((7_900_000, 0), (8_350_000, 1)):
        scale = np.float32([1, 1, 1, 1 / ratio])
        steps = [Gemm((0,), 2, **fields, weight_scale=scale), Add((1, 2), 3, None, "float")]
        program = with_residuals(Program([x, r, product, y], steps, inputs=(0, 1)))
        assert sum(isinstance(step, Add) for step in program.steps) == adds
        given = codes(rng, (3, 4000), np.uint8), codes(rng, (3, 4), np.uint8)
        same_bytes(Plan(program).run(*given), reference.evaluate(program, *given)[program.outputs[0]])


def test_apart_and_together_again(rng):
    program = ql.quantize_model(network(rng), "w8a8", data(rng), target="numpy").retarget("numpy").program
    together = with_residuals(program)
    apart = without_residuals(together)
    assert sum(isinstance(step, Add) for step in apart.steps) == 4
    assert str(with_residuals(apart)) == str(together)


def test_what_it_refuses(rng):
    made = program_of(rng, Gemm, (8,), 4)
    (step,) = made.steps
    x, r, y = made.buffers
    given = {"inputs": (0, 1)}
    for changes, message in (
        ({"residual_place": None}, r"residual_place: expected 0 or 1, got None"),
        ({"residual_place": 2}, r"residual_place: expected 0 or 1, got 2"),
        ({"product_name": None}, r"product_name: expected a name, a scale and a zero point"),
        ({"inputs": (0,)}, r"residual_place: expected None without a residual"),
        ({"inputs": (0, 1, 1)}, r"inputs: expected up to 2, got 3"),
        ({"inputs": ()}, r"inputs: expected 1, got 0"),
        ({"requant": "fixed"}, r"inputs: expected a residual for 'float'"),
    ):
        with pytest.raises(ValueError, match=message):
            Program(made.buffers, [replace(step, **changes)], **given)
    for other in (replace(r, shape=(1,)), replace(r, dtype="int8", zero_point=0)):
        with pytest.raises(ValueError, match=r"inputs: expected a residual of uint8 of shape \(4,\), got 'r'"):
            Program([x, other, y], [step], **given)
    for scale in (1e6, 3000.0):
        with pytest.raises(OverflowError, match=r"expected (a residual of less than 2\*\*23|sums that int32 holds)"):
            Program([x, replace(r, scale=scale), y], [step], **given)
    with pytest.raises(
        ValueError, match=r"output: expected shape \(4,\) and uint8 or int8 or float32, got \(4,\) and int"
    ):
        Program([x, r, Buffer("y", "y", (4,), "int32")], [step], **given)
    alone = program_of(rng, Conv, (5, 5, 4), 4, groups=2)
    depthwise = replace(alone.steps[0], groups=4, weight=np.ones((3, 3, 1, 4), np.int8))
    with pytest.raises(ValueError, match=r"inputs: expected 1, got 2"):
        Program(alone.buffers, [depthwise], **given)


def test_transposed_convolutions_have_none(rng):
    fields = {"weight": np.ones((2, 2, 4, 4), np.int8), "weight_scale": np.ones(4, np.float32), "bias": None}
    fields |= {"weight_zero_point": None, "activation": None, "requant": "float"}
    fields |= {"stride": (2, 2), "padding": (0, 0, 0, 0), "output_padding": (0, 0)}
    x, r, y = (Buffer(name, name, (n, n, 4), "uint8", 0.1, 3) for name, n in (("x", 3), ("r", 6), ("y", 6)))
    step = ConvTranspose((0,), 1, **fields)
    Program([x, y], [step])
    added = {"residual_place": 0, "product_name": "product", "product_scale": 0.02, "product_zero_point": 7}
    with pytest.raises(ValueError, match=r"inputs: expected 1, got 2"):
        Program([x, r, y], [replace(step, inputs=(0, 1), output=2, **added)], inputs=(0, 1))
    core = _core.Plan([described(b) for b in (x, r, y)], (0, 1), (2,))
    with pytest.raises(ValueError, match=r"^conv_transpose: "):
        core.add("conv_transpose", step.computed_fields() | {"inputs": (0, 1), "output": 2})
