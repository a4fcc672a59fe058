"""QArray, a quantized array."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from qlite import _check, _core
from qlite._public import public
from qlite.arrays import storage
from qlite.arrays.storage import WHOLE_WIDTHS
from qlite.grids.formats import GRIDS, TWO_LEVELS
from qlite.grids.granularity import Granularity, laid_along
from qlite.grids.qparams import QParams
from qlite.grids.spec import GridSpec


@public
class QArray(NDArrayOperatorsMixin):
    """Integer codes and their quantization parameters.

    ``real = scale * (code - zero_point)``, or, on a grid with a codebook, ``real = scale * codebook[code]``. Made by
    `quantize`; by ``QArray(codes, qparams)`` from codes with known parameters (codes of 8 and 16 bits are not copied);
    or by `QArray.from_codes` from integers that came from elsewhere. ``np.asarray(q)`` dequantizes; ``x @ q``
    multiplies floats by weights of up to 8 bits without dequantizing them first. All else of NumPy works on the
    dequantized values and gives ndarrays: ``w - q``, ``np.max(q)``, ``np.dot(x, q)``; so does DLPack:
    ``torch.from_dlpack(q)``. An array is not changed once made. Indexing works as with any array; ``==`` of two says
    whether they have the same codes and parameters.

    Codes of other widths than 8 and 16 are stored packed: a row for each index of `axis`, or one row for everything
    without an axis; each row padded to a byte, low bits first. So `nbytes` is true, and indices of `axis` take rows.

    Parameters
    ----------
    codes : ndarray of int8, uint8, int16 or uint16
        Of the dtype that the parameters say, in any shape that their scales fit. Not copied where 8 or 16 bits are
        stored as they are.
    qparams : QParams

    Attributes
    ----------
    stored : ndarray, read-only
        The codes in memory: packed bytes of shape (rows, bytes), or the codes themselves for 8 and 16 bits.
    shape : tuple
        Of the codes.

    Raises
    ------
    TypeError, ValueError
        The codes are not of the parameters' dtype or width, or the scales do not fit their shape.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> q = ql.quantize(np.array([[0.5, -1.0, 2.0], [1.0, 0.25, -4.0]]), axis=1)
    >>> q[:, [2, 0]]
    QArray(shape=(2, 2), int8, 2 scales along axis 1, 12 bytes, 24.00 bits/value)
    >>> (np.ones(2) @ q).round(1).tolist()[::2]
    [1.5, -2.0]
    """

    def __init__(self, codes: np.ndarray, qparams: QParams) -> None:
        if not isinstance(qparams, QParams):
            raise TypeError(f"qparams: expected QParams, got {type(qparams).__name__}")
        codes = _check.as_array("codes", codes)
        if 0 in codes.strides and codes.size > 1:
            codes = _in_memory(codes)
        if codes.dtype != qparams.dtype:
            raise TypeError(f"codes: expected {qparams.dtype}, got {codes.dtype}")
        p = qparams._of_rank(codes.ndim)
        if codes.size and not p.qmin <= codes.min() <= codes.max() <= p.qmax:
            raise ValueError(f"codes: expected {p.qmin} to {p.qmax}, got {codes.min()} to {codes.max()}")
        storage.check_fit(codes.shape, p)
        self._store(codes, p)

    def _store(self, codes: np.ndarray, p: QParams) -> None:
        if p.bits in WHOLE_WIDTHS:
            self._set(codes, codes.shape, p)
        else:
            stored = _core.pack_bits(storage.to_rows(codes, p.axis), p.bits)
            self._set(storage.read_only(stored), codes.shape, p)

    def _set(self, stored: np.ndarray, shape: tuple[int, ...], qparams: QParams) -> None:
        self._is_fixed = not stored.flags.writeable  # else somebody may write to them, and no packed form is kept
        self.stored = stored if self._is_fixed else storage.read_only(stored)
        self.shape = shape
        self.qparams = qparams
        self._packed: dict[Any, Any] = {}  # forms that products multiply from: ops.packing makes and keeps them here

    @classmethod
    def _of_codes(cls, codes: np.ndarray, qparams: QParams) -> "QArray":
        """An array of codes that are known to be right."""
        q = object.__new__(cls)
        q._store(codes, qparams._of_rank(codes.ndim))
        return q

    @classmethod
    def _of_stored(cls, stored: np.ndarray, shape: tuple[int, ...], qparams: QParams) -> "QArray":
        """An array of stored codes that are known to be right, under parameters of its rank."""
        q = object.__new__(cls)
        q._set(stored, shape, qparams)
        return q

    @classmethod
    def from_stored(cls, stored: Any, shape: Any, qparams: QParams) -> "QArray":
        """Take over a copy of `stored` of another array, for example from a file.

        Raises
        ------
        TypeError, ValueError
            The dtype, the number of rows or bytes, or a code does not go with the shape and the parameters.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> q = ql.quantize(np.array([7.0, -7.0, 1.0]), 4)
        >>> ql.QArray.from_stored(q.stored, q.shape, q.qparams) == q
        True
        """
        if not isinstance(qparams, QParams):
            raise TypeError(f"qparams: expected QParams, got {type(qparams).__name__}")
        shape, stored = _check.shape("shape", shape), _check.as_array("stored", stored)
        p = qparams._of_rank(len(shape))
        storage.check_fit(shape, p)
        whole = p.bits in WHOLE_WIDTHS
        dtype, expected = (
            (p.dtype, shape) if whole else (np.dtype(np.uint8), storage.stored_shape(shape, p.axis, p.bits))
        )
        if stored.dtype != dtype:
            raise TypeError(f"stored: expected {dtype}, got {stored.dtype}")
        if stored.shape != expected:
            raise ValueError(f"stored: expected shape {expected} for {p.bits}-bit codes of {shape}, got {stored.shape}")
        q = cls._of_stored(storage.read_only(stored.copy(order="K")), shape, p)
        if p.qmax - p.qmin + 1 == 1 << p.bits:  # any code is one of the width
            return q
        codes = q.codes
        if codes.size and not p.qmin <= codes.min() <= codes.max() <= p.qmax:
            raise ValueError(f"stored: expected codes from {p.qmin} to {p.qmax}, got {codes.min()} to {codes.max()}")
        return q

    @classmethod
    def from_codes(
        cls,
        codes: Any,
        scale: Any,
        zero_point: Any = 0,
        *,
        bits: int | None = None,
        axis: int | None = None,
        group_size: int | None = None,
        group_axis: int | None = None,
        grid: Any = "uniform",
        scale_dtype: str | None = None,
    ) -> "QArray":
        """Take over a copy of integers that were quantized elsewhere.

        Parameters
        ----------
        codes : array_like of int8, uint8, int16 or uint16
        scale, zero_point : array_like
            One, or one for each index along `axis`, or the rank of `codes`.
        bits : int, optional
            Width of a code; by default that of the dtype, or the codebook's.
        axis : int, optional
            The axis that has its own scales.
        group_size, group_axis : int, optional
            How many neighbours along which axis share a scale: see `choose_qparams`.
        grid : str or array_like
            A grid with a codebook of its own, or a codebook: ``real = scale * codebook[code]``.
        scale_dtype : {"float32", "float16", "e8m0"}, optional
            What the scales are stored as; e8m0 for the block formats, else float32.

        Raises
        ------
        TypeError, ValueError
            Codes of another dtype or out of the range of their width; a scale that is not finite, normal and positive;
            shapes that do not fit.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> q = ql.QArray.from_codes(np.array([[10, -20]], np.int8), [0.5, 0.25], axis=1)
        >>> np.asarray(q)
        array([[ 5., -5.]], dtype=float32)
        >>> fp4 = ql.QArray.from_codes(np.arange(8, dtype=np.uint8), 1.0, grid="fp4")
        >>> np.asarray(fp4)
        array([0. , 0.5, 1. , 1.5, 2. , 3. , 4. , 6. ], dtype=float32)
        """
        if isinstance(scale, QParams):
            raise TypeError("scale: expected numbers, got QParams: use QArray(codes, qparams)")
        codes = _check.as_array("codes", codes)
        _check.memory("codes", codes.shape, codes.dtype)
        codes = np.array(codes)
        codes = codes.astype(codes.dtype.newbyteorder("="), copy=False)
        codes.flags.writeable = False
        if codes.dtype not in (np.int8, np.uint8, np.int16, np.uint16):
            raise TypeError(f"codes: expected int8, uint8, int16 or uint16, got {codes.dtype}")
        signed = bool(codes.dtype.kind == "i")
        if scale_dtype is not None:
            _check.choice("scale_dtype", scale_dtype, ("float32", "float16", "e8m0"))
        is_uniform = isinstance(grid, str) and grid == "uniform"
        if is_uniform and bits is None:
            bits = 8 * codes.dtype.itemsize
        flags = {"signed": signed, "narrow": False} if is_uniform else {"signed": None, "narrow": None}
        spec = GridSpec.of(bits, grid, False, **flags, scale_dtype=scale_dtype)
        if spec.is_fitted:
            raise ValueError(f"grid: expected the codebook that was fitted, got {grid!r}")
        if spec.scale_dtype in TWO_LEVELS:
            raise ValueError(
                f"grid: expected one whose scales are no codes, got {grid!r}: use QArray(codes, QParams(..., "
                f"scale_codes=(codes of the scales, their scale)))"
            )
        granularity = Granularity.of(codes.ndim, axis, spec.group_size(group_size), group_axis)
        scale, zero_point = _check.scales("scale", scale), _check.integers("zero_point", zero_point)
        if scale.size == 1:
            scale = scale.reshape((1,) * codes.ndim)
        scale = laid_along("scale", scale, granularity.axis, codes.shape)
        zero_point = laid_along("zero_point", zero_point, granularity.axis, codes.shape)
        p = QParams(
            scale,
            zero_point,
            spec.bits,
            spec.signed,
            False,
            granularity.axis if scale.ndim == codes.ndim else None,
            granularity.group_size,
            granularity.group_axis,
            spec.codebook,
            spec.grid,
            spec.scale_dtype,
        )
        if codes.dtype != p.dtype:
            raise TypeError(f"codes: expected {p.dtype} for {p.bits} bits, got {codes.dtype}")
        return cls(codes, p)

    @property
    def codes(self) -> np.ndarray:
        """The codes, read-only: int8 or uint8, for more than 8 bits int16 or uint16; unpacked anew at each access."""
        p = self.qparams
        if p.bits in WHOLE_WIDTHS:
            return self.stored
        rows = _core.unpack_bits(self.stored, p.bits, p.signed, 0, self.size // max(len(self.stored), 1))
        return storage.read_only(storage.from_rows(rows, self.shape, p.axis))

    @property
    def scale(self) -> np.ndarray:
        """Scales, of the rank of the codes."""
        return self.qparams.scale

    @property
    def zero_point(self) -> np.ndarray:
        """The codes of 0.0, in the shape of `scale`."""
        return self.qparams.zero_point

    @property
    def codebook(self) -> np.ndarray | None:
        """What the codes stand for, in units of the scale; None on a uniform grid."""
        return self.qparams.codebook

    @property
    def bits(self) -> int:
        """Width of a code."""
        return self.qparams.bits

    @property
    def axis(self) -> int | None:
        """The axis that keeps its own scale."""
        return self.qparams.axis

    @property
    def group_size(self) -> int | None:
        """How many values share a scale along the axis that is cut."""
        return self.qparams.group_size

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of codes."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales, zero points that are not 0, and codebooks that no format fixes."""
        return self.stored.nbytes + self.qparams.nbytes

    @property
    def bits_per_value(self) -> float:
        """Bits per value, scales, zero points and codebooks included."""
        return 8 * self.nbytes / self.size if self.size else 0.0

    def dequantize(self, out: np.ndarray | None = None) -> np.ndarray:
        """Return the float32 values ``float32(code - zero_point) * scale``, or ``codebook[code] * scale``.

        Their axes lie in memory in the order of those of `codes`.

        Parameters
        ----------
        out : ndarray of float32, optional
            Where to put them.

        Raises
        ------
        TypeError, ValueError
            `out` is not float32, has another shape or is read-only.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> ql.quantize(np.array([0.5, -1.27])).dequantize()
        array([ 0.5 , -1.27], dtype=float32)
        """
        p = self.qparams
        if p.codebook is not None:
            return _core.dequantize_codebook(self.codes, p.scale, p.codebook, out, *p.granularity.groups)
        return _core.dequantize(self.codes, p.scale, p.zero_point, out, *p.granularity.groups)

    def copy(self) -> "QArray":
        """Return an array with memory of its own."""
        return QArray._of_stored(storage.read_only(self.stored.copy(order="K")), self.shape, self.qparams)

    def _into(self, out: np.ndarray) -> "QArray":
        """The same array, stored in `out`."""
        _check.out(out, self.stored.dtype, self.stored.shape)[...] = self.stored
        return QArray._of_stored(out, self.shape, self.qparams)

    def save(self, path: Any) -> None:
        """Write the array to a file, for `qlite.load`: safetensors, all of it or nothing.

        Raises
        ------
        OSError
            The file cannot be written; one that was there before is whole.

        Examples
        --------
        >>> import numpy as np, qlite as ql, os, tempfile
        >>> q, path = ql.quantize(np.ones((4, 8)), 4), os.path.join(tempfile.mkdtemp(), "ones.qlite")
        >>> q.save(path)
        >>> ql.load(path) == q
        True
        """
        from qlite.io.array_file import save_array  # late: files are made of arrays

        save_array(path, self)

    def _spread(self, parameters: np.ndarray) -> np.ndarray:
        """Parameters of this array, repeated where groups share them, so that they broadcast over it."""
        size, axis = self.qparams.granularity.groups
        if size == 0 or parameters.shape[axis] in (1, self.shape[axis]):
            return parameters
        return parameters.repeat(size, axis)[(slice(None),) * axis + (slice(self.shape[axis]),)]

    def error(self, w: Any) -> Any:
        """Return how far the values are from the originals `w`: see `quantization_error`.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> w = np.array([0.5, 127.0])
        >>> float(ql.quantize(w).error(w).max_abs)
        0.5
        """
        from qlite.arrays.error import quantization_error  # late: it measures arrays

        return quantization_error(w, self)

    def plot(self, w: Any = None) -> Any:
        """Draw the distribution of the codes, and of the errors if the originals `w` are given (extra: plot)."""
        from qlite.analysis.plot import plot_array  # late: it draws arrays, and takes long to import

        return plot_array(self, w)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("copy: expected None or True: dequantizing makes new values")
        return self.dequantize().astype(dtype or np.float32, copy=False)

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of an array without dimensions")
        return self.shape[0]

    def __iter__(self) -> Iterator["QArray"]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> "QArray":
        """Return what an index leaves, with the same values.

        Groups stay groups where the index takes whole ones; what cuts through them makes smaller ones.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> q = ql.quantize(np.ones((4, 96)), 4, group_size=32)
        >>> q[1:3, 32:]
        QArray(shape=(2, 64), int4, 4 scales for groups of 32 along axis 1, 80 bytes, 5.00 bits/value)
        """
        if index is Ellipsis:
            return self
        index = storage.checked_index(index)
        rows = storage.index_of_axis(index, self.axis, self.ndim)
        if rows is not None and self.axis is not None:
            return self._rows(rows, self.axis)
        if self.axis is not None and (self.bits not in WHOLE_WIDTHS or self.group_size is not None):
            parts = storage.basic_parts(index, self.axis, self.shape)
            if parts is not None:  # without unpacking the rest of the axis
                return self._rows(parts[0], self.axis)[parts[1]]
        return QArray._of_codes(np.asarray(self.codes[index]), self._reindexed(index))

    def _rows(self, rows: Any, axis: int) -> "QArray":
        """The array at some indices of the axis that is kept; nothing is unpacked."""
        stored = self.stored[(slice(None),) * axis + (rows,) if self.bits in WHOLE_WIDTHS else rows]
        count = len(np.empty(self.shape[axis], np.bool_)[rows])
        shape = (*self.shape[:axis], count, *self.shape[axis + 1 :])
        taken = QArray._of_stored(storage.read_only(stored), shape, self.qparams._taken(rows, axis))
        taken._is_fixed = self._is_fixed
        return taken

    def _reindexed(self, index: Any) -> QParams:
        """The parameters of what an index leaves."""
        p = self.qparams
        if p.scale.size == 1 and p.group_size is None:
            return p if p.codebook is None or p.codebook.ndim == 1 else replace(p, codebook=p.codebook.reshape(-1))
        indices = self._spread(np.arange(p.scale.size).reshape(p.scale.shape))
        taken = np.asarray(np.broadcast_to(indices, self.shape)[index])
        if taken.size == 0:  # no value is left: keep the first scale, or 1 if there never was one
            taken = np.zeros((1,) * taken.ndim, np.intp)
        group_axis = None if p.group_axis is None else storage.axis_after(index, p.group_axis, self.shape)
        kept, group_size, group_axis = storage.without_repeats(taken, p.group_size, group_axis)
        codes = None if p.scale_codes is None else p.scale_codes.at(kept)
        scale = np.append(p.scale, np.float32(1))[kept] if codes is None else codes.dequantize()
        zero_point = np.append(p.zero_point, np.int32(p.qmin if p.codebook is None else 0))[kept]
        book = p.codebook
        if book is not None and book.ndim > 1:
            last = np.arange(book.shape[-1], dtype=np.float32)
            book = np.vstack([book.reshape(-1, len(last)), last])[kept]
        return QParams(
            *(scale, zero_point, p.bits, p.signed, p.narrow, None, group_size, group_axis, book, p.grid, p.scale_dtype),
            scale_codes=codes,
        )

    @property
    def T(self) -> "QArray":
        """The array with its axes in the opposite order: weights (out, in) as (in, out), for example.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> ql.quantize(np.ones((3, 64)), 4, axis=0, group_size=32).T
        QArray(shape=(64, 3), int4, 6 scales for groups of 32 along axis 0, 120 bytes, 5.00 bits/value)
        """
        return self.transpose()

    def transpose(self, *axes: Any) -> "QArray":
        """Return the array with its axes in another order, by default the opposite one; the values are the same.

        Raises
        ------
        TypeError, ValueError
            `axes` do not name each axis once.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> ql.quantize(np.ones((8, 3, 5, 5)), axis=0).transpose(2, 3, 1, 0)
        QArray(shape=(5, 5, 3, 8), int8, 8 scales along axis 3, 632 bytes, 8.43 bits/value)
        """
        if len(axes) == 1 and not isinstance(axes[0], (int, np.integer)):
            axes = tuple(range(self.ndim))[::-1] if axes[0] is None else tuple(axes[0])
        axes = axes or tuple(range(self.ndim))[::-1]
        order = [place for axis in axes if (place := _check.axis(axis, self.ndim, "axes")) is not None]
        if sorted(order) != list(range(self.ndim)):
            raise ValueError(f"axes: expected each of 0 to {self.ndim - 1} once, got {tuple(axes)}")
        new: dict[int | None, int] = {axis: place for place, axis in enumerate(order)}
        moved = self.qparams._moved(lambda a: a.transpose(*order, *range(self.ndim, a.ndim)), new)
        return self._rearranged(self.codes.transpose(order), moved)

    def reshape(self, *shape: Any) -> "QArray":
        """Return the array in another shape with the same values, where those that share a scale stay together.

        Axes that have a scale of their own, or that groups cut, stay as they are; others may be joined or split.

        Raises
        ------
        TypeError, ValueError
            `shape` holds another number of values, or takes values apart that share a scale.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> ql.quantize(np.ones((5, 5, 3, 8)), axis=3).reshape(75, -1)
        QArray(shape=(75, 8), int8, 8 scales along axis 1, 632 bytes, 8.43 bits/value)
        """
        new = storage.resolved_shape(shape[0] if len(shape) == 1 else shape, self.size)
        p = self.qparams
        if new == self.shape:
            return self
        if p.scale.size == 1 and p.group_size is None:
            return self._rearranged(self.codes.reshape(new), p._of_rank(len(new)))

        def move(parameters: np.ndarray) -> np.ndarray:
            lengths, _ = storage.reshaped(parameters.shape[: self.ndim], self.shape, new) or ((), {})
            return parameters.reshape(*lengths, *parameters.shape[self.ndim :])

        found = storage.reshaped(p.scale.shape, self.shape, new)
        if found is None:
            raise ValueError(
                f"shape: expected one that takes no values apart that share a scale (there are {p._scales()} over "
                f"{self.shape}), got {new}"
            )
        return self._rearranged(self.codes.reshape(new), p._moved(move, found[1]))

    def _rearranged(self, codes: np.ndarray, qparams: QParams) -> "QArray":
        """The same codes in another order or shape."""
        moved = QArray._of_codes(_core.contiguous(codes), qparams)
        moved._is_fixed = self._is_fixed
        return moved

    def __rmatmul__(self, x: Any) -> np.ndarray:
        """Multiply floats (..., in) by the weights: one fused multiply-add per term, in order, then the scale.

        Weights in groups or on a codebook are scaled first, each rounded once, and the sum is the result.

        NaN and infinities pass through, as in a float product.
        """
        return _products().matmul_float(x, self)

    def __matmul__(self, x: Any) -> Any:
        raise TypeError("q @ x: expected the quantized weights on the right: x @ q, or q.dequantize() @ x")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Apply a function of NumPy to the dequantized values; ``x @ q`` comes here too."""
        if ufunc is np.matmul and method == "__call__" and not options:
            x, q = inputs
            return x @ q if isinstance(x, QArray) else q.__rmatmul__(x)
        if method == "at" or any(isinstance(out, QArray) for out in options.get("out", ())):
            raise TypeError("out: expected an ndarray, got a QArray, which does not change")
        values = (v.dequantize() if isinstance(v, QArray) else v for v in inputs)
        return getattr(ufunc, method)(*values, **options)

    def __dlpack__(self, **options: Any) -> Any:
        """Export the dequantized values."""
        if options.pop("copy", None) is False:
            raise BufferError("copy: expected None or True: dequantizing makes new values")
        return self.dequantize().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QArray):
            return NotImplemented
        return (
            self.shape == other.shape
            and self.qparams == other.qparams
            and (self.stored is other.stored or np.array_equal(self.stored, other.stored))
        )

    __ne__ = object.__ne__

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> tuple[np.ndarray, tuple[int, ...], QParams]:
        return self.stored, self.shape, self.qparams

    def __setstate__(self, state: tuple[np.ndarray, tuple[int, ...], QParams]) -> None:
        stored, shape, qparams = state
        self._set(storage.read_only(stored), shape, qparams)

    def _kind(self) -> str:
        p = self.qparams
        if p.grid == "uniform":
            return f"{'int' if p.signed else 'uint'}{p.bits}"
        return f"{p.bits}-bit {p.grid}" if len(GRIDS[p.grid].widths) > 1 else p.grid

    def __repr__(self) -> str:
        scales = self.qparams._scales()
        return (
            f"QArray(shape={self.shape}, {self._kind()}, {scales}, {self.nbytes} bytes, "
            f"{self.bits_per_value:.2f} bits/value)"
        )

    def _repr_html_(self) -> str:
        p = self.qparams
        ends = f", {p.scale.min():.4g} to {p.scale.max():.4g}" if p.scale.size else ""
        rows = {
            "shape": " x ".join(map(str, self.shape)),
            "codes": f"{self._kind()}, {p.qmin} to {p.qmax}",
            "scales": f"{p._scales()}{ends}, {p.scale_dtype}",
            "size": f"{self.nbytes:,} bytes, {self.bits_per_value:.2f} bits per value",
        }
        cells = "".join(f"<tr><th style='text-align:left'>{k}</th><td>{v}</td></tr>" for k, v in rows.items())
        return f"<table><caption>QArray</caption>{cells}</table>"


def _in_memory(codes: np.ndarray) -> np.ndarray:
    """Codes that repeat, as `np.broadcast_to` makes them, in memory of their own."""
    _check.memory("codes", codes.shape, codes.dtype)
    return codes.copy()


@cache  # 0.05 us where an import statement takes 1
def _products() -> Any:
    """The module of `x @ q`, imported at the first product: ops stand on arrays."""
    from qlite.ops import linear

    return linear
