"""Figures of predictions are scikit-learn's; where it warns of a share of nothing, they are 0 without a word."""

import inspect
import math
import re
import warnings

import numpy as np
import pytest
from models import extra

import qlite as ql
from qlite import metrics

# Sums of float64 in another order.
TOLERANCE = 1e-12
AVERAGES = ["macro", "micro", "weighted", None]
NAMES = np.array(["ant", "bee", "cat", "dog", "emu"])


def sklearn(name, *arguments, **options):
    """What scikit-learn's metric gives, its warnings left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(extra("sklearn.metrics"), name)(*arguments, **options)


def label_pairs(rng):
    """Labels and predictions of every kind, some with classes that only one of the two has."""
    for count, samples in ((2, 1), (2, 50), (5, 3), (5, 400)):
        y = rng.integers(0, count, samples)
        predicted = np.where(rng.random(samples) < 0.7, y, rng.integers(0, count, samples))
        yield y, predicted
        yield NAMES[y], NAMES[predicted]
        yield y.astype(np.float64), predicted.astype(np.float32)
        yield y == 0, predicted == 0
        yield y, np.minimum(predicted + 1, 4)  # the first class is never predicted
        yield np.full(samples, 7), predicted
    yield NAMES[[0, 1]].astype(object), ["bee", "emu"]


def probabilities(rng, samples, classes, decimals=16):
    p = rng.random((samples, classes)) ** 3 + 0.01
    p = (p / p.sum(axis=1, keepdims=True)).round(decimals)
    p[:, 0] += 1 - p.sum(axis=1)
    return p


def test_accuracy_and_the_confusion_matrix(rng):
    for y, predicted in label_pairs(rng):
        assert metrics.accuracy(y, predicted) == sklearn("accuracy_score", np.asarray(y), np.asarray(predicted))
        counts = metrics.confusion_matrix(y, predicted)
        np.testing.assert_array_equal(counts, sklearn("confusion_matrix", y, predicted))
        assert counts.dtype == np.int64


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_figures_of_classes(name, average, rng):
    for y, predicted in label_pairs(rng):
        expected = sklearn(f"{name}_score", y, predicted, average=average)
        got = getattr(metrics, name)(y, predicted, average=average)
        np.testing.assert_allclose(got, expected, rtol=TOLERANCE, atol=0)
        assert isinstance(got, float if average else np.ndarray)


def test_labels_say_which_classes_there_are_and_their_order(rng):
    y, predicted = NAMES[rng.integers(0, 3, 60)], NAMES[rng.integers(0, 3, 60)]
    labels = ["emu", "cat", "ant", "bee"]
    np.testing.assert_array_equal(
        metrics.confusion_matrix(y, predicted, labels=labels), sklearn("confusion_matrix", y, predicted, labels=labels)
    )
    for name in ("precision", "recall", "f1"):
        for average in AVERAGES:
            expected = sklearn(f"{name}_score", y, predicted, average=average, labels=labels)
            got = getattr(metrics, name)(y, predicted, average=average, labels=labels)
            np.testing.assert_allclose(got, expected, rtol=TOLERANCE)


@pytest.mark.parametrize("classes", [3, 10])
def test_top_k_accuracy(classes, rng):
    y, score = rng.integers(0, classes, 200), rng.normal(size=(200, classes))
    for k in range(1, classes):
        expected = sklearn("top_k_accuracy_score", y, score, k=k, labels=np.arange(classes))
        assert metrics.top_k_accuracy(y, score, k=k) == expected
    assert metrics.top_k_accuracy(y, score, k=classes) == 1
    names = np.array(sorted(f"class {i}" for i in range(classes)))
    assert metrics.top_k_accuracy(names[y], score, k=2, classes=names) == metrics.top_k_accuracy(y, score)


def test_of_equal_scores_the_first_class_is_the_highest(rng):
    y, score = rng.integers(0, 4, 300), rng.integers(0, 3, (300, 4))
    assert metrics.top_k_accuracy(y, score, k=1) == metrics.accuracy(y, score.argmax(axis=1))
    assert metrics.top_k_accuracy([0, 1, 2], np.zeros((3, 3)), k=2) == 2 / 3


def test_roc_auc_of_two_classes(rng):
    for samples in (2, 3, 40, 500):
        for score in (rng.normal(size=samples), rng.integers(0, 4, samples), np.zeros(samples)):
            y = rng.permutation(np.arange(samples) % 2)
            expected = sklearn("roc_auc_score", y, score)
            assert math.isclose(metrics.roc_auc(y, score), expected, rel_tol=TOLERANCE)
            assert math.isclose(metrics.roc_auc(NAMES[y], score), expected, rel_tol=TOLERANCE)
            two_columns = np.stack([-score, score], axis=1)
            assert math.isclose(metrics.roc_auc(y, two_columns), expected, rel_tol=TOLERANCE)


def test_roc_auc_of_several_classes_is_one_against_the_rest(rng):
    for decimals in (16, 1):  # without and with equal scores
        y, p = rng.permutation(np.arange(200) % 5), probabilities(rng, 200, 5, decimals)
        expected = sklearn("roc_auc_score", y, p, multi_class="ovr", average="macro")
        assert math.isclose(metrics.roc_auc(y, p), expected, rel_tol=TOLERANCE)


def test_roc_auc_counts_pairs(rng):
    y, score = rng.permutation(np.arange(30) % 2), rng.integers(0, 5, 30)
    pairs = np.subtract.outer(score[y == 1], score[y == 0])
    assert metrics.roc_auc(y, score) == np.mean((pairs > 0) + (pairs == 0) / 2)


@pytest.mark.parametrize("classes", [2, 7])
def test_cross_entropy(classes, rng):
    y, p = rng.permutation(np.arange(100) % classes), probabilities(rng, 100, classes)
    assert math.isclose(metrics.cross_entropy(y, p), sklearn("log_loss", y, p), rel_tol=TOLERANCE)
    names = np.array(sorted(f"class {i}" for i in range(classes)))
    assert metrics.cross_entropy(names[y], p, names) == metrics.cross_entropy(y, p)


def test_cross_entropy_of_what_cannot_be():
    smallest = np.finfo(np.float64).tiny
    assert metrics.cross_entropy([0, 1], [[0, 1], [0, 1]]) == -np.log(smallest) / 2
    assert np.isnan(metrics.cross_entropy([0], [[np.nan, 1]]))


@pytest.mark.parametrize("name", ["r2_score", "mean_absolute_error", "mean_squared_error", "root_mean_squared_error"])
def test_figures_of_values(name, rng):
    ours = {"r2": metrics.r2, "mean_a": metrics.mae, "mean_s": metrics.mse, "root": metrics.rmse}
    figure = next(function for start, function in ours.items() if name.startswith(start))
    for shape in ((2,), (100,), (100, 1), (100, 3)):
        y = rng.normal(5, 1, shape)
        for predicted in (y + rng.normal(size=shape), np.float32(y), np.rint(y).astype(int)):
            assert math.isclose(figure(y, predicted), sklearn(name, y, predicted), rel_tol=TOLERANCE)
    constant = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 5.0]])
    for predicted in (constant, constant + np.array([0, 1, 0]), constant[::-1]):
        assert math.isclose(figure(constant, predicted), sklearn(name, constant, predicted), abs_tol=TOLERANCE)
    assert np.isnan(figure([1.0, 2.0], [1.0, np.nan]))


def test_sqnr():
    assert metrics.sqnr_db([1.0], [1.0]) == np.inf
    assert metrics.sqnr_db(np.float32([3, 4]), np.float32([3, 4.5])) == 20
    np.testing.assert_array_equal(metrics.sqnr_db([[10.0], [1.0]], [[11.0], [1.0]], axis=1), [20, np.inf])


# ---- by name --------------------------------------------------------------------------------------------------------


def network(rng, units, **options):
    return ql.from_weights([(rng.normal(size=(6, units)), None)], **options), rng.normal(size=(80, 6))


def test_evaluate_classes(rng):
    m, x = network(rng, 5, classes=NAMES)
    y = NAMES[rng.permutation(np.arange(80) % 5)]
    predicted, probability = m.predict(x), m.predict_proba(x)
    names = ["accuracy", "top_1_accuracy", "top_3_accuracy", "top_5_accuracy", "roc_auc", "cross_entropy"]
    names += [f"{name}{end}" for name in ("precision", "recall", "f1") for end in ("", "_macro", "_micro", "_weighted")]
    figures = m.evaluate(x, y, names)
    assert list(figures) == names and all(type(value) is float for value in figures.values())
    assert figures["top_1_accuracy"] == figures["accuracy"] == figures["f1_micro"] and figures["top_5_accuracy"] == 1
    assert figures["top_3_accuracy"] == metrics.top_k_accuracy(y, probability, k=3, classes=NAMES)
    assert figures["roc_auc"] == metrics.roc_auc(y, probability)
    for name in ("precision", "recall", "f1"):
        figure = getattr(metrics, name)
        assert figures[name] == figures[f"{name}_macro"] == figure(y, predicted)
        assert figures[f"{name}_weighted"] == figure(y, predicted, average="weighted")


def test_evaluate_two_classes(rng):
    m, x = network(rng, 1, task="binary", classes=["no", "yes"])
    y = np.array(["no", "yes"])[rng.integers(0, 2, 80)]
    figures = m.evaluate(x, y, ("roc_auc", "f1", "top_1_accuracy", "accuracy"))
    assert math.isclose(figures["roc_auc"], sklearn("roc_auc_score", y, m(x)[:, 0]), rel_tol=TOLERANCE)
    assert math.isclose(figures["f1"], sklearn("f1_score", y, m.predict(x), average="macro"), rel_tol=TOLERANCE)
    assert figures["top_1_accuracy"] == figures["accuracy"]


def test_evaluate_values(rng):
    m, x = network(rng, 3, task="regression")
    y = rng.normal(size=(80, 3))
    figures = m.evaluate(x, y, ("mse", "rmse", "mae", "r2"))
    assert figures == {name: getattr(metrics, name)(y, m.predict(x)) for name in figures}


# ---- errors ---------------------------------------------------------------------------------------------------------

P = [[0.2, 0.8], [0.6, 0.4]]
CASES = """
ValueError y  accuracy([], [])
ValueError y  accuracy(0, 0)
ValueError y  accuracy([[0], [1]], [[0], [1]])
ValueError y  accuracy([[0], [1, 2]], [0, 1])
TypeError  y  accuracy([None, 1], [0, 1])
TypeError  y  accuracy([1j, 2], [0, 1])
ValueError y  accuracy([np.nan, 1], [0, 1])
ValueError predicted  accuracy([0, 1], [0, 1, 2])
ValueError predicted  accuracy([0, 1], ["0", "1"])
ValueError average  f1([0, 1], [0, 1], average="binary")
ValueError average  precision([0, 1], [0, 1], average=True)
ValueError labels  recall([0, 1], [0, 1], labels=[0, 1, 1])
ValueError labels  recall([0, 1], [0, 1], labels=["a", "b"])
ValueError y  confusion_matrix([0, 1], [0, 0], labels=[0, 2])
ValueError predicted  confusion_matrix([0, 0], [0, 1], labels=[0, 2])
ValueError k  top_k_accuracy([0, 1], P, k=3)
ValueError k  top_k_accuracy([0, 1], P, k=0)
TypeError  k  top_k_accuracy([0, 1], P, k=1.5)
ValueError y  top_k_accuracy([0, 2], P)
ValueError score  top_k_accuracy([0, 1, 1], P)
ValueError score  top_k_accuracy([0, 1], [0.2, 0.3])
ValueError score  top_k_accuracy([0, 1], [[np.nan, 1], [0, 1]])
TypeError  score  top_k_accuracy([0, 1], [["a", "b"], ["a", "b"]])
ValueError classes  top_k_accuracy([0, 1], P, classes=[0, 1, 2])
ValueError classes  top_k_accuracy([0, 1], P, classes=[1, 0])
ValueError classes  top_k_accuracy([0, 1], P, classes=["a", "b"])
ValueError y  roc_auc([1, 1], [0.1, 0.2])
ValueError y  roc_auc([1, 1], P, classes=[0, 1])
ValueError y  roc_auc([0, 1, 1], np.ones((3, 3)), classes=[0, 1, 2])
ValueError score  roc_auc([0, 1], [0.1, np.nan])
ValueError score  roc_auc([0, 1], [0.1])
ValueError classes  roc_auc([0, 1, 2], [0.1, 0.2, 0.3])
ValueError probability  cross_entropy([0, 1], [[-0.1, 1.1], [0, 1]])
ValueError y  cross_entropy([0, 2], P)
ValueError y  mse([], [])
ValueError y  mse(1.0, 1.0)
ValueError predicted  mse([1.0, 2.0], [[1.0], [2.0]])
TypeError  predicted  mae([1.0, 2.0], ["a", "b"])
TypeError  y  rmse([1j], [1.0])
ValueError y  r2([1.0], [1.0])
ValueError approximate  sqnr_db([1.0, 2.0], [1.0])
TypeError  exact  sqnr_db(["a"], [1.0])
"""


@pytest.mark.parametrize("case", [line for line in CASES.splitlines() if line])
def test_bad_arguments(case):
    error, name, call = case.split(maxsplit=2)
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(call, {**vars(metrics), "P": P, "np": np})
    assert type(raised.value).__name__ == error
    assert re.match(rf"{name}: ", str(raised.value)), str(raised.value)


@pytest.mark.parametrize("name", metrics.__all__)
def test_public_functions_are_documented(name):
    function = getattr(metrics, name)
    text = inspect.getdoc(function)
    for section in ("Parameters\n----------", "Raises\n------", "Examples\n--------"):
        assert section in text
    assert not [p for p in inspect.signature(function).parameters if not re.search(rf"\b{p}\b", text)]
