"""Models from scikit-learn give what scikit-learn gives."""

import copy
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
    "network of tanh": (lambda: network("MLPClassifier", activation="tanh"), THREE, "multiclass"),
    "network of logistic functions": (lambda: network("MLPClassifier", activation="logistic"), TWO, "binary"),
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
    "network of tanh": (lambda: network("MLPRegressor", activation="tanh"), VALUE),
    "linear regression of one": (linear.LinearRegression, VALUE),
    "linear regression of a column": (linear.LinearRegression, VALUE[:, None]),
    "network of a column": (lambda: network("MLPRegressor"), VALUE[:, None]),
    "scaled regression of a column": (lambda: scaled(linear.LinearRegression()), VALUE[:, None]),
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of samples that stand out
        quantized = ql.quantize_model(ours, data=X)
    assert quantized.classes.tolist() == np.unique(y).tolist()


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name):
    make, y = REGRESSORS[name]
    theirs = trained(make(), X, y)
    ours = ql.from_sklearn(theirs)
    is_column = theirs.predict(X).shape == (len(X), 1)
    assert ours.task == ("multioutput" if is_column else "regression") and ours.classes is None
    assert ours.predict(X).shape == theirs.predict(X).shape
    close(ours.predict(X), theirs.predict(X))
    assert ours.evaluate(X, y)["mse"] == pytest.approx(
        np.mean((theirs.predict(X) - y.reshape(theirs.predict(X).shape)) ** 2), rel=1e-3
    )


def test_trained_on_float32():
    theirs = trained(network("MLPRegressor"), X.astype(np.float32), VALUE.astype(np.float32))
    close(ql.from_sklearn(theirs).predict(X), theirs.predict(X.astype(np.float32)))


def refused(error, words, model):
    with pytest.raises(error, match=rf"^model: .*{words}"):
        ql.from_sklearn(model)


def test_what_is_no_such_model():
    poisson = linear.PoissonRegressor().fit(X, THREE)
    for model in (None, 3, poisson, preprocessing.StandardScaler().fit(X), ql.Dense(np.eye(2))):
        refused(TypeError, "MLPClassifier.*" + type(model).__name__, model)
    regression = linear.LinearRegression()
    refused(TypeError, "PolynomialFeatures", pipeline.make_pipeline(preprocessing.PolynomialFeatures(), regression))
    early = pipeline.make_pipeline(preprocessing.Normalizer(), preprocessing.StandardScaler(), regression)
    refused(TypeError, "got .*Normalizer.*StandardScaler", early)


def test_what_is_not_fitted():
    regression, scaler = linear.LinearRegression(), preprocessing.StandardScaler()
    for model in (network("MLPClassifier"), regression, linear.LogisticRegression()):
        refused(ValueError, f"fitted {type(model).__name__}", model)
    ready = linear.LinearRegression().fit(X, VALUE)
    refused(ValueError, "fitted StandardScaler", pipeline.Pipeline([("a", scaler), ("b", ready)]))
    refused(ValueError, "fitted LinearRegression", pipeline.Pipeline([("a", scaler.fit(X)), ("b", regression)]))


def test_another_activation():
    model = trained(network("MLPClassifier"), X, THREE)
    model.activation = "softplus"
    refused(ValueError, "'logistic', 'identity', got 'softplus'", model)


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_a_scaler_before_features_of_different_ranges(name, scheme):
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    model = scaled(linear.LogisticRegression()).fit(x, y)
    m = ql.from_sklearn(model)
    assert np.mean(m.predict(x) == model.predict(x)) >= 0.998
    assert np.mean(ql.quantize_model(m, scheme, x).predict(x) == m.predict(x)) >= 0.98


def test_case_e_values_of_a_column_stay_one(tmp_path):
    y = VALUE[:, None]
    quantized = ql.quantize_model(ql.from_sklearn(linear.LinearRegression().fit(X, y)), data=X)
    quantized.save(tmp_path / "model")
    for model in (quantized, ql.load(tmp_path / "model"), quantized.retarget("tflite")):
        assert model.predict(X).shape == (len(X), 1)
        assert set(model.evaluate(X, y)) == {"mse"}
    with pytest.raises(ValueError, match="multioutput"):
        quantized.predict_proba(X)
    assert ql.compare(ql.from_sklearn(linear.LinearRegression().fit(X, y)), quantized, X).agreement is None


def test_case_e_an_output_that_is_exponential():
    model = trained(network("MLPRegressor"), X, VALUE)
    model.out_activation_ = "exp"  # what loss="poisson" sets, from scikit-learn 1.7 on
    refused(ValueError, "'identity' as the activation of the output, got 'exp'", model)
    if "loss" in networks.MLPRegressor().get_params():
        refused(ValueError, "'exp'.*poisson", trained(network("MLPRegressor", loss="poisson"), X, np.abs(VALUE)))


@pytest.mark.parametrize("nothing", ["passthrough", None])
def test_case_e_steps_that_do_nothing(nothing):
    model = linear.LinearRegression().fit(X, VALUE)
    scaler = preprocessing.StandardScaler().fit(X)
    scaled_model = linear.LinearRegression().fit(scaler.transform(X), VALUE)
    close(ql.from_sklearn(pipeline.Pipeline([("a", nothing), ("b", model)])).predict(X), model.predict(X))
    steps = [("a", nothing), ("b", scaler), ("c", nothing), ("d", scaled_model)]
    close(ql.from_sklearn(pipeline.Pipeline(steps)).predict(X), model.predict(X))
    refused(TypeError, "ends in a model, got " + repr(nothing), pipeline.Pipeline([("a", scaler), ("b", nothing)]))


def test_case_e_coefficients_that_are_sparse():
    theirs = trained(linear.LogisticRegression(), X, THREE)
    expected = theirs.predict_proba(X)
    close(ql.from_sklearn(theirs.sparsify()).predict_proba(X), expected)


def test_case_e_classes_of_the_same_name_from_elsewhere():
    class LinearRegression(linear.LinearRegression):
        def predict(self, x):
            return 2 * super().predict(x)

    refused(TypeError, "got .*test_sklearn.LinearRegression", LinearRegression().fit(X, VALUE))


def test_case_n_searches_predict_by_their_best_model():
    selection = extra("sklearn.model_selection")
    grid = {"fit_intercept": [True, False]}
    for search in (
        selection.GridSearchCV(linear.LinearRegression(), grid),
        selection.RandomizedSearchCV(linear.LinearRegression(), grid, n_iter=1),
        selection.GridSearchCV(
            scaled(linear.LinearRegression()), {f"linearregression__{k}": v for k, v in grid.items()}
        ),
        scaled(selection.GridSearchCV(linear.LinearRegression(), grid)),
    ):
        theirs = search.fit(X, VALUE)
        close(ql.from_sklearn(theirs).predict(X), theirs.predict(X))
    search = selection.GridSearchCV(linear.LinearRegression(), grid, refit=False)
    refused(ValueError, "fitted GridSearchCV with refit=True", search)
    refused(ValueError, "fitted GridSearchCV with refit=True", search.fit(X, VALUE))


@pytest.mark.parametrize("labels, rule, solver", [
    (TWO, "multinomial", "lbfgs"), (TWO, "something", "lbfgs"), (THREE, "something", "lbfgs"),
])  # fmt: skip
def test_case_n_probabilities_by_another_rule(labels, rule, solver):
    model = trained(linear.LogisticRegression(), X, labels)
    model.multi_class, model.solver = rule, solver  # as before scikit-learn 1.8
    refused(ValueError, f"multi_class='{rule}' with the solver '{solver}'", model)


@pytest.mark.parametrize("rule, solver", [
    ("ovr", "lbfgs"), ("auto", "liblinear"), ("deprecated", "liblinear"), ("warn", "lbfgs"),
])  # fmt: skip
def test_probabilities_of_one_classifier_for_each_class(rule, solver):
    model = trained(linear.LogisticRegression(), X, THREE)
    model.multi_class, model.solver = rule, solver  # as before scikit-learn 1.8
    each = 1 / (1 + np.exp(-model.decision_function(X)))
    ours = ql.from_sklearn(model)
    assert ours.task == "one_vs_rest"
    close(ours.predict_proba(X), each / each.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("labels, rule", [(THREE, "multinomial"), (TWO, "ovr"), (TWO, "auto"), (THREE, "deprecated")])
def test_case_n_probabilities_by_the_same_rule(labels, rule):
    model = trained(linear.LogisticRegression(), X, labels)
    expected = model.predict_proba(X)
    model.multi_class = rule
    close(ql.from_sklearn(model).predict_proba(X), expected)


# ---- every attribute ---------------------------------------------------------------------------------

NAMES_OF_OPTIONS = ("relu", "identity", "logistic", "softmax", "tanh", "exp", "liblinear", "lbfgs")
NAMES_OF_OPTIONS += ("ovr", "multinomial", "auto", "squared_error", "poisson")


CONSTANTS = ("neg_label", "pos_label")  # of a network's binarizer, which nobody sets


def owners(model):
    """The objects whose attributes a prediction may go by: the model's, its steps', its binarizer's, its best one's."""
    yield model
    for step in dict(getattr(model, "steps", ())).values():
        yield from owners(step)
    for name in ("_label_binarizer", "best_estimator_"):
        if hasattr(model, name):
            yield from owners(getattr(model, name))


def altered(value):
    """Other values of the kind of an attribute's value."""
    if isinstance(value, bool) or value is None:
        return [not value]
    if isinstance(value, str):
        return [name for name in NAMES_OF_OPTIONS if name != value]
    if isinstance(value, (int, float)):
        return [value + 1]
    if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
        return [[1.5 * value[0], *value[1:]], value[:-1]]
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return [value * 1.5, value + 1]
    if isinstance(value, np.ndarray) and value.dtype.kind in "iU":
        return [np.array([f"{x}z" for x in value]) if value.dtype.kind == "U" else value + 7]
    return []


def answers(model):
    """What a model says of the samples; None if it fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [model.predict(X.copy())] + ([model.predict_proba(X.copy())] if hasattr(model, "classes_") else [])
    except Exception:  # whatever an estimator that was tampered with raises
        return None


def search(model, grid):
    return extra("sklearn.model_selection").GridSearchCV(model, grid, cv=2)


WALKED = {
    "network of classes": (lambda: network("MLPClassifier"), THREE),
    "network of two classes": (lambda: network("MLPClassifier"), TWO),
    "network of values": (lambda: network("MLPRegressor"), VALUES),
    "network of a value": (lambda: network("MLPRegressor"), VALUE),
    "logistic regression": (linear.LogisticRegression, NAMES),
    "logistic regression of two": (linear.LogisticRegression, TWO),
    "linear regression": (linear.LinearRegression, VALUES),
    "pipeline": (lambda: scaled(linear.LogisticRegression()), THREE),
    "pipeline of a network": (lambda: scaled(network("MLPRegressor")), VALUE),
    "search": (lambda: search(linear.LogisticRegression(), {"C": [0.5, 1.0]}), THREE),
    "search of a pipeline": (
        lambda: search(scaled(linear.LinearRegression()), {"linearregression__copy_X": [True]}),
        VALUE,
    ),
}


@pytest.mark.parametrize("name", WALKED)
def test_case_e_every_attribute_that_changes_a_prediction_is_followed_or_refused(name):
    make, y = WALKED[name]
    whole = trained(make(), X, y)
    tried = 0
    for i, owner in enumerate(owners(whole)):
        for attribute, value in vars(owner).items():
            for other in altered(value) if attribute not in CONSTANTS else []:
                theirs = copy.deepcopy(whole)
                setattr(list(owners(theirs))[i], attribute, other)
                expected = answers(theirs)
                if expected is None:
                    continue
                tried += 1
                try:
                    ours = ql.from_sklearn(theirs)
                except (TypeError, ValueError) as error:
                    assert str(error).startswith("model: ")
                    continue
                said = [ours.predict(X)] + ([ours.predict_proba(X)] if ours.classes is not None else [])
                for got, answer in zip(said, expected, strict=True):
                    assert got.shape == answer.shape, attribute
                    if answer.dtype.kind == "f":
                        np.testing.assert_allclose(got, answer, 1e-4, 1e-4 * np.abs(answer).max(), err_msg=attribute)
                    else:
                        assert np.mean(got == answer) > 0.99, attribute
    assert tried > 10
