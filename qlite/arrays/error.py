"""Error of a quantized array: how much it is, and what it comes from."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qlite import _check, _core
from qlite._public import public
from qlite.arrays.qarray import QArray
from qlite.metrics.signal import cosine, decibels


@public
@dataclass(frozen=True, eq=False)
class ErrorStats:
    """The difference between an array and its quantized form.

    ``mse == clipping + rounding``, exactly. Made by `quantization_error`, which has the formulas. With its `axis` each
    field is an array over that axis.

    Attributes
    ----------
    mse : float
        The mean squared error.
    sqnr_db : float
        The signal to noise ratio in dB; infinite for a perfect copy.
    max_abs : float
        The greatest absolute error.
    cosine : float
        Of the angle between the two arrays.
    clipping, rounding : float
        The parts of `mse` that clipped values and all others make.
    clipped_share : float
        How many of the values are clipped.
    kl : float
        How far the distribution of the codes is from that of the data, in nats.

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
    kl: Any

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, (float, int, np.ndarray, np.floating)) or isinstance(value, bool):
                raise TypeError(f"{name}: expected a number, or an array of them, got {value!r:.80}")

    def __repr__(self) -> str:
        if np.ndim(self.mse):
            sqnr = f"{np.min(self.sqnr_db):.2f} to {np.max(self.sqnr_db):.2f}"
            return f"ErrorStats({np.size(self.mse)} channels, SQNR {sqnr} dB, worst error {self.max_abs.max():.4g})"
        return (
            f"ErrorStats(mse={self.mse:.4g}, SQNR {self.sqnr_db:.2f} dB, max_abs={self.max_abs:.4g}, "
            f"cosine={self.cosine:.6f}, clipping={self.clipping:.4g}, rounding={self.rounding:.4g}, "
            f"clipped {self.clipped_share:.2%})"
        )


def quantization_error(w: Any, q: QArray, axis: int | None = None) -> ErrorStats:
    """Measure what quantizing lost, in one pass; sums are float64, in an order that is the same on every machine.

    With ``v = dequantize(q)`` and ``t = w / scale``:

    - ``mse = mean((w - v)**2)`` is the sum of `clipping`, the part of the clipped values, and `rounding`, that of the
      others. A value is clipped if ``rint(t) + zero_point`` lies outside [qmin, qmax]; on a codebook if `t` lies beyond
      its least or greatest entry by more than half of that entry's distance from the next. `clipped_share` is how many
      of the values are.
    - ``sqnr_db = 10 log10(mean(w**2) / mse)``, infinite for a perfect copy.
    - ``max_abs = max(abs(w - v))``.
    - ``cosine = sum(w * v) / sqrt(sum(w**2) * sum(v**2))``, 1 if both are zero and 0 if one is.
    - ``kl = sum(p * log(p / max(q, 1e-9)))``, in nats: how far the distribution of the codes is from that of the data,
      on the axis that all scales share, that of ``t + zero_point``. What is rounded to a code is its cell, and a cell
      is cut into eight equal bins. `p` is the share of the values in a bin; clipped values are in the outermost. `q` is
      the code's share of the values that are not clipped, spread evenly over those of its bins that hold values. `kl`
      is never negative, and grows with what is clipped; it is 0 for values that codes hit exactly, and wherever those
      of each code fill its bins evenly. (What the method "entropy" minimizes: Migacz, *8-bit inference with TensorRT*,
      2017.)

    Parameters
    ----------
    w : array_like of a real floating dtype
        The originals; anything but float32 is rounded to float32 first.
    q : QArray
        Their quantized form, of the same shape.
    axis : int, optional
        Measure each index of this axis by itself.

    Returns
    -------
    ErrorStats

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
    >>> normal = np.random.default_rng(0).normal(size=100000)
    >>> [round(float(ql.quantization_error(normal, ql.quantize(normal, scale=s)).kl), 4) for s in (0.04, 0.02, 0.01)]
    [0.0058, 0.0518, 1.0124]
    """
    if not isinstance(q, QArray):
        raise TypeError(f"q: expected a QArray, got {type(q).__name__}")
    w, p = _check.real_array("w", w), q.qparams
    if w.shape != q.shape:
        raise ValueError(f"w: expected shape {q.shape} as q, got {w.shape}")
    if w.size == 0:
        raise ValueError(f"w: expected data to measure, got an empty array of shape {w.shape}")
    axis = _check.axis(axis, w.ndim)
    parameters = (p.scale, p.zero_point, p.codebook, p.qmin, p.qmax)
    sums = _core.error_sums(w, q.codes, *parameters, -1 if axis is None else axis, *p.granularity.groups)
    count = w.size // len(sums)
    signal, clipping, rounding, product, power, max_abs, clipped, kl = sums[0] if axis is None else sums.T.copy()
    return ErrorStats(
        mse=clipping / count + rounding / count,
        sqnr_db=decibels(signal, clipping + rounding),
        max_abs=max_abs,
        cosine=cosine(product, signal, power),
        clipping=clipping / count,
        rounding=rounding / count,
        clipped_share=clipped / count,
        kl=kl,
    )
