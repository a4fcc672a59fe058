"""Models from scikit-learn, which is not imported: a model is known by the name of its class."""

from typing import Any

import numpy as np

from qlite.nn.layers.dense import Dense
from qlite.nn.sequential import Sequential

NETWORKS = ("MLPClassifier", "MLPRegressor")
LINEAR = ("LogisticRegression", "LinearRegression")
ACTIVATIONS = {"relu": "relu", "identity": None}


def from_sklearn(model: Any) -> Sequential:
    """Take over a fitted scikit-learn model.

    Parameters
    ----------
    model : MLPClassifier, MLPRegressor, LogisticRegression, LinearRegression, or a Pipeline
        A pipeline is a StandardScaler followed by one of these; the scaler becomes `mean` and `scale` of the
        Sequential. Hidden layers have the activation "relu" or "identity".

    Returns
    -------
    Sequential
        It gives what ``decision_function`` (logits) or ``predict`` (values) gives, in float32.

    Raises
    ------
    TypeError
        Another kind of model, or another step in the pipeline.
    ValueError
        The model is not fitted, has another activation, or several labels per sample.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> from sklearn.linear_model import LinearRegression
    >>> x = np.arange(8.0).reshape(4, 2)
    >>> m = ql.from_sklearn(LinearRegression().fit(x, x.sum(axis=1)))
    >>> m.predict(x).round(3)
    array([ 1.,  5.,  9., 13.], dtype=float32)
    """
    steps = [step for _, step in model.steps] if type(model).__name__ == "Pipeline" else [model]
    *before, last = steps
    kinds = [type(step).__name__ for step in before]
    if kinds not in ([], ["StandardScaler"]):
        raise TypeError(f"model: expected nothing or a StandardScaler before the last step, got {kinds}")
    kind = type(last).__name__
    if kind not in (*NETWORKS, *LINEAR):
        raise TypeError(f"model: expected one of {', '.join((*NETWORKS, *LINEAR))}, got {kind}")
    if not hasattr(last, "coefs_" if kind in NETWORKS else "coef_"):
        raise ValueError(f"model: expected a fitted {kind}; call fit() first")
    weights = _network(last) if kind in NETWORKS else _linear(last)
    mean, scale = _scaling(before[0]) if before else (None, None)
    activation = ACTIVATIONS[last.activation] if kind in NETWORKS else None
    layers = [
        Dense(np.float32(w), np.float32(b), activation if i < len(weights) - 1 else None)
        for i, (w, b) in enumerate(weights)
    ]
    classes = getattr(last, "classes_", None)
    return Sequential(layers, mean=mean, scale=scale, task=_task(last, kind), classes=classes)


def _network(model: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    if model.activation not in ACTIVATIONS:
        raise ValueError(
            f"model: expected activation 'relu' or 'identity' (others need tables, which are to come), "
            f"got {model.activation!r}"
        )
    return list(zip(model.coefs_, model.intercepts_, strict=True))


def _linear(model: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    weight = np.atleast_2d(np.float64(model.coef_)).T
    bias = np.broadcast_to(np.float64(model.intercept_), weight.shape[1])
    return [(weight, bias)]


def _scaling(scaler: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
    if not hasattr(scaler, "n_features_in_"):
        raise ValueError("model: expected a fitted StandardScaler; call fit() first")
    return scaler.mean_ if scaler.with_mean else None, scaler.scale_


def _task(model: Any, kind: str) -> str:
    if kind in ("MLPRegressor", "LinearRegression"):
        return "regression"
    classes = np.asarray(model.classes_)
    if kind == "MLPClassifier" and model.out_activation_ == "logistic" and model.n_outputs_ > 1:
        raise ValueError("model: expected one label per sample, got a model of several")
    return "binary" if len(classes) == 2 else "multiclass"
