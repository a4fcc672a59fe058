"""An activation whose slopes are trained."""

from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.arrays.quantize import quantize
from qlite.nn import steps
from qlite.nn.layers.layer import Layer, Shape, finite_float32
from qlite.nn.lower import Builder
from qlite.nn.scheme import Scheme


@public
class PReLU(Layer):
    """The parametric ReLU: ``x if x >= 0 else x * slope``, with a slope for each channel of the last axis.

    Training changes the slopes (He et al. 2015).

    Samples are float32 of any shape. In a quantized model slopes are int8 on one grid, and results have a grid of their
    own: those of PRELU in TensorFlow Lite, byte for byte.

    Parameters
    ----------
    slope : array_like of a real floating dtype, (channels,), optional
    init : float
        What all slopes begin with where there are none, for as many channels as the layer before gives.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        Slopes that are not finite or of another shape, `init` that is no finite number, a name that is no string;
        samples of other channels.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.PReLU([0.5, 0.1])(np.array([[-2.0, -2.0], [3.0, 4.0]], np.float32))
    array([[-1. , -0.2],
           [ 3. ,  4. ]], dtype=float32)
    >>> ql.Sequential([ql.Dense(units=3), ql.PReLU()], input_shape=(2,))
    Sequential(48 bytes, multiclass)
      dense_1: Dense(2 -> 3)
      prelu_1: PReLU(3)
    """

    kind = "prelu"
    options: ClassVar[tuple[str, ...]] = ("init",)

    def __init__(self, slope: Any = None, *, init: float = 0.25, name: str | None = None) -> None:
        super().__init__(name)
        self.init = _check.number("init", init)
        with np.errstate(over="ignore"):
            if not np.isfinite(np.float32(self.init)):
                raise ValueError(f"init: expected a finite number (as float32), got {init!r}")
        given = None if slope is None else _check.real_array("slope", slope)
        if given is not None and (given.ndim != 1 or not given.size):
            raise ValueError(f"slope: expected shape (channels,), got {given.shape}")
        self.slope = np.zeros(0, np.float32) if given is None else finite_float32("slope", given)

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        return {"slope": self.slope}

    def build(self, rng: "np.random.Generator", *shapes: Shape) -> None:
        if not self.slope.size and shapes[0]:
            self.slope = np.full(shapes[0][-1], self.init, np.float32)

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not shape or (self.slope.size and shape[-1] != len(self.slope)):
            raise ValueError(f"expected {len(self.slope) or 'some'} channels, got samples of shape {shape}")
        return shape

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return x[0] * np.where(x[0] < 0, self.slope, np.float32(1))

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        return self.compute(*x), x[0]

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the input. The slope at 0 is that below, as PyTorch has it."""
        channels = len(self.slope)
        of_slope = np.einsum("ij,ij->j", np.minimum(saved, 0).reshape(-1, channels), gradient.reshape(-1, channels))
        of_x = (gradient * np.where(saved > 0, np.float32(1), self.slope),) if needs_input else None
        return of_x, {"slope": of_slope}

    def trained_fields(self, is_codes: bool, scheme: Scheme) -> dict[str, Any]:
        if not is_codes:
            return {"slope": self.slope, "slope_scale": None, "slope_zero_point": None}
        q = quantize(self.slope, bits=8, symmetric=False, signed=True)
        return {
            "slope": q.codes,
            "slope_scale": float(q.scale.item()),
            "slope_zero_point": int(q.zero_point.item()),
        }

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        fields = self.trained_fields(builder.is_static, builder.scheme_of(builder.layer))
        return builder.computed(steps.Prelu, inputs, **fields, requant="float")

    def __repr__(self) -> str:
        return f"PReLU({len(self.slope) or '?'})"
