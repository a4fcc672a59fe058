"""A user's own function of values."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.lower import Builder, affine_of
from qlite.nn.program import Buffer
from qlite.nn.steps import Lookup
from qlite.ops.activations import SLOPE
from qlite.ops.tables import CODES, entries


@public
class Function(Layer):
    """A layer that applies a function of one's own to each value: ``function(x)``.

    Samples are float32 of any shape. In a quantized model the function is a table of 256 codes, which takes the time of
    any other activation, whatever the function takes. Where a scheme has no codes there it cannot run in a program.

    Parameters
    ----------
    function : callable
        ``function(x)`` returns as many real numbers as the float32 array `x` holds, in its shape; each from the value
        in its place alone. `x` is read-only. Infinities become the ends of the codes.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.
    derivative : callable, optional
        ``derivative(x)``, as `function`: what training needs.

    Raises
    ------
    TypeError
        `function` or `derivative` is no callable, or returns no real numbers; a name that is no string. Saving a float
        model with such a layer: its quantized model can be saved.
    ValueError
        A result of another shape, or NaN where its argument is a number. In `quantize_model`: a scheme without codes of
        activations, or a target that moves scales.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> mish = ql.Function(lambda x: x * np.tanh(np.log1p(np.exp(x))), "mish")
    >>> mish(np.array([[-1.0, 0.0, 2.0]], np.float32)).round(3)
    array([[-0.303,  0.   ,  1.944]], dtype=float32)
    >>> rng = np.random.default_rng(0)
    >>> m = ql.Sequential([ql.Dense(rng.normal(size=(4, 8))), mish, ql.Dense(rng.normal(size=(8, 3)))])
    >>> x = rng.normal(size=(100, 4)).astype(np.float32)
    >>> bool(np.abs(ql.quantize_model(m, "w8a8", x)(x) - m(x)).max() < 0.3)
    True
    """

    kind = "function"
    is_stored: ClassVar[bool] = False

    def __init__(
        self,
        function: Callable[[np.ndarray], Any],
        name: str | None = None,
        *,
        derivative: Callable[[np.ndarray], Any] | None = None,
    ) -> None:
        super().__init__(name)
        for what, value in (("function", function), ("derivative", derivative)):
            if not callable(value) and not (what == "derivative" and value is None):
                raise TypeError(f"{what}: expected a callable, got {_check.shown(value)}")
        self.function, self.derivative = function, derivative

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return shape

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return self._applied("function", self.function, x[0], self.name)

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        if self.derivative is None:
            raise NotImplementedError(f"{self!r} has no gradient: it takes derivative=...")
        return self.compute(*x), x[0]

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the input."""
        assert self.derivative is not None
        if not needs_input:
            return None, {}
        return (gradient * self._applied("derivative", self.derivative, saved, self.name),), {}

    def _applied(self, what: str, function: Callable[[np.ndarray], Any], x: np.ndarray, name: str | None) -> np.ndarray:
        """What a function makes of values, which it can only read, as float32."""
        where = f"{what} of {name or repr(self)}"
        given = x.view()
        given.flags.writeable = False
        with np.errstate(all="ignore"):
            y = _check.numbers(where, function(given))
            if y.shape != x.shape:
                raise ValueError(f"{where}: expected results of shape {x.shape}, got {y.shape}")
            y = np.ascontiguousarray(y, np.float32)
        if (wrong := np.isnan(y) & ~np.isnan(x)).any():
            raise ValueError(f"{where}: expected numbers, got NaN for {x[wrong][0]:.6g}")
        return y

    def table(self, source: Buffer, target: Buffer) -> np.ndarray:
        """Return the table that gives the codes of `target` for those of `source`."""
        (scale, zero_point), (target_scale, target_zero_point) = source.affine, target.affine
        x = (CODES.view(source.dtype).astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
        y = self._applied("function", self.function, x, target.layer)
        scale = float(np.float32(target_scale))
        return entries(y, scale, target_zero_point, target.code_range, np.dtype(target.dtype))

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        name, (x,) = builder.layer, inputs
        if not builder.is_static:
            raise ValueError(
                f"layer {name!r}: expected a scheme whose activations are codes at scales known ahead, such as 'w8a8', "
                f"for a function of one's own, got {builder.scheme_of(name).name!r} (per_layer gives layers their own)"
            )
        codes = builder.codes(x)
        source, grid = builder.buffers[codes], affine_of(builder.qparams[name])
        table = self.table(source, Buffer(name, name, source.shape, source.dtype, **grid))
        return builder.append(Lookup, (codes,), name, scales=grid, table=table, function=None, slope=SLOPE)

    def __repr__(self) -> str:
        return f"Function({getattr(self.function, '__name__', type(self.function).__name__)})"
