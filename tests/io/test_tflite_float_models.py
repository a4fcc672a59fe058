"""Float models in TensorFlow Lite files: what is trained is fused first, and reads back as the same function."""

import litert
import numpy as np
import pytest

import qlite as ql

#: Of the outputs' extreme: float32, added in another order.
SLACK = 1e-5

MODELS = {
    "batch norms": lambda: [
        ql.Conv2D(filters=4, kernel_size=3, padding="same"),
        ql.BatchNorm(),
        ql.Activation("relu"),
        ql.MaxPool(2),
        ql.BatchNorm(),
        ql.Activation("hard_swish"),
        ql.Dropout(0.5),
        ql.Flatten(),
        ql.Dense(units=3),
        ql.BatchNorm(),
        ql.Softmax(),
    ],
    "norm in front": lambda: [ql.BatchNorm(), ql.Flatten(), ql.Dense(units=3, activation="gelu")],
    "separable": lambda: [
        ql.SeparableConv2D(filters=4, kernel_size=3, activation="leaky_relu"),
        ql.PReLU(),
        ql.GlobalAveragePool(),
        ql.Dense(units=2, activation="tanh"),
    ],
}


@pytest.mark.parametrize("name", MODELS)
def test_trained_models_read_back(name, tmp_path):
    pytest.importorskip("tflite")
    rng = np.random.default_rng(0)
    m = ql.Sequential(MODELS[name](), input_shape=(8, 8, 3), seed=1)
    for layer in m.layers:
        for values in layer.statistics.values():
            values[:] = rng.uniform(0.5, 1.5, values.shape)
    x = rng.normal(size=(4, 8, 8, 3)).astype(np.float32)
    m.to_tflite(tmp_path / "m.tflite")
    read = ql.from_tflite(tmp_path / "m.tflite")
    np.testing.assert_allclose(read(x), m(x), atol=SLACK * np.abs(m(x)).max(), rtol=0)


def composed():
    """Layers that take several operators."""
    words = ql.Input((5,), dtype="int32")
    rng = np.random.default_rng(0)
    normed = ql.LayerNorm(rng.normal(size=6), rng.normal(size=6), 1e-3)(ql.Embedding(rng.normal(size=(9, 6)))(words))
    return ql.Model(words, ql.Activation("softplus")(ql.Dense(rng.normal(size=(6, 3)))(normed)))


def test_layers_of_several_operators_run_and_read_back(tmp_path):
    m, x = composed(), np.random.default_rng(1).integers(0, 9, (1, 5), dtype=np.int32)
    m.to_tflite(tmp_path / "m.tflite")
    expected = m(x)
    found = litert.run((tmp_path / "m.tflite").read_bytes(), x)
    np.testing.assert_allclose(found, expected, atol=SLACK * np.abs(expected).max(), rtol=0)
    read = ql.from_tflite(tmp_path / "m.tflite")
    assert [layer.kind for layer in read.layers] == [layer.kind for layer in m.layers]
    np.testing.assert_array_equal(read(x), expected)


def test_softplus_far_from_zero(tmp_path):
    m = ql.Sequential([ql.Activation("softplus")], input_shape=(5,), task="regression")
    m.to_tflite(tmp_path / "m.tflite")
    x = np.array([[-1e30, -100, 0, 100, 1e30]], np.float32)
    np.testing.assert_allclose(litert.run((tmp_path / "m.tflite").read_bytes(), x), m(x), rtol=SLACK, atol=SLACK)


def test_layers_without_an_operator_are_named(tmp_path):
    pytest.importorskip("tflite")
    m = ql.Sequential([ql.Dense(units=3), ql.Function(np.cbrt, name="root")], input_shape=(8,), seed=0)
    with pytest.raises(ValueError, match=r"layer 'root'"):
        m.to_tflite(tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []
