"""Conv2DTranspose: by its definition, its gradients, in every scheme, for every target, trained, LiteRT's bytes."""

import pickle
import re

import litert
import numpy as np
import pytest
import reference
from gradients import check_gradients
from litert_file import Operator, Tensor
from litert_file import model as file_of
from samples import same_bytes

import qlite as ql
from qlite.nn.fuse import fuse
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import ConvTranspose, ConvTransposeF32, QuantizeDynamic

UNIT = 2.0**-24
#: Kernel, stride, padding, output padding.
OPTIONS = {
    "2 x 2 by 2": ((2, 2), 2, "valid", 0),
    "3 x 3 by 2, same": ((3, 3), 2, "same", 0),
    "4 x 4 by 2": ((4, 4), 2, 1, 0),
    "3 x 3": ((3, 3), 1, 1, 0),
    "a pixel": ((1, 1), 1, 0, 0),
    "a pixel by 2, same": ((1, 1), 2, "same", 0),
    "a pixel by 3, same and more": ((1, 1), 3, "same", 2),
    "5 x 2 by 3 x 1": ((5, 2), (3, 1), ((2, 1), (0, 1)), (2, 0)),
    "1 x 4 by 2": ((1, 4), 2, ((0, 0), (3, 2)), 1),
}


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def made(rng, name, channels=3, filters=5, activation=None):
    kernel, stride, padding, more = OPTIONS[name]
    options = {"stride": stride, "padding": padding, "output_padding": more}
    return ql.Conv2DTranspose(normal(rng, *kernel, channels, filters), normal(rng, filters), activation, **options)


# ---- what it computes -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 6, 7, 3), (1, 2, 3, 3), (5, 3, 2, 3)], ids=str)
@pytest.mark.parametrize("name", OPTIONS)
def test_it_is_the_sum_of_its_definition(rng, name, shape):
    """Each pixel adds its product with the kernel to the result, from its place on."""
    layer, x = made(rng, name), normal(rng, *shape)
    y = layer(x)
    fields = layer.fields(shape[1:])
    top, _, left, _ = fields["padding"]

    def theirs(images, weight):
        (high, wide), (count, height, width, _) = layer.stride, images.shape
        kernel_height, kernel_width, _, filters = weight.shape
        lengths = (height - 1) * high + kernel_height + 2 * high, (width - 1) * wide + kernel_width + 2 * wide
        whole = np.zeros((count, *lengths, filters))
        for i in range(height):
            for j in range(width):
                block = np.einsum("nc,uvco->nuvo", images[:, i, j].astype(np.float64), weight.astype(np.float64))
                whole[:, i * high :, j * wide :][:, :kernel_height, :kernel_width] += block
        return whole[:, top:, left:][:, : y.shape[1], : y.shape[2]]

    expected, magnitude = theirs(x, layer.weight) + layer.bias, theirs(abs(x), abs(layer.weight)) + abs(layer.bias)
    assert y.shape == (len(x), *layer.infer(shape[1:])) == expected.shape
    assert (abs(y - expected) <= 2 * (layer.weight[..., 0].size + 2) * UNIT * magnitude).all()


def test_lengths_of_results():
    """Those of PyTorch's formula; "same" is TensorFlow's."""
    for kernel, stride, length in ((k, s, n) for k in range(1, 6) for s in range(1, 5) for n in (1, 4, 9)):
        same = ql.Conv2DTranspose(filters=2, kernel_size=kernel, stride=stride, padding="same")
        assert same.infer((length, length + 1, 3)) == (length * stride, (length + 1) * stride, 2)
        valid = ql.Conv2DTranspose(filters=2, kernel_size=kernel, stride=stride, output_padding=stride - 1)
        assert valid.infer((length, 1, 3)) == ((length - 1) * stride + kernel + stride - 1, kernel + stride - 1, 2)
        total = max(kernel - stride, 0)
        sides = (total // 2, total - total // 2) * 2
        assert same.fields((length, length, 3))["padding"] == sides


def test_it_gives_back_what_a_convolution_takes():
    """<conv(x, w), y> = <x, conv_transpose(y, w)>: one is the other's adjoint."""
    rng = np.random.default_rng(0)
    w, x, y = normal(rng, 3, 2, 4, 5), normal(rng, 2, 9, 8, 4), normal(rng, 2, 4, 4, 5)
    there = ql.Conv2D(w, stride=2, padding=((0, 0), (0, 0)))
    back = ql.Conv2DTranspose(np.ascontiguousarray(w.swapaxes(2, 3)), stride=2)
    sums = [float((a.astype(np.float64) * b).sum()) for a, b in ((there(x), y), (x, back(y)))]
    np.testing.assert_allclose(*sums, rtol=1e-5)


@pytest.mark.parametrize("order", ["F", "strided", "backwards", "float64"])
def test_samples_in_any_layout(rng, order):
    layer, x = made(rng, "3 x 3 by 2, same"), normal(rng, 2, 5, 4, 3)
    given = {
        "F": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=2)[:, :, ::2],
        "backwards": x[:, ::-1].copy()[:, ::-1],
        "float64": x.astype(np.float64),
    }
    same_bytes(layer(given[order]), layer(x))
    assert layer(x[:0]).shape == (0, 10, 8, 5)


def test_weights_are_made_for_the_samples():
    """Of a variance that keeps that of the samples: each result is reached by a quarter of the kernel."""
    x = np.random.default_rng(0).normal(size=(4, 16, 16, 8)).astype(np.float32)
    for kernel, stride in ((4, 2), (2, 2), (6, 3)):
        layer = ql.Conv2DTranspose(filters=32, kernel_size=kernel, stride=stride, initializer="he_normal")
        layer.build(np.random.default_rng(1), x.shape[1:])
        assert layer.weight.shape == (kernel, kernel, 8, 32)
        inside = layer(x)[:, kernel:-kernel, kernel:-kernel]
        assert 0.7 < inside.var() / 2 < 1.4


@pytest.mark.parametrize("name", OPTIONS)
def test_gradients(rng, name):
    for activation in (None, "tanh"):
        layer = made(rng, name, 2, 3, activation)
        x = normal(rng, 2, 3, 4, 2)
        check_gradients(layer, (x,), normal(rng, *layer(x).shape))


# ---- what is refused --------------------------------------------------------------------------------


W = np.ones((3, 3, 2, 4), np.float32)
REFUSED = """
weight Conv2DTranspose(W[0])
weight Conv2DTranspose(W * np.nan)
weight,.filters,.kernel_size Conv2DTranspose()
weight,.filters,.kernel_size Conv2DTranspose(W, filters=4)
bias Conv2DTranspose(W, np.ones(3))
activation Conv2DTranspose(W, activation="rely")
filters Conv2DTranspose(filters=0, kernel_size=2)
kernel_size Conv2DTranspose(filters=1, kernel_size=0)
stride Conv2DTranspose(W, stride=0)
stride Conv2DTranspose(W, stride=(1, 2, 3))
stride Conv2DTranspose(W, stride=65)
padding Conv2DTranspose(W, padding="full")
padding Conv2DTranspose(W, padding=-1)
padding Conv2DTranspose(W, padding=3)
padding Conv2DTranspose(W, padding=((0, 0), (1, 3)))
output_padding Conv2DTranspose(W, stride=2, output_padding=2)
output_padding Conv2DTranspose(W, stride=(2, 1), output_padding=(1, 1))
output_padding Conv2DTranspose(W, output_padding=-1)
output_padding Conv2DTranspose(W, stride=2, output_padding=1.0)
initializer Conv2DTranspose(filters=1, kernel_size=2, initializer="zeros")
name Conv2DTranspose(W, name="")
"""


@pytest.mark.parametrize("case", REFUSED.strip().splitlines())
def test_bad_arguments(case):
    name, call = case.split(maxsplit=1)
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(call, {"np": np, "W": W, "Conv2DTranspose": ql.Conv2DTranspose})
    assert re.match(rf"{name}( '\w+')?: .*expected .*got ", str(raised.value)), str(raised.value)


def test_bad_samples():
    layer = ql.Conv2DTranspose(W, padding=2)
    for shape, message in (
        ((5, 5, 3), "expected 2 channels, got samples"),
        ((25, 2), r"expected samples of shape \(height, width, channels\)"),
        ((1, 5, 2), "expected an image whose result is larger than what is cut off"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            layer.infer(shape)
        with pytest.raises(ValueError, match=f"^x: {message}"):
            layer(np.ones((1, *shape)))
    with pytest.raises(MemoryError, match=r"^stride: expected what \d+ bytes of memory hold"):
        ql.Conv2DTranspose(W, stride=(4096, 1)).infer((2**30, 2**30, 2))


# ---- as steps ---------------------------------------------------------------------------------------


def step(weight_shape=(3, 3, 4, 6), is_float=False, **changes):
    out = weight_shape[-1]
    fields = {"bias": None, "activation": None, "stride": (2, 2), "padding": (0, 1, 0, 1), "output_padding": (0, 0)}
    if is_float:
        return ConvTransposeF32((0,), 1, **{"weight": np.ones(weight_shape, np.float32)} | fields | changes)
    fields |= {"weight": np.ones(weight_shape, np.int8), "weight_scale": np.ones(out, np.float32)}
    return ConvTranspose((0,), 1, **fields | {"weight_zero_point": None, "requant": "float"} | changes)


def program(made, shape=(6, 7, 4), output=(12, 14, 6), dtype="uint8"):
    if isinstance(made, ConvTransposeF32):
        return Program(
            [Buffer("input", "input", shape, "float32"), Buffer("output", "layer", output, "float32")], [made]
        )
    target = Buffer("output", "layer", output, dtype, *((0.1, 3) if dtype == "uint8" else ()))
    return Program([Buffer("input", "input", shape, "uint8", 0.1, 3), target], [made])


def test_shapes():
    for is_float in (True, False):
        for changes, shape, output in [
            ({}, (6, 7, 4), (12, 14, 6)),
            ({"padding": (1, 1, 1, 1)}, (6, 7, 4), (11, 13, 6)),
            ({"stride": (1, 3), "padding": (0, 0, 2, 0), "output_padding": (1, 2)}, (1, 2, 4), (4, 6, 6)),
        ]:
            program(step(is_float=is_float, **changes), shape, output)


BAD_STEPS = {
    "weights of rank 2": ({"weight": np.ones((4, 6), np.int8)}, r"weight: .*\(kernel_h, kernel_w, in, out\)"),
    "weights of other channels": ({"weight": np.ones((3, 3, 5, 6), np.int8)}, "weight: expected the 4 channels"),
    "one stride": ({"stride": (2,)}, "stride: expected 2 integers of at least 1"),
    "many phases": ({"stride": (64, 65)}, "stride: expected a product of at most 4096"),
    "negative padding": ({"padding": (0, -1, 0, 0)}, "padding: expected 4 integers of at least 0"),
    "padding of a kernel": ({"padding": (0, 3, 0, 0)}, "padding: expected less than the kernel's 3"),
    "output padding as a list": ({"output_padding": [0, 0]}, "output_padding: expected 2 integers of at least 0"),
    "scales too short": ({"weight_scale": np.ones(5, np.float32)}, r"weight_scale: expected float32 \(6,\)"),
    "a bias of float": ({"bias": np.ones(6, np.float32)}, "bias: expected int32"),
    "a rule that there is not": ({"requant": "double"}, "requant: "),
}


@pytest.mark.parametrize("name", BAD_STEPS)
def test_bad_steps(name):
    changes, message = BAD_STEPS[name]
    with pytest.raises(ValueError, match=rf"^step 0, layer 'layer': conv_transpose: {message}"):
        program(step(**changes))


def test_bad_steps_of_floats():
    for changes, message in (
        ({"weight": np.full((3, 3, 4, 6), np.nan, np.float32)}, "weight: expected finite"),
        ({"weight_scale": np.ones(6, np.float32)}, "weight_scale: expected None"),
        ({"weight": np.ones((3, 3, 4, 6), np.int8)}, "weight_scale: "),
    ):
        with pytest.raises(ValueError, match=rf"^step 0, layer 'layer': conv_transpose_f32: {message}"):
            program(step(is_float=True, **changes))
    for shape in ((7, 4), (1, 6, 7, 4)):
        with pytest.raises(ValueError, match="conv_transpose_f32: inputs: expected an image"):
            program(step(is_float=True), shape)


def test_sums_that_could_overflow():
    """At most 2 * 2 taps of 4 weights of 1 reach a result, activations are at most 252 from their zero point."""
    limit = 2**31 - 1 - 16 * 252
    program(step(bias=np.full(6, limit, np.int32)))
    with pytest.raises(OverflowError, match=r"^step 0, layer 'layer': conv_transpose: expected sums that int32 holds"):
        program(step(bias=np.full(6, limit + 1, np.int32)))


def test_scales_of_samples():
    buffers = [
        Buffer("input", "input", (6, 7, 4), "float32"),
        Buffer("scale", "input", (6, 7, 1), "float32"),
        Buffer("zero_point", "input", (6, 7, 1), "int32"),
        Buffer("codes", "input", (6, 7, 4), "uint8", row_scale=1, row_zero_point=2),
        Buffer("output", "layer", (12, 14, 6), "float32"),
    ]
    steps = [QuantizeDynamic((0,), 3), step().with_fields({"inputs": (3,), "output": 4})]
    with pytest.raises(ValueError, match=r"conv_transpose: inputs: .* for each sample, \(1, 1, 1\), got \(6, 7, 1\)"):
        Program(buffers, steps)


# ---- in models --------------------------------------------------------------------------------------


def segmenter():
    """Down and up again, to a mask."""
    x = ql.Input((8, 8, 3))
    a = ql.Conv2D(filters=8, kernel_size=3, padding="same", activation="relu")(x)
    b = ql.Conv2D(filters=12, kernel_size=3, stride=2, padding="same", activation="relu")(a)
    b = ql.Activation("relu")(ql.BatchNorm()(ql.Conv2DTranspose(filters=8, kernel_size=3, stride=2, padding="same")(b)))
    c = ql.Concatenate()(a, b)
    return ql.Model(x, ql.Conv2DTranspose(filters=2, kernel_size=2, stride=2, activation="sigmoid")(c))


#: Signal to quantization noise in dB, some below what is measured.
SCHEMES = {"w8a8": 30.0, "dynamic": 33.0, "w8": 38.0, "w4a8": 14.0, "w4g32": 14.0}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme(rng, scheme):
    model, x = segmenter(), normal(rng, 60, 8, 8, 3)
    small = ql.quantize_model(model, scheme, data=x if scheme in ("w8a8", "w4a8") else None)
    assert ql.metrics.sqnr_db(model(x), small(x)) > SCHEMES[scheme]
    same_bytes(reference.evaluate(small.program, x)[-1], small(x))
    assert "conv2d_transpose_1" in str(ql.compare(model, small, x))


def test_left_in_float(rng):
    model, x = segmenter(), normal(rng, 20, 8, 8, 3)
    small = ql.quantize_model(model, "w8a8", data=x, per_layer={"conv2d_transpose_1": None, "conv2d_transpose_2": "w8"})
    assert ql.metrics.sqnr_db(model(x), small(x)) > SCHEMES["w8a8"]
    assert {s.kind for s in small.program.steps} >= {"conv_transpose_f32"}
    assert "conv_transpose" not in {s.kind for s in small.program.steps}


@pytest.mark.parametrize("target", ["numpy", "onnx", "tflite", "tflm", "c", "tensorrt"])
def test_every_target(rng, target):
    model, x = segmenter(), normal(rng, 60, 8, 8, 3)
    small = ql.quantize_model(model, "w8a8", data=x, target=target)
    same_bytes(reference.evaluate(small.program, x)[-1], small(x))
    rules = {s.requant for s in small.program.steps if s.kind == "conv_transpose"}
    assert rules == {"fixed" if target in ("tflm", "c") else "float"}


def test_batch_norms_and_clamps_go_into_it(rng):
    model = segmenter()
    fused = fuse(model)
    kinds = [layer.kind for layer in fused.layers]
    assert kinds == ["conv2d", "conv2d", "conv2d_transpose", "concatenate", "conv2d_transpose", "activation"]
    assert fused.layers[2].activation == "relu"
    norm = next(layer for layer in model.layers if layer.kind == "batch_norm")
    norm.variance[:], norm.mean[:] = rng.uniform(0.5, 2, 8), rng.normal(size=8)
    x = normal(rng, 5, 8, 8, 3)
    np.testing.assert_allclose(fuse(model)(x), model(x), atol=1e-5)


def test_files_and_pickles(rng, tmp_path):
    model, x = segmenter(), normal(rng, 30, 8, 8, 3)
    model.save(tmp_path / "m.qlite")
    again = ql.load(tmp_path / "m.qlite")
    assert [repr(layer) for layer in again.layers] == [repr(layer) for layer in model.layers]
    same_bytes(again(x), model(x))
    same_bytes(pickle.loads(pickle.dumps(model))(x), model(x))
    for scheme in ("w8a8", "w4a8", "w8"):
        small = ql.quantize_model(model, scheme, data=x if scheme != "w8" else None)
        small.save(tmp_path / "q.qlite")
        same_bytes(ql.load(tmp_path / "q.qlite")(x), small(x))
        same_bytes(pickle.loads(pickle.dumps(small))(x), small(x))


def test_what_models_tell_of_it(rng):
    model = segmenter()
    assert "Conv2DTranspose(12 -> 8, 3, stride 2, padding same)" in repr(model)
    assert model.layers[2].macs((4, 4, 12)) == 4 * 4 * 9 * 12 * 8
    assert "conv2d_transpose_1" in str(model.summary())
    layer = ql.Conv2DTranspose(W, stride=2, padding=1, output_padding=1, activation="relu")
    assert repr(layer) == "Conv2DTranspose(2 -> 4, 3, stride 2, padding 1, output padding 1, relu)"


def test_training(rng):
    """A network learns to draw what it sees twice as large; then with a scheme, to the codes of its model."""
    x = normal(rng, 256, 4, 4, 1)
    y = np.repeat(np.repeat(x, 2, axis=1), 2, axis=2)
    given = ql.Input((4, 4, 1))
    hidden = ql.Conv2DTranspose(filters=4, kernel_size=4, stride=2, padding=1, activation="tanh")(given)
    flat = ql.Flatten()(ql.Conv2DTranspose(filters=1, kernel_size=3, padding=1)(hidden))
    model = ql.Model(given, flat, task="regression")
    options = {"loss": "mse", "batch_size": 32, "progress": False}
    trained = ql.train(model, x, y.reshape(len(y), -1), epochs=30, optimizer=ql.Adam(0.01), **options)
    error = np.mean((trained(x) - y.reshape(len(y), -1)) ** 2)
    assert error < 0.2 * y.var()
    aware = ql.train(trained, x, y.reshape(len(y), -1), epochs=2, optimizer=ql.Adam(1e-3), scheme="w4a8", **options)
    small = ql.quantize_model(aware, "w4a8")
    assert np.mean((small(x) - y.reshape(len(y), -1)) ** 2) < 0.3 * y.var()


# ---- as LiteRT's ------------------------------------------------------------------------------------


RESOLVERS = {"float": "default", "fixed": "reference"}


def any_grid(rng):
    scale = 2.0 ** (rng.integers(-8, 3) if rng.random() < 0.5 else rng.uniform(-8, 3))
    return float(np.float32(scale)), int(rng.choice([-128, 0, 127, rng.integers(-128, 128)]))


def litert_sides(length, kernel, stride, out):
    """How much TensorFlow Lite cuts off of "same", and how much longer the result is."""
    total = max((-(-out // stride) - 1) * stride + kernel - out, 0)
    whole = (length - 1) * stride + kernel
    return total // 2, max(whole - total // 2 - out, 0), max(out + total // 2 - whole, 0)


@pytest.mark.parametrize("activation", litert.ACTIVATIONS)
@pytest.mark.parametrize("requant", RESOLVERS)
def test_it_is_that_of_litert(rng, requant, activation):
    """TRANSPOSE_CONV of int8, weights with a scale for each output, results of any length that it takes."""
    for _ in range(60):
        height, width, channels, out = (int(n) for n in rng.integers(1, (7, 7, 20, 20)))
        kernel, stride = (tuple(int(n) for n in rng.integers(1, 5, 2)) for _ in range(2))
        is_same = rng.random() < 0.5 and all(k >= s for k, s in zip(kernel, stride, strict=True))
        sides, more, lengths = [], [], []
        for n, k, s in zip((height, width), kernel, stride, strict=True):
            length = n * s - int(rng.integers(0, s)) if is_same else (n - 1) * s + max(k, s)
            before, after, longer = litert_sides(n, k, s, length) if is_same else (0, 0, max(s - k, 0))
            sides, more, lengths = [*sides, before, after], [*more, longer], [*lengths, length]
        x = rng.integers(-128, 128, (1, height, width, channels)).astype(np.int8)
        weight = rng.integers(-127, 128, (*kernel, channels, out)).astype(np.int8)
        bias = rng.integers(-3000, 3000, out).astype(np.int32)
        grid, grid_y = any_grid(rng), any_grid(rng)
        scale = rng.choice([2.0 ** rng.integers(-8, 0, out), rng.uniform(0.01, 1, out)]) / (
            8 * weight[..., 0].size ** 0.5
        )
        scale = (scale * grid_y[0] / grid[0]).astype(np.float32)
        y = np.zeros((1, *lengths, out), np.int8)
        tensors = [
            Tensor.constant(np.array(y.shape, np.int32)),
            Tensor.constant(np.ascontiguousarray(weight.transpose(3, 0, 1, 2)), scale, 0, 0),
            Tensor(x.shape, x.dtype, None, *grid),
            Tensor.constant(bias, np.float32(grid[0]) * scale, 0, 0),
        ]
        options = {"padding": 0 if is_same else 1, "strideH": stride[0], "strideW": stride[1]}
        options["fusedActivationFunction"] = litert.ACTIVATIONS[activation]
        result = Tensor(y.shape, y.dtype, None, *grid_y)
        operator = Operator("TRANSPOSE_CONV", tensors, [result], options, 4 if activation else 3)
        expected = litert.run(file_of([operator], [tensors[2]]), x, RESOLVERS[requant])
        fields = {"stride": stride, "padding": tuple(sides), "output_padding": tuple(more), "weight": weight}
        fields |= {"weight_scale": scale, "weight_zero_point": None, "bias": bias, "activation": activation}
        source, target = Buffer("x", "x", x.shape[1:], "int8", *grid), Buffer("y", "y", y.shape[1:], "int8", *grid_y)
        got = Plan(Program([source, target], [ConvTranspose((0,), 1, **fields, requant=requant)])).run(x)
        same_bytes(got, expected)
