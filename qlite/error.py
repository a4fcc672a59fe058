"""How much a quantized array lost."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qlite import _check, metrics
from qlite.array import QArray
from qlite.qparams import QParams


@dataclass(frozen=True)
class QuantizationError:
    """The difference between an array and its quantized form.

    ``mse == clipping + rounding``, exactly: an element counts as clipped when ``rint(w / scale) + zero_point`` lies
    outside [qmin, qmax], and as rounded otherwise. With `axis`, each field is an array over that axis. Made by
    `quantization_error`, which says what the fields are.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> w = np.array([0.5, 300.0])
    >>> e = ql.quantization_error(w, ql.quantize(w, scale=1.0))
    >>> float(e.rounding), float(e.clipping), float(e.clipped_share)
    (0.125, 14964.5, 0.5)
    """

    mse: Any
    sqnr_db: Any
    max_abs: Any
    cosine: Any
    clipping: Any
    rounding: Any
    clipped_share: Any

    def __repr__(self) -> str:
        if np.ndim(self.mse):
            sqnr = f"{np.min(self.sqnr_db):.2f} to {np.max(self.sqnr_db):.2f}"
            return (
                f"QuantizationError({np.size(self.mse)} channels, SQNR {sqnr} dB, worst error {self.max_abs.max():.4g})"
            )
        return (
            f"QuantizationError(mse={self.mse:.4g}, SQNR {self.sqnr_db:.2f} dB, max_abs={self.max_abs:.4g}, "
            f"cosine={self.cosine:.6f}, clipping={self.clipping:.4g}, rounding={self.rounding:.4g}, "
            f"clipped {self.clipped_share:.2%})"
        )


def split_error(error: np.ndarray, x: np.ndarray, p: QParams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Part the error of each value x on a grid into rounding and clipping, of which one is 0; and which are clipped."""
    with np.errstate(over="ignore"):
        codes = np.rint(x / p.scale) + p.zero_point
    is_clipped = (codes < p.qmin) | (codes > p.qmax)
    return np.where(is_clipped, 0, error), np.where(is_clipped, error, 0), is_clipped


def quantization_error(w: Any, q: QArray, axis: int | None = None) -> QuantizationError:
    """Measure what quantizing lost; sums are float64.

    Parameters
    ----------
    w : array_like of a real floating dtype
        The originals.
    q : QArray
        Their quantized form, of the same shape.
    axis : int, optional
        Measure each index of this axis by itself.

    Returns
    -------
    QuantizationError
        ``mse = mean((w - dequantize(q))**2)``; ``sqnr_db = 10 log10(mean(w**2) / mse)``, infinite for a perfect copy;
        ``max_abs``; the cosine of the angle between the two, 1 if both are zero and 0 if one is; the parts of `mse`
        that come from clipping and from rounding, and the share of clipped elements.

    Raises
    ------
    TypeError
        `q` is no QArray, or `w` is not of a real floating dtype.
    ValueError
        The shapes differ, they are empty, or `w` holds NaN or infinity.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> w = np.linspace(-1, 1, 1001)
    >>> e = ql.quantization_error(w, ql.quantize(w))
    >>> round(float(e.sqnr_db), 1), float(e.clipping)
    (48.1, 0.0)
    """
    if not isinstance(q, QArray):
        raise TypeError(f"q: expected a QArray, got {type(q).__name__}")
    w = _check.real_array("w", w)
    if w.shape != q.shape:
        raise ValueError(f"w: expected shape {q.shape} as q, got {w.shape}")
    if w.size == 0:
        raise ValueError(f"w: expected data to measure, got an empty array of shape {w.shape}")
    _check.finite("w", w)
    axis = _check.axis(axis, w.ndim)
    over = None if axis is None else tuple(i for i in range(w.ndim) if i != axis)

    exact, approximate = w.astype(np.float64), q.dequantize().astype(np.float64)
    rounding, clipping, is_clipped = split_error(exact - approximate, w, q.qparams)
    rounding_power, clipping_power = (np.square(part).mean(over) for part in (rounding, clipping))
    return QuantizationError(
        mse=rounding_power + clipping_power,
        sqnr_db=metrics.sqnr_db(exact, approximate, over),
        max_abs=np.abs(exact - approximate).max(over),
        cosine=metrics.cosine(exact, approximate, over),
        clipping=clipping_power,
        rounding=rounding_power,
        clipped_share=is_clipped.mean(over),
    )
