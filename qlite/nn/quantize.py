"""quantize_model: from a float model to a quantized one."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from qlite import _check
from qlite.grids.calibrator import Calibrator
from qlite.grids.qparams import QParams
from qlite.grids.spec import METHODS
from qlite.nn.lower import Builder
from qlite.nn.qmodel import QModel
from qlite.nn.retarget import convert, resolve_target
from qlite.nn.scheme import Scheme
from qlite.nn.sequential import Sequential

#: Rows of calibration data that pass through the float model at once: bounds the memory, not the result.
CALIBRATION_ROWS = 4096
#: Steps that a bias moves by within one of its layer's result, where the inputs of a layer were all zeros.
BIAS_STEPS = 2.0**16
#: What sums are multiplied by at most to become codes there: requantize has more.
LARGEST_MULTIPLIER = 2.0**24


def quantize_model(
    model: Sequential,
    scheme: str = "w8a8",
    data: Any = None,
    *,
    target: str = "numpy",
    activations: str = "static",
    method: str = "minmax",
    weight_method: str = "minmax",
    output_dtype: str | None = None,
    requant: str | None = None,
    per_layer: Mapping[str, str] | None = None,
) -> QModel:
    """Turn a float model into an integer model.

    Weights become int8 in [-127, 127] with a scale per output. Activations become 8 bits with one scale per layer,
    found on `data` (w8a8); or with a scale per sample, found at run time (dynamic); or stay float32 (w8).

    Parameters
    ----------
    model : Sequential
    scheme : {"w8a8", "w8", "dynamic"}
        "dynamic" is short for "w8a8" with ``activations="dynamic"``.
    data : array_like of a real floating dtype, (samples, features)
        Samples like those that will come, a few hundred; for "w8a8".
    target : {"numpy", "onnx", "tflite", "tflm", "c", "tensorrt"}
        Whose conventions to follow: signedness, zero points, rounding rule, and whether the output is quantized too.
    activations : {"static", "dynamic"}
    method, weight_method : {"minmax", "percentile", "mse", "entropy"}
        How ranges of activations and of weights are chosen: see `choose_qparams`.
    output_dtype : {"float32", "integer"}, optional
        Whether the last layer gives float32 or codes (which a last step dequantizes); the target's way by default.
    requant : {"float", "fixed"}, optional
        The requantization rule (see `requantize`); the target's way by default.
    per_layer : dict of str, optional
        Layers that have another scheme, by name: ``{"dense_3": "w8"}``. Codes become float32 in between and back; the
        target is "numpy" then.

    Returns
    -------
    QModel

    Raises
    ------
    TypeError
        `model` is no Sequential, or `data` is not of a real floating dtype.
    ValueError
        An option or layer that there is not; `data` missing, empty, not finite, or with other features than the
        model's.
    OverflowError
        A layer is so deep that an int32 sum could overflow, or a bias does not fit; the message names the layer.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> rng = np.random.default_rng(0)
    >>> m = ql.from_weights([(rng.normal(size=(8, 16)), None), (rng.normal(size=(16, 3)), None)])
    >>> x = rng.normal(size=(100, 8))
    >>> qm = ql.quantize_model(m, "w8a8", data=x)
    >>> bool(np.mean(qm.predict(x) == m.predict(x)) > 0.95)
    True
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model: expected a Sequential (see from_sklearn, from_weights), got {type(model).__name__}")
    parsed = Scheme.of_model(scheme, activations)
    own = _own_schemes(model, per_layer)
    schemes = [own.get(name, parsed) for name in model.names]
    resolved = resolve_target(target, output_dtype, requant, schemes)
    _check.choice("method", method, METHODS)
    _check.choice("weight_method", weight_method, METHODS)
    static = [name for name, layer in zip(model.names, schemes, strict=True) if layer.is_static]
    if static and data is None:
        raise ValueError(f"data: expected samples to calibrate the activations of {static[0]!r} with, got None")
    qparams = calibrate(model, data, method) if static else {}
    builder = Builder(parsed, weight_method=weight_method, qparams=qparams, per_layer=own)
    program = builder.program(model.lower(builder))
    if static:
        program = convert(program, resolved)
    return QModel(program, scheme=parsed.name, target=target, task=model.task, classes=model.classes)


def _own_schemes(model: Sequential, per_layer: Any) -> dict[str, Scheme]:
    """The schemes of single layers, checked."""
    if per_layer is None:
        return {}
    if not isinstance(per_layer, Mapping):
        raise TypeError(f"per_layer: expected a dict of schemes by layer, got {type(per_layer).__name__}")
    for name in per_layer:
        _check.choice("per_layer", name, model.names)
    schemes = {}
    for name, scheme in per_layer.items():
        try:
            schemes[name] = Scheme.of_model(scheme, "static")
        except (TypeError, ValueError) as error:
            raise type(error)(f"per_layer[{name!r}]: {error}") from None
    return schemes


def calibrate(model: Sequential, data: Any, method: str) -> dict[str, QParams]:
    """Find the uint8 qparams of what the first layer reads and of every layer's output, by the names of buffers."""
    x = _check.finite("data", model._samples("data", data))
    if len(x) == 0:
        raise ValueError("data: expected at least one sample to calibrate with, got none")
    calibrators = {name: Calibrator() for name in (model._sources[0], *model.names)}
    blank = set(calibrators)
    for first in range(0, len(x), CALIBRATION_ROWS):
        values = model.intermediates(x[first : first + CALIBRATION_ROWS])
        for name, calibrator in calibrators.items():
            calibrator.update(values[name])
        blank = {name for name in blank if not values[name].any()}
    qparams = {name: calibrator.qparams(method) for name, calibrator in calibrators.items()}
    _refine_blank(model, qparams, blank)
    return qparams


def _refine_blank(model: Sequential, qparams: dict[str, QParams], blank: set[str]) -> None:
    """Give inputs of a layer that were all zeros a scale at which its bias is not lost.

    The codes of zeros are zeros at any scale, and the bias is an integer at the scale of the inputs times that of the
    weights. What gives the zeros must still reach that scale by a multiplier.
    """
    scale_before: Any = 0.0
    refined = {}
    for source, name, layer in zip(model._sources, model.names, model.layers, strict=True):
        weight = getattr(layer, "weight", None)
        if weight is None:
            scale_before = 0.0
            continue
        weight_scale = max(np.abs(weight).max() / np.float64(127), _check.SMALLEST_NORMAL)
        if source in blank:
            scale = qparams[name].scale / (BIAS_STEPS * weight_scale)
            scale = np.clip(scale, max(scale_before / LARGEST_MULTIPLIER, _check.SMALLEST_NORMAL), 1)
            refined[source] = QParams(scale.astype(np.float32), np.array(0), signed=False)
        scale_before = qparams[source].scale.item() * weight_scale
    qparams.update(refined)
