"""quantize_model: from a float model to a quantized one."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from qlite import _check
from qlite.arrays.qarray import QArray
from qlite.arrays.quantize import quantize
from qlite.grids.calibrator import Calibrator
from qlite.grids.granularity import Granularity
from qlite.grids.qparams import QParams
from qlite.grids.spec import METHODS
from qlite.nn.activation_tables import known_grid
from qlite.nn.fuse import fuse
from qlite.nn.layers.activation import Activation
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.flatten import Flatten
from qlite.nn.lower import Builder
from qlite.nn.model_grids import ModelGrids
from qlite.nn.qmodel import QModel
from qlite.nn.retarget import convert, resolve_target
from qlite.nn.scheme import FLOAT_BITS, Scheme
from qlite.nn.sequential import Sequential

#: Rows of calibration data that pass through the float model at once: bounds the memory, not the result.
CALIBRATION_ROWS = 4096
#: Steps that a bias moves by within one of its layer's result, where the inputs of a layer were all zeros.
BIAS_STEPS = 2.0**16
#: What sums are multiplied by at most to become codes there: requantize has more.
LARGEST_MULTIPLIER = 2.0**24
#: What a model that brings its own scales leaves nothing to say of.
DEFAULTS = {"data": None, "method": "minmax", "weight_method": "minmax"}


def quantize_model(
    model: Sequential,
    scheme: str | None = None,
    data: Any = None,
    *,
    target: str = "numpy",
    activations: str = "static",
    method: str = "minmax",
    weight_method: str = "minmax",
    output_dtype: str | None = None,
    requant: str | None = None,
    per_layer: Mapping[str, str | None] | None = None,
) -> QModel:
    """Turn a float model into an integer model.

    Weights become codes with a scale per output, or one for every group of inputs of an output. Activations become
    codes with one scale per layer, found on `data`; or 8 bits with a scale per sample, found at run time (dynamic); or
    stay float32. What the model reads has 8 bits in every scheme, and what it gives is float32 or 8 bits.

    A model that was trained with a scheme brings its own scales, and needs no data.

    Parameters
    ----------
    model : Sequential
        Batch norms are folded into dense layers, dropout falls away: layers are those of the fused model.
    scheme : str, optional
        ``w<bits>[g<group>][a<bits>]``, ``"ternary"`` or ``"dynamic"``; that of the training by default, or "w8a8".
        w8a8, w4a8, w2a8, w4a4, w2a2...: widths of 2 to 8 bits of weights and of activations. w8, w4, w2...: weights
        alone. w4g32, w4g32a8...: a scale for every 32 inputs, which at 4 bits and below is the more accurate; with
        activations of known scales for weights of up to 4 bits. ternary: the weights -1, 0 and 1, with the scale of
        least squares and 8-bit activations. dynamic: w8a8 with ``activations="dynamic"``.
    data : array_like of a real floating dtype, (samples, features)
        Samples like those that will come, a few hundred; for activations with known scales.
    target : {"numpy", "onnx", "tflite", "tflm", "c", "tensorrt"}
        Whose conventions to follow: signedness, zero points, rounding rule, and whether the output is quantized too.
        Only "numpy" has float steps, which weights alone, "dynamic", groups and layers left in float need; only "numpy"
        and "c" have activations of fewer than 8 bits.
    activations : {"static", "dynamic"}
        Dynamic for w8a8, w4a8, w4g32a8..., whose name then ends in ``-dynamic``.
    method, weight_method : {"minmax", "percentile", "mse", "entropy"}
        How ranges of activations and of weights are chosen: see `choose_qparams`. For activations below 8 bits "mse" is
        better (some 2 dB at 4 bits). Weights are as good or better with "minmax": the narrower ranges of "mse" make all
        of a layer's results smaller, at 2 bits by far. Weights below 8 bits have zero points unless the target knows
        none.
    output_dtype : {"float32", "integer"}, optional
        Whether the last layer gives float32 or codes (which a last step dequantizes); the target's way by default.
    requant : {"float", "fixed"}, optional
        The requantization rule (see `requantize`); the target's way by default.
    per_layer : dict of str, optional
        Layers that have another scheme, by name: ``{"dense_3": "w8"}``; None or "float32" leaves one in float. Codes
        become float32 in between and back where it needs that.

    Returns
    -------
    QModel

    Raises
    ------
    TypeError
        `model` is no Sequential, or `data` is not of a real floating dtype.
    ValueError
        An option or layer that there is not; `data` missing, empty, not finite, or with other features than the
        model's; another scheme than the one that the model was trained with, or `data` and methods for its scales.
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
    >>> [ql.quantize_model(m, scheme, x).nbytes for scheme in ("w8a8", "w4a8", "ternary")]
    [328, 316, 196]
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model: expected a Sequential (see from_sklearn, from_weights), got {type(model).__name__}")
    _check.choice("method", method, METHODS)
    _check.choice("weight_method", weight_method, METHODS)
    grids = model.grids
    model = fuse(model)
    if grids is None:
        parsed = Scheme.of_model("w8a8" if scheme is None else scheme, activations)
        own = own_schemes(model, per_layer)
    else:
        parsed, own = _trained(model, grids, scheme, activations, per_layer)
        options = {"data": data, "method": method, "weight_method": weight_method}
        _check.expect_defaults(options, DEFAULTS, "for a model that was trained with a scheme")
    schemes = [own.get(name, parsed) for name in model.names]
    resolved = resolve_target(target, output_dtype, requant, schemes)
    static = [name for name, layer in zip(model.names, schemes, strict=True) if layer.is_static]
    repair = None
    if grids is not None:
        qparams, repair = dict(grids.activations), partial(_at_grids, grids)
    elif static:
        if data is None:
            raise ValueError(f"data: expected samples to calibrate the activations of {static[0]!r} with, got None")
        qparams = calibrate(model, data, method, activation_bits(model, schemes))
    else:
        qparams = {}
    builder = Builder(
        parsed,
        weight_method=weight_method,
        symmetric_weights=resolved.symmetric_weights,
        qparams=qparams,
        per_layer=own,
        repair=repair,
    )
    program = builder.program(model.lower(builder))
    if static:
        program = convert(program, resolved)
    return QModel(program, scheme=parsed.name, target=target, task=model.task, classes=model.classes)


def own_schemes(model: Sequential, per_layer: Any) -> dict[str, Scheme]:
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
            schemes[name] = Scheme.of_model("float32" if scheme is None else scheme, may_be_float=True)
        except (TypeError, ValueError) as error:
            raise type(error)(f"per_layer[{name!r}]: {error}") from None
    return schemes


def _trained(
    model: Sequential, grids: ModelGrids, scheme: str | None, activations: str, per_layer: Any
) -> tuple[Scheme, dict[str, Scheme]]:
    """The schemes that a model was trained with; what is asked for has to be these."""
    parsed, own = Scheme.of_model(grids.scheme), own_schemes(model, grids.per_layer)
    if _check.choice("activations", activations, ("static", "dynamic")) == "dynamic" and not parsed.dynamic:
        raise ValueError(f"activations: expected 'static', as {grids.scheme!r} was trained with, got 'dynamic'")
    if scheme is not None and Scheme.of_model(scheme, activations) != parsed:
        raise ValueError(f"scheme: expected {grids.scheme!r}, which the model was trained with, got {scheme!r}")
    if per_layer is not None and own_schemes(model, per_layer) != own:
        raise ValueError(f"per_layer: expected {grids.per_layer}, which the model was trained with, got {per_layer}")
    return parsed, own


def check_grids(model: Sequential, grids: ModelGrids) -> None:
    """Refuse grids that are not those of a model: one for the weights of each layer that become codes, and, where
    activations of any layer do, for what the first layer reads and for every output.
    """
    parsed, own = Scheme.of_model(grids.scheme), own_schemes(model, grids.per_layer)
    schemes = {name: own.get(name, parsed) for name in model.names}
    weights = {
        name: layer.parameters["weight"]
        for name, layer in zip(model.names, model.layers, strict=True)
        if "weight" in layer.parameters and schemes[name].weight_bits != FLOAT_BITS
    }
    is_static = any(scheme.is_static for scheme in schemes.values())
    activations = {model._sources[0], *model.names} if is_static else set()
    for what, found, names in (("weights", grids.weights, weights), ("activations", grids.activations, activations)):
        if set(found) != set(names):
            raise ValueError(f"grids: {what}: expected those of {sorted(names)}, got {sorted(found)}")
    for name, weight in weights.items():
        p, scheme = grids.weights[name], schemes[name]
        shape = Granularity.of(2, 1, scheme.group_size).shape(weight.shape)
        expected = ("uniform", scheme.weight_bits, scheme.group_size, shape)
        if (p.grid, p.bits, p.group_size, p.scale.shape) != expected:
            raise ValueError(f"grids: weights: {name}: expected {scheme.name} with scales of shape {shape}, got {p!r}")
    for name, p in grids.activations.items():
        if p.grid != "uniform" or p.scale.size != 1 or p.dtype != np.uint8:
            raise ValueError(f"grids: activations: {name}: expected unsigned codes with one scale, got {p!r}")


def _at_grids(grids: ModelGrids, name: str, weight: np.ndarray) -> QArray | None:
    """A layer's weights at the scales that it was trained with."""
    return quantize(weight, grids.weights[name]) if name in grids.weights else None


def activation_bits(model: Sequential, schemes: Sequence[Scheme]) -> dict[str, int]:
    """Return the width of what each layer reads, by the names of `intermediates`: that of the scheme of a layer that
    multiplies, where it is no input of the model; 8 of all else, and of the output. A change of shape passes it on.
    """
    widths: dict[str, int] = {}
    for i in range(len(model.layers) - 1, 0, -1):
        source, layer = model._sources[i], model.layers[i]
        if isinstance(layer, Flatten):
            widths[source] = widths.get(model.names[i], 8)
        elif "weight" in layer.parameters:
            widths[source] = schemes[i].activation_bits or 8
    return widths


def calibrate(model: Sequential, data: Any, method: str, bits: Mapping[str, int] | None = None) -> dict[str, QParams]:
    """Find the unsigned qparams of what the first layer reads and of every layer's output, by the names of buffers; of
    8 bits, or as `bits` says.
    """
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
    widths = bits or {}
    found = {name: calibrator.qparams(method, widths.get(name, 8)) for name, calibrator in calibrators.items()}
    for name, layer in zip(model.names, model.layers, strict=True):
        known = known_grid(layer.activation, widths.get(name, 8)) if isinstance(layer, Activation) else None
        found[name] = known or found[name]
    _refine_blank(model, found, blank)
    return found


def _refine_blank(model: Sequential, qparams: dict[str, QParams], blank: set[str]) -> None:
    """Give inputs of a layer that were all zeros a scale at which its bias is not lost.

    The codes of zeros are zeros at any scale, and the bias is an integer at the scale of the inputs times that of the
    weights. What gives the zeros must still reach that scale by a multiplier.
    """
    scale_before: Any = 0.0
    refined = {}
    for source, name, layer in zip(model._sources, model.names, model.layers, strict=True):
        if not isinstance(layer, Dense):
            scale_before = 0.0
            continue
        weight_scale = max(np.abs(layer.weight).max() / np.float64(127), _check.SMALLEST_NORMAL)
        if source in blank:
            scale = qparams[name].scale / (BIAS_STEPS * weight_scale)
            scale = np.clip(scale, max(scale_before / LARGEST_MULTIPLIER, _check.SMALLEST_NORMAL), 1)
            refined[source] = QParams(scale.astype(np.float32), np.array(0), qparams[source].bits, signed=False)
        scale_before = qparams[source].scale.item() * weight_scale
    qparams.update(refined)
