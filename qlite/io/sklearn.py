"""Models from scikit-learn, which is not imported: a model is known by the name of its class."""

from typing import Any

import numpy as np

from qlite.nn.layers.dense import Dense
from qlite.nn.sequential import Sequential

NETWORKS = ("MLPClassifier", "MLPRegressor")
LINEAR = ("LogisticRegression", "LinearRegression")
#: Searches for options, which predict by the best model that they found.
SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "logistic": "sigmoid", "identity": None}


def from_sklearn(model: Any) -> Sequential:
    """Take over a fitted scikit-learn model.

    Parameters
    ----------
    model : MLPClassifier, MLPRegressor, LogisticRegression, LinearRegression, a Pipeline, or a search
        A pipeline is a StandardScaler followed by one of these; the scaler becomes `mean` and `scale` of the
        Sequential. Of a search, such as GridSearchCV, it is the best estimator.

    Returns
    -------
    Sequential
        It gives what ``decision_function`` (logits) or ``predict`` (values) gives, in float32; values of a
        LinearRegression on targets of shape (n, 1) keep that shape (``task="multioutput"``).

    Raises
    ------
    TypeError
        Another kind of model, or another step in the pipeline.
    ValueError
        The model is not fitted, has another activation at its output (as for ``loss="poisson"``), several
        labels per sample, or another rule for its probabilities than softmax and the logistic function.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> from sklearn.linear_model import LinearRegression
    >>> x = np.arange(8.0).reshape(4, 2)
    >>> m = ql.from_sklearn(LinearRegression().fit(x, x.sum(axis=1)))
    >>> m.predict(x).round(3)
    array([ 1.,  5.,  9., 13.], dtype=float32)
    """
    before, last = _steps(model)
    kinds = [_kind(step) for step in before]
    if kinds not in ([], ["StandardScaler"]):
        raise TypeError(f"model: expected nothing or a StandardScaler before the last step, got {kinds}")
    kind = _kind(last)
    if kind not in (*NETWORKS, *LINEAR):
        raise TypeError(f"model: expected one of {', '.join((*NETWORKS, *LINEAR))}, got {kind}")
    if not hasattr(last, "coefs_" if kind in NETWORKS else "coef_"):
        raise ValueError(f"model: expected a fitted {kind}; call fit() first")
    weights = _network(last) if kind in NETWORKS else _linear(last)
    mean, scale = _scaling(before[0]) if before else (None, None)
    activation = ACTIVATIONS[last.activation] if kind in NETWORKS else None
    classes = getattr(getattr(last, "_label_binarizer", last), "classes_", None)
    task = _task(last, classes)
    try:
        layers = [
            Dense(np.float32(w), np.float32(b), activation if i < len(weights) - 1 else None)
            for i, (w, b) in enumerate(weights)
        ]
        return Sequential(layers, mean=mean, scale=scale, task=task, classes=classes)
    except (TypeError, ValueError) as error:
        raise type(error)(f"model: {error}") from None


def _kind(model: Any) -> str:
    """The name of a class of scikit-learn, or with its module that of another one."""
    cls = type(model)
    return cls.__name__ if cls.__module__.partition(".")[0] == "sklearn" else f"{cls.__module__}.{cls.__name__}"


def _best(model: Any) -> Any:
    """What predicts: of a search its best model."""
    while (kind := _kind(model)) in SEARCHES:
        if not hasattr(model, "best_estimator_"):
            raise ValueError(f"model: expected a fitted {kind} with refit=True, got one without best_estimator_")
        model = model.best_estimator_
    return model


def _steps(model: Any) -> tuple[list[Any], Any]:
    """What transforms samples, and the model that gets them."""
    model = _best(model)
    if _kind(model) != "Pipeline":
        return [], model
    steps = [step for _, step in model.steps]
    before = [step for step in steps[:-1] if not _is_none(step)]
    if _is_none(steps[-1]):
        raise TypeError(f"model: expected a Pipeline that ends in a model, got {steps[-1]!r}")
    return before, _best(steps[-1])


def _is_none(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


def _network(model: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    if model.activation not in ACTIVATIONS:
        raise ValueError(
            f"model: expected one of the activations {', '.join(map(repr, ACTIVATIONS))}, got {model.activation!r}"
        )
    if _is_classifier(model) and model.out_activation_ == "logistic" and model.n_outputs_ > 1:
        raise ValueError("model: expected one label per sample, got a model of several")
    expected = "identity" if not _is_classifier(model) else "logistic" if model.n_outputs_ == 1 else "softmax"
    if model.out_activation_ != expected:
        raise ValueError(
            f"model: expected {expected!r} as the activation of the output, got {model.out_activation_!r} "
            f"(loss={model.loss!r})"
        )
    weights = list(zip(model.coefs_, model.intercepts_, strict=True))
    if model.n_layers_ != len(weights) + 1:
        raise ValueError(f"model: expected {len(weights) + 1} layers for {len(weights)} weights, got {model.n_layers_}")
    return weights


def _linear(model: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    coef = model.coef_.toarray() if hasattr(model.coef_, "toarray") else model.coef_  # sparsify() makes it sparse
    weight = np.atleast_2d(np.float64(coef)).T
    bias = np.broadcast_to(np.float64(model.intercept_), weight.shape[1])
    return [(weight, bias)]


def _scaling(scaler: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
    if not hasattr(scaler, "n_features_in_"):
        raise ValueError("model: expected a fitted StandardScaler; call fit() first")
    return scaler.mean_ if scaler.with_mean else None, scaler.scale_ if scaler.with_std else None


def _is_classifier(model: Any) -> bool:
    return _kind(model) in ("MLPClassifier", "LogisticRegression")


def _task(model: Any, classes: Any) -> str:
    if not _is_classifier(model):
        is_column = _kind(model) == "LinearRegression" and np.shape(model.coef_)[:-1] == (1,)
        return "multioutput" if is_column else "regression"
    count = len(classes)
    if count < 2:
        raise ValueError(f"model: expected two classes or more, got {count}")
    if _kind(model) == "LogisticRegression":
        _check_probabilities(model, count)
    return "binary" if count == 2 else "multiclass"


def _check_probabilities(model: Any, count: int) -> None:
    """Refuse a LogisticRegression whose probabilities are not the softmax, or of two classes the logistic function.

    Before scikit-learn 1.8 `multi_class` chose the rule, and "liblinear" had one classifier for each class.
    """
    rule = getattr(model, "multi_class", "auto")
    known = ("auto", "deprecated", "warn", "ovr" if count == 2 else "multinomial")
    if rule not in known or (count > 2 and rule != "multinomial" and (model.solver == "liblinear" or rule == "warn")):
        raise ValueError(
            "model: expected probabilities by softmax, or of two classes by the logistic function, got "
            f"multi_class={rule!r} with the solver {model.solver!r} for {count} classes"
        )
