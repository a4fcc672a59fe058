"""Models that take bytes: the same codes as of these numbers in float32, through every scheme and target, files and
reports; and what they refuse."""

import pickle

import numpy as np
import pytest
import reference
from models import TARGETS, same_program
from samples import LAYOUTS, same_bytes

import qlite as ql
from qlite.nn.fuse import fuse
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Dequantize

SHAPE = (6, 5, 3)
SCHEMES = ["w8a8", "w4a4", "ternary", "dynamic", "w8", "w4g8a8"]
#: A mean and a scale for each channel, one for all, and none.
FIRST = {
    "of each channel": {"mean": np.float32([120, 99.5, 130]), "scale": np.float32([50, 61.3, 0.7])},
    "scale alone": {"scale": np.full(3, 255, np.float32)},
    "none": {},
}


def network(rng, **first):
    """A graph that reads its input twice."""
    x = ql.Input(SHAPE)
    weight = rng.normal(0, 0.3, (3, 3, 3, 3))
    y = ql.Conv2D(weight if first else weight / 100, rng.normal(size=3), "relu", padding="same")(x)
    y = ql.GlobalAveragePool()(ql.Concatenate()(ql.Add()(x, y), ql.MaxPool(1)(x)))
    return ql.Model(x, ql.Dense(rng.normal(size=(6, 4)), rng.normal(size=4))(y), **first)


def images(rng, count=30):
    """Bytes, in some channels not all of them."""
    x = rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    x[..., 1] //= 3
    return x


def both(rng, scheme="w8a8", first="of each channel", **options):
    """The model of bytes and that of floats; bytes."""
    model, x = network(rng, **FIRST[first]), images(rng)
    floats = ql.quantize_model(model, scheme, x.astype(np.float32), **options)
    return ql.quantize_model(model, scheme, x, input_dtype="uint8", **options), floats, x


# ---- the numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("scheme, target", [(s, "numpy") for s in SCHEMES] + [("w8a8", t) for t in TARGETS[1:]])
def test_the_codes_are_those_of_floats(isa, rng, scheme, target, first):
    of_bytes, of_floats, x = both(rng, scheme, first, target=target)
    got, expected = of_bytes.intermediates(x), of_floats.intermediates(x.astype(np.float32))
    same_bytes(got.pop("input"), x)
    same_bytes(got.pop("input_values"), expected.pop("input"))
    assert list(got) == list(expected)
    for name, values in got.items():
        same_bytes(values, expected[name])
    same_bytes(of_bytes(x), of_floats(x.astype(np.float32)))
    of_reference = reference.evaluate(of_bytes.program, x)
    same_bytes(of_bytes(x), of_reference[of_bytes.program.outputs[0]])


@pytest.mark.parametrize("first", FIRST)
def test_every_byte_has_the_code_of_its_number(rng, first):
    of_bytes, *_ = both(rng, first=first)
    x = np.zeros((256, *SHAPE), np.uint8) + np.arange(256, dtype=np.uint8)[:, None, None, None]
    values = x.astype(np.float32)
    if FIRST[first]:
        mean, scale = FIRST[first].get("mean", np.zeros(3, np.float32)), FIRST[first]["scale"]
        values = (values - mean) / scale
    buffer = next(b for b in of_bytes.program.buffers if b.name == "input_codes")
    grid = ql.QParams(np.float32([buffer.scale]), np.array([buffer.zero_point]), 8, signed=False)
    same_bytes(of_bytes.intermediates(x)["input_codes"], ql.quantize(values, grid).codes)


def test_the_input_is_a_buffer_of_bytes(rng):
    of_bytes, of_floats, _ = both(rng)
    program = of_bytes.program
    assert program.buffers[program.inputs[0]] == Buffer("input", "input", SHAPE, "uint8", 1.0, 0)
    assert isinstance(program.steps[0], Dequantize)
    assert (of_bytes.input_dtype, of_floats.input_dtype) == ("uint8", "float32")
    assert of_bytes.input_qparams is None
    assert of_bytes.nbytes == of_floats.nbytes
    assert "dequantize: input uint8 -> input_values float32[6, 5, 3]" in repr(of_bytes)


def test_several_inputs(rng):
    left, right = ql.Input((4,), "left"), ql.Input((4,), "right")
    model = ql.Model([left, right], ql.Dense(rng.normal(size=(4, 3)))(ql.Add()(left, right)))
    x = tuple(rng.integers(0, 256, (2, 20, 4), dtype=np.uint8))
    floats = tuple(array.astype(np.float32) for array in x)
    expected = ql.quantize_model(model, data=floats)
    for data in (x, list(x), {"left": x[0], "right": x[1]}, floats, iter([x])):
        of_bytes = ql.quantize_model(model, data=data, input_dtype="uint8")
        same_bytes(of_bytes(x), expected(floats))
        same_bytes(of_bytes({"right": x[1], "left": x[0]}), expected(floats))


@pytest.mark.parametrize("layout", set(LAYOUTS) - {"byte_swapped"})
def test_bytes_of_any_layout(rng, layout):
    of_bytes, _, x = both(rng)
    same_bytes(of_bytes(LAYOUTS[layout](x)), of_bytes(x))


def test_threads_and_batches_change_no_bit(rng):
    of_bytes, _, x = both(rng)
    expected, many = of_bytes(x), np.tile(x, (20, 1, 1, 1))
    try:
        for threads in (1, 2):
            ql.set_num_threads(threads)
            same_bytes(of_bytes(many), np.tile(expected, (20, 1)))
            same_bytes(np.concatenate([of_bytes(x[i : i + 7]) for i in range(0, 30, 7)]), expected)
    finally:
        ql.set_num_threads(None)


def test_data_in_any_form_gives_the_same_grids(rng, tmp_path):
    model, x = network(rng, **FIRST["of each channel"]), images(rng)
    np.save(tmp_path / "x.npy", x)
    expected = ql.quantize_model(model, data=x, input_dtype="uint8").program
    for data in (x.astype(np.float64), np.load(tmp_path / "x.npy", mmap_mode="r"), iter([x[:9], x[9:]]), {"input": x}):
        assert same_program(ql.quantize_model(model, data=data, input_dtype="uint8").program, expected)


@pytest.mark.parametrize("first", ["of each channel", "none"])
def test_models_that_bring_their_own_scales(rng, first):
    x, y = images(rng), rng.integers(0, 4, 30)
    options = {"scheme": "w8a8", "epochs": 1, "batch_size": 10, "progress": False}
    trained = ql.train(network(rng, **FIRST[first]), x.astype(np.float32), y, **options)
    of_bytes = ql.quantize_model(trained, input_dtype="uint8")
    same_bytes(of_bytes(x), ql.quantize_model(trained)(x.astype(np.float32)))


# ---- where it goes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("target", TARGETS)
def test_targets(rng, target, first):
    model, x = network(rng, **FIRST[first]), images(rng)
    direct = ql.quantize_model(model, data=x, input_dtype="uint8")
    moved = direct.retarget(target)
    made = ql.quantize_model(model, data=x, input_dtype="uint8", target=target)
    assert same_program(moved.program, made.program)
    assert moved.input_dtype == "uint8"
    if target != "tensorrt":
        assert same_program(moved.retarget("numpy").program, direct.program)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_files_and_pickles(rng, scheme, tmp_path):
    of_bytes, _, x = both(rng, scheme)
    of_bytes.save(tmp_path / "model.qlite")
    for other in (ql.load(tmp_path / "model.qlite"), pickle.loads(pickle.dumps(of_bytes))):
        assert same_program(other.program, of_bytes.program)
        assert other.input_dtype == "uint8"
        same_bytes(other(x), of_bytes(x))


def test_labels_and_figures(rng):
    of_bytes, of_floats, x = both(rng)
    floats = x.astype(np.float32)
    same_bytes(of_bytes.predict(x), of_floats.predict(floats))
    same_bytes(of_bytes.predict_proba(x), of_floats.predict_proba(floats))
    y = rng.integers(0, 4, 30)
    assert of_bytes.evaluate(x, y) == of_floats.evaluate(floats, y)


def test_reports(rng):
    of_bytes, of_floats, x = both(rng)
    model = network(np.random.default_rng(list(b"test_reports")), **FIRST["of each channel"])
    reports = [ql.compare(model, of_bytes, x), ql.compare(model, of_bytes, x.astype(np.float32))]
    reports.append(ql.compare(model, of_floats, x.astype(np.float32)))
    assert len({report.sqnr_db for report in reports}) == 1
    assert [layer.name for layer in reports[0].layers] == fuse(model).names
    with pytest.raises(ValueError, match=r"^x: expected bytes, or floats that are, got \d+\.5"):
        ql.compare(model, of_bytes, x.astype(np.float32) + np.float32(0.5))


# ---- bad input --------------------------------------------------------------------------------------


def test_what_is_refused(rng):
    of_bytes, of_floats, x = both(rng)
    model = network(rng)
    for error, message, call in [
        (TypeError, r"^x: expected .*uint8, got float32", lambda: of_bytes(x.astype(np.float32))),
        (TypeError, r"^x: expected .*uint8, got int8", lambda: of_bytes(x.view(np.int8))),
        (TypeError, r"^x: expected .*uint8", lambda: of_bytes(x.tolist())),
        (ValueError, r"^x: expected shape", lambda: of_bytes(x[0])),
        (ValueError, r"^x: expected bytes, got QArray", lambda: of_bytes(ql.quantize(x.astype(np.float32)))),
        (TypeError, r"^x: expected a real floating dtype, got uint8", lambda: of_floats(x)),
        (
            TypeError,
            r"^data: .* got uint8 .*; input_dtype='uint8' is for bytes$",
            lambda: ql.quantize_model(model, data=x),
        ),
        (
            ValueError,
            r"^data: batch 1: expected 0 to 255, got -1\.0 to -1\.0",
            lambda: ql.quantize_model(model, data=iter([x, -np.ones((1, *SHAPE))]), input_dtype="uint8"),
        ),
        (ValueError, r"^input_dtype: .*got 'int8'", lambda: ql.quantize_model(model, data=x, input_dtype="int8")),
        (ValueError, r"^input_dtype: ", lambda: ql.quantize_model(model, data=x, input_dtype=np.uint8)),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_a_layer_may_be_called_like_the_values_of_another_input(rng):
    """Names of the program are reserved for the inputs that the model has."""
    x = ql.Input((4,), "x")
    with pytest.raises(ValueError, match=r"^layers: expected names that no other buffer has, got \['x_values'\]"):
        ql.Model(x, ql.Dense(rng.normal(size=(4, 3)), name="x_values")(x))
    y = ql.Input((4,), "y")
    model = ql.Model(y, ql.Dense(rng.normal(size=(4, 3)), name="x_values")(y))
    data = rng.integers(0, 256, (9, 4), dtype=np.uint8)
    assert ql.quantize_model(model, data=data, input_dtype="uint8")(data).shape == (9, 3)


def test_a_program_that_only_tells_what_bytes_stand_for(isa, rng):
    buffers = [Buffer("input", "input", (7,), "uint8", 1.0, 0), Buffer("y", "y", (7,), "float32")]
    model = ql.QModel(Program(buffers, [Dequantize((0,), 1)]), scheme="w8a8", target="numpy", task="regression")
    x = rng.integers(0, 256, (5, 7), dtype=np.uint8)
    same_bytes(model(x), x.astype(np.float32))
