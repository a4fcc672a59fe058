"""quantize_model: from a float model to a quantized one."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from qlite import _check
from qlite.arrays.qarray import QArray
from qlite.arrays.quantize import quantize
from qlite.grids.granularity import Granularity
from qlite.grids.qparams import QParams
from qlite.grids.spec import METHODS, PERCENTILE, check_percentile
from qlite.nn.bias_correction import check_bias_correction, corrected
from qlite.nn.calibrate import activation_bits
from qlite.nn.curves import with_curves
from qlite.nn.fuse import fuse
from qlite.nn.layers.weighted import Weighted
from qlite.nn.lower import Builder
from qlite.nn.model import Model
from qlite.nn.model_grids import ModelGrids
from qlite.nn.observe import expect_samples, observe
from qlite.nn.per_layer import own_schemes
from qlite.nn.program import Program
from qlite.nn.qmodel import QModel
from qlite.nn.ranges import COMPARED, RANGES, chosen, warn_of
from qlite.nn.residuals import with_residuals
from qlite.nn.retarget import convert, resolve_target
from qlite.nn.scheme import FLOAT_BITS, Scheme
from qlite.nn.ties import values_of

INPUT_DTYPES = ("float32", "uint8")
#: What a model that brings its own scales leaves nothing to say of.
DEFAULTS = {
    "data": None,
    "method": "auto",
    "percentile": PERCENTILE,
    "weight_method": "minmax",
    "bias_correction": "auto",
}


def quantize_model(
    model: Model,
    scheme: str | None = None,
    data: Any = None,
    *,
    target: str = "numpy",
    activations: str = "static",
    method: str = "auto",
    percentile: float = PERCENTILE,
    weight_method: str = "minmax",
    bias_correction: bool | str = "auto",
    output_dtype: str | None = None,
    requant: str | None = None,
    cpu: str | None = None,
    per_layer: Mapping[str, str | None] | None = None,
    input_dtype: str = "float32",
) -> QModel:
    """Turn a float model into an integer model.

    Weights become codes with a scale per output, or one for every group of inputs of an output. Activations become
    codes with one scale per layer, found on `data`; or 8 bits with a scale per sample, found at run time (dynamic); or
    stay float32. What the model reads has 8 bits in every scheme, and what it gives is float32 or 8 bits.

    A model that was trained with a scheme brings its own scales, and needs no data.

    Parameters
    ----------
    model : Sequential or Model
        Batch norms are folded into layers with weights, dropout falls away: layers are those of the fused model. A
        dense layer or convolution that `Split` or `Slice` cuts along its channels, boxes beside scores say, becomes a
        layer for each part, whose name is the part's, so that each has its own grid.
    scheme : str, optional
        ``w<bits>[g<group>][a<bits>]``, ``"ternary"`` or ``"dynamic"``; that of the training by default, or "w8a8".
        w8a8, w4a8, w2a8, w4a4, w2a2...: widths of 2 to 8 bits of weights and of activations. w8, w4, w2...: weights
        alone. w4g32, w4g32a8...: a scale for every 32 inputs of a dense layer (convolutions keep one per output), which
        at 4 bits and below is the more accurate; with activations of known scales for weights of up to 4 bits. ternary:
        the weights -1, 0 and 1, with the scale of least squares and 8-bit activations. dynamic: w8a8 with
        ``activations="dynamic"``. nf4, nf4g64, nf4a8...: the name of a codebook in place of ``w<bits>``; nf3, nf4 and
        fp4 in any of these schemes (groups not with activations of known scales), where integer products take the
        entries as int8; fp6_e2m3, fp6_e3m2, fp8_e4m3 and fp8_e5m2 for weights alone. w8a16, w4a16...: products take
        symmetric codes of 16 bits, in two products of 8 bits, whose exact sums become float32; all else is float32, and
        with "w8a8" around it what an 8-bit layer gives has 8 bits. Twice the products (`QModel.summary` counts both).
    data : array_like of a real floating dtype, (samples, ...), or an iterator of such batches
        Samples like those that will come, a few hundred; for activations with known scales. Of several inputs a tuple,
        or a dict by name. They go through the model in parts that bound the memory; a file's array (memmap) is read
        part by part. What gives batches again and again, such as a `DataLoader` of torch, may stand for an iterator; a
        batch may be a list of one array, and holds no labels. Schemes that need no ranges, such as "dynamic", leave
        samples alone.
    target : {"numpy", "onnx", "tflite", "tflm", "c", "tensorrt"}
        Whose conventions to follow: signedness, zero points, rounding rule, and whether the output is quantized too.
        Only "numpy" has float steps, which weights alone, "dynamic", groups and layers left in float need; only "numpy"
        and "c" have activations of fewer than 8 bits.
    activations : {"static", "dynamic"}
        Dynamic for w8a8, w4a8, w4g32a8..., whose name then ends in ``-dynamic``.
    method : {"auto", "minmax", "percentile", "mse", "entropy", "trimmed"}
        How ranges of activations are chosen: see `choose_qparams`; "trimmed" leaves the 3 % of the samples out that
        reach farthest, value by value. "auto" makes a model each for "minmax", "percentile", "mse" and "trimmed" and
        keeps the one whose outputs come closest to the float model's on up to 128 of the samples, "minmax" unless
        another is over 0.3 dB better (`QModel.calibration` says which, and how close each came); outputs that are codes
        have the ranges of "minmax" there. Where nothing reads a value but a sigmoid or a tanh, its range ends at +-8 or
        +-4, beyond which their codes do not change.
    percentile : float
        For ``method="percentile"``, over 50 and at most 100: what is left when ``100 - percentile`` percent are cut off
        each end.
    weight_method : {"minmax", "percentile", "mse", "entropy"}
        The same for weights, which are as good or better with "minmax": the narrower ranges of "mse" make all of a
        layer's results smaller, at 2 bits by far. Weights below 8 bits have zero points unless the target knows none.
    bias_correction : {"auto", True, False}
        Whether biases make up for what rounded weights shift results by on average:
        ``bias -= E[x] @ (rounded - weight)`` for what each layer reads in the float model, of `data`, as by Nagel et
        al., Data-free quantization through weight equalization and bias correction, 2019. "auto" tries it where
        `method` is "auto", and keeps it unless it takes outputs further from the float model's. True does it for any
        method and scheme. With False, and by `method` "minmax" alone, biases are the model's own.
    output_dtype : {"float32", "integer"}, optional
        Whether the last layer gives float32 or codes (which a last step dequantizes); the target's way by default.
    requant : {"float", "fixed"}, optional
        The requantization rule (see `requantize`); the target's way by default.
    cpu : {"x86-64", "aarch64"}, optional
        The processor on which LiteRT gives the bytes of a model for "tflite", x86-64 by default. Products of two
        activations and softmaxes have another rule on each, by which few codes in a thousand differ, by 1. All else is
        the same, the file as well: it has no rules in it.
    per_layer : dict of str, optional
        Layers that have another scheme, by name or by a pattern of names, of which the first that fits counts:
        ``{"dense_3": "w8", "head/*": None}``. None or "float32" leaves a layer in float. Codes become float32 in
        between and back where it needs that. Tables show names of over 48 characters, as files of TensorFlow have, as
        such patterns (``"net/relu;*"``); `Model.names` has them whole.
    input_dtype : {"float32", "uint8"}
        What the quantized model takes. Bytes, such as the pixels of images, stand for the numbers 0 to 255, of which
        the model's mean and scale, if any, make what its layers read: the same results as of these numbers in float32,
        from a quarter of the memory. `data` may be bytes then as well.

    Returns
    -------
    QModel

    Raises
    ------
    TypeError
        `model` is no Model, its arrays are not float32 any more, or `data` is not of a real floating dtype.
    ValueError
        An option or layer that there is not; `data` missing, empty, not finite, or with other features than the
        model's; another scheme than the one that the model was trained with, or `data` and methods for its scales.
    OverflowError
        A layer is so deep that an int32 sum could overflow, or a bias does not fit; the message names the layer.

    Warns
    -----
    UserWarning
        Few samples of `data` reach more than three times as far as the median one in some value, and make its codes
        coarse for all others; `data` is one sample, alone or again and again, or one number throughout. The message
        says which, and so do `QModel.calibration` and the report of `compare`.

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

    Of pixels:

    >>> pixels = rng.integers(0, 256, (100, 8), dtype=np.uint8)
    >>> m = ql.Sequential([ql.Dense(rng.normal(size=(8, 3)))], mean=np.full(8, 127.5), scale=np.full(8, 127.5))
    >>> qm = ql.quantize_model(m, data=pixels, input_dtype="uint8")
    >>> qm(pixels).shape, qm.input_dtype
    ((100, 3), 'uint8')
    """
    if not isinstance(model, Model):
        raise TypeError(f"model: expected a Model or Sequential (see from_sklearn), got {type(model).__name__}")
    _check.choice("method", method, RANGES)
    percentile = check_percentile(method, percentile)
    _check.choice("weight_method", weight_method, METHODS)
    check_bias_correction(bias_correction)
    _expect_arrays(model)
    grids = model.grids
    given, model = model, fuse(model)
    if grids is None:
        parsed = Scheme.of_model("w8a8" if scheme is None else scheme, activations)
        own = own_schemes(model, per_layer, given.names)
    else:
        parsed, own = _trained(model, grids, scheme, activations, per_layer)
        options = {
            "data": data,
            "method": method,
            "percentile": percentile,
            "weight_method": weight_method,
            "bias_correction": bias_correction,
        }
        _check.expect_defaults(options, DEFAULTS, "for a model that was trained with a scheme")
    schemes = {name: own.get(name, parsed) for name in model.names}
    _check.choice("input_dtype", input_dtype, INPUT_DTYPES)
    resolved = resolve_target(target, output_dtype, requant, schemes, cpu)
    static = [name for name, layer in schemes.items() if layer.needs_ranges]
    weights: dict[str, QArray] = {}

    def lower(qparams: dict[str, QParams], is_corrected: bool = False) -> Program:
        builder = Builder(
            parsed,
            weight_method=weight_method,
            symmetric_weights=resolved.symmetric_weights,
            qparams=qparams,
            per_layer=own,
            repair=None if grids is None else partial(_at_grids, grids),
            weights=weights,
            input_dtype=input_dtype,
        )
        lowered = corrected(model, seen.means, partial(_rounded, builder)) if is_corrected else model
        return builder.program(lowered.lower(builder))

    calibration = None
    if grids is None and (static or bias_correction is True):
        if data is None:
            what = f"calibrate the activations of {static[0]!r}" if static else "correct biases"
            raise ValueError(f"data: expected samples to {what} with, got None")
        kept = COMPARED if static and method == "auto" else 0
        seen = observe(model, data, is_bytes=input_dtype == "uint8", kept=kept)
    elif grids is None and data is not None:
        expect_samples(model, data, is_bytes=input_dtype == "uint8")
    if grids is None and static:
        widths, is_static = activation_bits(model, schemes.values()), len(static) == len(schemes)
        program, calibration = chosen(model, seen, method, widths, percentile, bias_correction, lower, is_static)
        warn_of(calibration)
    else:
        program = lower({} if grids is None else dict(grids.activations), grids is None and bias_correction is True)
    if static:
        program = convert(program, resolved)
        if resolved.residuals and grids is None:
            program = with_residuals(program)
        if resolved.curves and grids is None:
            program = with_curves(program)
    quantized = QModel(program, scheme=parsed.name, target=target, task=model.task, classes=model.classes)
    quantized.calibration = calibration
    return quantized


def _expect_arrays(model: Model) -> None:
    """Refuse what was put in the place of a layer's arrays and is none of finite float32."""
    for name, layer in zip(model.names, model.layers, strict=True):
        for what, array in (layer.parameters | layer.statistics).items():
            if not isinstance(array, np.ndarray) or array.dtype != np.float32:
                got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
                raise TypeError(f"layer {name!r}: {what}: expected an ndarray of float32, got {got}")
            _check.finite(f"layer {name!r}: {what}", array)


def _trained(
    model: Model, grids: ModelGrids, scheme: str | None, activations: str, per_layer: Any
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


def _rounded(builder: Builder, name: str, weight: np.ndarray) -> QArray | None:
    """What becomes of a layer's weights; None of those that stay in float."""
    return None if builder.scheme_of(name).weight_bits == FLOAT_BITS else builder.quantize_weight(name, weight)


def check_grids(model: Model, grids: ModelGrids) -> None:
    """Refuse grids that are not those of a model: one for the weights of each layer that become codes, and, where
    activations of any layer do, for what the first layer reads and for every output.
    """
    parsed, own = Scheme.of_model(grids.scheme), own_schemes(model, grids.per_layer)
    schemes = {name: own.get(name, parsed) for name in model.names}
    weights = {
        name: layer.weight.shape
        for name, layer in zip(model.names, model.layers, strict=True)
        if isinstance(layer, Weighted) and schemes[name].weight_bits != FLOAT_BITS
    }
    is_static = any(scheme.is_static for scheme in schemes.values())
    activations = set(values_of(model)) if is_static else set()
    for what, found, names in (("weights", grids.weights, weights), ("activations", grids.activations, activations)):
        if set(found) != set(names):
            raise ValueError(f"grids: {what}: expected those of {sorted(names)}, got {sorted(found)}")
    for name, weight_shape in weights.items():
        p, scheme, rank = grids.weights[name], schemes[name], len(weight_shape)
        group_size = scheme.group_size if rank == 2 else None  # convolutions have no groups of inputs
        shape = Granularity.of(rank, rank - 1, group_size).shape(weight_shape)
        expected = ("uniform", scheme.weight_bits, group_size, shape)
        if (p.grid, p.bits, p.group_size, p.scale.shape) != expected:
            raise ValueError(f"grids: weights: {name}: expected {scheme.name} with scales of shape {shape}, got {p!r}")
    for name, p in grids.activations.items():
        if p.grid != "uniform" or p.scale.size != 1 or p.dtype != np.uint8:
            raise ValueError(f"grids: activations: {name}: expected unsigned codes with one scale, got {p!r}")


def _at_grids(grids: ModelGrids, name: str, weight: np.ndarray) -> QArray | None:
    """A layer's weights at the scales that it was trained with."""
    return quantize(weight, grids.weights[name]) if name in grids.weights else None
