"""The report names what a layer lost and to what, and does so rightly where the answer is known."""

import math
import re
import tracemalloc

import numpy as np
import pytest
from models import digits, digits_network, integer_network, small_network

import qlite as ql
from qlite import compare
from qlite.analysis.compare import VALUES_AT_ONCE

# Figures of float64 sums over float32 layers.
TOLERANCE = 1e-4
PARTS = ["weight_error", "rounding_error", "clipping_error"]


def parts(layer):
    return {name: getattr(layer, name) for name in PARTS}


def exact_weights(rng, shape):
    """Weights that 8 bits hold exactly: integers of which 127 is one in each column, times a power of two."""
    codes = rng.integers(-127, 128, shape)
    codes[0] = 127
    return codes / 64


def samples_on_the_grid(rng, shape):
    """Samples that 8 bits hold exactly: all of 0..255, times a power of two."""
    x = rng.integers(0, 256, shape)
    x.flat[:2] = 0, 255
    return x / 128


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
def test_rows(scheme):
    data, network, quantized = digits(), digits_network(), integer_network(scheme)
    report = compare(network, quantized, data.x_held)
    assert [layer.name for layer in report.layers] == ["dense_1", "dense_2", "dense_3"]
    assert [layer.shape for layer in report.layers] == [(64, 128), (128, 64), (64, 10)]
    assert report.samples == 450
    assert report.agreement == np.mean(quantized.predict(data.x_held) == network.predict(data.x_held))
    exact, raw = network(data.x_held).astype(np.float64), quantized(data.x_held)
    assert math.isclose(report.sqnr_db, 10 * np.log10(np.sum(exact**2) / np.sum((exact - raw) ** 2)), rel_tol=TOLERANCE)
    assert math.isclose(report.layers[-1].sqnr_db, report.sqnr_db, rel_tol=TOLERANCE)
    for row, layer, q in zip(report.layers, network.layers, quantized.weights.values(), strict=True):
        assert row.weight_sqnr_db == ql.quantization_error(layer.weight, q).sqnr_db
        assert row.float_nbytes == 4 * (layer.weight.size + layer.bias.size)
        assert row.nbytes == layer.weight.size + 8 * layer.bias.size
        assert row.microseconds > 0 and row.float_microseconds > 0
        assert row.own_sqnr_db > 35 and "nothing to repair" in row.advice
    assert sum(row.nbytes for row in report.layers) == quantized.nbytes


def test_the_split_is_the_error_of_the_layer_alone():
    """The parts are those of their definitions, and with few correlations add up to the error that was measured."""
    network, x = small_network()
    quantized = ql.quantize_model(network, data=x[:50])  # the others are clipped here and there
    report = compare(network, quantized, x)
    exact = network.intermediates(x)
    inputs = [exact["input"], exact["dense_1"]]
    grids = quantized.program.buffers[1:3]
    for row, layer, q, h, grid in zip(
        report.layers, network.layers, quantized.weights.values(), inputs, grids, strict=True
    ):
        real, approximate = h.astype(np.float64), q.dequantize().astype(np.float64)
        steps = np.rint(h / np.float32(grid.scale)) + grid.zero_point
        seen = (np.clip(steps, 0, 255) - grid.zero_point) * np.float64(np.float32(grid.scale)) - real
        is_clipped = (steps < 0) | (steps > 255)
        expected = [real @ (approximate - layer.weight), np.where(is_clipped, 0, seen) @ approximate]
        expected.append(np.where(is_clipped, seen, 0) @ approximate)
        for got, error in zip(parts(row).values(), expected, strict=True):
            assert math.isclose(got, np.mean(error**2), rel_tol=TOLERANCE)
        assert math.isclose(row.clipped_share, is_clipped.mean())
        together = np.mean((real @ layer.weight + layer.bias) ** 2) / np.mean(sum(expected) ** 2)
        assert math.isclose(row.own_sqnr_db, 10 * np.log10(together), rel_tol=TOLERANCE)
    assert report.layers[0].clipped_share > 0


def test_nothing_is_lost_where_everything_is_representable(rng):
    network = ql.from_weights([(exact_weights(rng, (6, 3)), None)], task="regression")
    x = samples_on_the_grid(rng, (300, 6))
    report = compare(network, ql.quantize_model(network, data=x), x)
    assert parts(report.layers[0]) == dict.fromkeys(PARTS, 0.0)
    assert report.sqnr_db == report.layers[0].own_sqnr_db == report.layers[0].weight_sqnr_db == math.inf
    assert report.agreement is None
    assert "agreement" not in str(report)


def test_exact_weights_are_not_blamed(rng):
    network = ql.from_weights([(exact_weights(rng, (6, 3)), None)])
    x = rng.normal(size=(300, 6))
    row = compare(network, ql.quantize_model(network, data=x), x).layers[0]
    assert row.weight_error == 0 and row.weight_sqnr_db == math.inf
    assert row.rounding_error > 0 and row.clipping_error == row.clipped_share == 0


def test_exact_samples_are_not_blamed(rng):
    network = ql.from_weights([(rng.normal(size=(6, 3)), None)])
    x = samples_on_the_grid(rng, (300, 6))
    row = compare(network, ql.quantize_model(network, data=x), x).layers[0]
    assert row.weight_error > 0 and row.rounding_error == row.clipping_error == 0


def test_inputs_that_go_further_than_the_data_are_blamed_on_clipping(rng):
    network = ql.from_weights([(rng.normal(size=(6, 3)), None)])
    x = rng.normal(size=(300, 6))
    row = compare(network, ql.quantize_model(network, data=x), 3 * x).layers[0]
    assert row.clipping_error > 10 * (row.rounding_error + row.weight_error)
    assert 0.1 < row.clipped_share < 1
    assert "clipped inputs" in row.advice


def test_outliers_in_the_data_are_blamed_on_rounding(rng):
    network = ql.from_weights([(rng.normal(size=(6, 3)), None)])
    x = rng.normal(size=(300, 6))
    data = np.concatenate([x, np.full((1, 6), 300)])
    with pytest.warns(UserWarning, match=r"^data: samples that stand out: 300 "):
        quantized = ql.quantize_model(network, data=data, method="minmax")
    row = compare(network, quantized, x).layers[0]
    assert row.rounding_error > 10 * (row.clipping_error + row.weight_error)
    assert "rounding its inputs" in row.advice


def test_advice_is_no_method_that_is_in_use_or_was_tried(rng):
    network = ql.from_weights([(rng.normal(size=(6, 3)), None)])
    x = rng.normal(size=(300, 6))
    for data, method, target, far, advice in [
        (16 * x, "auto", "numpy", 1, "rounding its inputs: try 'dynamic'."),
        (16 * x, "auto", "tflite", 1, "rounding its inputs: no better range is known."),
        (16 * x, "mse", "numpy", 1, "rounding its inputs: try 'dynamic'."),
        (16 * x, "minmax", "numpy", 1, "rounding its inputs: try a tighter range (method='mse') or 'dynamic'."),
        (x, "minmax", "numpy", 4, "clipped inputs: calibrate on data that reaches as far."),
        (x, "auto", "numpy", 4, "clipped inputs: calibrate on data that reaches as far."),
        (x, "mse", "numpy", 4, "clipped inputs: calibrate on data that reaches as far, or minmax."),
    ]:
        quantized = ql.quantize_model(network, data=data, method=method, target=target)
        (row,) = compare(network, quantized, far * x).layers
        assert row.advice == f"most of its error comes from {advice}", (method, target)
    quantized.calibration = None  # as of a file
    assert compare(network, quantized, 4 * x).layers[0].advice.endswith("or minmax.")


@pytest.mark.parametrize(
    "scheme, advice",
    [
        ("w8a8", "try a tighter range (method='mse') or 'dynamic'."),
        ("dynamic", "try activations of 16 bits (w8a16)."),
        ("w8a16", "try a tighter range (method='mse')."),
        ("w8a4", "try more bits for activations."),
    ],
)
def test_advice_goes_by_what_activations_are(scheme, advice, rng):
    """One input reaches so far that nothing is left of the others, and has no weight."""
    weight = exact_weights(rng, (6, 3))
    weight[:2] = [0], [127 / 64]
    network, x = ql.from_weights([(np.eye(6), None), (weight, None)]), rng.normal(size=(300, 6)) * [1e6, 1, 1, 1, 1, 1]
    row = compare(network, ql.quantize_model(network, scheme, x, method="minmax"), x).layers[1]
    assert row.advice == f"most of its error comes from rounding its inputs: {advice}"


@pytest.mark.parametrize("options", [{}, {"mean": np.full(6, 2.0), "scale": np.full(6, 3.0)}])
@pytest.mark.parametrize(
    "calibrated, compared, text", [(16, 1, "1/16 of"), (1, 16, "16 times"), (4, 1, ""), (1, 1, "")]
)
def test_samples_that_reach_otherwise_than_those_of_the_calibration(calibrated, compared, text, options, rng):
    network = ql.Sequential([ql.Dense(rng.normal(size=(6, 3)))], **options)
    x, mean = rng.normal(size=(300, 6)), options.get("mean", 0)
    quantized = ql.quantize_model(network, data=calibrated * x + mean, method="minmax")
    report = compare(network, quantized, compared * x + mean)
    assert math.isclose(report.reach, compared / calibrated, rel_tol=0.01)
    line, doubt = " ".join(str(report).split()), "the calibrated range: were both scaled alike?"
    assert f"; compared samples reach {text} {doubt}" in line if text else doubt not in line


def test_dynamic_models_have_no_calibrated_range(rng):
    network = ql.from_weights([(rng.normal(size=(6, 3)), None)])
    assert compare(network, ql.quantize_model(network, "dynamic"), np.ones((2, 6))).reach is None


def test_an_outlier_in_the_weights_is_blamed_on_them(rng):
    weight = rng.normal(size=(50, 3))
    weight[0] = 300
    network = ql.from_weights([(weight, None)])
    x = rng.normal(size=(300, 50))
    x[:, 0] = 0  # its own input is silent
    row = compare(network, ql.quantize_model(network, "w8"), x).layers[0]
    assert row.weight_error > 0 == row.rounding_error == row.clipping_error
    assert "weights" in row.advice


def test_floats_are_not_blamed_where_activations_stay_float(rng):
    network, x = small_network()
    for row in compare(network, ql.quantize_model(network, "w8"), x).layers:
        assert row.rounding_error == row.clipping_error == row.clipped_share == 0
    for row in compare(network, ql.quantize_model(network, "dynamic"), x).layers:
        assert row.rounding_error > 0 == row.clipping_error == row.clipped_share


@pytest.mark.parametrize("target", ["onnx", "tflite", "tflm", "tensorrt"])
def test_targets_with_integer_output(target):
    network, x = small_network()
    quantized = ql.quantize_model(network, data=x)
    numpy, other = compare(network, quantized, x), compare(network, quantized.retarget(target), x)
    assert [row.name for row in other.layers] == ["dense_1", "dense_2"]
    assert other.layers[-1].sqnr_db < numpy.layers[-1].sqnr_db  # the logits are codes now
    assert math.isclose(other.layers[-1].sqnr_db, other.sqnr_db, rel_tol=TOLERANCE)


# ---- layers without weights -------------------------------------------------------------------------


def image_network(rng):
    """A graph of layers that compute, with two outputs of different size; samples."""
    x = ql.Input((8, 8, 3))
    y = ql.Conv2D(filters=6, kernel_size=3, padding="same", activation="relu", name="conv")(x)
    y = ql.Add(name="sum")(y, ql.AveragePool(3, stride=1, padding="same", name="pool")(y))
    gate = ql.Activation("sigmoid", name="gate")(ql.GlobalAveragePool(name="mean")(y))
    y = ql.Multiply(name="product")(y, ql.Reshape((1, 1, 6))(gate))
    heads = [ql.Dense(units=n, name=f"head_{n}")(ql.Flatten()(y)) for n in (3, 5)]
    return ql.Model(x, heads), rng.normal(size=(40, 8, 8, 3)).astype(np.float32)


def test_rows_of_all_layers_that_compute(rng):
    model, x = image_network(rng)
    report = compare(model, ql.quantize_model(model, data=x), x)
    rows = {row.name: row for row in report.layers}
    assert list(rows) == ["conv", "pool", "sum", "mean", "gate", "product", "head_3", "head_5"]
    for name in ("pool", "sum", "mean", "gate", "product"):
        row = rows[name]
        assert (row.shape, row.nbytes > 0, row.float_nbytes, row.weight_error) == ((), name == "gate", 0, 0)
        assert row.weight_sqnr_db == math.inf and row.rounding_error > 0 and 20 < row.own_sqnr_db < math.inf
        assert row.microseconds > 0 and row.float_microseconds > 0
    assert report.sqnr_db == min(rows["head_3"].sqnr_db, rows["head_5"].sqnr_db)
    assert report.agreement is None


def test_rounding_and_clipping_of_a_sum_are_those_of_its_inputs(rng):
    a, b = ql.Input((20,), "a"), ql.Input((20,), "b")
    model = ql.Model([a, b], ql.Add(name="sum")(a, b))
    x, y = rng.normal(size=(2, 50, 20)).astype(np.float32)
    quantized = ql.quantize_model(model, data=(x[:25] / 2, y[:25]), method="minmax")
    (row,) = compare(model, quantized, (x, y)).layers
    errors = np.zeros((2, 50, 20))
    grids = {b.name: b for b in quantized.program.buffers}
    for h, name in ((x, "a_codes"), (y, "b_codes")):
        scale, zero_point = np.float32(grids[name].scale), grids[name].zero_point
        steps = np.rint(h / scale) + zero_point
        seen = (np.clip(steps, 0, 255) - zero_point) * np.float64(scale) - h
        is_clipped = (steps < 0) | (steps > 255)
        errors += [np.where(is_clipped, 0, seen), np.where(is_clipped, seen, 0)]
    assert math.isclose(row.rounding_error, np.mean(errors[0] ** 2), rel_tol=1e-3)
    assert math.isclose(row.clipping_error, np.mean(errors[1] ** 2), rel_tol=1e-3) and row.clipping_error > 0


def test_layers_in_float_are_exact(rng):
    model, x = image_network(rng)
    quantized = ql.quantize_model(model, data=x, per_layer={"conv": None, "product": None})
    rows = {row.name: row for row in compare(model, quantized, x).layers}
    for name in ("conv", "product"):
        assert rows[name].own_sqnr_db == math.inf and rows[name].advice == "exact."
        assert rows[name].nbytes == rows[name].float_nbytes
    assert rows["sum"].own_sqnr_db < math.inf


# ---- memory -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic"])
def test_parts_give_what_all_samples_give(scheme, rng, monkeypatch):
    model, x = image_network(rng)
    quantized = ql.quantize_model(model, scheme, x)
    whole = compare(model, quantized, x)
    monkeypatch.setattr("qlite.analysis.compare.VALUES_AT_ONCE", 7 * 2000)
    parts = compare(model, quantized, x)
    assert math.isclose(whole.sqnr_db, parts.sqnr_db, rel_tol=TOLERANCE) and parts.samples == len(x)
    for one, other in zip(whole.layers, parts.layers, strict=True):
        for name in ("sqnr_db", "own_sqnr_db", "weight_error", "rounding_error", "clipping_error", "clipped_share"):
            assert math.isclose(getattr(one, name), getattr(other, name), rel_tol=TOLERANCE, abs_tol=1e-12)


def test_memory_is_that_of_a_part(rng):
    """Of the values of all layers those of a few samples are there at a time, however many come."""
    x = ql.Input((64, 64, 8))
    y = x
    for i in range(10):
        y = ql.Conv2D(filters=8, kernel_size=1, activation="relu", name=f"conv_{i}")(y)
    model, data = ql.Model(x, ql.GlobalAveragePool()(y)), rng.normal(size=(60, 64, 64, 8)).astype(np.float32)
    quantized = ql.quantize_model(model, data=data[:4])
    tracemalloc.start()
    compare(model, quantized, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 4 * VALUES_AT_ONCE < 11 * data.nbytes


# ---- text -------------------------------------------------------------------------------------------


def test_text_and_html():
    network, x = small_network()
    report = compare(network, ql.quantize_model(network, data=x), x)
    text, html = str(report), report._repr_html_()
    assert repr(report) == text
    for word in ("layer", "SQNR dB", "dense_1", "6 x 9", f"on {len(x)} samples", "top-1 agreement"):
        assert word in text and word in html
    header, first, *_ = text.splitlines()
    assert len(header) == len(first)  # columns stand below each other
    columns = re.split(r" {2,}", header)
    assert columns[:5] == ["layer", "shape", "SQNR dB", "own dB", "weights"] and len(set(columns)) == len(columns)
    assert html.count("<tr>") == html.count("</tr>") == 3
    for row in report.layers:
        shares = [float(s) for s in re.findall(r"(\d+)%", text.splitlines()[1 + report.layers.index(row)])[:3]]
        assert abs(sum(shares) - 100) <= 1  # rounded


def test_html_shows_names_as_they_are():
    weights = np.eye(2)
    network = ql.Sequential([ql.Dense(weights, name="<i>&"), ql.Dense(weights)])
    report = compare(network, ql.quantize_model(network, "w8"), np.ones((3, 2)))
    assert "<i>" not in report._repr_html_() and "&lt;i&gt;&amp;" in report._repr_html_()


def test_a_single_sample(rng):
    network, x = small_network()
    report = compare(network, ql.quantize_model(network, data=x), x[:1])
    assert report.samples == 1 and "on 1 sample;" in " ".join(str(report).split())
    assert compare(network, ql.quantize_model(network, data=x), x[:1].tolist()).samples == 1


CASES = """
TypeError  model  compare(q, q, x)
TypeError  model  compare(None, q, x)
TypeError  quantized  compare(m, m, x)
ValueError quantized  compare(m, other, x)
ValueError quantized  compare(renamed, q, x)
ValueError x  compare(m, q, x[:0])
ValueError x  compare(m, q, x[:, :3])
ValueError x  compare(m, q, x[0])
ValueError x  compare(m, q, x * np.nan)
TypeError  x  compare(m, q, x.astype(int))
"""


@pytest.mark.parametrize("case", CASES.split("\n")[1:-1])
def test_bad_arguments(case):
    m, x = small_network()
    q = ql.quantize_model(m, data=x)
    other = ql.quantize_model(ql.from_weights([(np.ones((6, 4)), None)]), data=x)
    renamed = ql.Sequential([ql.Dense(layer.weight, name=f"my {i}") for i, layer in enumerate(m.layers)])
    known = {"m": m, "x": x, "q": q, "other": other, "renamed": renamed}
    error, name, call = case.split(maxsplit=2)
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: ") as raised:
        eval(call, globals(), known)
    assert type(raised.value).__name__ == error


def test_layers_of_one_advice_stand_together(rng):
    network = ql.from_weights([(rng.normal(size=(8, 8)), None) for _ in range(30)])
    x = rng.normal(size=(50, 8))
    for scheme, advice in (("w8", "nothing to repair."), ("w2", "try more bits")):
        report = compare(network, ql.quantize_model(network, scheme), x)
        text = str(report)
        assert text.count(advice) == 1 and report._repr_html_().count("<li>") == 1
        assert all(text.count(f"dense_{i}") >= 2 for i in range(1, 31))
        assert max(map(len, text.splitlines())) == len(text.splitlines()[0])


def test_what_activations_of_16_bits_cost(rng):
    m = ql.from_weights([(rng.normal(size=(6, 9)), None), (rng.normal(size=(9, 4)), None)], activation="relu")
    x = rng.normal(size=(80, 6))
    report = ql.compare(m, ql.quantize_model(m, "w8a8", x, per_layer={"dense_2": "w8a16"}), x)
    assert [layer.has_wide_activations for layer in report.layers] == [False, True]
    time, whole = report.layers[1].microseconds, sum(layer.microseconds for layer in report.layers)
    line = " ".join(str(report).split())
    assert f"; activations of 16 bits in dense_2: {time:.3f} us/sample, {time / whole:.0%} of the time" in line
    assert "16 bits" not in str(ql.compare(m, ql.quantize_model(m, "w8a8", x), x))
