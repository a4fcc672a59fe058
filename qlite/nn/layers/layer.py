"""What all layers have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite.grids.qparams import QParams
from qlite.nn.lower import Builder
from qlite.nn.scheme import Scheme
from qlite.nn.symbol import Symbol

Shape = tuple[int, ...]

#: Classes of layers by their kinds, a user's own among them.
KINDS: dict[str, type["Layer"]] = {}


def finite_float32(name: str, value: Any) -> np.ndarray:
    """Return `value`, of a real floating dtype and finite, as C-contiguous float32."""
    return np.ascontiguousarray(_check.finite(name, _check.real_array(name, value)))


def as_read(name: str, value: Any, dtype: str, limit: int | None) -> np.ndarray:
    """Return samples as layers read them: float32, or int32 from 0 to below a limit."""
    if dtype == "float32":
        return _check.real_array(name, value)
    array = _check.integers(name, value)
    if array.size and not (array.min() >= 0 and (limit is None or array.max() < limit)):
        raise ValueError(f"{name}: expected 0 to {(limit or 1) - 1}, got {array.min()} to {array.max()}")
    return array.astype(np.int32, copy=False)


class Layer(ABC):
    """A layer of a float model.

    Several inputs are several arguments, in order. A kind of layer says which shape its result has (`infer`), what it
    computes (`compute`), how that differs in training and what its gradients are (`forward`, `backward`), and how it
    becomes steps of the integer program (`lower`). Of its kind, its `options`, its name and its arrays (`parameters`,
    `statistics`), which its class takes as arguments of these names, it can be made again.

    Attributes
    ----------
    kind : str
        What files call layers of this kind, and a model those that have no name, with a number behind it.
    arity : int or None
        How many arrays of samples the layer takes; None: any number of at least one. 0: see `Constant`.
    options : tuple of str
        Arguments that JSON can hold, each of them an attribute: all but arrays and `name`.
    later_options : tuple of str
        Those of them that files of before do not have, which then are as by default.
    reads : {"float32", "int32"}
        What its inputs are; those of int32 are inputs of the model.
    index_limit : int or None
        What the values of int32 inputs are below, and at least 0.
    keeps_grid : bool
        Whether codes of its result are on the grid of what it reads.
    is_stored : bool
        Whether files of float models can hold it.
    name : str or None
        What reports call it; a model numbers its layers otherwise.
    """

    kind: ClassVar[str]
    arity: ClassVar[int | None] = 1
    options: ClassVar[tuple[str, ...]] = ()
    later_options: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[str] = "float32"
    index_limit: int | None = None
    keeps_grid: ClassVar[bool] = False
    is_stored: ClassVar[bool] = True

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "kind" in vars(cls):
            other = KINDS.setdefault(cls.kind, cls)
            if other.__qualname__ != cls.__qualname__:
                raise TypeError(f"kind: expected one of its own, got {cls.kind!r}, which {other.__qualname__} has")
            KINDS[cls.kind] = cls  # again, where a notebook's cell runs twice

    def __init__(self, name: str | None) -> None:
        if name is not None and not (isinstance(name, str) and name):
            raise TypeError(f"name: expected a string that is not empty, or None, got {name!r}")
        self.name = name

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The arrays that training changes, by name: the layer's own, written in place."""
        return {}

    @property
    def statistics(self) -> dict[str, np.ndarray]:
        """The arrays that `forward` changes in place, such as running means, by name."""
        return {}

    @property
    def input_shape(self) -> Shape | None:
        """The shape of a sample where the layer's weights tell it, else None."""
        return None

    def build(self, rng: "np.random.Generator", *shapes: Shape) -> None:  # noqa: B027
        """Make the weights that are missing, for samples of these shapes."""

    @abstractmethod
    def infer(self, *shapes: Shape) -> Shape:
        """Return the shape of a sample's result.

        Raises
        ------
        ValueError
            Samples of these shapes are not what the layer takes.
        """

    def known_grid(self, bits: int = 8) -> QParams | None:
        """Return the unsigned grid that codes of the result have whatever the samples, or None."""
        return None

    def macs(self, *shapes: Shape) -> int:
        """Return how many products a sample of these shapes takes."""
        return 0

    def __call__(self, *x: Any) -> Any:
        """Compute the layer in float32 for samples, (samples, ...) of a real floating dtype.

        Called with what `Input` and other layers gave, it becomes part of a graph: see `Model`.

        Raises
        ------
        TypeError, ValueError
            Another dtype or shape, more or fewer arrays than the layer takes, or weights that are not made yet.
        """
        if len(x) == 1 and self.arity != 1 and isinstance(x[0], (list, tuple)):
            x = tuple(x[0])  # as Keras calls layers of several inputs
        if not x if self.arity is None else len(x) != self.arity:
            expected = f"{self.arity} array{'s' * (self.arity > 1)}" if self.arity else "at least one array"
            raise TypeError(f"x: expected {expected} of samples, got {len(x)}")
        if any(isinstance(array, Symbol) for array in x):
            return self._described(x)
        if not all(array.size for array in self.parameters.values()):
            raise ValueError(f"layer: expected one whose weights a model has made, got {self!r}")
        arrays = [as_read("x", values, self.reads, self.index_limit) for values in x]
        if any(array.ndim == 0 for array in arrays):
            raise ValueError("x: expected shape (samples, ...), got ()")
        if len({len(array) for array in arrays}) > 1:
            raise ValueError(f"x: expected as many samples in each array, got {[len(array) for array in arrays]}")
        try:
            self.infer(*(array.shape[1:] for array in arrays))
        except ValueError as error:
            raise ValueError(f"x: {error}") from None
        return self.compute(*arrays)

    def _described(self, symbols: Sequence[Any]) -> Symbol:
        """Return the symbol of the result."""
        for symbol in symbols:
            if not isinstance(symbol, Symbol):
                state = ", a layer that was not called" if isinstance(symbol, Layer) else ""
                raise TypeError(f"x: expected what Input() and called layers give, got {_check.shown(symbol)}{state}")
            if symbol.dtype != self.reads:
                raise TypeError(f"layer {self.name or self!r}: expected {self.reads}, got {symbol!r} of {symbol.dtype}")
        try:
            shape = self.infer(*(symbol.shape for symbol in symbols))
        except ValueError as error:
            given = ", ".join(map(_named, symbols))
            raise ValueError(f"layer {self.name or self!r}: {error}, which {given} gives") from None
        return Symbol(shape, self, tuple(symbols))

    @abstractmethod
    def compute(self, *x: np.ndarray) -> np.ndarray:
        """Compute the layer for float32 samples of shapes that it takes: what models call, which check them first."""

    def compute_for(self, samples: int, *x: np.ndarray) -> np.ndarray:
        """The same for so many samples, for a layer that reads nothing."""
        return self.compute(*x)

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        """Compute the layer in training: the result, and what `backward` needs of this call."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def forward_frozen(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        """Compute the layer as `forward` does, where its parameters and statistics stay."""
        return self.forward(*x, rng=rng)

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """Return the gradients of the inputs, unless nobody needs them, and of the parameters by name.

        `gradient` is that of the result. It is written over.
        """
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def trained_fields(self, is_codes: bool, scheme: Scheme) -> dict[str, Any]:
        """Return the fields that hold its parameters in its step, of codes or of floats, by a scheme: training renews
        them."""
        return {}

    @abstractmethod
    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        """Append what computes this layer to a program; `inputs` and the result are numbers of its buffers."""


def _named(symbol: Symbol) -> str:
    """What errors call a symbol."""
    if symbol.layer is not None:
        return repr(symbol.layer.name or symbol.layer)
    return "an input" if symbol.name is None else repr(symbol.name)
