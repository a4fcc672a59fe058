"""Assertions for tests of quantized models, in the manner of `numpy.testing`.

What fails is an AssertionError that says by how much and, where both are known layer by layer, which layer loses most
and what helps. Arguments that make no sense are a TypeError or a ValueError, as everywhere else.
"""

from contextlib import suppress
from typing import Any

import numpy as np

from qlite import _check, metrics
from qlite.analysis.compare import compare
from qlite.analysis.significance import compare_accuracy, expect_pair
from qlite.arrays.qarray import QArray
from qlite.metrics import named
from qlite.nn.model import Model
from qlite.nn.predictor import VALUES, Predictor
from qlite.nn.qmodel import QModel

__all__ = ["assert_accuracy", "assert_agreement", "assert_bit_exact", "assert_sqnr"]


def assert_accuracy(
    model: Predictor, quantized: Predictor, x: Any, y: Any, *, max_drop: float = 0.005, metric: str = "accuracy"
) -> None:
    """Fail if the quantized model is worse than the float model by more than `max_drop` on labelled samples.

    Parameters
    ----------
    model, quantized : Model, QModel
    x, y : array_like
        See `Sequential.evaluate`.
    max_drop : float
        In the unit of the metric: 0.005 are half a point of accuracy. Below 0 the quantized model has to be better.
    metric : str
        See `Sequential.evaluate`; errors such as "mse" may rise by `max_drop`.

    Raises
    ------
    AssertionError
        It is worse. The message has both figures, how far the difference may be chance, and the layer that loses most.
    TypeError, ValueError
        Something else than two models of one task, samples that do not fit, a metric that there is not; `max_drop` is
        no finite number.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.random.default_rng(0).normal(size=(200, 4))
    >>> m = ql.from_weights([(np.eye(4), None)])
    >>> ql.testing.assert_accuracy(m, ql.quantize_model(m, data=x), x, x.argmax(axis=1), max_drop=0.05)
    """
    __tracebackhide__ = True
    most = _finite("max_drop", max_drop)
    expect_pair(model, quantized)
    named.checked("metric", metric, model._class_count)
    before, after = (predictor.evaluate(x, y, metric)[metric] for predictor in (model, quantized))
    drop = named.drop(metric, before, after)
    if not drop <= most:
        report = compare_accuracy(model, quantized, x, y, metric=metric)
        _fail(f"a drop of {drop:.4g} in {metric}, at most {most:.4g} expected\n{report}", model, quantized, x)


def assert_agreement(model: Predictor, quantized: Predictor, x: Any, *, min_agreement: float = 0.99) -> None:
    """Fail if the two models give the same label to less than `min_agreement` of the samples.

    This is a sharper gate than the accuracy, of which samples that are lost and gained cancel each other; it needs no
    labels.

    Parameters
    ----------
    model, quantized : Model, QModel
    x : array_like
        Samples.
    min_agreement : float
        A share, 0 to 1.

    Raises
    ------
    AssertionError
        They agree less. The message has the share and the layer that loses most.
    TypeError, ValueError
        Something else than two models with classes, no samples or ones that do not fit; `min_agreement` is no share.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.random.default_rng(0).normal(size=(200, 4))
    >>> m = ql.from_weights([(np.eye(4), None)])
    >>> ql.testing.assert_agreement(m, ql.quantize_model(m, data=x), x, min_agreement=0.95)
    """
    __tracebackhide__ = True
    least = _finite("min_agreement", min_agreement)
    if not 0 <= least <= 1:
        raise ValueError(f"min_agreement: expected a share, 0 to 1, got {min_agreement}")
    pairs = _raw_outputs(model, quantized, x)
    for name, predictor in (("model", model), ("quantized", quantized)):
        if predictor.task in VALUES:
            raise ValueError(f"{name}: expected one with classes, got task {predictor.task!r}")
    ((raw, quantized_raw),) = pairs
    agreement = metrics.accuracy(model._decide(raw), quantized._decide(quantized_raw))
    if agreement < least:
        _fail(f"agreement of {agreement:.4%}, at least {least:.4%} expected", model, quantized, x)


def assert_sqnr(model: Predictor, quantized: Predictor, x: Any, *, min_db: float = 30.0) -> None:
    """Fail if the raw outputs of the two models are farther apart than `min_db` of signal to quantization noise.

    ``10 log10(sum exact**2 / sum (exact - quantized)**2)``, of several outputs the least: 30 dB are an error of 3 %.

    Parameters
    ----------
    model, quantized : Model, QModel
    x : array_like
        Samples.
    min_db : float

    Raises
    ------
    AssertionError
        They are farther apart. The message has the SQNR and the layer that loses most.
    TypeError, ValueError
        Something else than two models, no samples or ones that do not fit; `min_db` is no finite number.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.random.default_rng(0).normal(size=(200, 4))
    >>> m = ql.from_weights([(np.eye(4), None)])
    >>> ql.testing.assert_sqnr(m, ql.quantize_model(m, data=x), x, min_db=40)
    """
    __tracebackhide__ = True
    least = _finite("min_db", min_db)
    sqnr_db = min(metrics.sqnr_db(*pair) for pair in _raw_outputs(model, quantized, x))
    if not sqnr_db >= least:
        _fail(f"output SQNR of {sqnr_db:.2f} dB, at least {least:.2f} dB expected", model, quantized, x)


def assert_bit_exact(actual: Any, expected: Any, x: Any = None) -> None:
    """Fail if two arrays, or what two models give for samples, differ in any bit.

    Shapes and dtypes count, NaN equals NaN of the same bits, and 0 differs from -0.

    Parameters
    ----------
    actual, expected : array_like, QArray or model
        Two of a kind.
    x : array_like, optional
        Samples: for models, and only for them.

    Raises
    ------
    AssertionError
        They differ. The message says in how many values and where first; of quantized models also, in which buffer of
        the program.
    TypeError, ValueError
        One is a model or a QArray and the other one is not; models without samples, samples without models.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> q = ql.quantize(np.eye(3))
    >>> ql.testing.assert_bit_exact(q, ql.quantize(np.eye(3)))
    >>> ql.testing.assert_bit_exact(np.zeros(2), -np.zeros(2))
    Traceback (most recent call last):
        ...
    AssertionError: 2 of 2 values differ, first at (0,): 0.0, expected -0.0
    """
    __tracebackhide__ = True
    for kind in (Predictor, QArray):
        if isinstance(actual, kind) != isinstance(expected, kind):
            raise TypeError(f"expected: expected a {type(actual).__name__}, as actual, got {type(expected).__name__}")
    is_model = isinstance(actual, Predictor)
    if is_model != (x is not None):
        raise ValueError(f"x: expected {'samples for the models' if is_model else 'None for arrays'}, got {x!r:.80}")
    if not is_model:
        fault = _array_fault(actual, expected)
    elif fault := _output_fault(actual, expected, x):
        fault = f"{fault}{_first_buffer(actual, expected, x)}"
    if fault:
        raise AssertionError(fault)


def _array_fault(actual: Any, expected: Any) -> str:
    """How two arrays or QArrays differ; empty if they do not."""
    if isinstance(actual, QArray):
        if actual.qparams != expected.qparams:
            return f"grids differ: {actual.qparams!r}, expected {expected.qparams!r}"
        actual, expected = actual.codes, expected.codes
    actual, expected = _check.as_array("actual", actual), _check.as_array("expected", expected)
    for name, array in (("actual", actual), ("expected", expected)):
        if array.dtype.hasobject:
            raise TypeError(f"{name}: expected an array of numbers, got {array.dtype}")
    if (actual.dtype, actual.shape) != (expected.dtype, expected.shape):
        return f"{actual.dtype}{list(actual.shape)}, expected {expected.dtype}{list(expected.shape)}"
    bits = [np.ascontiguousarray(a).reshape(-1).view(np.uint8).reshape(a.size, a.itemsize) for a in (actual, expected)]
    places = np.flatnonzero((bits[0] != bits[1]).any(axis=1))
    if len(places) == 0:
        return ""
    first = tuple(map(int, np.unravel_index(places[0], actual.shape)))
    return (
        f"{len(places)} of {actual.size} values differ, first at {first}: {actual[first]}, expected {expected[first]}"
    )


def _output_fault(actual: Predictor, expected: Predictor, x: Any) -> str:
    """How the outputs of two models differ; empty if they do not."""
    found, wanted = _outputs(actual, x), _outputs(expected, x)
    if len(found) != len(wanted):
        return f"outputs: {len(found)}, expected {len(wanted)}"
    for name, one, other in zip(actual.outputs, found, wanted, strict=True):
        if fault := _array_fault(one, other):
            return f"outputs: {fault}" if len(found) == 1 else f"output {name!r}: {fault}"
    return ""


def _outputs(model: Predictor, x: Any) -> tuple[np.ndarray, ...]:
    """The raw outputs of a model, of which there may be several, for at least one sample."""
    results = model(x)
    results = results if isinstance(results, tuple) else (results,)
    if len(results[0]) == 0:
        raise ValueError("x: expected at least one sample, got none")
    return results


def _first_buffer(actual: Predictor, expected: Predictor, x: Any) -> str:
    """Say which buffer of two quantized models differs first, where they have the same buffers."""
    if not (isinstance(actual, QModel) and isinstance(expected, QModel)):
        return ""
    one, other = actual.intermediates(x), expected.intermediates(x)
    for name in one:
        if name not in other:
            return f"; buffer {name!r} is in one model only"
        if fault := _array_fault(one[name], other[name]):
            return f"; buffer {name!r} is the first that differs: {fault}"
    return ""


def _raw_outputs(model: Any, quantized: Any, x: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Both models' raw outputs, output by output."""
    for name, value in (("model", model), ("quantized", quantized)):
        if not isinstance(value, Predictor):
            raise TypeError(f"{name}: expected a model, such as a Sequential or a QModel, got {type(value).__name__}")
    results = [_outputs(predictor, x) for predictor in (model, quantized)]
    shapes, other_shapes = (", ".join(str(array.shape) for array in arrays) for arrays in results)
    if shapes != other_shapes:
        raise ValueError(f"quantized: expected outputs of shape {shapes}, as model's, got {other_shapes}")
    return list(zip(*results, strict=True))


def _finite(name: str, value: Any) -> float:
    if not np.isfinite(number := _check.number(name, value)):
        raise ValueError(f"{name}: expected a finite number, got {value}")
    return number


def _fail(what: str, model: Predictor, quantized: Predictor, x: Any) -> None:
    """Raise an AssertionError that names the layer with the largest error of its own."""
    __tracebackhide__ = True
    lines = [what]
    if isinstance(model, Model) and isinstance(quantized, QModel):
        with suppress(Exception):  # models that cannot be compared layer by layer fail by what is known
            worst = min(compare(model, quantized, x).layers, key=lambda layer: layer.own_sqnr_db)
            lines.append(f"{worst.name} loses most, {worst.own_sqnr_db:.1f} dB SQNR by itself: {worst.advice}")
    raise AssertionError("\n".join(lines))
