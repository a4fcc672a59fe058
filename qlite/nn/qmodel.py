"""Quantized models."""

from functools import cached_property
from typing import Any

import numpy as np

from qlite.arrays.qarray import QArray
from qlite.grids.qparams import QParams
from qlite.nn.lower import build_program, convert, resolve_target
from qlite.nn.predictor import Predictor
from qlite.nn.program import Gemm, GemmF32, Program, Quantize
from qlite.nn.scheme import Scheme
from qlite.nn.sequential import Sequential


class QModel(Predictor):
    """A model that computes with integers. Made by `quantize_model` or `load`.

    Called on samples (samples, features) of a real floating dtype it gives raw float32 outputs, in one call of the
    core; `predict`, `predict_proba` and `evaluate` are those of the float model. It may be called from several threads.
    Samples that are codes on the grid `input_qparams` already, such as the bytes of images, are taken as they are.

    Attributes
    ----------
    program : Program
        All of its numbers.
    scheme, target : str
        What it was quantized as, and for whom.

    Raises
    ------
    TypeError, ValueError
        `output` or `classes` do not fit what the program gives.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> qm = ql.quantize_model(ql.from_weights([(np.eye(3, 2), None)]), "dynamic")
    >>> qm
    QModel(dynamic, target numpy, 22 bytes, softmax)
      quantize_dynamic: input float32 -> dense_1_codes uint8[3]
      gemm: dense_1_codes uint8 -> dense_1 float32[2]
    >>> qm.predict(np.array([[0.0, 1.0, 2.0]]))
    array([1])
    """

    def __init__(
        self, program: Program, *, scheme: str, target: str, output: str = "softmax", classes: Any = None
    ) -> None:
        self.program = program
        self.scheme = scheme
        self.target = target
        self._set_output(output, classes, program.buffers[program.output].width)

    def __call__(self, x: Any) -> np.ndarray:
        if type(x) is QArray:
            return self._of_codes(x)
        return self.program.run(x)

    @cached_property
    def input_qparams(self) -> QParams | None:
        """The grid of the codes that the first layer multiplies; None if it is found at run time, or is not needed.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> qm = ql.quantize_model(ql.from_weights([(np.eye(3, 2), None)]), data=x)
        >>> bool(np.all(qm(ql.quantize(x, qm.input_qparams)) == qm(x)))
        True
        """
        step = self.program.steps[0]
        if not isinstance(step, Quantize):
            return None
        buffer = self.program.buffers[step.output]
        (scale, zero_point), signed = buffer.grid, buffer.dtype == "int8"
        return QParams(np.full((1, 1), scale, np.float32), np.full((1, 1), zero_point), 8, signed)

    @cached_property
    def _after_input(self) -> Program:
        """The program on codes."""
        return self.program.part(list(self.program.steps[1:]))

    def _of_codes(self, x: QArray) -> np.ndarray:
        if x.qparams is self.input_qparams or x.qparams == self.input_qparams:
            return self._after_input.run(x.stored)
        return self.program.run(x.dequantize())

    def intermediates(self, x: Any) -> dict[str, np.ndarray]:
        """Return every buffer of the program by name: codes as codes, floats as floats.

        Raises
        ------
        TypeError, ValueError
            `x` has another dtype or shape, or holds NaN or infinity.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> qm = ql.quantize_model(ql.from_weights([(np.eye(2), None)]), "dynamic")
        >>> qm.intermediates(np.array([[0.0, 2.55]]))["dense_1_codes"]
        array([[  0, 255]], dtype=uint8)
        """
        return self.program.intermediates(x)

    @property
    def in_features(self) -> int:
        """How many features a sample has."""
        return self.program.buffers[self.program.input].width

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and biases."""
        return self.program.nbytes

    @property
    def weights(self) -> dict[str, QArray]:
        """The quantized weights (in, out) by layer."""
        steps = (step for step in self.program.steps if isinstance(step, (Gemm, GemmF32)))
        return {self.program.buffers[step.output].layer: _weight(step) for step in steps}

    def retarget(self, target: str, *, output: str | None = None, requant: str | None = None) -> "QModel":
        """Return the same model under another target's conventions; the weights stay as they are, no data is needed.

        From or to "tensorrt", whose zero points must be 0, scales change; it does not give the asymmetric ranges back.

        Parameters
        ----------
        target, output, requant
            See `quantize_model`.

        Raises
        ------
        ValueError
            A target that there is not, or one that needs integer activations where this model has none; `output` or
            `requant` for a model that requantizes nothing.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> qm = ql.quantize_model(ql.from_weights([(np.eye(3, 2), None)]), data=x)
        >>> qm.retarget("tflite").program.steps[-1].kind
        'dequantize'
        """
        scheme = Scheme.parse(self.scheme, "static")
        resolved = resolve_target(target, output, requant, scheme)
        program = convert(self.program, resolved) if scheme.is_static else self.program
        return QModel(program, scheme=self.scheme, target=target, output=self.output, classes=self.classes)

    def save(self, path: Any) -> None:
        """Write the model to a file: all of it, or an OSError and the old file as it was. See `load`.

        An existing file's mode is kept, and a symbolic link is followed.

        Raises
        ------
        OSError
            The file cannot be written.

        Examples
        --------
        >>> import numpy as np, qlite as ql, tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "m.qlite")
        ...     ql.quantize_model(ql.from_weights([(np.eye(3), None)]), "w8").save(path)
        ...     os.path.getsize(path) > 100
        True
        """
        from qlite.io import model_file

        model_file.save(self, path)

    def __repr__(self) -> str:
        head = f"QModel({self.scheme}, target {self.target}, {self.nbytes:,} bytes, {self.output})"
        return "\n".join([head, *str(self.program).splitlines()[1:]])


def _weight(step: Gemm | GemmF32) -> QArray:
    signed = step.weight.dtype == np.int8
    narrow = signed and step.weight.min(initial=0) > -128
    zero_point = np.zeros((1, 1), np.int32) if step.weight_zero_point is None else step.weight_zero_point[None]
    return QArray(step.weight, QParams(step.weight_scale[None], zero_point, 8, bool(signed), bool(narrow), 1))


def quantize_model(
    model: Sequential,
    scheme: str = "w8a8",
    data: Any = None,
    *,
    target: str = "numpy",
    activations: str = "static",
    method: str = "minmax",
    weight_method: str = "minmax",
    output: str | None = None,
    requant: str | None = None,
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
    output : {"float", "integer"}, optional
        Whether the last layer gives float32 or codes (which a last step dequantizes); the target's way by default.
    requant : {"float", "fixed"}, optional
        The requantization rule (see `requantize`); the target's way by default.

    Returns
    -------
    QModel

    Raises
    ------
    TypeError
        `model` is no Sequential, or `data` is not of a real floating dtype.
    ValueError
        An option that there is not; `data` missing, empty, not finite, or with other features than the model's.
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
    resolved = resolve_target(target, output, requant, parsed)
    program = build_program(model, parsed, data, resolved, method, weight_method)
    return QModel(program, scheme=parsed.name, target=target, output=model.output, classes=model.classes)
