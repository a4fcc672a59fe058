"""Tables of vectors for indices."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.arrays.quantize import quantize
from qlite.nn import steps
from qlite.nn.layers.layer import Layer, Shape, finite_float32
from qlite.nn.lower import Builder
from qlite.nn.scheme import FLOAT_BITS, Scheme


@public
class Embedding(Layer):
    """A vector for each index: ``weight[x]``, as of the words of a sentence.

    Samples are integers from 0 to below the number of entries, of any shape; the result has one more axis. It reads
    inputs of a model alone, which are int32 then. In a quantized model the table is codes, with a scale for each entry,
    and the result float32: of 8 bits, or of as few as the scheme's weights have, but for ternary ones; on a uniform
    grid also where these are on a codebook.

    Parameters
    ----------
    weight : array_like of a real floating dtype, (entries, features), optional
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.
    entries, features : int, optional
        The shape of a table that is drawn, normal of deviation 1, when the layer becomes part of a model; in place of
        `weight`.

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape, NaN or infinity, both or none of `weight` and the shape, a name that is no string;
        samples that are no integers or outside of the table.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Embedding(np.array([[0.0, 1.0], [2.0, 3.0]]))(np.array([[1, 0, 1]]))
    array([[[2., 3.],
            [0., 1.],
            [2., 3.]]], dtype=float32)
    >>> words = ql.Input((128,), dtype="int32")
    >>> ql.Embedding(entries=30000, features=64)(words)
    <Embedding(30000 x 64): samples of shape (128, 64)>
    """

    kind = "embedding"
    reads = "int32"
    options: ClassVar[tuple[str, ...]] = ("entries", "features")

    def __init__(
        self, weight: Any = None, *, entries: int | None = None, features: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(name)
        shape = (entries, features)
        if weight is not None:
            self.weight = finite_float32("weight", weight)
            if self.weight.ndim != 2 or 0 in self.weight.shape:
                raise ValueError(f"weight: expected shape (entries, features) without zeros, got {self.weight.shape}")
            if shape not in ((None, None), self.weight.shape):
                raise ValueError(f"entries, features: expected {self.weight.shape} as the weight has, got {shape}")
            self.entries, self.features = self.weight.shape
            return
        if entries is None or features is None:
            raise ValueError(f"weight: expected an array, or entries and features, got {shape}")
        self.weight = np.zeros((0, 0), np.float32)
        self.entries, self.features = _check.integer("entries", entries, 1), _check.integer("features", features, 1)

    @property
    def index_limit(self) -> int:  # type: ignore[override]
        """What indices are below."""
        return self.entries

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        return {"weight": self.weight}

    def build(self, rng: "np.random.Generator", *shapes: Shape) -> None:
        if not self.weight.size:
            self.weight = rng.standard_normal((self.entries, self.features)).astype(np.float32)

    def infer(self, *shapes: Shape) -> Shape:
        return (*shapes[0], self.features)

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return self.weight[x[0]]

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        return self.compute(*x), x[0]

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` are the indices, which have no gradient."""
        of_weight = np.zeros_like(self.weight)
        np.add.at(of_weight, saved.ravel(), gradient.reshape(-1, self.features))
        return None, {"weight": of_weight}

    def trained_fields(self, is_codes: bool, scheme: Scheme) -> dict[str, Any]:
        return self._table(scheme)

    def _table(self, scheme: Scheme, symmetric: bool = False) -> dict[str, Any]:
        """The fields of the table, or of its codes with a scale for each row, which may have to be symmetric."""
        if scheme.weight_bits == FLOAT_BITS:
            return {"weight": self.weight}
        options = replace(scheme, group_size=None, grid="uniform").weight_options(0, symmetric)
        if scheme.ternary:
            options["bits"] = 8
        q = quantize(self.weight, **options)
        zero_point = np.broadcast_to(q.zero_point.ravel(), self.entries) if q.zero_point.any() else None
        scale = np.broadcast_to(q.scale.ravel(), self.entries)
        return {"weight": q.codes, "weight_scale": scale, "weight_zero_point": zero_point, "weight_bits": q.bits}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        fields = self._table(builder.scheme_of(builder.layer), builder.symmetric_weights)
        return builder.append(steps.Embedding, inputs, builder.layer, **fields)

    def __repr__(self) -> str:
        return f"Embedding({self.entries} x {self.features})"
