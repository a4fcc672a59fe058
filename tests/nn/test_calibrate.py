"""Calibration of graphs: which values share a grid, what data may be, how much memory it takes, and values that
were all zeros."""

import tracemalloc

import numpy as np
import pytest
import reference
from models import same_program
from samples import same_bytes

import qlite as ql
from qlite.nn.calibrate import calibrate
from qlite.nn.observe import SAMPLES_AT_ONCE
from qlite.nn.steps import Lookup
from qlite.nn.ties import ties

IMAGE = (4, 6, 2)
#: Steps of a grid that a result of a few operations on 8 bits may be off by.
FEW_STEPS = 3
METHODS = ["minmax", "percentile", "mse", "entropy"]


def samples(shape, count=50, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def conv(a, b, activation=None, **options):
    rng = np.random.default_rng([a, b])
    return ql.Conv2D(rng.normal(0, 0.3, (3, 3, a, b)), rng.normal(size=b), activation, padding="same", **options)


def grid(p):
    return p.scale.item(), p.zero_point.item(), p.bits


def grids(model, data, method="minmax", bits=None):
    return {name: grid(p) for name, p in calibrate(model, data, method, bits).items()}


def joined(p, values):
    """The grid that one array of all values has."""
    return grid(ql.Calibrator().update(np.concatenate([v.ravel() for v in values])).qparams(p))


# ---- ties -------------------------------------------------------------------------------------------


def test_what_moves_values_has_the_grid_of_what_it_reads():
    x = ql.Input(IMAGE)
    y = conv(2, 3, "relu")(x)
    z = ql.Flatten()(ql.Reshape((2, 6, 3))(ql.AveragePool(2)(ql.MaxPool(2, stride=1, padding="same")(ql.Pad(1)(y)))))
    model = ql.Model(x, z)
    assert ties(model) == {"input": "input", **dict.fromkeys(model.names, "conv2d_1")}
    found = grids(model, samples(IMAGE))
    assert len({found[name] for name in model.names}) == 1
    assert found["conv2d_1"] == joined("minmax", [model.intermediates(samples(IMAGE))["conv2d_1"]])


@pytest.mark.parametrize("method", METHODS)
def test_what_is_joined_has_one_grid(method):
    """That of the values of all parts, through what moves them."""
    x = ql.Input(IMAGE)
    a, b, c = conv(2, 3, "relu", name="a")(x), conv(2, 2, name="b")(x), ql.MaxPool(1, name="c")(x)
    inner = ql.Concatenate(name="inner")(ql.MaxPool(1, name="pool")(a), b)
    model = ql.Model(x, ql.Concatenate(name="outer")(inner, c))
    assert len(set(ties(model).values())) == 1
    found, data = grids(model, samples(IMAGE), method), samples(IMAGE)
    values = model.intermediates(data)
    assert set(found.values()) == {joined(method, [values["input"], values["a"], values["b"]])}
    quantized = ql.quantize_model(model, data=data)
    assert not any(isinstance(step, Lookup) for step in quantized.program.steps)


def test_sums_products_and_means_have_grids_of_their_own():
    x = ql.Input(IMAGE)
    a = conv(2, 2)(x)
    model = ql.Model(x, ql.GlobalAveragePool()(ql.Add()(x, a)))
    assert ties(model) == {name: name for name in ("input", *model.names)}
    found, values = grids(model, samples(IMAGE)), model.intermediates(samples(IMAGE))
    for name, array in values.items():
        assert found[name] == joined("minmax", [array])


KNOWN = {"sigmoid": (2.0**-8, 0, 8), "tanh": (2.0**-7, 128, 8)}


@pytest.mark.parametrize("size", [0.1, 1, 10])
@pytest.mark.parametrize("function", KNOWN)
def test_a_known_grid_stays_and_is_joined_by_a_table(function, size):
    """The grid of the joined values holds those of both, whichever are greater."""
    x = ql.Input((4,))
    y = ql.Activation(function, name="known")(x)
    model, data = ql.Model(x, ql.Concatenate(name="joined")(y, x)), size * samples((4,))
    found, values = grids(model, data), model.intermediates(data)
    assert found["known"] == KNOWN[function]
    assert found["joined"] == joined("minmax", [values["joined"]])
    for target in ("numpy", "tflite"):
        quantized = ql.quantize_model(model, data=data, target=target)
        tables = [step.function for step in quantized.program.steps if isinstance(step, Lookup)]
        assert tables == [function, "identity"]
        assert abs(quantized(data) - model(data)).max() < FEW_STEPS * max(found["joined"][0], found["known"][0])


@pytest.mark.parametrize("functions", [("sigmoid", "sigmoid"), ("tanh", "sigmoid")])
def test_known_grids_that_are_joined_alone(functions):
    x = ql.Input((4,))
    parts = [ql.Activation(function, name=f"part_{i}")(x) for i, function in enumerate(functions)]
    model, data = ql.Model(x, ql.Concatenate(name="joined")(*parts)), samples((4,))
    found = grids(model, data)
    assert [found[f"part_{i}"] for i in (0, 1)] == [KNOWN[function] for function in functions]
    assert found["joined"] == joined("minmax", [model(data)])
    assert abs(ql.quantize_model(model, data=data)(data) - model(data)).max() < FEW_STEPS / 128


def test_a_known_grid_goes_on_through_what_moves_it():
    x = ql.Input(IMAGE)
    y = ql.MaxPool(2, name="pool")(ql.Activation("tanh", name="known")(x))
    model = ql.Model(x, ql.Concatenate(name="joined")(y, ql.MaxPool(2, name="other")(x)))
    found, values = grids(model, 0.1 * samples(IMAGE)), model.intermediates(0.1 * samples(IMAGE))
    assert found["known"] == found["pool"] == KNOWN["tanh"]
    assert found["joined"] == found["other"] == joined("minmax", [values["known"], values["input"]])


def test_values_of_one_grid_have_one_width():
    x = ql.Input(IMAGE)
    a, b = conv(2, 2, "relu", name="a")(x), conv(2, 2, "relu", name="b")(x)
    y = ql.Concatenate(name="both")(ql.MaxPool(1, name="pool")(a), b)
    model = ql.Model(x, conv(4, 2, name="last")(y))
    quantized = ql.quantize_model(model, "w4a4", samples(IMAGE))
    widths = {b.name: b.bits for b in quantized.program.buffers}
    assert widths["input_codes"] == 8
    assert {widths[name] for name in ("a", "b", "pool", "both")} == {4}
    own = ql.quantize_model(model, "w8a8", samples(IMAGE), per_layer={"last": "w8a3"})
    assert {b.bits for b in own.program.buffers if b.name in ("a", "b", "pool", "both")} == {3}


# ---- data -------------------------------------------------------------------------------------------


def two_inputs():
    left, right = ql.Input(IMAGE, "left"), ql.Input((4,), "right")
    y = ql.Concatenate()(ql.GlobalAveragePool()(conv(2, 3, "relu")(left)), right)
    return ql.Model([left, right], ql.Dense(samples((5,), 7), name="head")(y))


@pytest.mark.parametrize("method", METHODS)
def test_data_of_any_kind_gives_the_same_grids(method, tmp_path):
    x = ql.Input(IMAGE)
    model, data = ql.Model(x, ql.Flatten()(ql.Add()(x, conv(2, 2)(x)))), samples(IMAGE, 90)
    np.save(tmp_path / "data.npy", data)
    expected = ql.quantize_model(model, data=data, method=method).program
    for given in (
        np.load(tmp_path / "data.npy", mmap_mode="r"),
        (part for part in np.split(data, [1, 40, 40])),
        iter([data[:50].astype(np.float64), data[50:].tolist()]),
        {"input": data},
        np.asfortranarray(data),
    ):
        assert same_program(ql.quantize_model(model, data=given, method=method).program, expected)


def test_several_inputs_of_any_kind_give_the_same_grids(tmp_path):
    model, left, right = two_inputs(), samples(IMAGE, 90), samples((4,), 90, 1)
    np.save(tmp_path / "left.npy", left)
    mapped = np.load(tmp_path / "left.npy", mmap_mode="r")
    expected = ql.quantize_model(model, data=(left, right)).program
    for given in (
        [left, right],
        {"right": right, "left": left},
        (mapped, right),
        {"left": mapped, "right": right.astype(np.float64)},
        ((left[i : i + 31], right[i : i + 31]) for i in range(0, 90, 31)),
        iter([{"left": left[:9], "right": right[:9]}, (left[9:], right[9:].tolist())]),
    ):
        assert same_program(ql.quantize_model(model, data=given).program, expected)


def test_more_samples_than_go_at_once():
    x = ql.Input((3,))
    model, data = ql.Model(x, ql.Dense(samples((2,), 3))(x)), samples((3,), 2 * SAMPLES_AT_ONCE + 5)
    found, values = grids(model, data), model.intermediates(data)
    assert found["input"] == joined("minmax", [data])
    parts = np.concatenate([model(data[i : i + SAMPLES_AT_ONCE]) for i in range(0, len(data), SAMPLES_AT_ONCE)])
    assert found["dense_1"] == joined("minmax", [parts])
    np.testing.assert_allclose(found["dense_1"][0], joined("minmax", [values["dense_1"]])[0], rtol=1e-5)


def test_memory_is_bounded_on_a_file(tmp_path):
    """Of the values of all samples only those of a part are there at a time, and not those behind their last reader."""
    shape, count = (64, 64, 4), 4000
    file = np.lib.format.open_memmap(tmp_path / "data.npy", "w+", np.float32, (count, *shape))
    file[::100] = samples(shape, 40)
    del file
    x = ql.Input(shape)
    y = x
    for i in range(6):
        y = ql.Add(name=f"sum_{i}")(y, x)
    model, mapped = ql.Model(x, ql.GlobalAveragePool()(y)), np.load(tmp_path / "data.npy", mmap_mode="r")
    tracemalloc.start()
    calibrate(model, mapped, "minmax")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    part = 4 * (1 << 23)  # bytes of one value
    assert peak < 5 * part < mapped.nbytes


# ---- values that were all zeros ---------------------------------------------------------------------

BETWEEN = {
    "flatten": ql.Flatten,
    "max pool": lambda: ql.MaxPool(2),
    "average pool": lambda: ql.AveragePool(2),
    "mean": ql.GlobalAveragePool,
    "pad": lambda: ql.Pad(1),
    "silu": lambda: ql.Activation("silu"),
    "sum": lambda: lambda y: ql.Add()(y, y),
    "joined": lambda: lambda y: ql.Concatenate()(y, ql.MaxPool(1)(y)),
    "given up": lambda: ql.Conv2D(-np.ones((1, 1, 3, 2)), -np.ones(2), "relu"),
}
BIAS = np.float32([0.0015, -1, 0, 2])


@pytest.mark.parametrize("target", ["numpy", "tflm", "tensorrt"])
@pytest.mark.parametrize("between", BETWEEN)
def test_zeros_that_come_through_other_layers_leave_the_bias(between, target, rng):
    """Units that training gave up have no range to keep the next bias on, nor has what is made of their results."""
    x = ql.Input(IMAGE)
    zeros = ql.Conv2D(-abs(rng.normal(size=(3, 3, 2, 3))), -np.ones(3), "relu")(x)
    y = BETWEEN[between]()(zeros)
    y = y if len(y.shape) == 1 else ql.Flatten()(y)
    model = ql.Model(x, ql.Dense(30 * rng.normal(size=(*y.shape, 4)), BIAS)(y))
    data = abs(samples(IMAGE))
    quantized = ql.quantize_model(model, data=data, target=target, output_dtype="float32")
    np.testing.assert_allclose(quantized(data), np.tile(BIAS, (50, 1)), rtol=1e-3)


def test_zeros_on_a_known_grid_keep_it(rng):
    x = ql.Input(IMAGE)
    zeros = ql.Conv2D(-abs(rng.normal(size=(3, 3, 2, 3))), -np.ones(3), "relu")(x)
    y = ql.MaxPool(2, name="pool")(ql.Activation("tanh", name="known")(zeros))
    model = ql.Model(x, ql.Dense(rng.normal(size=(6, 4)), BIAS)(ql.Flatten()(y)))
    found = grids(model, abs(samples(IMAGE)))
    assert found["known"] == found["pool"] == KNOWN["tanh"]


def test_zeros_beside_values_have_their_grid(rng):
    x = ql.Input((4,))
    zeros = ql.Dense(-np.ones((4, 3)), -np.ones(3), "relu", name="zeros")(x)
    y = ql.Concatenate(name="both")(zeros, x)
    model, data = ql.Model(x, ql.Dense(rng.normal(size=(7, 4)), BIAS)(y)), abs(samples((4,)))
    found = grids(model, data)
    assert found["zeros"] == found["both"] == found["input"] == joined("minmax", [data])


# ---- outputs in float -------------------------------------------------------------------------------


def heads(rng):
    """Two heads of different size on two maps, joined as those of a detector; samples."""
    x = ql.Input((8, 8, 3))
    maps = [conv(3, 6, "relu", name="map_0")(x)]
    maps.append(ql.MaxPool(2, name="map_1")(maps[0]))
    joined = [
        ql.Concatenate(axis=0, name=name)(
            *(
                ql.Reshape((-1, n))(ql.Conv2D(rng.normal(size=(1, 1, 6, n)), name=f"{name}_{i}")(y))
                for i, y in enumerate(maps)
            )
        )
        for name, n in (("boxes", 4), ("scores", 2))
    ]
    return ql.Model(x, [joined[0], ql.Activation("sigmoid", name="sure")(joined[1])]), samples((8, 8, 3))


def test_joined_outputs_stay_in_float(rng):
    """No grid lies between the last products and what the model gives."""
    model, data = heads(rng)
    quantized = ql.quantize_model(model, data=data)
    dtypes = {b.name: b.dtype for b in quantized.program.buffers}
    floats = ("boxes_0", "boxes_1", "boxes", "scores_0", "scores_1", "scores", "sure")
    assert {dtypes[name] for name in floats} == {"float32"} and dtypes["map_1"] == "uint8"
    assert not any(step.kind == "dequantize" for step in quantized.program.steps)
    expected = reference.evaluate(quantized.program, data)
    for value, other in zip(quantized.intermediates(data).values(), expected, strict=True):
        same_bytes(value, other)
    codes = quantized.retarget("numpy", output_dtype="integer")
    exact = model(data)
    for of_floats, of_codes, expected in zip(quantized(data), codes(data), exact, strict=True):
        assert ql.metrics.sqnr_db(expected, of_floats) > ql.metrics.sqnr_db(expected, of_codes)


@pytest.mark.parametrize("target", ["onnx", "tflite", "tflm"])
def test_joined_outputs_in_float_know_their_grids(target, rng):
    model, data = heads(rng)
    quantized, other = ql.quantize_model(model, data=data), ql.quantize_model(model, data=data, target=target)
    assert same_program(quantized.retarget(target).program, other.program)
    assert same_program(other.retarget("numpy").program, quantized.program)


def test_what_else_reads_a_joined_value_keeps_it_on_its_grid(rng):
    x = ql.Input((4,))
    parts = [ql.Dense(rng.normal(size=(4, 3)), name=f"part_{i}")(x) for i in range(2)]
    model = ql.Model(
        x, [ql.Concatenate(name="joined")(*parts), ql.Dense(rng.normal(size=(3, 2)), name="end")(parts[1])]
    )
    dtypes = {b.name: b.dtype for b in ql.quantize_model(model, data=samples((4,))).program.buffers}
    assert [dtypes[name] for name in ("part_0", "part_1", "joined", "end")] == ["uint8", "uint8", "uint8", "float32"]
