"""Bias correction: by its definition, when it is kept, and for which schemes and models."""

import numpy as np
import pytest
from models import same_program

import qlite as ql


def positive(rng, shape):
    """Samples like those behind a relu: their mean is no zero."""
    return np.abs(rng.normal(size=shape)).astype(np.float32) + 0.5


def shifts(q, layer, x):
    """What rounding of a dense layer's weights adds to its results on average."""
    return (x.astype(np.float64) @ (q.dequantize().astype(np.float64) - layer.weight)).mean(axis=0)


def test_the_mean_error_of_rounded_weights_is_taken_off_the_bias(rng):
    model = ql.from_weights([(rng.normal(size=(40, 8)), rng.normal(size=8))])
    x, (layer,) = positive(rng, (200, 40)), model.layers
    plain, moved = (ql.quantize_model(model, "w4", x, bias_correction=way) for way in (False, True))
    (before,), (after,) = ([s for s in m.program.steps if hasattr(s, "weight")] for m in (plain, moved))
    np.testing.assert_array_equal(before.weight, after.weight)
    q = ql.quantize(layer.weight, bits=4, axis=1, symmetric=False)
    shift = shifts(q, layer, x)
    assert np.abs(shift).max() > 0.1
    np.testing.assert_allclose(before.bias - after.bias, shift, atol=1e-5)
    np.testing.assert_allclose(moved(x).mean(axis=0), model(x).mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("scheme", ["w8a8", "w4a8", "w8", "w4g32", "w4g32a8", "dynamic", "w8a16", "ternary"])
def test_means_of_results_come_closer_in_every_scheme(scheme, rng):
    model = ql.from_weights([(rng.normal(size=(64, 16)), None)])
    x = positive(rng, (300, 64))
    real = model(x).mean(axis=0)
    off = {}
    for way in (False, True):
        found = ql.quantize_model(model, scheme, x, method="minmax", bias_correction=way)
        off[way] = np.abs(found(x).mean(axis=0) - real).max()
    assert off[True] < off[False] / 2


def test_convolutions_average_over_places(rng):
    layer = ql.Conv2D(rng.normal(size=(3, 3, 4, 6)), padding="same", stride=2)
    model = ql.Sequential([layer], input_shape=(9, 7, 4), task="multioutput")
    x = positive(rng, (20, 9, 7, 4))
    plain, moved = (ql.quantize_model(model, "w3", x, bias_correction=way) for way in (False, True))
    real = model(x).mean(axis=(0, 1, 2))
    assert np.abs(plain(x).mean(axis=(0, 1, 2)) - real).max() > 0.05
    np.testing.assert_allclose(moved(x).mean(axis=(0, 1, 2)), real, atol=1e-4)


def test_batches_of_any_size_have_the_same_means(rng):
    model = ql.from_weights([(rng.normal(size=(12, 5)), None)])
    x = positive(rng, (50, 12))
    whole = ql.quantize_model(model, data=x, bias_correction=True)
    parts = ql.quantize_model(model, data=iter(np.array_split(x, 7)), bias_correction=True)
    assert same_program(whole.program, parts.program)


# ---- when it is kept --------------------------------------------------------------------------------


def test_auto_keeps_what_comes_as_close(rng):
    model = ql.from_weights([(rng.normal(size=(30, 40)), None), (rng.normal(size=(40, 6)), None)], activation="relu")
    x = positive(rng, (100, 30))
    for scheme in ("w8a8", "w4a8", "w2a8"):
        found = ql.quantize_model(model, scheme, x)
        assert found.calibration.is_bias_corrected == (found.calibration.bias_gain_db >= 0)
        assert ("biases corrected" in str(found.calibration)) == found.calibration.is_bias_corrected
        same = ql.quantize_model(model, scheme, x, bias_correction=found.calibration.is_bias_corrected)
        assert same_program(found.program, same.program) and same.calibration.bias_gain_db is None


def test_auto_leaves_biases_that_corrected_are_worse(monkeypatch, rng):
    model = ql.from_weights([(rng.normal(size=(12, 5)), rng.normal(size=5))])
    x = positive(rng, (50, 12))
    monkeypatch.setattr("qlite.nn.bias_correction._moved", _spoiled)
    found = ql.quantize_model(model, data=x)
    assert not found.calibration.is_bias_corrected and found.calibration.bias_gain_db < 0
    assert same_program(found.program, ql.quantize_model(model, data=x, bias_correction=False).program)


def _spoiled(layer, mean, rounded):
    spoiled = ql.Dense(layer.weight, layer.bias + 5)
    spoiled.name = layer.name
    return spoiled


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy", "trimmed"])
def test_a_method_alone_leaves_biases(method, rng):
    model, x = ql.from_weights([(rng.normal(size=(12, 5)), None)]), positive(rng, (50, 12))
    alone, plain, asked = (
        ql.quantize_model(model, data=x, method=method, bias_correction=way) for way in ("auto", False, True)
    )
    assert same_program(alone.program, plain.program) and not same_program(alone.program, asked.program)
    assert [m.calibration.is_bias_corrected for m in (alone, plain, asked)] == [False, False, True]


# ---- models and options -----------------------------------------------------------------------------


def test_layers_in_float_keep_their_biases(rng):
    model = ql.from_weights([(rng.normal(size=(12, 7)), None), (rng.normal(size=(7, 5)), None)])
    x = positive(rng, (50, 12))
    first = model.names[0]
    found = ql.quantize_model(model, "w4", x, per_layer={first: None}, bias_correction=True)
    steps = [step for step in found.program.steps if hasattr(step, "weight")]
    np.testing.assert_array_equal(steps[0].bias, model.layers[0].bias)
    assert steps[1].bias.any()


def test_weights_alone_ask_for_samples_when_biases_are_to_be_corrected(rng):
    model = ql.from_weights([(rng.normal(size=(12, 5)), None)])
    with pytest.raises(ValueError, match="data: expected samples to correct biases with, got None"):
        ql.quantize_model(model, "w8", bias_correction=True)
    plain = ql.quantize_model(model, "w8")
    assert same_program(plain.program, ql.quantize_model(model, "w8", positive(rng, (9, 12))).program)


def test_the_model_is_left_as_it_was(rng):
    model, x = ql.from_weights([(rng.normal(size=(12, 5)), None)]), positive(rng, (50, 12))
    before = model.layers[0].bias.copy()
    ql.quantize_model(model, "w2a8", x, bias_correction=True)
    np.testing.assert_array_equal(model.layers[0].bias, before)


def test_trained_models_bring_their_own(rng):
    x, y = positive(rng, (64, 10)), rng.integers(0, 3, 64)
    model = ql.Sequential([ql.Dense(units=8, activation="relu"), ql.Dense(units=3)], input_shape=(10,))
    model = ql.train(model, x, y, scheme="w4a8", epochs=1, batch_size=32, progress=False)
    with pytest.raises(ValueError, match="bias_correction: expected 'auto', the default"):
        ql.quantize_model(model, bias_correction=True)


@pytest.mark.parametrize("value", ["yes", None, 1, np.array([True])])
def test_other_values_are_refused(value, rng):
    model = ql.from_weights([(rng.normal(size=(4, 2)), None)])
    with pytest.raises(ValueError, match="bias_correction: expected 'auto', True or False, got"):
        ql.quantize_model(model, data=positive(rng, (5, 4)), bias_correction=value)
