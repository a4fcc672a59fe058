"""Models from scikit-learn, which is not imported: a model is known by the name of its class."""

from typing import Any

import numpy as np

from qlite.io.sklearn_models import MODELS, taken
from qlite.io.sklearn_names import kind_of
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.l2_normalize import L2Normalize
from qlite.nn.sequential import Sequential

#: Searches for options, which predict by the best model that they found.
SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
#: By their names: what x is made of, ``(x - mean) / scale``.
SCALERS = {
    "StandardScaler": lambda s: (s.mean_ if s.with_mean else None, s.scale_ if s.with_std else None),
    "MinMaxScaler": lambda s: (-s.min_ / s.scale_, 1 / s.scale_),
    "MaxAbsScaler": lambda s: (None, s.scale_),
    "RobustScaler": lambda s: (s.center_ if s.with_centering else None, s.scale_ if s.with_scaling else None),
}


def from_sklearn(model: Any) -> Sequential:
    """Take over a fitted scikit-learn model.

    Parameters
    ----------
    model : estimator
        MLPClassifier or MLPRegressor; LinearRegression, Ridge, Lasso, ElasticNet and those of them with CV,
        HuberRegressor, LinearSVR, SGDRegressor; LogisticRegression, LogisticRegressionCV, LinearSVC, SGDClassifier,
        Perceptron, RidgeClassifier; OneVsRestClassifier or MultiOutputRegressor of the linear ones; a Pipeline that
        ends in one of these; or a search, such as GridSearchCV, whose best estimator it is.

        A pipeline begins with any number of StandardScaler, MinMaxScaler, MaxAbsScaler and RobustScaler, which together
        become `mean` and `scale` of the Sequential, and may have a Normalizer behind them, which becomes L2Normalize.

    Returns
    -------
    Sequential
        It gives what ``decision_function`` (logits) or ``predict`` (values) gives, in float32, and its
        `predict_proba` the same probabilities where scikit-learn has any; those of one classifier for each class by
        ``task="one_vs_rest"``. Values on targets of shape (n, 1) keep that shape where ``predict`` does
        (``task="multioutput"``).

        Of several labels for each sample it gives the probability of each, with ``task="multioutput"``: ``m.predict(x)
        > 0.5`` are the labels. Where there are no probabilities (LinearSVC) it is each one's decision, with 0.

    Raises
    ------
    TypeError
        Another kind of model, or another step in the pipeline.
    ValueError
        The model is not fitted, has another activation at its output (as for ``loss="poisson"``), a scaler that clips,
        or probabilities by another rule than softmax and the logistic function.

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
    kinds = [kind_of(step) for step in before]
    scalers = [step for step, kind in zip(before, kinds, strict=True) if kind in SCALERS]
    if kinds not in ([*map(kind_of, scalers)], [*map(kind_of, scalers), "Normalizer"]):
        raise TypeError(f"model: expected {', '.join(SCALERS)} and a Normalizer before the last step, got {kinds}")
    if kind_of(last) not in MODELS:
        raise TypeError(f"model: expected one of {', '.join(MODELS)}, got {kind_of(last)}")
    found = taken(last)
    mean, scale = _scaling(scalers)
    first = [_normalizer(before[-1])] if len(scalers) < len(before) else []
    try:
        *hidden, (weight, bias) = found.weights
        layers = [Dense(np.float32(w), np.float32(b), found.activation) for w, b in hidden]
        layers.append(Dense(np.float32(weight), np.float32(bias), found.last_activation))
        options: dict[str, Any] = {"mean": mean, "scale": scale, "task": found.task, "classes": found.classes}
        return Sequential([*first, *layers], input_shape=layers[0].input_shape, **options)
    except (TypeError, ValueError) as error:
        raise type(error)(f"model: {error}") from None


def _best(model: Any) -> Any:
    """What predicts: of a search its best model."""
    while (kind := kind_of(model)) in SEARCHES:
        if not hasattr(model, "best_estimator_"):
            raise ValueError(f"model: expected a fitted {kind} with refit=True, got one without best_estimator_")
        model = model.best_estimator_
    return model


def _steps(model: Any) -> tuple[list[Any], Any]:
    """What transforms samples, and the model that gets them."""
    *before, last = _flat(model)
    if _is_none(last) and last is not model:
        raise TypeError(f"model: expected a Pipeline that ends in a model, got {last!r}")
    return [step for step in before if not _is_none(step)], last


def _flat(model: Any) -> list[Any]:
    """The steps of a pipeline, and of pipelines and searches in it."""
    model = _best(model)
    return [step for _, part in model.steps for step in _flat(part)] if kind_of(model) == "Pipeline" else [model]


def _is_none(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


def _scaling(scalers: list[Any]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Mean and scale of several scalers, one after the other: None where none has any."""
    mean, scale = None, None
    for scaler in scalers:
        kind = kind_of(scaler)
        if not hasattr(scaler, "n_features_in_"):
            raise ValueError(f"model: expected a fitted {kind}; call fit() first")
        if getattr(scaler, "clip", False):
            raise ValueError(f"model: expected a {kind} that does not clip, got clip={scaler.clip!r}")
        own_mean, own_scale = SCALERS[kind](scaler)
        if own_mean is not None:
            shift = own_mean if scale is None else own_mean * scale
            mean = shift if mean is None else mean + shift
        if own_scale is not None:
            scale = own_scale if scale is None else scale * own_scale
    return mean, scale


def _normalizer(step: Any) -> L2Normalize:
    if step.norm != "l2":
        raise ValueError(f"model: expected a Normalizer with norm='l2', got {step.norm!r}")
    return L2Normalize()
