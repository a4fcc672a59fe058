"""Values of a graph that is being described: what an input or a called layer stands for."""

from collections.abc import Sequence
from typing import Any

from qlite import _check

Shape = tuple[int, ...]

#: What samples of an input may be: numbers, or indices.
INPUT_DTYPES = ("float32", "int32")


def sample_shape(name: str, value: Any) -> Shape:
    """Return the shape of a sample as a tuple: at least one length, none of them 0."""
    lengths = _check.shape(name, value)
    if not lengths or 0 in lengths:
        raise ValueError(f"{name}: expected at least one length, none of them 0, got {lengths}")
    return lengths


class Symbol:
    """The result of a layer, or an input, of which only the shape of a sample is known.

    Attributes
    ----------
    shape : tuple of int
    layer : Layer or None
        None for an input.
    sources : tuple of Symbol
        What the layer reads.
    name : str or None
        Of an input.
    dtype : {"float32", "int32"}
    """

    __array_ufunc__ = None  # no array takes it for a number

    def __init__(
        self,
        shape: Shape,
        layer: Any = None,
        sources: tuple["Symbol", ...] = (),
        name: str | None = None,
        dtype: str = "float32",
    ) -> None:
        self.shape, self.layer, self.sources, self.name, self.dtype = shape, layer, sources, name, dtype

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"expected an array, got {self!r}, which stands for one in a graph")

    def __repr__(self) -> str:
        what = "Input" if self.layer is None else repr(self.layer)
        return f"<{what}: samples of shape {self.shape}>"


def Input(shape: Sequence[int], name: str | None = None, *, dtype: str = "float32") -> Symbol:
    """Begin a graph: samples of this shape, which layers are then called with. See `Model`.

    Parameters
    ----------
    shape : tuple of int
        Of a sample, such as (height, width, channels).
    name : str, optional
        By which a model with several inputs takes it: "input" by default, "input_1", "input_2"... of several.
    dtype : {"float32", "int32"}
        Of samples; int32 for what an `Embedding` reads.

    Raises
    ------
    TypeError, ValueError
        No shape, a length below 1, a name that is no string, a dtype that inputs do not have.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.Input((28, 28, 1))
    <Input: samples of shape (28, 28, 1)>
    >>> ql.Flatten()(ql.Input((28, 28, 1)))
    <Flatten(): samples of shape (784,)>
    """
    lengths = sample_shape("shape", shape)
    if name is not None and not (isinstance(name, str) and name):
        raise TypeError(f"name: expected a string that is not empty, or None, got {name!r}")
    return Symbol(lengths, name=name, dtype=_check.choice("dtype", dtype, INPUT_DTYPES))
