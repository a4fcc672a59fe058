"""Layers of two inputs that broadcast, and constants: what they compute, their gradients, graphs and files with layers
that read nothing, and quantized networks with gates of channels."""

import pickle

import numpy as np
import pytest
import reference
from gradients import check_gradients
from samples import same_bytes

import qlite as ql
from qlite.nn.layers.layer import KINDS

NO_RNG = np.random.default_rng(0)
LAYERS = {ql.Add: np.add, ql.Subtract: np.subtract, ql.Multiply: np.multiply}
SHAPES = [
    ((2, 3, 4), (2, 3, 4)),
    ((2, 3, 4), (1, 1, 4)),
    ((4,), (2, 3, 4)),
    ((2, 3, 1), (2, 1, 4)),
    ((1,), (3, 2)),
    ((1, 1), (5,)),
]


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("kind", LAYERS)
def test_samples_that_broadcast(rng, kind, shapes):
    """As NumPy broadcasts each sample by itself; the layer's gradients are those of differences."""
    for first, second in (shapes, shapes[::-1]):
        a, b = normal(rng, 3, *first), normal(rng, 3, *second)
        expected = np.stack([LAYERS[kind](x, y) for x, y in zip(a, b, strict=True)])
        same_bytes(kind()(a, b), expected)
        assert kind().infer(first, second) == expected.shape[1:]
        for activation in ("relu", "relu6"):
            same_bytes(kind(activation)(4 * a, b), ql.Activation(activation)(kind()(4 * a, b)))
        check_gradients(kind(), (a, b), normal(rng, *expected.shape))


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_of_both_inputs_are_arrays_of_their_own(rng, kind):
    """Each is written over by what reads it."""
    for activation in (None, "relu"):
        a, b, layer = normal(rng, 3, 4), normal(rng, 3, 4), kind(activation)
        of_inputs, _ = layer.backward(layer.forward(a, b, rng=NO_RNG)[1], np.ones_like(a))
        assert not np.shares_memory(*of_inputs)
        assert layer.backward(layer.forward(a, b, rng=NO_RNG)[1], np.ones_like(a), False) == (None, {})


def test_an_array_beside_a_symbol_is_a_constant(rng):
    x, v = ql.Input((3, 4)), rng.normal(size=4)
    samples = normal(rng, 5, 3, 4)
    for symbol, expected in (
        (ql.Add()(x, v), samples + np.float32(v)),
        (ql.Subtract()(1, x), 1 - samples),
        (ql.Multiply()(np.float64(0.5), x), samples * np.float32(0.5)),
        (ql.Multiply()([x, v]), samples * np.float32(v)),
    ):
        model = ql.Model(x, symbol)
        assert [layer.kind for layer in model.layers].count("constant") == 1
        same_bytes(model(samples), expected)
    with pytest.raises(TypeError, match=r"x: expected what Input\(\) and called layers give, got 'two'"):
        ql.Add()(x, "two")
    with pytest.raises(TypeError, match=r"value: expected a real floating dtype, got int64"):
        ql.Add()(x, np.arange(4))
    with pytest.raises(ValueError, match=r"layer Add\(\): expected samples of shapes that broadcast, got .* gives"):
        ql.Add()(x, rng.normal(size=3))


REFUSED = """
value Constant(np.array([1, 2]))
value Constant("one")
value Constant([np.nan])
value Constant(np.zeros((2, 0)))
value Constant(np.zeros((1, 1, 1, 1, 2)))
name Constant([1.0], name=3)
activation Multiply("tanh")
activation Subtract("softmax")
x Constant([1.0])(Input((3,)))
inputs Model(Input((3,)), Constant([1.0])())
layer Model({"x": (3,)}, "y", nodes=[("c", Constant([1.0]), "x"), ("y", Add(), ("x", "c"))])
"""


@pytest.mark.parametrize("case", REFUSED.strip().splitlines())
def test_bad_arguments(case):
    name, call = case.split(maxsplit=1)
    with pytest.raises((TypeError, ValueError), match=rf"^{name}( '\w+')?: .*expected .*got "):
        eval(call, {"np": np, **{key: getattr(ql, key) for key in ql.__all__}})


def test_constants_alone(rng):
    layer = ql.Constant(0.25, name="quarter")
    assert (layer.value, layer.infer(), repr(layer)) == (np.float32([0.25]), (1,), "Constant((1,))")
    value = rng.normal(size=(2, 3))
    layer = ql.Constant(value)
    same_bytes(layer.compute_for(4), np.repeat(np.float32(value)[None], 4, axis=0))
    same_bytes(pickle.loads(pickle.dumps(layer)).value, layer.value)
    again = KINDS["constant"](**layer.statistics, name="again")
    same_bytes(again.value, layer.value)


def test_a_constant_is_joined_padded_and_flattened(rng):
    """Where it has to have as many samples as others."""
    x, v = ql.Input((2, 3)), rng.normal(size=(2, 2))
    joined = ql.Concatenate()(x, ql.Constant(v)())
    model = ql.Model(x, ql.Add()(ql.Flatten()(joined), ql.Flatten()(ql.Constant(np.ones((2, 5)))())))
    for count in (0, 1, 4):
        samples = normal(rng, count, 2, 3)
        expected = np.concatenate([samples, np.broadcast_to(np.float32(v), (count, 2, 2))], axis=2) + 1
        same_bytes(model(samples), expected.reshape(count, 10))
    x = normal(rng, 40, 2, 3)
    qm = ql.quantize_model(model, "w8a8", data=x)
    assert ql.testing is not None and np.abs(qm(x) - model(x)).max() < 0.05


# ---- networks -----------------------------------------------------------------------------------------


def gated(rng):
    """Squeeze and excite, a shifted and scaled image, a mask of pixels."""
    x = ql.Input((6, 5, 3))
    y = ql.Conv2D(rng.normal(0, 0.3, (3, 3, 3, 20)), None, "relu", padding="same")(ql.Subtract()(x, 0.5))
    gate = ql.Reshape((1, 1, 20))(ql.GlobalAveragePool()(y))
    gate = ql.Conv2D(rng.normal(0, 0.3, (1, 1, 20, 8)), None, "relu")(gate)
    gate = ql.Conv2D(rng.normal(0, 0.3, (1, 1, 8, 20)), None, "sigmoid")(gate)
    y = ql.Multiply("relu6")(y, gate)
    mask = ql.Conv2D(rng.normal(0, 0.3, (1, 1, 20, 1)), None, "sigmoid")(y)
    y = ql.Subtract()(ql.Multiply()(mask, y), ql.Constant(rng.normal(size=(6, 5, 1)))())
    y = ql.Concatenate()(y, ql.Constant(np.full((6, 5, 2), 0.3))())
    return ql.Model(x, ql.Dense(rng.normal(0, 0.2, (22, 4)))(ql.GlobalAveragePool()(y)))


def test_networks_with_gates_in_every_scheme(isa, rng):
    """The core's bytes are the reference's; for every target, and from a file."""
    model, x = gated(rng), normal(rng, 30, 6, 5, 3)
    expected = model(x)
    for scheme, options, least in [
        ("w8a8", {"data": x}, 25),
        ("w4a4", {"data": x}, 0),
        ("w8", {}, 35),
        ("dynamic", {}, 25),
        ("w4g32a8", {"data": x}, 10),
    ]:
        qm = ql.quantize_model(model, scheme, **options)
        assert ql.metrics.sqnr_db(expected, qm(x)) > least
        if scheme in ("w8a8", "w4a4"):
            same_bytes(qm(x), reference.evaluate(qm.program, x)[qm.program.outputs[0]])
    qm = ql.quantize_model(model, "w8a8", data=x)
    for target in ("onnx", "tflite", "tflm", "c", "tensorrt"):
        moved = qm.retarget(target)
        same_bytes(moved(x), reference.evaluate(moved.program, x)[moved.program.outputs[0]])
        assert ql.metrics.sqnr_db(expected, moved(x)) > 20


def test_files_and_pickles_of_networks_with_constants(rng, tmp_path):
    model, x = gated(rng), normal(rng, 10, 6, 5, 3)
    qm = ql.quantize_model(model, "w8a8", data=x)
    for made, name in ((model, "float"), (qm, "quantized")):
        made.save(tmp_path / name)
        same_bytes(ql.load(tmp_path / name)(x), made(x))
        same_bytes(pickle.loads(pickle.dumps(made))(x), made(x))
    assert len(ql.compare(model, qm, x).layers) >= 5
    assert "constant_1" in str(model.summary())


def test_constants_of_symmetric_grids(rng):
    """One value takes no more than half a step of the grid that it has there."""
    x = ql.Input((3,))
    for value in (0.25, -3.0, 1e-5, rng.normal(size=3)):
        y = ql.Dense(np.ones((3, 2)))(ql.Add("relu")(ql.MaxPool(1)(ql.Reshape((1, 3))(x)), value))
        qm = ql.quantize_model(ql.Model(x, y), "w8a8", data=normal(rng, 50, 3)).retarget("tensorrt")
        (step,) = [s for s in qm.program.steps if s.kind == "constant"]
        b = qm.program.buffers[step.output]
        got = qm.program.values(b, step.value, {})
        assert (b.dtype, b.zero_point) == ("int8", 0)
        assert np.abs(got - np.float32(value)).max() <= 1.01 * b.scale


@pytest.mark.parametrize("scheme", [None, "w8a8", "w4a4"])
def test_training_of_networks_with_gates(rng, scheme):
    """The trained model is deployed as it was trained; constants stay."""
    model, x = gated(rng), normal(rng, 60, 6, 5, 3)
    before = [layer.value.copy() for layer in model.layers if isinstance(layer, ql.Constant)]
    trained = ql.train(model, x, rng.integers(0, 4, 60), epochs=2, batch_size=20, progress=False, scheme=scheme)
    after = [layer.value for layer in trained.layers if isinstance(layer, ql.Constant)]
    assert len(after) >= 2
    for value in after:
        assert any(np.array_equal(value, old) for old in before)
    if scheme is not None:
        qm = ql.quantize_model(trained)
        same_bytes(qm(x), reference.evaluate(qm.program, x)[qm.program.outputs[0]])
        assert ql.metrics.sqnr_db(trained(x), qm(x)) > (20 if scheme == "w8a8" else 3)
