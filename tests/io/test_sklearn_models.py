"""Models from scikit-learn on its own data sets: float32 gives what it gives, and codes nearly the same."""

import warnings

import numpy as np
import pytest
from models import extra

import qlite as ql

datasets, linear, svm = (extra(f"sklearn.{name}") for name in ("datasets", "linear_model", "svm"))
networks, multiclass = extra("sklearn.neural_network"), extra("sklearn.multiclass")
multioutput, pipeline = extra("sklearn.multioutput"), extra("sklearn.pipeline")
preprocessing, selection = extra("sklearn.preprocessing"), extra("sklearn.model_selection")

#: Of the greatest value: scikit-learn computes in float64, the float model in float32.
TOLERANCE = 2e-5
#: What is nearer to a border of classes than this may fall to either side.
SURE = 1e-4


def iris():
    return datasets.load_iris(return_X_y=True)


def cancer():
    return datasets.load_breast_cancer(return_X_y=True)


def wine():
    x, y = datasets.load_wine(return_X_y=True)
    return x, np.array(["Barolo", "Grignolino", "Barbera"])[y]


def diabetes():
    return datasets.load_diabetes(return_X_y=True)


def exercises():
    """Three values of each sample."""
    return datasets.load_linnerud(return_X_y=True)


def digits_in_binary():
    """Four labels of each sample."""
    x, y = datasets.load_digits(return_X_y=True)
    return x, (y[:, None] >> np.arange(4)) & 1


def network(kind, **options):
    given = {"hidden_layer_sizes": (16,), "max_iter": 60, "random_state": 0, "learning_rate_init": 0.01}
    return getattr(networks, kind)(**given | options)


def scaled(*steps):
    return pipeline.make_pipeline(preprocessing.StandardScaler(), *steps)


def between(*steps):
    return pipeline.make_pipeline(preprocessing.MinMaxScaler((-1, 1)), *steps)


def sgd(**options):
    return linear.SGDClassifier(random_state=0, **options)


def each(estimator):
    return multiclass.OneVsRestClassifier(estimator)


CLASSIFIERS = {
    "tanh": (wine, lambda: scaled(network("MLPClassifier", activation="tanh"))),
    "logistic, two layers": (
        cancer,
        lambda: between(network("MLPClassifier", activation="logistic", hidden_layer_sizes=(8, 8))),
    ),
    "LinearSVC of two": (cancer, lambda: scaled(svm.LinearSVC())),
    "LinearSVC of three": (iris, svm.LinearSVC),
    "Perceptron of two": (cancer, lambda: between(linear.Perceptron())),
    "Perceptron of three": (wine, lambda: scaled(linear.Perceptron())),
    "RidgeClassifier of two": (cancer, lambda: scaled(linear.RidgeClassifier())),
    "RidgeClassifier of three": (wine, lambda: scaled(linear.RidgeClassifier())),
    "SGDClassifier, hinge": (wine, lambda: scaled(sgd())),
    "SGDClassifier, log_loss of two": (cancer, lambda: scaled(sgd(loss="log_loss"))),
    "SGDClassifier, log_loss of three": (wine, lambda: scaled(sgd(loss="log_loss", alpha=0.01))),
    "LogisticRegressionCV": (iris, lambda: linear.LogisticRegressionCV(Cs=3, cv=3)),
    "OneVsRestClassifier of LogisticRegression": (iris, lambda: each(linear.LogisticRegression())),
    "OneVsRestClassifier of two": (cancer, lambda: scaled(each(linear.LogisticRegression()))),
    "OneVsRestClassifier of LinearSVC": (wine, lambda: scaled(each(svm.LinearSVC()))),
    "GridSearchCV of a pipeline": (
        wine,
        lambda: selection.GridSearchCV(scaled(sgd(loss="log_loss")), {"sgdclassifier__alpha": [0.01, 0.1]}, cv=2),
    ),
    "pipeline of a search of a pipeline": (
        iris,
        lambda: between(
            selection.RandomizedSearchCV(
                scaled(linear.Perceptron()), {"perceptron__alpha": [1e-3, 1e-4]}, n_iter=1, cv=2
            )
        ),
    ),
    "pipeline of pipelines": (wine, lambda: pipeline.make_pipeline(scaled("passthrough"), between(svm.LinearSVC()))),
    "RobustScaler, MaxAbsScaler": (
        wine,
        lambda: pipeline.make_pipeline(
            preprocessing.RobustScaler(), preprocessing.MaxAbsScaler(), linear.LogisticRegression()
        ),
    ),
    "Normalizer": (iris, lambda: scaled(preprocessing.Normalizer(), linear.LogisticRegression())),
}

REGRESSORS = {
    "tanh": (diabetes, lambda: network("MLPRegressor", activation="tanh")),
    "logistic, several values": (exercises, lambda: scaled(network("MLPRegressor", activation="logistic"))),
    "Ridge": (diabetes, linear.Ridge),
    "Ridge of several values": (exercises, lambda: scaled(linear.Ridge())),
    "RidgeCV": (diabetes, linear.RidgeCV),
    "Lasso": (diabetes, linear.Lasso),
    "Lasso of several values": (exercises, lambda: between(linear.Lasso())),
    "LassoCV": (diabetes, lambda: linear.LassoCV(cv=3)),
    "ElasticNet": (diabetes, lambda: linear.ElasticNet(alpha=0.01)),
    "HuberRegressor": (diabetes, lambda: linear.HuberRegressor(max_iter=1000)),
    "LinearSVR": (diabetes, lambda: between(svm.LinearSVR(C=100))),
    "SGDRegressor": (diabetes, lambda: between(linear.SGDRegressor(random_state=0))),
    "MultiOutputRegressor of LinearSVR": (
        exercises,
        lambda: scaled(multioutput.MultiOutputRegressor(svm.LinearSVR())),
    ),
    "GridSearchCV of MultiOutputRegressor": (
        exercises,
        lambda: selection.GridSearchCV(
            multioutput.MultiOutputRegressor(linear.Ridge()), {"estimator__alpha": [0.1, 1]}, cv=2
        ),
    ),
}

SEVERAL_LABELS = {
    "MLPClassifier": lambda: between(network("MLPClassifier", hidden_layer_sizes=(32,), max_iter=30)),
    "MLPClassifier of logistic functions": lambda: between(
        network("MLPClassifier", activation="logistic", max_iter=15)
    ),
    "OneVsRestClassifier of LogisticRegression": lambda: between(each(linear.LogisticRegression())),
    "OneVsRestClassifier of LinearSVC": lambda: between(each(svm.LinearSVC())),
    "RidgeClassifier": lambda: between(linear.RidgeClassifier()),
}


def trained(model, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short trainings do not converge
        return model.fit(x, y)


def quantized(model, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of samples that stand out
        return ql.quantize_model(model, "w8a8", x)


def close(got, expected):
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE * np.abs(expected).max())


def decisions(model, x):
    """What a classifier decides by."""
    return model.decision_function(x) if hasattr(model, "decision_function") else model.predict_proba(x)


def margins(scores):
    """How far each sample is from another class."""
    return np.abs(scores) if scores.ndim == 1 else np.ptp(np.sort(scores)[:, -2:], axis=1)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name):
    data, make = CLASSIFIERS[name]
    x, y = data()
    theirs = trained(make(), x, y)
    ours = ql.from_sklearn(theirs)
    scores = decisions(theirs, x)
    if hasattr(theirs, "decision_function"):
        close(ours(x)[:, 0] if scores.ndim == 1 else ours(x), scores)
    if hasattr(theirs, "predict_proba"):
        close(ours.predict_proba(x), theirs.predict_proba(x))
    sure = margins(scores) > SURE * np.abs(scores).max()
    labels = ours.predict(x)
    assert labels.dtype == theirs.predict(x).dtype and sure.mean() > 0.9
    assert (labels == theirs.predict(x))[sure].all()
    assert np.mean(quantized(ours, x).predict(x) == theirs.predict(x)) >= 0.96


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name):
    data, make = REGRESSORS[name]
    x, y = data()
    theirs = trained(make(), x, y)
    ours = ql.from_sklearn(theirs)
    expected = theirs.predict(x)
    close(ours.predict(x), expected)
    assert ours.classes is None
    assert ql.metrics.sqnr_db(expected, quantized(ours, x).predict(x)) > 30


@pytest.mark.parametrize("name", SEVERAL_LABELS)
def test_several_labels(name):
    x, y = digits_in_binary()
    theirs = trained(SEVERAL_LABELS[name](), x, y)
    ours = ql.from_sklearn(theirs)
    assert (ours.task, ours.output_shape) == ("multioutput", (4,))
    if hasattr(theirs, "predict_proba"):
        close(ours.predict(x), theirs.predict_proba(x))
        border = 0.5
    else:
        close(ours.predict(x), theirs.decision_function(x))
        border = 0
    sure = np.abs(ours.predict(x) - border) > SURE
    assert ((ours.predict(x) > border) == theirs.predict(x))[sure].all()
    assert np.mean((quantized(ours, x).predict(x) > border) == theirs.predict(x)) >= 0.98


def test_one_classifier_for_each_class_is_kept_by_files_and_integers(tmp_path):
    x, y = iris()
    ours = ql.from_sklearn(trained(each(linear.LogisticRegression()), x, y))
    assert ours.task == "one_vs_rest"
    for model in (ours, ql.quantize_model(ours, "w8a8", x, target="tflite"), ql.quantize_model(ours, "dynamic")):
        probabilities = model.predict_proba(x)
        odds = 1 / (1 + np.exp(-model(x).astype(np.float64)))
        np.testing.assert_allclose(probabilities, odds / odds.sum(axis=1, keepdims=True), rtol=1e-12)
        assert (model.predict(x) == probabilities.argmax(axis=1)).all()
        model.save(tmp_path / "model.qlite")
        loaded = ql.load(tmp_path / "model.qlite")
        assert loaded.task == "one_vs_rest"
        assert (loaded.predict_proba(x) == probabilities).all()
        assert model.evaluate(x, y, "accuracy")["accuracy"] > 0.9


def test_logits_so_low_that_their_logistic_functions_vanish():
    model = ql.Sequential([ql.Dense(np.eye(2))], task="one_vs_rest")
    assert model.predict_proba([[-2000.0, -2000.0]]).tolist() == [[0.5, 0.5]]
    with pytest.raises(ValueError, match=r"^task: expected 'binary' or 'regression' for 1 output, got 'one_vs_rest'"):
        ql.Sequential([ql.Dense(np.ones((2, 1)))], task="one_vs_rest")


# ---- what is refused --------------------------------------------------------------------------------


def refused(error, words, model):
    with pytest.raises(error, match=rf"^model: .*{words}"):
        ql.from_sklearn(model)


def test_what_is_not_taken_over():
    x, y = iris()
    tree = extra("sklearn.tree").DecisionTreeClassifier()
    refused(TypeError, "OneVsRestClassifier of .*got DecisionTreeClassifier", trained(each(tree), x, y))
    forest = multioutput.MultiOutputRegressor(extra("sklearn.tree").DecisionTreeRegressor())
    refused(TypeError, "MultiOutputRegressor of .*got DecisionTreeRegressor", trained(forest, *exercises()))
    refused(ValueError, "fitted OneVsRestClassifier", each(linear.LogisticRegression()))
    refused(ValueError, "modified_huber", trained(sgd(loss="modified_huber"), x, y))
    clipped = pipeline.make_pipeline(preprocessing.MinMaxScaler(clip=True), svm.LinearSVC())
    refused(ValueError, "MinMaxScaler that does not clip, got clip=True", trained(clipped, x, y))
    other = pipeline.make_pipeline(preprocessing.Normalizer("l1"), svm.LinearSVC())
    refused(ValueError, "Normalizer with norm='l2', got 'l1'", trained(other, x, y))
    only = trained(each(linear.LogisticRegression()), x, np.stack([y == 0, y >= 0], axis=1).astype(int))
    refused(TypeError, "_ConstantPredictor", only)
