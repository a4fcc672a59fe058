"""What would repair most of a layer's error, in words, with what its model has already left out."""

from qlite.analysis.report import GOOD_SQNR_DB
from qlite.arrays.qarray import QArray
from qlite.nn.program import Buffer
from qlite.nn.qmodel import QModel


def advice(
    quantized: QModel, buffer: Buffer | None, q: QArray | None, own_sqnr_db: float, errors: tuple[float, float, float]
) -> str:
    """Return what to try for a layer that reads a buffer and has the weights `q`.

    `errors` are those of its weights, of rounding its inputs and of clipping them.
    """
    if own_sqnr_db == float("inf"):
        return "exact."
    if own_sqnr_db >= GOOD_SQNR_DB:
        return f"{own_sqnr_db:.1f} dB by itself: nothing to repair."
    weight, rounding, clipping = errors
    worst = max((clipping, "clipped inputs"), (rounding, "rounding its inputs"), (weight, "its weights"))[1]
    if worst == "clipped inputs":
        repair = "calibrate on data that reaches as far" + (", or minmax" if _may_try(quantized, "minmax") else "")
    elif worst == "its weights":
        repair = _of_weights(q)
    else:
        repair = _of_rounding(quantized, buffer, q)
    return f"most of its error comes from {worst}: {repair}."


def _may_try(quantized: QModel, method: str) -> bool:
    """Whether ranges may be better by a method: not where it is in use, or one of those that "auto" compared."""
    found = quantized.calibration
    return found is None or not (found.method == method or found.gain_db)


def _of_rounding(quantized: QModel, buffer: Buffer | None, q: QArray | None) -> str:
    if buffer is not None and buffer.bits < 8:
        return "try more bits for activations"
    is_static = buffer is not None and buffer.scale is not None
    ways = ["a tighter range (method='mse')"] if is_static and _may_try(quantized, "mse") else []
    if quantized.target == "numpy" and (buffer is None or buffer.dtype != "int16"):
        wide = "" if q is None or q.group_size else f"w{q.bits}a16"
        ways += ["'dynamic'"] if is_static else [f"activations of 16 bits ({wide})"] if wide else []
    return f"try {' or '.join(ways)}" if ways else "no better range is known"


def _of_weights(q: QArray | None) -> str:
    if q is None or q.bits >= 8:
        return "try weight_method='mse'"
    return "try more bits" + ("" if q.group_size or q.ndim > 2 else f", or a scale for every 32 (w{q.bits}g32)")
