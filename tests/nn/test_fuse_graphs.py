"""Fusing of graphs: the same outputs in float32, the layers that are left, and what stays because it is read twice."""

import numpy as np
import pytest
from samples import same_bytes

import qlite as ql
from qlite.nn.fuse import fuse

#: Of outputs near 1 to 100: weights times the factors of batch norms, rounded to float32 once more.
BUDGET = 2e-5
IMAGE = (5, 6, 2)


@pytest.fixture
def make(rng):
    return Made(rng)


class Made:
    """Layers with random weights, by what they take and give."""

    def __init__(self, rng):
        self.rng = rng

    def conv(self, *channels, kernel=3, activation=None, name=None, **options):
        weight = self.rng.normal(0, 0.3, (kernel, kernel, *channels))
        return ql.Conv2D(weight, self.rng.normal(size=channels[1]), activation, name, **{"padding": "same"} | options)

    def depthwise(self, channels, multiplier=1, **options):
        weight = self.rng.normal(0, 0.3, (3, 3, channels, multiplier))
        return ql.DepthwiseConv2D(weight, self.rng.normal(size=channels * multiplier), **{"padding": "same"} | options)

    def separable(self, channels, outputs, activation=None, name=None, **options):
        parts = self.rng.normal(0, 0.3, (3, 3, channels, 1)), self.rng.normal(0, 0.3, (1, 1, channels, outputs))
        return ql.SeparableConv2D(*parts, self.rng.normal(size=outputs), activation, name, **options)

    def dense(self, n, m, activation=None, name=None):
        return ql.Dense(self.rng.normal(0, n**-0.5, (n, m)), self.rng.normal(size=m), activation, name)

    def norm(self, features, **options):
        """A batch norm with statistics as after training, some factors negative."""
        vectors = {
            "gamma": self.rng.normal(1, 0.7, features),
            "beta": self.rng.normal(size=features),
            "mean": self.rng.normal(size=features),
            "variance": self.rng.uniform(0.1, 3, features),
        }
        return ql.BatchNorm(**vectors, **options)


def agree(x, y, rng, **options):
    """Fuses the model of these symbols, whose outputs stay the same; returns its lines."""
    model = ql.Model(x, y, **options)
    fused = fuse(model)
    samples = rng.normal(size=(7, *model.input_shape)).astype(np.float32)
    expected, got = model(samples), fused(samples)
    several = isinstance(expected, tuple)
    assert isinstance(got, tuple) == several
    for one, other in zip(expected if several else (expected,), got if several else (got,), strict=True):
        assert np.abs(other - one).max() <= BUDGET * max(1, np.abs(one).max())
    assert fuse(fused).names == fused.names
    assert repr(fuse(fused)) == repr(fused)
    lines = {name: repr(layer) for name, layer in zip(fused.names, fused.layers, strict=True)}
    return lines, fused


# ---- what goes into which layer ---------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["valid", "same", 1, ((1, 0), (0, 2))])
def test_padding_goes_into_the_convolution_behind(rng, make, padding):
    for layer in (make.conv(2, 3, padding=padding, stride=2), make.depthwise(2, padding=padding)):
        x = ql.Input(IMAGE)
        padded = ql.Pad(((1, 2), (0, 1)))(x)
        own = layer.fields(padded.shape)["padding"]
        lines, fused = agree(x, layer(padded), rng)
        assert list(lines) == [f"{layer.kind}_1"]
        expected = tuple(np.add(own, (1, 2, 0, 1)).tolist())
        assert fused.layers[0].fields(IMAGE)["padding"] == expected


@pytest.mark.parametrize("padding", ["valid", "same", (2, 0)])
def test_padding_of_sequences_goes_into_the_convolution_behind(rng, padding):
    x = ql.Input((7, 3))
    layer = ql.Conv1D(rng.normal(size=(4, 3, 2)), padding=padding, stride=2)
    padded = ql.Pad([(1, 2)])(x)
    top, bottom, left, right = layer.fields(padded.shape)["padding"]
    lines, fused = agree(x, layer(padded), rng)
    assert list(lines) == ["conv1d_1"]
    assert fused.layers[0].fields((7, 3))["padding"] == (top, bottom, left + 1, right + 2)


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
def test_padding_as_a_mirror_stays(rng, make, mode):
    x = ql.Input(IMAGE)
    lines, _ = agree(x, make.conv(2, 3)(ql.Pad(1, mode)(x)), rng)
    assert list(lines) == ["pad_1", "conv2d_1"]


def test_padding_goes_into_the_first_part_of_a_separable_convolution(rng, make):
    x = ql.Input(IMAGE)
    lines, _ = agree(x, make.separable(2, 4)(ql.Pad(1)(x)), rng)
    assert list(lines) == ["separable_conv2d_1_depthwise", "separable_conv2d_1_pointwise"]


def test_padding_and_what_changes_nothing(rng, make):
    x = ql.Input(IMAGE)
    y = make.conv(2, 3, padding="valid")(ql.Dropout(0.5)(ql.Pad(1)(x)))
    lines, _ = agree(x, y, rng)
    assert lines == {"conv2d_1": "Conv2D(2 -> 3, 3, padding 1)"}


def test_padding_of_channels_stays(rng, make):
    x = ql.Input(IMAGE)
    lines, _ = agree(x, make.conv(3, 3)(ql.Pad(((0, 0), (0, 0), (1, 0)))(x)), rng)
    assert list(lines) == ["pad_1", "conv2d_1"]


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_clamps_go_into_sums_and_convolutions(rng, make, activation):
    x = ql.Input(IMAGE)
    y = ql.Activation(activation)(make.conv(2, 2)(x))
    lines, fused = agree(x, ql.Activation(activation)(ql.Add()(x, y)), rng)
    assert lines == {"conv2d_1": f"Conv2D(2 -> 2, 3, padding same, {activation})", "add_1": f"Add({activation})"}
    assert fused.sources == [("input",), ("input", "conv2d_1")]


def test_a_second_activation_stays(rng, make):
    x = ql.Input(IMAGE)
    lines, _ = agree(x, ql.Activation("relu6")(ql.Activation("relu")(make.conv(2, 2)(x))), rng)
    assert lines == {"conv2d_1": "Conv2D(2 -> 2, 3, padding same, relu)", "activation_2": "Activation(relu6)"}


def test_norms_go_into_convolutions(rng, make):
    x = ql.Input(IMAGE)
    y = ql.Activation("relu")(make.norm(4)(make.conv(2, 4)(x)))
    y = ql.Dropout(0.3)(ql.Activation("relu6")(make.norm(8)(make.depthwise(4, 2)(y))))
    y = ql.Activation("relu")(make.norm(5)(make.norm(5)(make.separable(8, 5)(y))))
    lines, fused = agree(x, y, rng)
    assert lines == {
        "conv2d_1": "Conv2D(2 -> 4, 3, padding same, relu)",
        "depthwise_conv2d_1": "DepthwiseConv2D(4 -> 8, 3, padding same, relu6)",
        "separable_conv2d_1_depthwise": "DepthwiseConv2D(8 -> 8, 3)",
        "separable_conv2d_1_pointwise": "Conv2D(8 -> 5, 1, relu)",
    }
    assert fused.outputs == ("separable_conv2d_1_pointwise",)


def test_a_norm_that_no_weights_take_in_takes_the_clamp(rng, make):
    x = ql.Input(IMAGE)
    sums = ql.Activation("relu")(make.norm(2)(ql.Add()(x, make.conv(2, 2)(x))))
    for y in (sums, ql.Activation("relu")(make.norm(2)(ql.MaxPool(2)(make.conv(2, 2, name="conv2d_1")(x))))):
        lines, _ = agree(x, y, rng)
        assert lines["batch_norm_1"] == "ChannelAffine(2, relu)"
        assert len(lines) == 3


@pytest.mark.parametrize("with_normalization", [True, False])
def test_a_norm_at_the_front_of_an_image_model(rng, make, with_normalization):
    """Padding of the convolution is of zeros behind the norm, so that its weights cannot take all of it in."""
    first = {"mean": rng.normal(size=2), "scale": rng.uniform(0.5, 2, 2)} if with_normalization else {}
    x, before = ql.Input(IMAGE), make.norm(2)
    lines, fused = agree(x, make.conv(2, 3)(before(x)), rng, **first)
    assert lines == {"batch_norm_1": "ChannelAffine(2)", "conv2d_1": "Conv2D(2 -> 3, 3, padding same)"}
    assert fused.sources == [("normalized",), ("batch_norm_1",)]
    same_bytes(fused.layers[0].weight, before.gamma)
    same_bytes(fused.layers[0].bias, before.beta)
    scale, mean = first.get("scale", np.ones(2)), first.get("mean", np.zeros(2))
    np.testing.assert_allclose(fused.scale, scale * np.sqrt(before.variance + before.epsilon), rtol=1e-6)
    np.testing.assert_allclose(fused.mean, mean + scale * before.mean, rtol=1e-5, atol=1e-6)


def test_norms_wait_for_the_dense_layer_behind_images(rng, make):
    x = ql.Input(IMAGE)
    y = make.norm(2)(ql.Dropout(0.1)(make.norm(2)(ql.Activation("relu")(x))))
    lines, _ = agree(x, make.dense(60, 3)(ql.Dropout(0.2)(ql.Flatten()(y))), rng)
    assert list(lines) == ["activation_1", "flatten_1", "dense_1"]


def test_a_norm_of_one_of_two_inputs(rng, make):
    """Only a model with one input has a mean and a scale."""
    left, right = ql.Input((4,), "left"), ql.Input((4,), "right")
    model = ql.Model([left, right], ql.Add()(make.norm(4)(left), right))
    fused, given = fuse(model), tuple(rng.normal(size=(2, 9, 4)).astype(np.float32))
    np.testing.assert_allclose(fused(given), model(given), rtol=1e-6, atol=1e-5)
    assert (fused.names, fused.mean) == (["batch_norm_1", "add_1"], None)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "gelu", "silu", "hard_swish", "leaky_relu"])
def test_other_activations_become_layers(rng, make, activation):
    x = ql.Input(IMAGE)
    y = make.conv(2, 3, activation=activation, name="first")(x)
    y = make.separable(3, 2, activation, "second")(y)
    lines, fused = agree(x, make.dense(24, 2)(ql.Flatten()(y)), rng)
    names = ["first", f"first_{activation}", "second_depthwise", "second_pointwise", f"second_pointwise_{activation}"]
    assert list(lines) == [*names, "flatten_1", "dense_1"]
    assert {layer.activation for layer in fused.layers if hasattr(layer, "weight")} == {None}


# ---- what is read twice -----------------------------------------------------------------------------


@pytest.mark.parametrize("between", [lambda x: x, ql.Dropout(0.5), lambda x: ql.Dropout(0.5)(ql.Dropout(0.1)(x))])
@pytest.mark.parametrize("as_output", [True, False])
def test_what_something_else_reads_stays_as_it_is(rng, make, between, as_output):
    """Whether or not there is a layer in between that falls away."""
    affine = "ChannelAffine(2)"
    cases = [  # what is read twice, what reads it, and a layer that stays
        (lambda x: ql.Add()(x, make.conv(2, 2)(x)), ql.Activation("relu"), "Add()"),
        (lambda x: make.conv(2, 2)(x), make.norm(2), affine),
        (ql.Pad(1), make.conv(2, 3, padding="valid"), "Pad(1)"),
        (lambda x: x, lambda y: make.conv(2, 2)(make.norm(2)(y)), affine),
        (ql.Activation("relu"), lambda y: make.dense(60, 2)(ql.Flatten()(make.norm(2)(y))), affine),
    ]
    for first, then, stays in cases:
        x = ql.Input(IMAGE)
        read = first(x)
        other = read if as_output and read is not x else ql.Flatten(name="other")(read)
        lines, fused = agree(x, [then(between(read)), other], rng)
        assert stays in lines.values()
        assert fused.mean is None


def test_a_norm_that_is_read_twice_goes_into_what_is_before_it(rng, make):
    x = ql.Input(IMAGE)
    y = make.norm(2)(make.conv(2, 2)(x))
    lines, fused = agree(x, ql.Concatenate()(ql.Activation("relu")(y), y), rng)
    assert list(lines) == ["conv2d_1", "activation_1", "concatenate_1"]
    assert fused.sources[-1] == ("activation_1", "conv2d_1")


def test_one_reader_that_reads_twice(rng, make):
    x = ql.Input(IMAGE)
    y = make.conv(2, 2)(x)
    lines, fused = agree(x, ql.Activation("relu")(ql.Add()(y, y)), rng)
    assert lines["add_1"] == "Add(relu)"
    assert fused.sources[-1] == ("conv2d_1", "conv2d_1")


# ---- dropout and names ------------------------------------------------------------------------------


def test_dropout_falls_away(rng, make):
    x = ql.Input((4,))
    y = ql.Dropout(0.5)(make.dense(4, 3, "relu")(ql.Dropout(0.2)(x)))
    lines, fused = agree(x, ql.Add()(y, ql.Dropout(0.1)(make.dense(3, 3)(y))), rng)
    assert list(lines) == ["dense_1", "dense_2", "add_1"]
    assert fused.sources == [("input",), ("dense_1",), ("dense_1", "dense_2")]


def test_dropout_that_an_output_needs_is_a_reshape(rng, make):
    x = ql.Input((4,))
    y = make.dense(4, 3)(x)
    lines, _ = agree(x, [y, ql.Dropout(0.5)(y)], rng)
    assert lines == {"dense_1": "Dense(4 -> 3)", "dropout_1": "Reshape((3,))"}
    assert agree(x, ql.Dropout(0.5)(x), rng)[0] == {"dropout_1": "Reshape((4,))"}
    assert agree(x, ql.Dropout(0.5)(make.dense(4, 3, name="last")(x)), rng)[1].outputs == ("last",)


def test_outputs_keep_their_order(rng, make):
    x = ql.Input(IMAGE)
    y = make.norm(3)(make.conv(2, 3, name="first")(x))
    _, fused = agree(x, [ql.Flatten()(ql.Activation("relu")(y)), make.separable(3, 2, "tanh", "second")(y)], rng)
    assert fused.outputs == ("flatten_1", "second_pointwise_tanh")


def test_a_part_gets_a_name_that_is_free(make):
    layers = [make.dense(4, 3, "sigmoid", "a"), make.dense(3, 3, name="a_sigmoid")]
    assert fuse(ql.Sequential(layers)).names == ["a", "a_sigmoid_", "a_sigmoid"]


def test_arrays_of_what_is_not_folded_are_shared(make):
    x = ql.Input(IMAGE)
    y = make.conv(2, 3, padding="valid")(ql.Pad(1)(x))
    model = ql.Model(x, ql.Activation("relu")(y))
    fused = fuse(model)
    assert fused.layers[0].weight is model.layers[1].weight
    assert (model.layers[1].padding, model.layers[1].activation) == ("valid", None)


# ---- constants of channels ---------------------------------------------------------------------------


CONSTANTS = {
    "a product": lambda x, v: ql.Multiply()(x, v),
    "a product, the constant first": lambda x, v: ql.Multiply()(v, x),
    "a sum": lambda x, v: ql.Add()(x, v),
    "a difference": lambda x, v: ql.Subtract()(x, v),
    "a difference from it": lambda x, v: ql.Subtract()(v, x),
    "a sum of a product": lambda x, v: ql.Add()(ql.Multiply()(x, v), v),
    "a number": lambda x, v: ql.Multiply()(x, 0.25),
    "with a clamp": lambda x, v: ql.Subtract("relu6")(v, x),
    "a clamp behind": lambda x, v: ql.Activation("relu")(ql.Multiply()(x, v)),
}


@pytest.mark.parametrize("case", CONSTANTS)
def test_constants_of_channels_go_into_weights_before(rng, make, case):
    for layer in (make.conv(2, 4), make.depthwise(2, 2), make.separable(2, 4), make.dense(2, 4)):
        for shape in ((4,), (1, 4), (1, 1, 4)):
            x = ql.Input(IMAGE)
            y = CONSTANTS[case](layer(x), rng.normal(size=shape))
            lines, _ = agree(x, y, rng)
            assert not [line for line in lines.values() if line.startswith(("Constant", "Add", "Mul", "Sub", "Act"))]
            if "clamp" in case:
                assert "relu" in list(lines.values())[-1]


@pytest.mark.parametrize("case", list(CONSTANTS)[:7])
def test_constants_of_channels_go_into_weights_behind(rng, make, case):
    for layer in (make.conv(2, 4, padding="valid"), make.depthwise(2, 2, padding="valid"), make.dense(2, 4)):
        x = ql.Input(IMAGE)
        y = ql.MaxPool(1)(x)
        lines, _ = agree(x, layer(CONSTANTS[case](y, rng.normal(size=2))), rng)
        assert list(lines) == ["max_pool_1", f"{layer.kind}_1"]


def test_what_convolutions_behind_take_in(rng, make):
    """Groups of channels; padding and a factor, but no padding and a summand, of a constant or a batch norm."""
    for padding, change, is_taken in [
        ("same", lambda y: ql.Multiply()(y, rng.normal(size=4)), True),
        ("same", lambda y: ql.Add()(y, rng.normal(size=4)), False),
        ("same", make.norm(4), False),
        ("valid", make.norm(4), True),
        ("same", lambda y: make.norm(4)(ql.Multiply()(y, 2.0)), False),
        ("valid", lambda y: make.norm(4)(ql.Multiply()(y, 2.0)), True),
    ]:
        weight = rng.normal(size=(3, 3, 2, 6))
        x = ql.Input((5, 6, 4))
        layer = ql.Conv2D(weight, rng.normal(size=6), padding=padding, groups=2)
        lines, _ = agree(x, layer(change(ql.MaxPool(1)(x))), rng)
        assert (list(lines) == ["max_pool_1", "conv2d_1"]) == is_taken


def test_constants_at_the_front_are_what_the_model_subtracts_and_divides_by(rng, make):
    """As files have it: x / 127.5 - 1."""
    x = ql.Input(IMAGE)
    y = ql.Subtract()(ql.Multiply()(x, 1 / 127.5), np.ones(2, np.float32))
    lines, fused = agree(x, make.conv(2, 3)(y), rng)
    assert list(lines) == ["conv2d_1"]
    np.testing.assert_allclose(fused.mean, [127.5, 127.5], rtol=1e-6)
    np.testing.assert_allclose(fused.scale, [127.5, 127.5], rtol=1e-6)
    options = {"mean": rng.normal(size=2), "scale": rng.uniform(0.5, 2, 2)}
    lines, fused = agree(x, make.conv(2, 3)(y), rng, **options)
    assert list(lines) == ["conv2d_1"]
    negative = ql.Multiply()(x, -1.0)
    lines, fused = agree(x, ql.Dense(rng.normal(size=(2, 2)))(ql.MaxPool(1)(negative)), rng)
    assert fused.mean is None and list(lines)[:2] == ["constant_1", "multiply_1"]


def test_where_constants_stay(rng, make):
    """A value that something else reads or that is an output, an activation between, a constant that differs by pixel
    or makes the result larger."""
    x = ql.Input(IMAGE)
    y = make.conv(2, 4)(x)
    v = rng.normal(size=4)
    for output in (
        lambda: ql.Concatenate()(y, ql.Multiply()(y, v)),
        lambda: [y, ql.Multiply()(y, v)],
        lambda: ql.Multiply()(make.conv(2, 4, activation="relu")(x), v),
        lambda: ql.Multiply()(y, rng.normal(size=(5, 6, 1))),
        lambda: ql.Multiply()(make.dense(4, 4)(ql.GlobalAveragePool()(y)), rng.normal(size=(2, 1, 4))),
        lambda: ql.Multiply()(ql.MaxPool(2)(y), v),
        lambda: ql.Add("relu")(ql.MaxPool(2)(y), v),
    ):
        lines, _ = agree(x, output(), rng)
        assert any(line.startswith("Constant") for line in lines.values())


def test_one_constant_for_several(rng, make):
    """It stays as long as something reads it."""
    x, v = ql.Input(IMAGE), ql.Constant(rng.normal(size=2))()
    folded = ql.Multiply()(make.conv(2, 2)(x), v)
    lines, _ = agree(x, ql.Multiply()(ql.MaxPool(1)(folded), v), rng)
    assert list(lines) == ["conv2d_1", "max_pool_1", "constant_1", "multiply_2"]


def test_a_factor_at_the_front_whose_inverse_is_no_float32(rng):
    x = ql.Input((4,))
    m = ql.Model(x, ql.Dense(rng.normal(size=(4, 3)))(ql.Multiply()(x, np.float32(1e-39))), task="regression")
    fused = fuse(m)
    assert fused.mean is None
    values = rng.normal(size=(5, 4)) / 10
    np.testing.assert_allclose(fused(values), m(values), rtol=1e-4)
