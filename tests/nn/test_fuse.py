"""Fusing: the same outputs in float32, names that stay, what goes into which layer."""

import numpy as np
import pytest

import qlite as ql
from qlite.nn.fuse import fuse

#: Of outputs near 1 to 100: weights times the factors of batch norms, rounded to float32 once more.
BUDGET = 2e-5


def norm(rng, features, **options):
    """A batch norm with statistics as after training, some factors negative."""
    vectors = {
        "gamma": rng.normal(1, 0.7, features),
        "beta": rng.normal(size=features),
        "mean": rng.normal(size=features),
        "variance": rng.uniform(0.1, 3, features),
    }
    return ql.BatchNorm(**vectors, **options)


def dense(rng, n, m, activation=None, **options):
    return ql.Dense(rng.normal(0, n**-0.5, (n, m)), rng.normal(size=m), activation, **options)


def agree(model, rng):
    """Fuses a model; the outputs are those of the model."""
    fused = fuse(model)
    x = rng.normal(size=(50, *model.input_shape)).astype(np.float32)
    expected = model(x)
    assert np.abs(fused(x) - expected).max() <= BUDGET * max(1, np.abs(expected).max())
    assert (fused.task, fused.input_shape) == (model.task, model.input_shape)
    assert [repr(layer) for layer in fuse(fused).layers] == [repr(layer) for layer in fused.layers]
    assert fuse(fused).names == fused.names
    return fused


def described(model):
    return dict(zip(model.names, map(repr, model.layers), strict=True))


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_norm_and_clamp_go_into_the_dense_layer_before(rng, activation):
    layers = [dense(rng, 4, 8), norm(rng, 8), ql.Activation(activation), ql.Dropout(0.5), dense(rng, 8, 3)]
    fused = agree(ql.Sequential(layers), rng)
    assert described(fused) == {"dense_1": f"Dense(4 -> 8, {activation})", "dense_2": "Dense(8 -> 3)"}


@pytest.mark.parametrize("activation", ["leaky_relu", "sigmoid", "tanh", "gelu", "silu", "hard_swish"])
def test_other_activations_become_layers(rng, activation):
    fused = agree(ql.Sequential([dense(rng, 4, 8, activation, name="first"), dense(rng, 8, 3)]), rng)
    assert fused.names == ["first", f"first_{activation}", "dense_2"]
    assert fused.layers[0].activation is None


def test_an_activation_keeps_its_name_and_slope(rng):
    activation = ql.Activation("leaky_relu", slope=0.3)
    fused = agree(ql.Sequential([dense(rng, 4, 8), norm(rng, 8), activation, dense(rng, 8, 3)]), rng)
    assert fused.names == ["dense_1", "activation_1", "dense_2"]
    assert fused.layers[1].slope == activation.slope


def test_norms_behind_activations_go_into_the_next_dense_layer(rng):
    layers = [dense(rng, 4, 8, "relu"), norm(rng, 8), ql.Dropout(0.2), norm(rng, 8), dense(rng, 8, 3, "tanh")]
    fused = agree(ql.Sequential([*layers, dense(rng, 3, 2)]), rng)
    assert fused.names == ["dense_1", "dense_2", "dense_2_tanh", "dense_3"]


def test_a_norm_behind_a_norm(rng):
    fused = agree(ql.Sequential([dense(rng, 4, 8), norm(rng, 8), norm(rng, 8, epsilon=0.1)]), rng)
    assert fused.names == ["dense_1"]


def test_a_norm_before_flatten(rng):
    layers = [dense(rng, 4, 5, "relu"), norm(rng, 5), ql.Flatten(), dense(rng, 30, 3)]
    fused = agree(ql.Sequential(layers, input_shape=(3, 2, 4)), rng)
    assert fused.names == ["dense_1", "flatten_1", "dense_2"]


@pytest.mark.parametrize("with_normalization", [True, False])
def test_a_norm_at_the_front_goes_into_mean_and_scale(rng, with_normalization):
    first = {"mean": rng.normal(size=4), "scale": rng.uniform(0.5, 2, 4)} if with_normalization else {}
    before = norm(rng, 4)
    fused = agree(ql.Sequential([before, dense(rng, 4, 3)], **first), rng)
    assert fused.names == ["dense_1"]
    scale, mean = first.get("scale", np.ones(4)), first.get("mean", np.zeros(4))
    np.testing.assert_allclose(fused.scale, scale * np.sqrt(before.variance + before.epsilon), rtol=1e-6)
    np.testing.assert_allclose(fused.mean, mean + scale * before.mean, rtol=1e-5, atol=BUDGET)


def test_what_is_not_folded_shares_its_arrays(rng):
    m = ql.Sequential([dense(rng, 4, 8, "gelu"), dense(rng, 8, 3)])
    fused = fuse(m)
    assert fused.layers[0].weight is m.layers[0].weight
    assert m.layers[0].activation == "gelu"
    assert m.layers[0].name is None


@pytest.mark.parametrize(
    "layers",
    [
        lambda rng: [dense(rng, 4, 8, "relu"), norm(rng, 8, name="own")],
        lambda rng: [dense(rng, 4, 8, "relu"), norm(rng, 8, name="own"), ql.Activation("tanh"), dense(rng, 8, 3)],
    ],
)
def test_a_norm_that_no_weights_take_in(rng, layers):
    fused = agree(ql.Sequential(layers(rng)), rng)
    assert [repr(layer) for name, layer in zip(fused.names, fused.layers, strict=True) if name == "own"] == [
        "ChannelAffine(8)"
    ]


def test_task_and_classes_stay(rng):
    m = ql.Sequential([dense(rng, 4, 1, "sigmoid")], task="binary", classes=["no", "yes"])
    assert fuse(m).classes.tolist() == ["no", "yes"]
    assert fuse(m).gives_probabilities


def all_outputs_agree(model, rng):
    """Fuses a model; every output is that of the model."""
    fused, x = fuse(model), rng.normal(size=(9, *model.input_shape)).astype(np.float32)
    outputs = [y if isinstance(y, tuple) else (y,) for y in (model(x), fused(x))]
    for expected, found in zip(*outputs, strict=True):
        assert np.abs(found - expected).max() <= BUDGET * max(1, np.abs(expected).max())
    assert "dropout_1" not in fused.names or "dropout_1" in model.outputs
    return fused, x


@pytest.mark.parametrize("kind", ["relu", "norm"])
def test_what_is_read_beside_a_dropout_stays_as_it_is(rng, kind):
    x = ql.Input((4,))
    h = ql.Dense(units=8)(x)
    behind = ql.Activation("relu") if kind == "relu" else norm(rng, 8)
    all_outputs_agree(ql.Model(x, ql.Concatenate()(h, behind(ql.Dropout(0.5)(h)))), rng)


def test_an_input_that_is_read_beside_a_dropout_stays_as_it_is(rng):
    x = ql.Input((4,))
    all_outputs_agree(ql.Model(x, ql.Concatenate()(x, norm(rng, 4)(ql.Dropout(0.5)(x)))), rng)


def test_a_padding_that_is_read_beside_a_dropout_stays(rng):
    x = ql.Input((6, 6, 4))
    padded = ql.Pad(1)(x)
    conv = ql.Conv2D(filters=4, kernel_size=3, padding="same")
    all_outputs_agree(ql.Model(x, ql.Concatenate()(padded, conv(ql.Dropout(0.5)(padded)))), rng)


def test_a_dropout_and_what_it_reads_are_both_outputs(rng):
    x = ql.Input((4,))
    h = ql.Dense(units=8)(x)
    fused, x = all_outputs_agree(ql.Model(x, [h, ql.Dropout(0.5)(h), ql.Dropout(0.5)(h)]), rng)
    assert len(set(fused.outputs)) == 3
    one, other, third = ql.quantize_model(fused, data=x)(x)
    assert (one == other).all() and (one == third).all()


def test_a_dropout_alone(rng):
    fused, x = all_outputs_agree(ql.Sequential([ql.Dropout(0.5)], input_shape=(4,)), rng)
    assert ql.quantize_model(fused, data=x)(x).shape == (9, 4)


@pytest.mark.parametrize("name", ["first_gelu", "first_depthwise"])
def test_layers_that_fusing_makes_take_no_name_of_another(rng, name):
    x = ql.Input((4, 4, 2))
    make = ql.Conv2D if name == "first_gelu" else ql.SeparableConv2D
    h = make(filters=3, kernel_size=3, activation="gelu", name="first")(x)
    fused, _ = all_outputs_agree(ql.Model(x, ql.Dense(units=2, name=name)(h)), rng)
    assert {name, f"{name}_"} <= set(fused.names)


@pytest.mark.parametrize(
    "layers", [[ql.MultiHeadAttention(2)], [ql.LayerNorm(), ql.MultiHeadAttention(2), ql.Dense(units=3)]]
)
def test_attention_in_a_sequential_becomes_a_graph(layers):
    m = ql.Sequential(layers, input_shape=(6, 4), task="regression", seed=0)
    x = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(fuse(m)(x), m(x), atol=BUDGET)
    assert ql.quantize_model(m, "w8a8", data=x)(x).shape == m(x).shape
