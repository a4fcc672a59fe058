"""Models from scikit-learn give what scikit-learn gives."""

import warnings

import numpy as np
import pytest
from models import extra, fitted

import qlite as ql

networks, linear = extra("sklearn.neural_network"), extra("sklearn.linear_model")
pipeline, preprocessing = extra("sklearn.pipeline"), extra("sklearn.preprocessing")
datasets = extra("sklearn.datasets")

# scikit-learn computes in float64, the float model in float32: 24 bits over sums of about ten terms.
TOLERANCE = 1e-5

RNG = np.random.default_rng(0)
X = RNG.normal([3, -1, 0, 100, 0], [2, 1, 1e-2, 30, 5], (200, 5))
SCORE = ((X - X.mean(0)) / X.std(0)).sum(axis=1)
TWO, THREE = (SCORE > 0).astype(int), np.digitize(SCORE, [-1, 1])
VALUE, VALUES = SCORE, np.stack([SCORE, X[:, 1], SCORE**2], axis=1)
NAMES = np.array(["one", "three", "two"])[THREE]


def network(kind, **options):
    return getattr(networks, kind)(**({"hidden_layer_sizes": (8, 4), "max_iter": 20, "random_state": 0} | options))


def scaled(model, **options):
    return pipeline.make_pipeline(preprocessing.StandardScaler(**options), model)


CLASSIFIERS = {
    "network of two classes": (lambda: network("MLPClassifier"), TWO, "binary"),
    "network of booleans": (lambda: network("MLPClassifier"), TWO.astype(bool), "binary"),
    "network of three classes": (lambda: network("MLPClassifier"), THREE, "multiclass"),
    "network of names": (lambda: network("MLPClassifier"), NAMES, "multiclass"),
    "network without hidden layers": (lambda: network("MLPClassifier", hidden_layer_sizes=()), THREE, "multiclass"),
    "network of identities": (lambda: network("MLPClassifier", activation="identity"), THREE, "multiclass"),
    "logistic regression of two": (linear.LogisticRegression, TWO, "binary"),
    "logistic regression of three": (linear.LogisticRegression, NAMES, "multiclass"),
    "no intercept": (lambda: linear.LogisticRegression(fit_intercept=False), THREE, "multiclass"),
    "scaled network": (lambda: scaled(network("MLPClassifier")), THREE, "multiclass"),
    "scaled regression": (lambda: scaled(linear.LogisticRegression()), TWO, "binary"),
    "without mean": (lambda: scaled(network("MLPClassifier"), with_mean=False), THREE, "multiclass"),
    "without std": (lambda: scaled(network("MLPClassifier"), with_std=False), THREE, "multiclass"),
    "without either": (lambda: scaled(linear.LogisticRegression(), with_mean=False, with_std=False), TWO, "binary"),
}
REGRESSORS = {
    "network of one value": (lambda: network("MLPRegressor"), VALUE),
    "network of three values": (lambda: network("MLPRegressor"), VALUES),
    "linear regression of one": (linear.LinearRegression, VALUE),
    "linear regression of two": (linear.LinearRegression, VALUES[:, :2]),
    "no intercept": (lambda: linear.LinearRegression(fit_intercept=False), VALUES),
    "scaled network": (lambda: scaled(network("MLPRegressor")), VALUES),
    "scaled regression": (lambda: scaled(linear.LinearRegression()), VALUE),
    "without mean": (lambda: scaled(linear.LinearRegression(), with_mean=False), VALUE),
    "without std": (lambda: scaled(network("MLPRegressor"), with_std=False), VALUE),
}


def trained(model, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the solvers: short trainings do not converge
        return fitted(model, x, y)


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name):
    make, y, task = CLASSIFIERS[name]
    theirs = trained(make(), X, y)
    ours = ql.from_sklearn(theirs)
    assert ours.task == task
    close(ours.predict_proba(X), theirs.predict_proba(X))
    sure = np.ptp(np.sort(theirs.predict_proba(X))[:, -2:], axis=1) > TOLERANCE
    labels = ours.predict(X)
    assert labels.dtype == theirs.predict(X).dtype
    assert (labels == theirs.predict(X))[sure].all()
    if hasattr(theirs, "decision_function"):
        close(ours(X).squeeze(), theirs.decision_function(X))
    quantized = ql.quantize_model(ours, data=X)
    assert quantized.classes.tolist() == np.unique(y).tolist()


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name):
    make, y = REGRESSORS[name]
    theirs = trained(make(), X, y)
    ours = ql.from_sklearn(theirs)
    assert ours.task == "regression" and ours.classes is None
    assert ours.predict(X).shape == theirs.predict(X).shape
    close(ours.predict(X), theirs.predict(X))
    assert ours.evaluate(X, y)["mse"] == pytest.approx(np.mean((theirs.predict(X) - y) ** 2), rel=1e-3)


def test_trained_on_float32():
    theirs = trained(network("MLPRegressor"), X.astype(np.float32), VALUE.astype(np.float32))
    close(ql.from_sklearn(theirs).predict(X), theirs.predict(X.astype(np.float32)))


def refused(error, words, model):
    with pytest.raises(error, match=rf"^model: .*{words}"):
        ql.from_sklearn(model)


def test_what_is_no_such_model():
    for model in (None, 3, linear.Ridge().fit(X, VALUE), preprocessing.StandardScaler().fit(X), ql.Dense(np.eye(2))):
        refused(TypeError, "MLPClassifier.*" + type(model).__name__, model)
    regression = linear.LinearRegression()
    refused(TypeError, "MinMaxScaler", pipeline.make_pipeline(preprocessing.MinMaxScaler(), regression))
    refused(TypeError, "Pipeline", scaled(scaled(regression)))


def test_what_is_not_fitted():
    regression, scaler = linear.LinearRegression(), preprocessing.StandardScaler()
    for model in (network("MLPClassifier"), regression, linear.LogisticRegression()):
        refused(ValueError, f"fitted {type(model).__name__}", model)
    ready = linear.LinearRegression().fit(X, VALUE)
    refused(ValueError, "fitted StandardScaler", pipeline.Pipeline([("a", scaler), ("b", ready)]))
    refused(ValueError, "fitted LinearRegression", pipeline.Pipeline([("a", scaler.fit(X)), ("b", regression)]))


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_activations_to_come(activation):
    refused(ValueError, activation, trained(network("MLPClassifier", activation=activation), X, THREE))


@pytest.mark.parametrize("labels", [2, 3])
def test_several_labels_per_sample(labels):
    refused(ValueError, "one label", trained(network("MLPClassifier"), X, (X[:, :labels] > 0).astype(int)))


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_a_scaler_before_features_of_different_ranges(name, scheme):
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    model = scaled(linear.LogisticRegression()).fit(x, y)
    m = ql.from_sklearn(model)
    assert np.mean(m.predict(x) == model.predict(x)) >= 0.998
    assert np.mean(ql.quantize_model(m, scheme, x).predict(x) == m.predict(x)) >= 0.98
