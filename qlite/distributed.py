"""Calibrating and quantizing on many machines: `dask` arrays, bags and clusters.

Data that is too large for one machine is cut into blocks. Each block is calibrated by a task, and neighbours are merged
by others; the state that comes out is that of one machine that takes in the blocks in order, bit for bit. Tasks do not
change their arguments, so a task whose worker is lost can run again elsewhere. The functions need the extra `dask`, and
import it when they are called.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import numpy as np

from qlite import _check
from qlite.arrays.quantize import quantize as quantize_array
from qlite.grids.calibrator import Calibrator
from qlite.grids.qparams import QParams
from qlite.grids.spec import NONFINITE

#: Calibrators that one task merges: bounds the memory of a worker.
FAN_IN = 8
#: Fields of `QParams` that are the same for all blocks.
COMMON_FIELDS = ("bits", "signed", "narrow", "axis", "group_size", "group_axis", "grid")


def calibrate(data: Any, axis: int | None = None, bins: int | None = None, client: Any = None) -> Calibrator:
    """Take in data that is spread over many machines, with a calibrator for each block and a tree of merges.

    Parameters
    ----------
    data : dask.array.Array, dask.bag.Bag, or iterable of dask.delayed.Delayed
        An array of a real floating dtype, whose blocks are batches; or a bag of batches; or delayed batches.
    axis, bins : int, optional
        As for `Calibrator`. Blocks that are cut along `axis` are calibrated apart and put side by side.
    client : distributed.Client, optional
        Where to run; dask's default otherwise.

    Returns
    -------
    Calibrator
        Equal, bit for bit, to one that is updated with the batches in order. The batches of an array are its blocks in
        C order, put together along `axis`.

    Raises
    ------
    TypeError
        `data` is none of these, or a batch is not of a real floating dtype.
    ValueError
        A batch holds NaN or infinity, or batches differ along `axis`.
    ImportError
        dask is not installed.

    Examples
    --------
    >>> import dask.array as da, qlite as ql  # doctest: +SKIP
    >>> ql.distributed.calibrate(da.ones((1000, 1000), chunks=250))  # doctest: +SKIP
    Calibrator(1000000 values in [1, 1], 8192 bins)
    """
    dask, da = _imported("dask"), _imported("dask.array")
    Calibrator(axis, bins)  # checks the options before anything is sent
    update = dask.delayed(_of_batches, pure=True)
    if isinstance(data, da.Array):
        if data.dtype.kind != "f":
            raise TypeError(f"data: expected a real floating dtype, got {data.dtype}")
        kept = _check.axis(axis, data.ndim)
        blocks = data.to_delayed()
        columns = (
            blocks.reshape(1, -1) if kept is None else np.moveaxis(blocks, kept, 0).reshape(blocks.shape[kept], -1)
        )
        total = dask.delayed(_side_by_side, pure=True)(
            *(_merged([update(axis, bins, block) for block in column]) for column in columns)
        )
    elif callable(getattr(data, "to_delayed", None)):
        partition = dask.delayed(_of_partition, pure=True)
        total = _merged([partition(axis, bins, batches) for batches in data.to_delayed()])
    elif isinstance(data, Iterable) and not isinstance(data, (np.ndarray, str, bytes)):
        total = _merged([update(axis, bins, batch) for batch in data])
    else:
        raise TypeError(f"data: expected a dask array, a bag, or delayed batches, got {type(data).__name__}")
    return total.compute() if client is None else checked(client).compute(total).result()


def quantize(x: Any, qparams: QParams, *, nonfinite: str = "raise") -> Any:
    """Quantize the blocks of a dask array with known parameters, for example from `calibrate`.

    Parameters
    ----------
    x : dask.array.Array of a real floating dtype
    qparams : QParams
        Blocks get their own part of the scales. Where groups are cut, blocks are made to end where groups do.
    nonfinite : {"raise", "saturate"}
        As for `qlite.quantize`.

    Returns
    -------
    dask.array.Array
        Codes of ``qparams.dtype``, not packed, computed when they are asked for. Store them blockwise, or, if they fit
        into memory, make ``ql.QArray(codes.compute(), qparams)``, which equals ``ql.quantize(x, qparams)``.

    Raises
    ------
    TypeError
        `x` is no dask array of a real floating dtype, `qparams` no QParams.
    ValueError
        The shapes do not fit; when it is computed: `x` holds NaN or infinity.
    ImportError
        dask is not installed.

    Examples
    --------
    >>> import dask.array as da, qlite as ql  # doctest: +SKIP
    >>> w = da.random.normal(size=(100_000, 4096), chunks=(10_000, 4096))  # doctest: +SKIP
    >>> qparams = ql.distributed.calibrate(w, axis=0).qparams(symmetric=True)  # doctest: +SKIP
    >>> ql.distributed.quantize(w, qparams).to_zarr("codes.zarr")  # doctest: +SKIP
    """
    da = _imported("dask.array")
    _check.choice("nonfinite", nonfinite, NONFINITE)
    if not isinstance(x, da.Array):
        raise TypeError(f"x: expected a dask array, got {type(x).__name__}")
    if x.dtype.kind != "f":
        raise TypeError(f"x: expected a real floating dtype, got {x.dtype}")
    if not isinstance(qparams, QParams):
        raise TypeError(f"qparams: expected QParams, got {type(qparams).__name__}")
    p = qparams._of_rank(x.ndim)
    expected = p.granularity.shape(x.shape) if p.scale.ndim == x.ndim else ()
    lengths = list(zip(p.scale.shape, x.shape, expected, strict=False))
    if len(lengths) != x.ndim or any(s not in (1, n, groups) for s, n, groups in lengths):
        raise ValueError(f"qparams: expected scales that fit shape {x.shape}, got {p.scale.shape}")
    if p.group_size is not None:
        x = x.rechunk({p.group_axis: _whole_groups(x.chunks[p.group_axis], p.group_size)})
    chunks = [_chunks_of(s, n, sizes, p.group_size or 1) for (s, n, _), sizes in zip(lengths, x.chunks, strict=True)]
    index = tuple(range(x.ndim))
    arguments = [x, index]
    for parameters in (p.scale, p.zero_point):
        arguments += [da.from_array(parameters, tuple(chunks)), index]
    fields = {name: getattr(p, name) for name in COMMON_FIELDS}
    if p.codebook is not None and p.codebook.ndim > 1:
        books = da.from_array(p.codebook, (*chunks, (p.codebook.shape[-1],)))
        arguments += [books, (*index, x.ndim)]
    else:
        fields["codebook"] = p.codebook
    options = {"fields": fields, "nonfinite": nonfinite, "concatenate": True, "align_arrays": False}
    return da.blockwise(_codes, index, *arguments, **options, dtype=p.dtype, meta=np.empty((0,) * x.ndim, p.dtype))


def run(client: Any, function: Callable[[Any], Any], items: Sequence[Any]) -> Generator[Any, None, None]:
    """Run a function for each item, as a task each; yields the results in the order in which they come."""
    futures = checked(client).map(function, items, pure=False)
    try:
        for future in _imported("distributed").as_completed(futures):
            yield future.result()
    finally:
        client.cancel(futures)


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"many machines need dask ({error}): pip install 'qlite-quant[dask]'") from None


def checked(client: Any) -> Any:
    """Return `client` if tasks can be given to it."""
    if not isinstance(client, _imported("distributed").Client) or client.asynchronous:
        raise TypeError(f"client: expected a distributed.Client that is not asynchronous, got {type(client).__name__}")
    return client


def _of_batches(axis: int | None, bins: int | None, *batches: Any) -> Calibrator:
    calibrator = Calibrator(axis, bins)
    for batch in batches:
        calibrator.update(batch)
    return calibrator


def _of_partition(axis: int | None, bins: int | None, batches: Iterable[Any]) -> Calibrator:
    return _of_batches(axis, bins, *batches)


def _in_order(first: Calibrator, *others: Calibrator) -> Calibrator:
    for later in others:
        first = first._followed_by(later)
    return first


def _merged(calibrators: list[Any]) -> Any:
    """One delayed calibrator of many, merged in order."""
    if not calibrators:
        raise ValueError("data: expected at least one batch, got none")
    delayed = _imported("dask").delayed
    while len(calibrators) > 1:
        steps = range(0, len(calibrators), FAN_IN)
        calibrators = [delayed(_in_order, pure=True)(*calibrators[i : i + FAN_IN]) for i in steps]
    return calibrators[0]


def _side_by_side(*parts: Calibrator) -> Calibrator:
    """The calibrator of an axis from those of its blocks; blocks without values are left out."""
    seen = [part for part in parts if part.count]
    return Calibrator._side_by_side(seen) if len(seen) > 1 else (seen or parts)[0]


def _whole_groups(chunks: tuple[int, ...], group_size: int) -> tuple[int, ...]:
    """Chunks of about the same lengths that end where groups do."""
    ends = np.cumsum(chunks)
    length = int(ends[-1])
    ends = np.unique(np.minimum(-(-ends // group_size) * group_size, length))
    return tuple(int(n) for n in np.diff(ends, prepend=0))


def _chunks_of(parameters: int, length: int, chunks: tuple[int, ...], group_size: int) -> tuple[int, ...]:
    """How the parameters of an axis are divided among the blocks of the data."""
    if parameters in (1, length):
        return chunks if parameters == length else (1,)
    return tuple(-(-n // group_size) for n in chunks)


def _codes(
    x: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray,
    *codebook: np.ndarray,
    fields: dict[str, Any],
    nonfinite: str,
) -> np.ndarray:
    """The codes of a block; `codebook` is there if each scale has its own."""
    own = {**fields, "codebook": codebook[0]} if codebook else fields
    return quantize_array(x, QParams(scale, zero_point, **own), nonfinite=nonfinite).codes
