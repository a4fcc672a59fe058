"""Quantized models."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from qlite import _check
from qlite._locks import new_lock
from qlite._public import public
from qlite.arrays.qarray import QArray
from qlite.grids.qparams import QParams
from qlite.nn.layers.layer import Shape, as_read
from qlite.nn.plan import Plan
from qlite.nn.predictor import PROBABILITIES, Predictor
from qlite.nn.program import Buffer, Program
from qlite.nn.program_summary import ProgramSummary, summary_of
from qlite.nn.ranges import Calibration
from qlite.nn.retarget import convert, resolve_target
from qlite.nn.scheme import FLOAT_BITS, RULES_OF_CPUS, TARGETS, WIDE_BITS, Scheme, grid_of
from qlite.nn.steps import (
    PRODUCTS,
    STEPS,
    Activate,
    DenseF32,
    Dequantize,
    Embedding,
    GemmF32,
    GemmGrouped,
    GemmGroupedF32,
    Lookup,
    Multiply,
    Quantize,
    QuantizeDigits,
    SoftmaxX8,
)
from qlite.nn.steps.convs_f32 import FloatConvolution


@public
class QModel(Predictor):
    """A model that computes with integers. Made by `quantize_model` or `load`.

    Called on samples (samples, ...) of a real floating dtype it gives raw float32 outputs, in one call of the core:
    several inputs are a tuple or a dict by name, several outputs a tuple. `predict`, `predict_proba` and `evaluate` are
    those of the float model. It may be called from several threads. Samples that are codes on the grid `input_qparams`
    already are taken as they are; codes on any other grid are refused. A model of ``input_dtype="uint8"`` takes bytes,
    and nothing else.

    Weights are packed at the first call, and kept.

    Attributes
    ----------
    program : Program
        All of its numbers.
    inputs : dict of tuple of int
        The shapes of samples, by the names of the inputs.
    outputs : tuple of str
        The names of the layers that give the outputs.
    scheme, target : str
        What it was quantized as, and for whom.
    task, classes
        As of the float model.
    calibration : Calibration or None
        How the grids of activations were found: the method, how close others came, samples that stood out. Of a model
        that `quantize_model` made with data; files and pickles do not hold it.

    Raises
    ------
    TypeError, ValueError
        `task` or `classes` do not fit what the program gives.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> qm = ql.quantize_model(ql.from_weights([(np.eye(3, 2), None)]), "dynamic")
    >>> qm
    QModel(dynamic, target numpy, 22 bytes, multiclass)
      quantize_dynamic: input float32 -> dense_1_codes uint8[3]
      gemm: dense_1_codes uint8 -> dense_1 float32[2]
    >>> qm.predict(np.array([[0.0, 1.0, 2.0]]))
    array([1])
    """

    calibration: Calibration | None = None

    def __init__(
        self, program: Program, *, scheme: str, target: str, task: str = "multiclass", classes: Any = None
    ) -> None:
        if not isinstance(program, Program):
            raise TypeError(f"program: expected a Program, got {type(program).__name__}")
        self.program = program
        self.scheme = Scheme.of_model(scheme).name
        self.target = _check.choice("target", target, tuple(TARGETS))
        buffers = program.buffers
        self.inputs = {buffers[i].name: buffers[i].shape for i in program.inputs}
        self.outputs = tuple(buffers[i].layer for i in program.outputs)
        for i in program.outputs:
            if buffers[i].dtype != "float32":
                raise ValueError(f"program: expected outputs of float32, got {buffers[i].name!r} of {buffers[i].dtype}")
        shape = (1, *buffers[program.outputs[0]].shape)
        self._set_task(task, classes, shape[-1] if len(program.outputs) == 1 and len(shape) <= 2 else 0)
        self._index_limits = self._find_index_limits()
        self._plan: Plan | None = None
        self._run: Callable[[Any], np.ndarray] | None = None
        self._planning = new_lock()  # threads that call it for the first time pack its weights once

    @property
    def plan(self) -> Plan:
        """The program with its weights packed: at the first access."""
        with self._planning:
            if self._plan is None:
                self._plan = Plan(self.program)
                self._run = self._plan.run
            return self._plan

    def __call__(self, x: Any) -> Any:
        if isinstance(x, QArray):
            return self._of_codes(x)
        if self._index_limits:
            x = self._with_indices(x)
        try:
            run = self._run or self.plan.run
            return run(x) if len(self.inputs) == 1 and not isinstance(x, Mapping) else run(*self._several(x))
        except TypeError as error:
            if self.input_dtype == "float32" and isinstance(x, np.ndarray) and x.dtype.kind in "iu":
                codes = "QArray(x, model.input_qparams) where these are its codes, else floats as in training"
                hint = codes if x.dtype.itemsize == 1 else ".astype(np.float32) makes floats"
                raise TypeError(f"{error} ({hint})") from None
            raise

    def _find_index_limits(self) -> dict[str, int]:
        """What the values of each input of indices are below, by the tables that they are looked up in."""
        limits: dict[str, int] = {}
        names = {i: self.program.buffers[i].name for i in self.program.inputs}
        for step in self.program.steps:
            if isinstance(step, Embedding) and step.inputs[0] in names:
                name = names[step.inputs[0]]
                limits[name] = min(limits.get(name, len(step.weight)), len(step.weight))
        return limits

    def _with_indices(self, x: Any) -> Any:
        """Return samples whose indices are checked, and int32."""
        if len(self.inputs) == 1 and not isinstance(x, Mapping):
            return as_read("x", x, "int32", *self._index_limits.values())
        arrays = zip(self.inputs, self._several(x), strict=True)
        limits = self._index_limits
        return {
            name: as_read(f"x[{name!r}]", array, "int32", limits[name]) if name in limits else array
            for name, array in arrays
        }

    @property
    def cpu(self) -> str | None:
        """The processor on which LiteRT gives the bytes of this model for "tflite", see `quantize_model`; None where it
        gives them on any, and for other targets.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> m = ql.Sequential([ql.Dense(np.eye(3)), ql.Softmax()])
        >>> ql.quantize_model(m, data=np.eye(3), target="tflite", cpu="aarch64").cpu
        'aarch64'
        """
        if TARGETS[self.target].cpu is None:
            return None
        buffers = self.program.buffers
        steps = (s for s in self.program.steps if isinstance(s, (Multiply, SoftmaxX8)) and buffers[s.output].is_codes)
        rules = {step.requant for step in steps}
        return next((cpu for cpu, rule in RULES_OF_CPUS.items() if rule in rules), None)

    @property
    def input_dtype(self) -> str:
        """The dtype of samples: "float32", "uint8" for bytes, see `quantize_model`, or "int32" for indices."""
        return self.program.buffers[self.program.inputs[0]].dtype

    def _several(self, x: Any) -> list[Any]:
        """The samples of each input, of a tuple or a dict."""
        if isinstance(x, Mapping):
            if set(x) != set(self.inputs):
                raise ValueError(f"x: expected samples of {list(self.inputs)}, got {list(x)}")
            return [x[name] for name in self.inputs]
        if not isinstance(x, (tuple, list)) or len(x) != len(self.inputs):
            got = f"{len(x)} arrays" if isinstance(x, (tuple, list)) else type(x).__name__
            raise ValueError(f"x: expected a tuple or dict of samples of {list(self.inputs)}, got {got}")
        return list(x)

    @cached_property
    def input_qparams(self) -> QParams | None:
        """Scale and zero point of the codes that the first layer multiplies; None if they are found at run time, or are
        not needed.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> qm = ql.quantize_model(ql.from_weights([(np.eye(3, 2), None)]), data=x)
        >>> bool(np.all(qm(ql.quantize(x, qm.input_qparams)) == qm(x)))
        True
        """
        step = self.program.steps[0]
        if not isinstance(step, Quantize) or len(self.inputs) > 1:
            return None
        buffer = self.program.buffers[step.output]
        (scale, zero_point), signed = buffer.affine, buffer.dtype == "int8"
        return QParams(np.full((1, 1), scale, np.float32), np.full((1, 1), zero_point), 8, signed)

    def _on_grid(self, x: QArray) -> QArray:
        """Return codes that the first layer multiplies as they are."""
        own = self.input_qparams
        if x.qparams is not own and x.qparams != own:
            what = "floats" if own is None else f"codes on input_qparams, {own!r}, or floats"
            what = "bytes" if self.input_dtype == "uint8" else f"{what}, which x.dequantize() makes"
            raise ValueError(f"x: expected {what}, got {x!r}")
        return x

    def _of_codes(self, x: QArray) -> np.ndarray:
        x = self._on_grid(x)
        steps = self.program.steps
        (result,) = self.plan.run_steps(1, len(steps), (steps[0].output,), (x.stored,), self.program.outputs)
        return result

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
        if isinstance(x, QArray):
            x = self._on_grid(x).dequantize()  # floats that the first step makes these codes of
        if self._index_limits:
            x = self._with_indices(x)
        is_one = len(self.inputs) == 1 and not isinstance(x, Mapping)
        return self.plan.intermediates(x) if is_one else self.plan.intermediates(*self._several(x))

    @property
    def gives_probabilities(self) -> bool:
        steps = [step for step in self.program.steps if not isinstance(step, Dequantize)]
        last = steps[-1]
        function = last.function if isinstance(last, (Activate, Lookup)) else None
        return PROBABILITIES.get(self.task, "") == ("softmax" if isinstance(last, SoftmaxX8) else function)

    @property
    def output_shape(self) -> Shape:
        self._only("output", self.outputs)
        return self.program.buffers[self.program.outputs[0]].shape

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and biases."""
        return self.program.nbytes

    @property
    def weights(self) -> dict[str, QArray]:
        """The quantized weights by layer: (in, out), or (kernel_h, kernel_w, in, out) of convolutions."""
        steps = (step for step in self.program.steps if isinstance(step, PRODUCTS) and step.weight.dtype.kind != "f")
        return {self.program.buffers[step.output].layer: _weight(step) for step in steps}

    def summary(self) -> ProgramSummary:
        """Return a table of the layers: their steps, whether these compute with integers or in float32, products
        (MACs), bytes and time; and which share is in float32.

        Times are medians of a few runs on one sample of zeros, on one thread.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> m = ql.from_weights([(np.eye(2), None), (np.ones((2, 6)), None)])
        >>> summary = ql.quantize_model(m, data=np.eye(2), per_layer={"dense_1": None}).summary()
        >>> [(layer.name, layer.arithmetic, layer.macs) for layer in summary.layers]
        [('dense_1', 'float32', 4), ('dense_2', 'integer', 12)]
        >>> summary.float_macs
        0.25
        """
        return summary_of(f"QModel of {self.scheme}, target {self._target_on_cpu}", self.plan)

    def plot(self) -> Any:
        """Draw the graph of the program's steps, see `qlite.analysis.plot_model.plot_model` (extra: plot).

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> qm = ql.quantize_model(ql.from_weights([(np.eye(3, 2), None)]), "dynamic")
        >>> qm.plot().savefig("program.png")  # doctest: +SKIP
        """
        from qlite.analysis.plot_model import plot_model  # here: pictures stand on models

        return plot_model(self)

    def retarget(
        self,
        target: str,
        *,
        output_dtype: str | None = None,
        requant: str | None = None,
        cpu: str | None = None,
    ) -> "QModel":
        """Return the same model under another target's conventions; the weights stay as they are, no data is needed.

        Activations and residuals that products take in for "numpy" become steps of their own, which they stay: only
        `quantize_model` joins them.

        From or to "tensorrt", whose zero points must be 0, scales change; it does not give the asymmetric ranges back.

        Parameters
        ----------
        target, output_dtype, requant, cpu
            See `quantize_model`.

        Raises
        ------
        ValueError
            A target that there is not, or one that needs integer activations where this model has none; `output_dtype`
            or `requant` for a model that requantizes nothing; `cpu` for another target than "tflite".

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> qm = ql.quantize_model(ql.from_weights([(np.eye(3, 2), None)]), data=x)
        >>> qm.retarget("tflite").program.steps[-1].kind
        'dequantize'
        """
        schemes = self._schemes
        resolved = resolve_target(target, output_dtype, requant, schemes, cpu)
        is_static = any(scheme.is_static for scheme in schemes.values())
        program = convert(self.program, resolved) if is_static else self.program
        new = QModel(program, scheme=self.scheme, target=target, task=self.task, classes=self.classes)
        new.calibration = self.calibration
        return new

    def __reduce__(self) -> Any:
        buffers, steps = self.program.buffers, self.program.steps
        program = (
            [tuple(vars(b).values()) for b in buffers],
            [(step.kind, vars(step)) for step in steps],
            self.program.inputs,
            self.program.outputs,
        )
        options = {"scheme": self.scheme, "target": self.target, "task": self.task, "classes": self.classes}
        return QModel._of_parts, (program, options)

    @classmethod
    def _of_parts(cls, program: Any, options: dict[str, Any]) -> "QModel":
        """The model that a pickle holds: plain values, so that it names no module of the package."""
        buffers, steps, inputs, outputs = program
        made = [STEPS[kind](**fields) for kind, fields in steps]
        return cls(Program([Buffer(*b) for b in buffers], made, inputs, outputs), **options)

    @property
    def _schemes(self) -> dict[str, Scheme]:
        """The scheme of each layer with weights, by its steps; that of the model for the output where there is none."""
        found: dict[str, Scheme] = {}
        buffers = self.program.buffers
        digits = {step.output for step in self.program.steps if isinstance(step, QuantizeDigits)}
        for step in self.program.steps:
            layer = buffers[step.output].layer
            if isinstance(step, DenseF32) or (isinstance(step, FloatConvolution) and step.has_float_weight):
                found[layer] = Scheme(FLOAT_BITS, None, None, dynamic=False)
            elif isinstance(step, PRODUCTS):
                x = buffers[step.inputs[0]]
                is_static = x.is_codes and x.scale is not None
                group_size = step.group_size if isinstance(step, (GemmGrouped, GemmGroupedF32)) else None
                width = WIDE_BITS if step.inputs[0] in digits else x.bits
                bits = None if isinstance(step, (GemmF32, GemmGroupedF32, FloatConvolution)) else width
                is_dynamic = bits is not None and not is_static
                found[layer] = Scheme(step.weight_bits, group_size, bits, is_dynamic, grid=grid_of(step.codebook))
        return found or {self.outputs[0]: Scheme.parse(self.scheme)}

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
        from qlite.io import model_file  # here: files stand on models

        model_file.save(self, path)

    def to_tflite(self, path: Any, *, dtype: str = "int8", batch: int | None = 1, description: str = "") -> None:
        """Write the model as a TensorFlow Lite file, of which the runtime gives the bytes that this model gives.

        A file has no rules of rounding in it: it is the same for any `cpu` of `quantize_model`.

        The file has one signature, whose inputs and outputs have the names of the model's, tensors that have the names
        of the layers, weights with a scale per output, and only operators that the runtime takes.

        Calibrated by "minmax", codes of weights and biases and zero points are those of TensorFlow's converter, but for
        these grids: the converter takes that of a sum's operand for the sum as well, and behind pools the values that
        are concatenated; qlite ends what only a sigmoid or a tanh reads at 8 and 4.

        Parameters
        ----------
        path : path-like
        dtype : {"int8", "float32"}
            What the file's inputs and outputs are: codes, or floats that its first operators quantize and its last ones
            dequantize. The runtime quantizes floats near the middle between two codes otherwise. Where the model begins
            with a float step, as by `mean` and `scale` or a first batch norm, codes are those behind it: the step is
            then the application's, and in a file of "float32" alone.
        batch : int or None
            Samples at a time; None: any number.
        description : str
            Kept in the file.

        Raises
        ------
        ValueError
            Another target than "tflite" or "tflm" (`retarget`), or a layer that the format has no operator for; nothing
            is written then.
        OSError
            The file cannot be written; an old one stays as it was.
        ModuleNotFoundError
            The packages of the extra `tflite` are not installed.

        Examples
        --------
        >>> import numpy as np, qlite as ql, tempfile, os
        >>> m = ql.Sequential([ql.Dense(np.eye(3), name="same")])
        >>> qm = ql.quantize_model(m, data=np.eye(3), target="tflite")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "m.tflite")
        ...     qm.to_tflite(path)
        ...     again = ql.from_tflite(path)
        >>> bool((again(np.eye(3)) == qm(np.eye(3))).all())
        True
        """
        from qlite.io.tflite import file  # here: files stand on models

        file.save(self, path, dtype, batch, description)

    def verify(self, path: Any, x: Any) -> Any:
        """Run a TensorFlow Lite file in its runtime, and compare its bytes with those of the model.

        The model has written the file (`to_tflite`) or was read from it (`from_tflite`).

        Parameters
        ----------
        path : path-like
        x : array_like of a real floating dtype, (samples, ...)
            Several inputs as in calls.

        Returns
        -------
        Verification
            How many bytes of how many differ, and the first tensor that does; false where any does.

        Raises
        ------
        ValueError
            No such file, or one with other inputs and outputs than the model's; a model of the rules of another `cpu`
            than this machine's.
        ModuleNotFoundError
            The packages of the extra `tflite`, or the runtime's, of the extra `litert`, are not installed.

        Examples
        --------
        >>> import numpy as np, qlite as ql, tempfile, os
        >>> qm = ql.quantize_model(ql.Sequential([ql.Dense(np.eye(3))]), data=np.eye(3), target="tflite")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "m.tflite")
        ...     qm.to_tflite(path)
        ...     qm.verify(path, np.eye(3)).mismatches
        0
        """
        from qlite.io.tflite import file  # here: files stand on models

        return file.verified(self, path, x)

    @property
    def _target_on_cpu(self) -> str:
        return self.target if self.cpu is None else f"{self.target} on {self.cpu}"

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def __repr__(self) -> str:
        head = f"QModel({self.scheme}, target {self._target_on_cpu}, {self.nbytes:,} bytes, {self.task})"
        return "\n".join([head, *str(self.program).splitlines()[1:]])


def _weight(step: Any) -> QArray:
    signed, ndim = step.weight.dtype == np.int8, step.weight.ndim
    lowest = -(1 << (step.weight_bits - 1))
    narrow = signed and step.weight_bits > 1 and step.weight.min(initial=0) > lowest
    scale, zero_point = step.weight_scale, step.weight_zero_point
    zero_point = np.zeros(1, np.int32) if zero_point is None else zero_point
    scale, zero_point = (p.reshape((1,) * (ndim - p.ndim) + p.shape) for p in (scale, zero_point))
    more: dict[str, Any] = {}
    is_grouped = isinstance(step, (GemmGrouped, GemmGroupedF32))
    if is_grouped and (step.codebook is None or step.group_size != len(step.weight)):
        more = {"group_size": step.group_size, "group_axis": 0}
    codes = step.weight
    if step.codebook is not None:
        codes, book = _on_codebook(step)
        more |= book
    p = QParams(scale, zero_point, step.weight_bits, bool(signed), bool(narrow), ndim - 1, **more)
    return QArray(codes, p)


def _on_codebook(step: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """The codes of weights on a codebook, and the grid that they are on: integers are sorted, each once."""
    grid, book = grid_of(step.codebook), step.codebook
    if grid != "codebook" and book.dtype == np.float32:
        return step.weight, {"grid": grid, "codebook": book}
    book, codes = np.unique(np.where(np.isfinite(book), book, 0).astype(np.float32), return_inverse=True)
    return codes.astype(np.uint8)[step.weight], {"grid": "codebook", "codebook": book}
