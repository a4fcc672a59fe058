"""One dense layer is linear or logistic regression: what training finds next to the exact answer, then in integers."""

import numpy as np
import pytest
from models import extra
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, recall_score
from sklearn.model_selection import train_test_split

import qlite as ql

#: Between coefficients of size 1 after so many steps along a falling rate; the last of them are of float32's size.
COEFFICIENT = 2e-5
#: Of R2 on training data. The exact coefficients are the best ones there, so that rounding ten of them to steps s costs
#: about 10 s**2 / 12, 1e-5 at 8 bits and 2e-3 at 4; rounded samples add 4e-4 by chance.
R2_DROP = {"w8a8": 1e-3, "dynamic": 1e-3, "w4a8": 1e-2}
#: Of R2 on 111 held-out samples, where the coefficients are not the best ones and the drop may be a gain.
R2_CHANGE = {"w8a8": 2e-3, "dynamic": 2e-3, "w4a8": 3e-2}
#: Held-out samples of 228 that may change their label: those close to the threshold.
CHANGED = {"w8a8": 2, "dynamic": 2, "w4a8": 5}
#: Of recall and F1 where 12 held-out samples are of the rare class: one of them.
ONE_OF_12 = 1 / 12 + 1e-9

CLASSES = ["benign", "malignant"]
DESCENT = {"optimizer": "sgd", "momentum": 0.9, "schedule": "cosine", "batch_size": 1000, "progress": False}


@pytest.fixture(autouse=True)
def one_thread():
    """Products as small as these lose more than they gain by threads."""
    with extra("threadpoolctl").threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def diabetes():
    """Training and held-out samples; features and values of mean 0 and deviation 1 in training."""
    x, y = load_diabetes(return_X_y=True)
    x, x_held, y, y_held = train_test_split(x, y, test_size=0.25, random_state=0)
    mean, deviation, middle, spread = x.mean(axis=0), x.std(axis=0), y.mean(), y.std()
    return (x - mean) / deviation, (y - middle) / spread, (x_held - mean) / deviation, (y_held - middle) / spread


@pytest.fixture(scope="module")
def cancer():
    data = load_breast_cancer()
    labels = data.target_names[data.target]
    x, x_held, y, y_held = train_test_split(data.data, labels, test_size=0.4, stratify=labels, random_state=0)
    return x, y, x_held, y_held


@pytest.fixture(scope="module")
def linear(diabetes):
    x, y, _, _ = diabetes
    return ql.train(one_layer(10, task="regression"), x, y, learning_rate=0.1, epochs=1000, **DESCENT)


@pytest.fixture(scope="module")
def logistic(cancer):
    return trained_logistic(*cancer[:2])


def one_layer(features, units=1, **options):
    return ql.Sequential([ql.Dense(units=units)], input_shape=(features,), **options)


def trained_logistic(x, y, **options):
    start = one_layer(x.shape[1], task="binary", classes=CLASSES, mean=x.mean(axis=0), scale=x.std(axis=0))
    return ql.train(start, x, y, learning_rate=0.01, epochs=50, batch_size=32, progress=False, **options)


def with_ones(x):
    return np.column_stack([x, np.ones(len(x))])


def coefficients(model):
    return np.vstack([model.layers[0].weight, model.layers[0].bias])


def in_integers(model, scheme, x, y):
    """w4a8 is trained for some epochs more, the others are rounded."""
    if scheme != "w4a8":
        return ql.quantize_model(model, scheme, data=x)
    return ql.quantize_model(ql.train(model, x, y, scheme=scheme, epochs=20, batch_size=32, progress=False))


# ---- linear


def test_descent_finds_the_least_squares(diabetes, linear):
    x, y, x_held, y_held = diabetes
    exact, *_ = np.linalg.lstsq(with_ones(x), y)
    np.testing.assert_allclose(coefficients(linear)[:, 0], exact, rtol=0, atol=COEFFICIENT)
    r2 = ql.metrics.r2(y_held, with_ones(x_held) @ exact)
    assert linear.evaluate(x_held, y_held, "r2")["r2"] == pytest.approx(r2, abs=COEFFICIENT)


def test_least_squares_stay(diabetes):
    """The gradient is 0 there, up to float32's rounding of the sums."""
    x, y, _, _ = diabetes
    exact, *_ = np.linalg.lstsq(with_ones(x), y)
    m = ql.Sequential([ql.Dense(exact[:-1, None], exact[-1:])], task="regression")
    more = ql.train(m, x, y, optimizer="sgd", learning_rate=0.1, epochs=10, batch_size=1000, progress=False)
    np.testing.assert_allclose(coefficients(more), exact[:, None], rtol=0, atol=1e-6)


def test_several_values_are_several_regressions(diabetes):
    """The loss is the mean over both values, which halves the gradient of each."""
    x, y, _, _ = diabetes
    both = np.column_stack([y, x[:, 2] * x[:, 8]])
    exact, *_ = np.linalg.lstsq(with_ones(x), both)
    m = ql.train(one_layer(10, 2, task="multioutput"), x, both, learning_rate=0.2, epochs=1000, **DESCENT)
    np.testing.assert_allclose(coefficients(m), exact, rtol=0, atol=COEFFICIENT)


def test_weight_decay_is_ridge_regression(diabetes):
    """``mean (x w - y)**2 + decay / 2 |w|**2``; the bias of centered samples is 0, with or without decay."""
    x, y, _, _ = diabetes
    m = one_layer(10, task="regression")
    m = ql.train(m, x, y, learning_rate=0.1, weight_decay=0.05, epochs=1000, **DESCENT)
    peer = Ridge(alpha=len(x) * 0.05 / 2).fit(x, y)
    np.testing.assert_allclose(m.layers[0].weight[:, 0], peer.coef_, rtol=0, atol=COEFFICIENT)


@pytest.mark.parametrize("scheme", R2_DROP)
def test_linear_regression_in_integers(diabetes, linear, scheme):
    x, y, x_held, y_held = diabetes
    quantized = in_integers(linear, scheme, x, y)
    drop = linear.evaluate(x, y, "r2")["r2"] - quantized.evaluate(x, y, "r2")["r2"]
    assert drop <= R2_DROP[scheme]
    change = linear.evaluate(x_held, y_held, "r2")["r2"] - quantized.evaluate(x_held, y_held, "r2")["r2"]
    assert abs(change) <= R2_CHANGE[scheme]


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w4a8"])
def test_rounded_coefficients_are_half_a_step_away(diabetes, linear, scheme):
    q = ql.quantize_model(linear, scheme, data=diabetes[0]).weights["dense_1"]
    assert np.abs(np.asarray(q) - linear.layers[0].weight).max() <= 0.5001 * q.scale.item()


# ---- logistic


def test_descent_finds_scikit_learns_coefficients(cancer):
    """Of three measures no plane separates the classes, so that the coefficients are finite without a penalty."""
    x, y, x_held, _ = cancer
    mean, deviation = x[:, [0, 1, 4]].mean(axis=0), x[:, [0, 1, 4]].std(axis=0)
    x, x_held = ((part[:, [0, 1, 4]] - mean) / deviation for part in (x, x_held))
    m = one_layer(3, task="binary", classes=CLASSES)
    m = ql.train(m, x, y, learning_rate=1.0, epochs=1500, **DESCENT)
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(coefficients(m)[:, 0], [*peer.coef_[0], *peer.intercept_], rtol=COEFFICIENT)
    np.testing.assert_allclose(m.predict_proba(x_held), peer.predict_proba(x_held), rtol=0, atol=COEFFICIENT)
    assert (m.predict(x_held) == peer.predict(x_held)).all()


@pytest.mark.parametrize("scheme", CHANGED)
def test_logistic_regression_in_integers(cancer, logistic, scheme):
    x, y, x_held, y_held = cancer
    quantized = in_integers(logistic, scheme, x, y)
    before, after = (m.evaluate(x_held, y_held, ("accuracy", "recall", "roc_auc")) for m in (logistic, quantized))
    assert before["accuracy"] > 0.95 and before["recall"] > 0.94
    assert np.count_nonzero(quantized.predict(x_held) != logistic.predict(x_held)) <= CHANGED[scheme]
    assert after["accuracy"] >= before["accuracy"] - CHANGED[scheme] / len(y_held)
    assert after["recall"] >= before["recall"] - CHANGED[scheme] / 2 / np.sum(y_held == "malignant")
    assert after["roc_auc"] >= before["roc_auc"] - 0.005


@pytest.mark.parametrize("scheme", CHANGED)
def test_recall_and_f1_of_a_rare_class(cancer, scheme):
    """One sample in twelve is malignant. The figures are scikit-learn's, and integers find as many as floats."""
    x, y, x_held, y_held = cancer
    x, y = few_malignant(x, y, 20)
    x_held, y_held = few_malignant(x_held, y_held, 12)
    m = trained_logistic(x, y, class_weight="balanced")
    quantized = in_integers(m, scheme, x, y)
    figures = []
    for network in (m, quantized):
        labels = network.predict(x_held)
        recall = ql.metrics.recall(y_held, labels, average=None)[1]
        f1 = ql.metrics.f1(y_held, labels, average=None)[1]
        assert recall == pytest.approx(recall_score(y_held, labels, pos_label="malignant"))
        assert f1 == pytest.approx(f1_score(y_held, labels, pos_label="malignant"))
        figures.append((recall, f1))
    (recall, f1), (recall_in_integers, f1_in_integers) = figures
    assert recall >= 0.8
    assert recall_in_integers >= recall - ONE_OF_12
    assert f1_in_integers >= f1 - ONE_OF_12


def few_malignant(x, y, count):
    dropped = np.flatnonzero(y == "malignant")[count:]
    return np.delete(x, dropped, axis=0), np.delete(y, dropped)


def test_all_benign_is_accurate_and_finds_nothing(cancer):
    """Accuracy does not see a class that is lost; recall, F1 and the report on chance do."""
    x, y = few_malignant(*cancer[:2], 20)
    m = trained_logistic(x, y, class_weight="balanced")
    blind = m.copy()
    blind.layers[0].weight[:], blind.layers[0].bias[:] = 0, -1
    blind = ql.quantize_model(blind, "w8a8", data=x)
    figures = blind.evaluate(x, y, ("accuracy", "recall", "f1"))
    assert figures["accuracy"] > 0.9
    assert figures["recall"] == 0.5 and figures["f1"] < 0.5
    assert ql.compare_accuracy(m, blind, x, y, metric="f1").verdict == "a drop"
