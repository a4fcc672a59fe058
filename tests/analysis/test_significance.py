"""Intervals hold the truth as often as they say, and figures of weighted samples are those of repeated ones."""

import math
import re

import numpy as np
import pytest
from models import digits, digits_network, extra, integer_network

import qlite as ql
from qlite import metrics
from qlite.analysis import bootstrap
from qlite.analysis.bootstrap import Outputs, differences
from qlite.analysis.significance import AccuracyReport, mcnemar
from qlite.metrics import named

# Sums of float64 in another order, and logarithms of up to a million.
TOLERANCE, LOGARITHMS = 1e-9, 1e-9
# Standard deviations of 4000 draws are within 1.1 % of the truth in two of three cases.
DEVIATION = 0.06
CLASSES = np.arange(4)


def outputs(rng, samples):
    """Right labels, and what two models give for them, equal in most."""
    y = rng.integers(0, 4, samples)
    score = rng.random((samples, 4)) + np.eye(4)[y]
    scores = [score, score + 0.4 * rng.random((samples, 4)).round(1)]
    p = [s / s.sum(axis=1, keepdims=True) for s in scores]
    return y, [Outputs(q.argmax(axis=1), q, CLASSES) for q in p]


def value_outputs(rng, shape):
    y = rng.normal(1000, 1, shape)
    return y, [Outputs((y + rng.normal(0, s, shape)).astype(np.float32), np.zeros(1), CLASSES) for s in (0.5, 0.6)]


def figure(metric, y, outputs):
    if named.needs_scores(metric):
        return named.of_scores(metric, y, outputs.probability, outputs.classes)
    return (named.OF_LABELS | named.OF_VALUES)[metric](y, outputs.predicted)


def repeated(outputs, counts):
    if len(outputs.probability) == 1:
        return outputs._replace(predicted=np.repeat(outputs.predicted, counts, axis=0))
    return Outputs(*(np.repeat(a, counts, axis=0) for a in outputs[:2]), outputs.classes)


def drawn_by_hand(metric, y, pair, rng, resamples, samples):
    """Differences of figures of samples that are drawn one by one, as `differences` draws them."""
    for _ in range(resamples):
        counts = np.bincount(rng.integers(samples, size=samples), minlength=samples)
        of = [figure(metric, np.repeat(y, counts, axis=0), repeated(outputs, counts)) for outputs in pair]
        yield of[1] - of[0]


@pytest.mark.parametrize("metric", ["precision", "recall_macro", "f1", "f1_weighted", "cross_entropy", "roc_auc"])
def test_figures_of_weighted_samples_are_those_of_repeated_ones(metric, rng, monkeypatch):
    y, pair = outputs(rng, 60)
    monkeypatch.setattr(bootstrap, "GROUPED", 60)  # sample by sample, as by hand
    got = differences(metric, y, *pair, np.random.default_rng(1), 30)
    expected = list(drawn_by_hand(metric, y, pair, np.random.default_rng(1), 30, 60))
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert np.ptp(got) > 0


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
@pytest.mark.parametrize("metric", ["mse", "rmse", "mae", "r2"])
def test_figures_of_weighted_values_are_those_of_repeated_ones(metric, shape, rng):
    y, pair = value_outputs(rng, shape)
    got = differences(metric, y, *pair, np.random.default_rng(1), 30)
    expected = list(drawn_by_hand(metric, y, pair, np.random.default_rng(1), 30, 50))
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("metric", ["f1", "recall"])
def test_groups_are_drawn_as_their_samples_are(metric, rng, monkeypatch):
    """Drawn as groups or one by one, differences have the same distribution."""
    y, pair = outputs(rng, 800)
    grouped = differences(metric, y, *pair, rng, 4000)
    monkeypatch.setattr(bootstrap, "GROUPED", 800)
    single = differences(metric, y, *pair, rng, 4000)
    assert math.isclose(grouped.std(), single.std(), rel_tol=DEVIATION)
    assert abs(grouped.mean() - single.mean()) < 5 * single.std() / np.sqrt(2000)


@pytest.mark.parametrize("metric", ["accuracy", "top_2_accuracy", "f1_micro", "cross_entropy"])
def test_deviations_of_means_are_those_of_theory(metric, rng):
    y, pair = outputs(rng, 2000)
    by_sample = {
        "cross_entropy": lambda o: -np.log(o.probability[np.arange(2000), y]),
        "top_2_accuracy": lambda o: (np.argsort(-o.probability, axis=1)[:, :2] == y[:, None]).any(axis=1),
    }.get(metric, lambda o: o.predicted == y)
    by_sample = by_sample(pair[1]).astype(float) - by_sample(pair[0])
    weights = np.ones(2000)
    if metric != "cross_entropy":  # one more sample, half of it lost and half gained
        by_sample, weights = np.append(by_sample, [-1, 1]), np.append(weights, [0.5, 0.5])
    got = differences(metric, y, *pair, rng, 4000)
    mean = np.average(by_sample, weights=weights)
    expected = np.sqrt(np.average(np.square(by_sample - mean), weights=weights) / 2000)
    assert math.isclose(got.std(), expected, rel_tol=DEVIATION)
    assert abs(got.mean() - mean) < 0.1 * expected


def test_blocks_change_nothing(rng, monkeypatch):
    y, pair = outputs(rng, 90)
    before = {m: differences(m, y, *pair, np.random.default_rng(2), 25) for m in ("f1", "cross_entropy")}
    monkeypatch.setattr(bootstrap, "BLOCK", 700)
    for metric, expected in before.items():
        got = differences(metric, y, *pair, np.random.default_rng(2), 25)
        np.testing.assert_allclose(got, expected, rtol=TOLERANCE)  # a product of fewer rows adds in another order


def coverage(metric, make, truth, rng):
    """Share of intervals for 90 % that hold the truth, of 300."""
    held = 0
    for _ in range(300):
        y, pair = make()
        low, high = np.quantile(differences(metric, y, *pair, rng, 800), [0.05, 0.95])
        held += low <= truth + 1e-12 and high >= truth - 1e-12
    return held / 300


@pytest.mark.parametrize(("samples", "lost", "gained"), [(100, 0.01, 0.002), (100, 0.05, 0.05), (1000, 0.02, 0.01)])
def test_intervals_of_accuracy_hold_the_truth(samples, lost, gained, rng):
    def make():
        which = rng.choice(4, samples, p=[lost, gained, 0.05, 0.95 - lost - gained])
        first, second = np.isin(which, (0, 3)), np.isin(which, (1, 3))
        return np.ones(samples, bool), [Outputs(hits, np.zeros(1), CLASSES) for hits in (first, second)]

    assert coverage("accuracy", make, gained - lost, rng) > 0.86


def test_intervals_of_values_hold_the_truth(rng):
    assert 0.84 < coverage("mse", lambda: value_outputs(rng, 200), 0.6**2 - 0.5**2, rng) < 0.96


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (0, 1), (5, 0), (3, 9), (40, 40), (200, 150), (70_000, 69_000)])
def test_mcnemar_is_the_exact_binomial_test(lost, gained):
    both = lost + gained
    expected = extra("scipy.stats").binomtest(lost, both).pvalue if both else 1.0
    assert math.isclose(mcnemar(lost, gained), expected, rel_tol=LOGARITHMS)
    assert mcnemar(lost, gained) == mcnemar(gained, lost)


# ---- models ---------------------------------------------------------------------------------------------------------


def test_report():
    data, model, quantized = digits(), digits_network(), integer_network("w8a8")
    noisy = data.x_held + np.random.default_rng(0).normal(0, 0.4, data.x_held.shape).astype(np.float32)
    report = ql.compare_accuracy(model, quantized, noisy, data.y_held, resamples=2000)
    first, second = model.predict(noisy), quantized.predict(noisy)
    assert (report.metric, report.samples, report.confidence) == ("accuracy", 450, 0.95)
    assert report.float_figure == metrics.accuracy(data.y_held, first)
    assert report.figure == metrics.accuracy(data.y_held, second)
    assert report.agreement == np.mean(first == second) < 1
    assert math.isclose(report.gained - report.lost, 450 * report.difference, abs_tol=1e-9)
    assert report.p_value == mcnemar(report.lost, report.gained)
    assert report.interval[0] <= report.difference <= report.interval[1]
    assert report == ql.compare_accuracy(model, quantized, noisy, data.y_held, resamples=2000)
    wider = ql.compare_accuracy(model, quantized, noisy, data.y_held, confidence=0.999)
    assert wider.interval[0] < report.interval[0] and wider.interval[1] > report.interval[1]


def test_a_bad_model_shows(rng):
    data, model = digits(), digits_network()
    noise = [(layer.weight + rng.normal(0, 0.1, layer.weight.shape), layer.bias) for layer in model.layers]
    report = ql.compare_accuracy(model, ql.from_weights(noise), data.x_held, data.y_held)
    assert report.verdict == "a drop" and report.interval[1] < 0 < report.drop and report.p_value < 0.001
    loss = ql.compare_accuracy(model, ql.from_weights(noise), data.x_held, data.y_held, metric="cross_entropy")
    assert loss.verdict == "a drop" and loss.interval[0] > 0 and loss.drop == loss.difference
    assert ql.compare_accuracy(ql.from_weights(noise), model, data.x_held, data.y_held).verdict == "a gain"


def test_values(rng):
    m = ql.from_weights([(rng.normal(size=(6, 2)), None)], task="regression")
    x = rng.normal(size=(100, 6))
    y = m(x) + rng.normal(0, 0.1, (100, 2))
    report = ql.compare_accuracy(m, ql.quantize_model(m, data=x), x, y, metric="r2")
    assert report.agreement is report.lost is report.gained is report.p_value is None
    assert 0.9 < report.figure < 1 and report.samples == 100


def test_text():
    report = AccuracyReport("accuracy", 0.97, 0.98, (-0.03, 0.0125), 0.9, 1200, 0.995, 3, 1, 0.625)
    assert (
        str(report)
        == repr(report)
        == (
            "accuracy 97.00%, float 98.00%: -1.00 points, within chance (90% interval -3.00 to +1.25, 1,200 samples; "
            "3 lost, 1 gained, p = 0.62; agreement 99.50%)"
        )
    )
    values = AccuracyReport("mse", 0.5, 0.25, (0.125, 0.5), 0.95, 10)
    assert str(values) == "mse 0.5, float 0.25: +0.25, a drop (95% interval +0.125 to +0.5, 10 samples)"


def test_figures_that_are_no_numbers():
    m, x = ql.from_weights([(np.full((2, 2), 3e38), None)], task="regression"), np.float32([[3e38, 3e38]])
    with np.errstate(all="ignore"):
        report = ql.compare_accuracy(m, m, x, np.zeros((1, 2)), metric="mse", resamples=10)
    assert report.figure == np.inf and np.isnan(report.difference) and report.verdict == "unknown"
    nothing = AccuracyReport("mse", np.nan, 1.0, (np.nan, np.nan), 0.95, 10)
    assert nothing.verdict == "unknown" and np.isnan(nothing.drop)


CASES = """
TypeError  model  compare_accuracy(None, Q, X, Y)
TypeError  quantized  compare_accuracy(M, "text", X, Y)
ValueError quantized  compare_accuracy(M, VALUES, X, Y)
ValueError quantized  compare_accuracy(M, NAMED, X, Y)
ValueError quantized  compare_accuracy(M, WIDER, X, Y)
ValueError quantized  compare_accuracy(VALUES, WIDER_VALUES, X, X, metric="mse")
ValueError metric  compare_accuracy(M, Q, X, Y, metric="mse")
ValueError metric  compare_accuracy(M, Q, X, Y, metric=None)
ValueError metric  compare_accuracy(VALUES, VALUES, X, X)
ValueError confidence  compare_accuracy(M, Q, X, Y, confidence=1)
ValueError confidence  compare_accuracy(M, Q, X, Y, confidence=float("nan"))
TypeError  confidence  compare_accuracy(M, Q, X, Y, confidence="95%")
ValueError resamples  compare_accuracy(M, Q, X, Y, resamples=0)
TypeError  resamples  compare_accuracy(M, Q, X, Y, resamples=1e4)
ValueError seed  compare_accuracy(M, Q, X, Y, seed=-1)
TypeError  x  compare_accuracy(M, Q, [[1, 2]], Y)
ValueError y  compare_accuracy(M, Q, X, Y[:2])
ValueError y  compare_accuracy(M, Q, X[:0], [])
ValueError y  compare_accuracy(M, Q, X, ["a", "b", "c"])
ValueError y  compare_accuracy(M, Q, X, [0, 0, 0], metric="roc_auc")
"""


@pytest.mark.parametrize("case", [line for line in CASES.splitlines() if line])
def test_bad_arguments(case):
    m, values = ql.from_weights([(np.eye(3), None)]), ql.from_weights([(np.eye(3), None)], task="regression")
    known = {"M": m, "Q": ql.quantize_model(m, "w8"), "VALUES": values, "X": np.eye(3), "Y": [0, 1, 2]}
    known |= {"NAMED": ql.from_weights([(np.eye(3), None)], classes=["a", "b", "c"])}
    known |= {"WIDER": ql.from_weights([(np.eye(3, 4), None)]), "compare_accuracy": ql.compare_accuracy}
    known |= {"WIDER_VALUES": ql.from_weights([(np.eye(3, 4), None)], task="regression")}
    error, name, call = case.split(maxsplit=2)
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(call, known)
    assert type(raised.value).__name__ == error
    assert re.match(rf"{name}: ", str(raised.value)), str(raised.value)
