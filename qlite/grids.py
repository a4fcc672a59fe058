"""Choosing a grid for one array."""

from typing import Any

import numpy as np

from qlite import _check
from qlite.calibration import METHODS, NONFINITE, PERCENTILE, Calibrator, check_options, finite_range
from qlite.qparams import QParams, along


def choose_qparams(
    w: Any,
    bits: int = 8,
    *,
    grid: str = "uniform",
    method: str = "minmax",
    axis: int | None = None,
    group_size: int | None = None,
    symmetric: bool = True,
    signed: bool | None = None,
    narrow: bool | None = None,
    percentile: float = PERCENTILE,
    nonfinite: str = "raise",
) -> QParams:
    """Choose the grid for an array.

    Symmetric: zero stands at the middle code z and ``scale = max(-min / (z - qmin), max / (qmax - z))``. Asymmetric:
    the range is widened to hold 0, ``scale = (max - min) / (qmax - qmin)``, ``zero_point = rint(qmin - min / scale)``.
    The method says what stands for min and max. A constant channel gets a scale that brings it back exactly.

    Parameters
    ----------
    w : array_like of a real floating dtype
        The data.
    bits : int
        Width of a code; 8 so far.
    grid : {"uniform"}
        Where codes stand.
    method : {"minmax", "percentile", "mse", "entropy"}
        How much of the range is kept: all of it; what is left when ``100 - percentile`` percent are cut off each end;
        the range of the least expected squared error; the range of the least Kullback-Leibler divergence between the
        data's histogram and the quantized one (Migacz, *8-bit inference with TensorRT*, 2017), exact zeros left out.
    axis : int, optional
        The axis that keeps a scale per index. One scale for everything by default.
    group_size : None
        Groups are not supported so far.
    symmetric : bool
        Whether zero stands in the middle.
    signed : bool, optional
        Signed codes; as `symmetric` by default.
    narrow : bool, optional
        Leave the lowest code out; by default for signed symmetric grids, as runtimes expect of weights.
    percentile : float
        For the method of that name, over 50 and at most 100.
    nonfinite : {"raise", "saturate"}
        Whether NaN and infinities are an error or are left out of the choice.

    Returns
    -------
    QParams

    Raises
    ------
    TypeError
        `w` is not of a real floating dtype, or an option is of another type.
    ValueError
        An option is not one of those above, `axis` does not exist, `w` is empty, or holds NaN or infinity.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.choose_qparams(np.array([-1.0, 0.5, 1.27]))
    QParams(int8 [-127, 127], scale=0.01, zero_point=0)
    >>> ql.choose_qparams(np.array([0.0, 2.55]), symmetric=False)
    QParams(uint8 [0, 255], scale=0.01, zero_point=0)
    """
    options: dict[str, Any] = {"grid": grid, "symmetric": symmetric, "signed": signed, "narrow": narrow}
    percentile = check_options(method, METHODS, bits, percentile, **options)
    _check.choice("nonfinite", nonfinite, NONFINITE)
    _check.no_groups(group_size)
    w = _check.real_array("w", w)
    axis = _check.axis(axis, w.ndim)
    if w.size == 0:
        raise ValueError(f"w: expected data to choose from, got an empty array of shape {w.shape}")
    if nonfinite == "saturate":
        w = np.where(np.isfinite(w), w, np.float32(0))
    if method != "minmax":
        return Calibrator(axis)._take("w", w).qparams(method, bits, percentile=percentile, **options)
    low, high = finite_range("w", w, axis)
    shape = along(axis, w.ndim)
    return QParams.from_range(low.reshape(shape), high.reshape(shape), bits, axis=axis, **options)
