"""What the models of scikit-learn compute: weights, activations, and what their outputs stand for."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qlite.io.sklearn_names import kind_of

Weights = list[tuple[np.ndarray, np.ndarray]]

NETWORKS = ("MLPClassifier", "MLPRegressor")
REGRESSORS = (
    *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV"),
    *("HuberRegressor", "LinearSVR", "SGDRegressor"),
)
LOGISTIC = ("LogisticRegression", "LogisticRegressionCV")
CLASSIFIERS = (*LOGISTIC, "LinearSVC", "SGDClassifier", "Perceptron", "RidgeClassifier")
#: Wrappers, and which models may be in them.
WRAPPERS = {"OneVsRestClassifier": CLASSIFIERS, "MultiOutputRegressor": REGRESSORS}
MODELS = (*NETWORKS, *REGRESSORS, *CLASSIFIERS, *WRAPPERS)

ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "logistic": "sigmoid", "identity": None}


@dataclass
class Taken:
    """Weights and biases of products, the activations between and behind them, the task and its classes."""

    weights: Weights
    task: str
    classes: Any = None
    activation: str | None = None
    last_activation: str | None = None


def taken(model: Any) -> Taken:
    """Return what one of `MODELS` computes.

    Raises
    ------
    TypeError, ValueError
        As `from_sklearn`.
    """
    kind = kind_of(model)
    attribute = "coefs_" if kind in NETWORKS else "estimators_" if kind in WRAPPERS else "coef_"
    if not hasattr(model, attribute):
        raise ValueError(f"model: expected a fitted {kind}; call fit() first")
    if kind in NETWORKS:
        return _network(model)
    if kind == "OneVsRestClassifier":
        return _one_vs_rest(model)
    if kind == "MultiOutputRegressor":
        return Taken(_columns(model), "multioutput")
    if kind in CLASSIFIERS:
        return _classifier(model)
    is_column = np.ndim(model.coef_) == 2 and len(model.coef_) == 1
    return Taken(_linear(model), "multioutput" if is_column else "regression")


def _network(model: Any) -> Taken:
    if model.activation not in ACTIVATIONS:
        raise ValueError(
            f"model: expected one of the activations {', '.join(map(repr, ACTIVATIONS))}, got {model.activation!r}"
        )
    is_classifier = kind_of(model) == "MLPClassifier"
    several = is_classifier and model._label_binarizer.y_type_.startswith("multilabel")
    expected = "identity" if not is_classifier else "logistic" if several or model.n_outputs_ == 1 else "softmax"
    if model.out_activation_ != expected:
        raise ValueError(
            f"model: expected {expected!r} as the activation of the output, got {model.out_activation_!r} "
            f"(loss={model.loss!r})"
        )
    weights = list(zip(model.coefs_, model.intercepts_, strict=True))
    if model.n_layers_ != len(weights) + 1:
        raise ValueError(f"model: expected {len(weights) + 1} layers for {len(weights)} weights, got {model.n_layers_}")
    found = Taken(weights, "regression", activation=ACTIVATIONS[model.activation])
    if several:
        found.task, found.last_activation = "multioutput", "sigmoid"
    elif is_classifier:
        found.classes = model._label_binarizer.classes_
        found.task = _task(found.classes)
    return found


def _linear(model: Any) -> Weights:
    coef = model.coef_.toarray() if hasattr(model.coef_, "toarray") else model.coef_  # sparsify() makes it sparse
    weight = np.atleast_2d(np.float64(coef)).T
    bias = np.broadcast_to(np.float64(model.intercept_), weight.shape[1])
    return [(weight, bias)]


def _classifier(model: Any) -> Taken:
    if kind_of(model) == "RidgeClassifier" and model._label_binarizer.y_type_.startswith("multilabel"):
        return Taken(_linear(model), "multioutput")
    classes = model.classes_
    rule = _rule(model, len(classes))
    return Taken(_linear(model), _task(classes) if rule != "one_vs_rest" else rule, classes)


def _task(classes: Any) -> str:
    if len(classes) < 2:
        raise ValueError(f"model: expected two classes or more, got {len(classes)}")
    return "binary" if len(classes) == 2 else "multiclass"


def _rule(model: Any, count: int) -> str | None:
    """How a linear classifier makes probabilities: "softmax", which is "logistic" of two classes, "one_vs_rest" or not
    at all."""
    kind = kind_of(model)
    if kind == "SGDClassifier":
        if model.loss == "modified_huber":
            raise ValueError("model: expected probabilities by the logistic function, got loss='modified_huber'")
        return None if model.loss != "log_loss" else "logistic" if count == 2 else "one_vs_rest"
    if kind not in LOGISTIC:
        return None
    if not hasattr(model, "multi_class"):  # from scikit-learn 1.8 on
        return "logistic" if count == 2 else "softmax"
    rule = model.multi_class
    if rule not in ("auto", "deprecated", "warn", "ovr", "multinomial") or (count == 2 and rule == "multinomial"):
        raise ValueError(
            "model: expected probabilities by softmax, or of two classes by the logistic function, got "
            f"multi_class={rule!r} with the solver {model.solver!r} for {count} classes"
        )
    if count == 2:
        return "logistic"
    is_each = rule in ("ovr", "warn") or (model.solver == "liblinear" and rule != "multinomial")
    return "one_vs_rest" if is_each else "softmax"


def _columns(model: Any) -> Weights:
    """The weights of linear models side by side, each of which has one output."""
    allowed = WRAPPERS[kind_of(model)]
    for estimator in model.estimators_:
        if kind_of(estimator) not in allowed:
            raise TypeError(f"model: expected a {kind_of(model)} of {', '.join(allowed)}, got {kind_of(estimator)}")
    each = [_linear(estimator)[0] for estimator in model.estimators_]
    return [(np.hstack([weight for weight, _ in each]), np.hstack([bias for _, bias in each]))]


def _one_vs_rest(model: Any) -> Taken:
    weights = _columns(model)
    rules = {_rule(estimator, 2) for estimator in model.estimators_}
    if len(rules) > 1:
        raise ValueError(f"model: expected estimators of one kind, got {[kind_of(e) for e in model.estimators_]}")
    has_probabilities = rules == {"logistic"}
    if model.label_binarizer_.y_type_.startswith("multilabel"):
        return Taken(weights, "multioutput", last_activation="sigmoid" if has_probabilities else None)
    classes = model.label_binarizer_.classes_
    task = _task(classes)
    return Taken(weights, "one_vs_rest" if has_probabilities and task == "multiclass" else task, classes)
