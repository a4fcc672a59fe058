"""Ranges of activations: what "auto" tries and keeps, ways alone, samples that stand out, functions that saturate."""

import pickle

import numpy as np
import pytest
from models import digits, digits_network, same_program, small_network

import qlite as ql
from qlite.nn import ranges
from qlite.nn.calibrate import calibrate
from qlite.nn.fuse import fuse
from qlite.nn.observe import Spread, observe
from qlite.nn.ranges import MARGIN_DB, OTHERS, Calibration, closeness

EVERY = ("minmax", *OTHERS)


def network(rng, inputs=40):
    return ql.from_weights([(rng.normal(size=(inputs, 30)), None), (rng.normal(size=(30, 8)), None)], activation="relu")


def grid(p):
    return p.scale.item(), p.zero_point.item(), p.bits


# ---- the choice -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["w8a8", "w4a4"])
def test_what_is_kept_is_the_program_of_that_way(scheme):
    data, model = digits(), digits_network()
    quantized = ql.quantize_model(model, scheme, data.x)
    found = quantized.calibration
    assert set(found.gain_db) == set(OTHERS) and found.samples == len(data.x)
    best = max(found.gain_db, key=found.gain_db.get)
    assert found.method == (best if found.gain_db[best] > MARGIN_DB else "minmax")
    alone = ql.quantize_model(model, scheme, data.x, method=found.method, bias_correction=found.is_bias_corrected)
    np.testing.assert_array_equal(quantized(data.x), alone(data.x))
    assert alone.calibration.method == found.method and alone.calibration.gain_db == {}


def test_the_gain_is_the_lesser_of_the_median_and_the_total(monkeypatch):
    """On all samples, of programs that give codes."""
    model, x = small_network()
    monkeypatch.setattr("qlite.nn.quantize.COMPARED", 10_000)
    found = ql.quantize_model(model, data=x).calibration.gain_db
    end = calibrate(fuse(model), x, "minmax")[model.names[-1]]  # of outputs by every way
    by = {way: ql.quantize_model(model, data=x, method=way)(x) for way in EVERY}
    by = {way: ql.quantize(y, end).dequantize() for way, y in by.items()}
    db = {way: closeness([model(x)], [y]) for way, y in by.items()}
    each = ql.metrics.sqnr_db(model(x), by["mse"], axis=1)
    np.testing.assert_allclose(db["mse"], [np.median(each), ql.metrics.sqnr_db(model(x), by["mse"])])
    for way in OTHERS:
        assert found[way] == pytest.approx(min(db[way] - db["minmax"]))


@pytest.mark.filterwarnings("ignore:data. samples that stand out")
def test_outputs_reach_as_far_as_they_were_seen_to():
    """By any way that is kept, also where the others cut extremes off."""
    rng = np.random.default_rng(5)
    x = rng.standard_t(2, size=(400, 40)).astype(np.float32)
    model = network(rng)
    kept = ql.quantize_model(model, data=x, target="tflite", bias_correction=False)
    assert kept.calibration.method != "minmax"
    alone = ql.quantize_model(model, data=x, target="tflite", method=kept.calibration.method)
    exact = ql.quantize_model(model, data=x, target="tflite", method="minmax")
    ends = [m.program.steps[-1].inputs[0] for m in (kept, alone, exact)]
    scales = [m.program.buffers[i].scale for m, i in zip((kept, alone, exact), ends, strict=True)]
    assert scales[0] == scales[2] > scales[1]


@pytest.mark.parametrize("target", ["onnx", "tflite", "tflm", "c", "tensorrt"])
def test_the_choice_is_the_same_for_every_target(target):
    data, model = digits(), digits_network()
    for options in ({}, {"output_dtype": "float32"}):
        quantized = ql.quantize_model(model, data=data.x, target=target, **options)
        moved = ql.quantize_model(model, data=data.x).retarget(target, **options)
        assert same_program(quantized.program, moved.program)
        assert quantized.calibration == moved.calibration


def test_results_that_are_zero_say_nothing():
    real = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert closeness([real], [real + 0.1]).tolist() == closeness([real[1:]], [real[1:] + 0.1]).tolist()
    assert closeness([0 * real], [real]).tolist() == [0, 0]
    assert closeness([real], [real]).tolist() == [ranges.EXACT_DB, ranges.EXACT_DB]


def test_layers_in_float_and_several_inputs(rng):
    a, b = ql.Input((20,), "a"), ql.Input((20,), "b")
    h = ql.Dense(units=16, activation="relu", name="h")(ql.Add()(a, b))
    model = ql.Model([a, b], [ql.Dense(units=3, name="end")(h), h])
    data = tuple(rng.normal(size=(2, 60, 20)).astype(np.float32))
    quantized = ql.quantize_model(model, data=data, per_layer={"h": None})
    assert set(quantized.calibration.gain_db) == set(OTHERS)


def test_a_last_layer_that_gives_floats(rng):
    x = rng.normal(size=(40, 6))
    m = ql.Sequential([ql.Dense(rng.normal(size=(6, 5))), ql.LayerNorm(np.ones(5), np.zeros(5))])
    qm = ql.quantize_model(m, "w8a8", x)
    assert set(qm.calibration.gain_db) == set(OTHERS)
    assert ql.metrics.sqnr_db(m(x), qm(x)) > 30


# ---- kept samples -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count, stride", [(3, 1), (8, 1), (9, 2), (16, 2), (17, 4), (100, 16)])
@pytest.mark.parametrize("parts", [1, 3, 50])
def test_samples_are_spread_however_they_come(count, stride, parts):
    spread, numbers = Spread(8), np.arange(count)
    for part in np.array_split(numbers, parts):
        spread.add((part, part[:, None] + 0.5))
    first, second = spread.without(())
    np.testing.assert_array_equal(first, numbers[::stride])
    np.testing.assert_array_equal(second[:, 0], first + 0.5)
    assert spread.count == count
    (left,) = {tuple(array.ravel()) for array in spread.without({0})[:1]}
    assert left == (tuple(numbers[::stride][1:]) or (0,))


# ---- one way alone ----------------------------------------------------------------------------------


def test_a_percentile_of_ones_own(rng):
    model, x = small_network()
    quantized = ql.quantize_model(model, data=x, method="percentile", percentile=95)
    expected = ql.Calibrator().update(x).qparams("percentile", percentile=95)
    assert np.float32(quantized.program.buffers[1].scale) == expected.scale.item()
    default = ql.quantize_model(model, data=x, method="percentile")
    explicit = ql.quantize_model(model, data=x, method="percentile", percentile=99.99)
    assert same_program(default.program, explicit.program)


def test_trimmed_leaves_the_samples_out_that_reach_farthest(rng):
    x = rng.uniform(-1, 1, (100, 40)).astype(np.float32)
    x[7], x[50], x[99] = 30 * x[7], -20 * x[50], 40 * x[99]
    found = calibrate(network(rng), x, "trimmed")["input"]
    assert grid(found) == grid(ql.Calibrator().update(np.delete(x, [7, 50, 99], axis=0)).qparams())


def test_few_samples_are_all_kept_by_trimmed(rng):
    x = rng.normal(size=(16, 40)).astype(np.float32)
    trimmed, minmax = (calibrate(network(rng), x, method)["input"] for method in ("trimmed", "minmax"))
    assert grid(trimmed) == grid(minmax)


CASES = """
method     "ema"
method     "max"
method     None
percentile 50
percentile 101
percentile 99
"""


@pytest.mark.parametrize("case", CASES.split("\n")[1:-1])
def test_bad_arguments(case):
    name, value = case.split(maxsplit=1)
    model, x = small_network()
    options = {name: eval(value)}
    if value in ("50", "101"):
        options["method"] = "percentile"
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        ql.quantize_model(model, data=x, **options)
    with pytest.raises(TypeError, match=r"^percentile: expected a number"):
        ql.quantize_model(model, data=x, method="percentile", percentile="99")


def test_auto_leaves_out_ways_whose_sums_could_overflow():
    """With all codes on one side of the zero point 127 * 70,000 * 255 is beyond int32; with half of them it is not."""
    model = ql.Sequential([ql.Dense(np.tile([[1.0], [-1.0]], (35_000, 1)))], task="regression")
    x = np.ones((20, 70_000), np.float32)
    x[:, ::2] = 0
    x[7] *= -1.2
    with pytest.raises(OverflowError, match="'dense_1'"):
        ql.quantize_model(model, data=x, method="trimmed")
    found = ql.quantize_model(model, data=x).calibration
    assert found.method == "minmax" and "trimmed" not in found.gain_db and "mse" in found.gain_db


# ---- samples that stand out -------------------------------------------------------------------------


def with_outliers(rng, *numbers):
    x = rng.normal(size=(200, 40)).astype(np.float32)
    for i, number in enumerate(numbers):
        x[number] *= 20 + 10 * i
    return x


def test_samples_that_stand_out_are_named(rng):
    model, x = network(rng), with_outliers(rng, 17, 101)
    with pytest.warns(UserWarning, match=r"^data: samples that stand out: 101 \(.*times the median\), 17 \(") as caught:
        quantized = ql.quantize_model(model, data=x)
    assert caught[0].filename == __file__
    found = quantized.calibration.outliers
    assert [outlier.sample for outlier in found] == [101, 17]
    assert 20 < found[1].times < found[0].times < 50
    report = ql.compare(model, quantized, x[:10])
    assert report.calibration is quantized.calibration
    for text in (str(report), report._repr_html_()):
        assert "stand out: 101 (" in " ".join(text.split())


def test_auto_does_not_follow_samples_that_stand_out(rng):
    """The range by all of them would be coarse for all others."""
    model, x = network(rng), with_outliers(rng, 17, 101)
    with pytest.warns(UserWarning, match="stand out"):
        auto, minmax = (ql.quantize_model(model, data=x, method=method) for method in ("auto", "minmax"))
    others = rng.normal(size=(500, 40)).astype(np.float32)
    gain = ql.metrics.sqnr_db(model(others), auto(others)) - ql.metrics.sqnr_db(model(others), minmax(others))
    assert auto.calibration.method != "minmax" and gain > 15


@pytest.mark.parametrize("count", [15, 200, 3000])
def test_samples_of_one_distribution_do_not_stand_out(rng, count):
    for inputs in (1, 4, 40):
        model = network(rng, inputs)
        for x in (rng.normal(size=(count, inputs)), rng.exponential(size=(count, inputs))):
            assert observe(model, x.astype(np.float32)).outliers() == []


def test_many_that_reach_far_are_no_outliers(rng):
    model, x = network(rng), rng.normal(size=(200, 40)).astype(np.float32)
    x[::10] *= 30
    assert observe(model, x).outliers() == []


def test_what_calibration_found_goes_with_the_model_but_not_into_pickles(rng):
    model, x = small_network()
    quantized = ql.quantize_model(model, data=x)
    assert quantized.retarget("tflite").calibration == quantized.calibration
    assert pickle.loads(pickle.dumps(quantized)).calibration is None
    assert ql.quantize_model(model, "dynamic").calibration is None
    assert f"ranges by {quantized.calibration.method!r} of {len(x)} samples" in str(quantized.calibration)


@pytest.mark.parametrize("method, others", [("minmax", "none over 0.3 dB better"), ("mse", "against minmax")])
def test_the_text_says_when_minmax_is_kept(method, others):
    text = str(Calibration(method, 9, {"percentile": 0.2, "mse": 0.21 if method == "minmax" else 4.0}))
    assert text.startswith(f"ranges by '{method}' of 9 samples ({others}: percentile +0.2 dB, mse +")
    assert others not in str(Calibration(method, 9))


def test_samples_of_one_number_and_single_ones_are_told(rng):
    model, x = network(rng), rng.normal(size=(200, 40)).astype(np.float32)
    for data, message in [
        (np.zeros((100, 40)), "'input' is 0 throughout"),
        (np.full((100, 40), 0.5), "'input' is 0.5 throughout"),
        (iter([np.zeros((10, 40)), np.zeros((20, 40))]), "'input' is 0 throughout"),
        (-np.zeros((100, 40)), "'input' is 0 throughout"),
        (np.repeat(x[:1], 9, axis=0), "samples that are all the same cannot tell how far others reach"),
        (iter([x[:1], x[:1]]), "samples that are all the same cannot tell how far others reach"),
        (x[:1], "1 sample alone cannot tell how far others reach"),
        (0 * x[:1], "'input' is 0 throughout; 1 sample alone cannot tell how far others reach"),
    ]:
        with pytest.warns(UserWarning) as caught:
            quantized = ql.quantize_model(model, data=data, method="minmax")
        assert [str(w.message) for w in caught] == [f"data: {message}; see `QModel.calibration`"]
        assert caught[0].filename == __file__
        assert str(quantized.calibration).endswith(f"; {message}")
        assert message in " ".join(str(ql.compare(model, quantized, x)).split())
    quantized = ql.quantize_model(model, data=x[:2])  # in silence
    assert quantized.calibration.constant == {}


def test_the_constant_one_of_several_inputs_is_named(rng):
    a, b = ql.Input((5,), name="a"), ql.Input((5,), name="b")
    model = ql.Model([a, b], ql.Dense(rng.normal(size=(5, 3)))(ql.Add()(a, b)))
    with pytest.warns(UserWarning, match="^data: 'b' is 1 throughout; see"):
        quantized = ql.quantize_model(model, data=(rng.normal(size=(20, 5)), np.ones((20, 5))))
    assert quantized.calibration.constant == {"b": 1.0}


def test_indices_may_be_the_same_throughout(rng):
    """Kinds of tokens, for example: they have no grid."""
    tokens, kinds = (ql.Input((4,), name=name, dtype="int32") for name in ("tokens", "kinds"))
    summed = ql.Add()(ql.Embedding(rng.normal(size=(9, 5)))(tokens), ql.Embedding(rng.normal(size=(2, 5)))(kinds))
    data = {"tokens": rng.integers(0, 9, (20, 4)), "kinds": np.zeros((20, 4), np.int64)}
    quantized = ql.quantize_model(ql.Model([tokens, kinds], ql.Dense(rng.normal(size=(5, 3)))(summed)), data=data)
    assert quantized.calibration.constant == {} and quantized.calibration.doubts == []


# ---- functions that saturate ------------------------------------------------------------------------

LIMITS = {"sigmoid": 8.0, "tanh": 4.0}


def before(rng, scale=100.0):
    """An input, and a layer whose results are far beyond where functions saturate."""
    x = ql.Input((6,))
    return x, ql.Dense(scale * rng.normal(size=(6, 5)), rng.normal(size=5), name="wide")(x)


@pytest.mark.parametrize("method", ["minmax", "mse"])
@pytest.mark.parametrize("function", LIMITS)
def test_inputs_of_a_function_that_saturates_end_there(function, method, rng):
    x, wide = before(rng)
    model = ql.Model(x, ql.Dense(units=2)(ql.Activation(function)(wide)))
    data = rng.normal(size=(100, 6)).astype(np.float32)
    low, high = (float(end.item()) for end in calibrate(model, data, method)["wide"].range)
    step = 2 * LIMITS[function] / 255
    assert abs(low + LIMITS[function]) <= step and abs(high - LIMITS[function]) <= step


@pytest.mark.parametrize("function", LIMITS)
def test_codes_do_not_change_beyond(function):
    y = ql.Activation(function)(np.array([[LIMITS[function], 1e3]], np.float32))
    grid = {"sigmoid": 256, "tanh": 128}[function]
    assert np.ptp(np.rint(y * grid).clip(max=grid - 1)) == 0


def test_what_is_read_elsewhere_keeps_its_range(rng):
    data = rng.normal(size=(100, 6)).astype(np.float32)
    x, wide = before(rng)
    gate = ql.Activation("sigmoid")(wide)
    for outputs in (ql.Multiply()(wide, gate), [gate, wide], ql.Concatenate()(wide, gate)):
        grid = calibrate(ql.Model(x, outputs), data, "minmax")["wide"]
        assert float(grid.range[1].item()) > 50
    both = [ql.Activation("sigmoid")(wide), ql.Activation("tanh")(wide)]
    assert float(calibrate(ql.Model(x, both), data, "minmax")["wide"].range[1].item()) == pytest.approx(8, abs=0.1)


def test_narrow_ranges_stay_as_they_are(rng):
    x, narrow = before(rng, 0.1)
    data = rng.normal(size=(100, 6)).astype(np.float32)
    plain, model = ql.Model(x, narrow), ql.Model(x, ql.Activation("sigmoid")(narrow))
    assert calibrate(model, data, "minmax")["wide"] == calibrate(plain, data, "minmax")["wide"]
