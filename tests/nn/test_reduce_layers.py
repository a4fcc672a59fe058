"""Reductions and vectors of length 1 as layers: against NumPy, gradients, what they refuse, files, all schemes."""

import pickle
import re
from itertools import combinations

import numpy as np
import pytest
import reference
from gradients import check_gradients
from samples import same_bytes

import qlite as ql

LAYERS = {ql.Mean: np.mean, ql.Sum: np.sum, ql.Max: np.max, ql.Min: np.min}
NO_RNG = np.random.default_rng(0)
#: One rounding to float32.
ROUNDED = 2.0**-23


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def of_samples(axes, shape):
    return tuple(axis + 1 if axis >= 0 else axis for axis in axes)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_reductions_are_those_of_numpy(rng, layer, keepdims):
    for shape in ((5,), (4, 3), (3, 4, 5), (2, 3, 4, 5), (1, 7, 1)):
        x = normal(rng, 3, *shape)
        for n in range(1, len(shape) + keepdims):
            for axes in combinations(range(len(shape)), n):
                axes = tuple(axis - len(shape) * int(rng.integers(2)) for axis in axes)
                made = layer(axes, keepdims)
                y, along = made(x), of_samples(axes, shape)
                dtype = {"dtype": np.float64} if layer in (ql.Mean, ql.Sum) else {}
                np.testing.assert_allclose(
                    y, LAYERS[layer](x, along, keepdims=keepdims, **dtype), rtol=ROUNDED, atol=1e-7
                )
                assert y.dtype == np.float32 and made.infer(shape) == y.shape[1:]
                same_bytes(made.forward(x, rng=NO_RNG)[0], y)
                assert made(x[:0]).shape == (0, *y.shape[1:])
    one = layer(1)(normal(rng, 2, 3, 4, 5).transpose(0, 2, 1, 3))
    assert one.shape == (2, 4, 5)


@pytest.mark.parametrize("shape", [(5, 7, 6, 3), (2, 9, 4), (3, 4), (2, 3, 2, 3, 2), (0, 4, 4, 2), (2, 1, 1, 1)])
def test_pools_over_images(rng, shape):
    x, axes = normal(rng, *shape), tuple(range(1, len(shape) - 1))
    same_bytes(ql.GlobalMaxPool()(x), x.max(axis=axes))
    for layer in (ql.GlobalMaxPool, ql.GlobalAveragePool):
        kept = layer(keepdims=True)
        same_bytes(kept(x).reshape(len(x), shape[-1]), layer()(x))
        assert kept(x).shape[1:] == kept.infer(shape[1:]) == (1,) * len(axes) + shape[-1:]
    if axes:
        same_bytes(ql.Mean([a - 1 for a in axes])(x), ql.GlobalAveragePool()(x))


def test_vectors_have_length_1(rng):
    x = normal(rng, 4, 3, 70) * np.float32([1, 1e-15, 1e20, 0]).reshape(4, 1, 1)
    y = ql.L2Normalize()(x)
    lengths = np.linalg.norm(x.astype(np.float64), axis=-1, keepdims=True)
    np.testing.assert_allclose(y, x / np.maximum(lengths, 1e-6), rtol=1e-6)
    assert (y[3] == 0).all() and ql.L2Normalize().infer((3, 70)) == (3, 70)


# ---- gradients --------------------------------------------------------------------------------------


def smooth():
    yield ql.Mean(0), (3, 4, 2)
    yield ql.Mean((0, -1), True), (3, 4, 2)
    yield ql.Sum(1), (3, 4, 2)
    yield ql.Sum((0, 2), keepdims=True), (3, 4, 2)
    yield ql.GlobalAveragePool(keepdims=True), (3, 4, 2)
    yield ql.L2Normalize(), (3, 4)
    yield ql.L2Normalize(), (5,)


def test_gradients(rng):
    for layer, shape in smooth():
        x = normal(rng, 2, *shape)
        check_gradients(layer, (x,), normal(rng, *layer(x).shape))


def test_gradients_of_extremes(rng):
    for layer in (
        ql.Max(0),
        ql.Min((0, 2)),
        ql.Max((0, -1), True),
        ql.GlobalMaxPool(),
        ql.GlobalMaxPool(keepdims=True),
    ):
        x = rng.permutation(48).reshape(2, 3, 4, 2).astype(np.float32)  # steps do not reach the next
        check_gradients(layer, (x,), normal(rng, *layer(x).shape))


def test_of_equal_extremes_the_first_gets_the_gradient():
    for layer in (ql.Max((0, 1)), ql.Min((0, 1)), ql.GlobalMaxPool()):
        saved = layer.forward(np.zeros((1, 2, 2, 1), np.float32), rng=NO_RNG)[1]
        ((dx,), _) = layer.backward(saved, np.full((1, 1), 3, np.float32))
        assert dx.ravel().tolist() == [3, 0, 0, 0]
        assert layer.backward(saved, np.ones((1, 1), np.float32), needs_input=False) == (None, {})


def test_the_gradient_of_a_vector_that_has_no_length():
    layer, x = ql.L2Normalize(), np.zeros((1, 2), np.float32)
    ((dx,), _) = layer.backward(layer.forward(x, rng=NO_RNG)[1], np.float32([[1e-6, -2e-6]]))
    np.testing.assert_allclose(dx, [[1, -2]], rtol=1e-6)


# ---- options ----------------------------------------------------------------------------------------

TEXTS = {
    "Mean(0)": ql.Mean(0),
    "Mean((0, -1), keepdims)": ql.Mean([0, np.int64(-1)], keepdims=True),
    "Sum(-1)": ql.Sum(-1),
    "Max((0, 1))": ql.Max((0, 1)),
    "Min(2, keepdims)": ql.Min(2, True),
    "GlobalAveragePool()": ql.GlobalAveragePool(),
    "GlobalAveragePool(keepdims)": ql.GlobalAveragePool(keepdims=True),
    "GlobalMaxPool(keepdims)": ql.GlobalMaxPool(keepdims=True),
    "L2Normalize()": ql.L2Normalize(),
}


@pytest.mark.parametrize("text", TEXTS)
def test_layers_are_made_again_of_their_options(rng, text):
    layer, x = TEXTS[text], normal(rng, 2, 3, 4, 5)
    assert repr(layer) == text and type(layer).__module__ == "qlite"
    again = type(layer)(**{name: getattr(layer, name) for name in layer.options}, name="again")
    for copy in (again, pickle.loads(pickle.dumps(layer))):
        assert repr(copy) == text
        same_bytes(copy(x), layer(x))


REFUSED = """
axes Mean(())
axes Sum("channels")
axes Max(1.0)
axes Min((0, 0))
axes Mean((0, True))
keepdims Mean(0, 1)
keepdims GlobalAveragePool(keepdims=None)
name Max(0, name="")
name L2Normalize(name=3)
"""


@pytest.mark.parametrize("case", REFUSED.strip().splitlines())
def test_bad_arguments(case):
    name, call = case.split(maxsplit=1)
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(call, {key: getattr(ql, key) for key in ql.__all__})
    assert re.match(rf"{name}: expected .*, got ", str(raised.value)), str(raised.value)


BAD_SAMPLES = {
    r"expected samples that have the axes \(2,\), none of length 0, got \(3, 4\)": (ql.Mean(2), (3, 4)),
    r"expected samples that have the axes \(0, -2\), none of length 0, got \(3, 4\)": (ql.Max((0, -2)), (3, 4)),
    r"expected samples that have the axes \(0,\), none of length 0, got \(0, 4\)": (ql.Min(0), (0, 4)),
    r"expected samples that have axes beside \(0, 1\), or keepdims, got \(3, 4\)": (ql.Sum((0, 1)), (3, 4)),
    r"expected samples of shape \(\.\.\., channels\) without zeros, got \(0, 3\)": (ql.GlobalMaxPool(), (0, 3)),
    r"expected samples of shape \(\.\.\., channels\) without zeros, got \(3, 0\)": (ql.L2Normalize(), (3, 0)),
}


@pytest.mark.parametrize("message", BAD_SAMPLES)
def test_bad_samples(message):
    layer, shape = BAD_SAMPLES[message]
    with pytest.raises(ValueError, match=f"^{message}"):
        layer.infer(shape)
    with pytest.raises(ValueError, match=f"^x: {message}"):
        layer(np.ones((2, *shape)))


# ---- quantized --------------------------------------------------------------------------------------


def network(rng):
    """Each of them behind and before products."""
    x = ql.Input((6, 5, 4))
    y = ql.Conv2D(normal(rng, 3, 3, 4, 8) / 6, normal(rng, 8), "relu", padding="same")(x)
    z = ql.Conv2D(normal(rng, 1, 1, 8, 8) / 3)(ql.GlobalAveragePool(keepdims=True)(y))
    flat = ql.Flatten()(z)
    parts = [flat, ql.GlobalMaxPool()(y), ql.Max((0, 1))(y), ql.Mean((0, 2))(y), ql.Min(-1)(ql.Sum(0)(y))]
    hidden = ql.Dense(normal(rng, 34, 16) / 6, normal(rng, 16))(ql.Concatenate()(*parts))
    return ql.Model(x, ql.L2Normalize()(hidden)), normal(rng, 60, 6, 5, 4)


SCHEMES = {"w8a8": 20, "w4a8": 10, "w4a4": 3, "dynamic": 25, "w8": 30, "w4g32": 12}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme(tmp_path, rng, scheme):
    model, x = network(rng)
    qm = ql.quantize_model(model, scheme, x)
    expected, y = model(x), qm(x)
    assert y.dtype == np.float32
    assert ql.metrics.sqnr_db(expected, y) > SCHEMES[scheme]
    same_bytes(y, reference.evaluate(qm.program, x)[qm.program.outputs[0]])
    qm.save(tmp_path / "q.qlite")
    same_bytes(ql.load(tmp_path / "q.qlite")(x), y)
    model.save(tmp_path / "m.qlite")
    same_bytes(ql.load(tmp_path / "m.qlite")(x), expected)
    same_bytes(pickle.loads(pickle.dumps(qm))(x), y)


@pytest.mark.parametrize("target", ["numpy", "tflite", "tflm", "c", "onnx", "tensorrt"])
def test_every_target(rng, target):
    model, x = network(rng)
    qm = ql.quantize_model(model, "w8a8", x, target=target)
    again = ql.quantize_model(model, "w8a8", x).retarget(target)
    y = qm(x)
    assert ql.metrics.sqnr_db(model(x), y) > 18
    for made in (qm, again):
        buffers, steps = made.program.buffers, made.program.steps
        same_bytes(made(x), reference.evaluate(made.program, x)[made.program.outputs[0]])
        (last,) = [step for step in steps if step.kind == "l2_normalize"]
        grid = buffers[last.output]
        assert (grid.scale, grid.zero_point - grid.code_range[0]) == (1 / 128, 128)
        assert grid.is_codes == (target != "numpy")
        rules = {step.requant for step in steps if hasattr(step, "requant")}
        assert rules == {"fixed" if target in ("tflm", "c") else "float"}


def test_extremes_stay_on_their_grid(rng):
    model, x = network(rng)
    qm = ql.quantize_model(model, "w8a8", x)
    buffers = qm.program.buffers
    for step in qm.program.steps:
        (source, *_), target = (buffers[i] for i in step.inputs), buffers[step.output]
        if step.kind in ("reduce_max", "reduce_min"):
            assert (source.scale, source.zero_point) == (target.scale, target.zero_point)
