"""Checkpoints: folders of safetensors shards, quantized tensor by tensor into folders of qlite's files.

Every tensor becomes a file of its own, written whole or not at all, with a note of its source and the options, so that
a run that was interrupted goes on where it stopped. The index is written last: a folder that has one is complete.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from qlite import _check, distributed
from qlite._public import public
from qlite.arrays.qarray import QArray
from qlite.arrays.quantize import quantize
from qlite.grids.formats import GRIDS
from qlite.grids.scale_codes import ScaleCodes
from qlite.grids.spec import PERCENTILE
from qlite.io import array_file, container
from qlite.io.atomic_file import remove_leftovers, replace_file
from qlite.io.regular_file import kind, read_regular
from qlite.io.shards import FLOATS, HOLDERS, ShardTensor, find_tensors, of_quantized, widened
from qlite.io.strict_json import parse
from qlite.nn.scheme import Scheme
from qlite.progress import progress

INDEX = "qlite.index.json"
INDEX_VERSION = 1
#: The shortest row of a stack of matrices: what has a shorter one is a filter (out, in, height, width).
SHORTEST_ROW = 32
#: Letters that a file name takes from the name of its tensor; file systems take 255 in all.
MAX_NAME = 160
#: Results in the note of a file, besides its source and the options.
FINDINGS = ("quantized", "sqnr_db")
#: Tensors in the table of a summary.
LISTED = 5


def file_name(tensor: str) -> str:
    """The file name of a tensor: the tensor's name, and a digest of it unless all file systems can tell it apart."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", tensor)[:MAX_NAME]
    if not safe or safe.startswith("."):
        safe = f"_{safe[1:]}"
    if safe != tensor or safe != safe.lower():
        import hashlib

        safe += "~" + hashlib.sha256(tensor.encode()).hexdigest()[:16]
    return f"{safe}.qlite"


@dataclass(frozen=True)
class CheckpointSummary:
    """Result of `quantize_checkpoint`.

    Attributes
    ----------
    path : str
        The folder.
    scheme : str
    sqnr_db : dict
        The signal to noise ratio in dB of each tensor that was quantized, infinite for one that comes back exactly.
    copied : int
        How many tensors were copied.
    skipped : int
        How many tensors' files were there already.
    bytes_before, bytes_after : int
        Of all tensors in the source, and of all files.

    Examples
    --------
    >>> from qlite.io.checkpoint import CheckpointSummary
    >>> CheckpointSummary("small", "w8", {"a": 40.1, "b": 39.0}, 0, 0, 4000, 1250)
    CheckpointSummary(small, w8: 2 tensors quantized, 4,000 -> 1,250 bytes (3.2x smaller), worst SQNR 39.00 dB: b)
    """

    path: str
    scheme: str
    sqnr_db: dict[str, float]
    copied: int
    skipped: int
    bytes_before: int
    bytes_after: int

    @property
    def tensors(self) -> int:
        """How many tensors there are."""
        return len(self.sqnr_db) + self.copied

    @property
    def ratio(self) -> float:
        """Bytes before by bytes after."""
        return self.bytes_before / self.bytes_after if self.bytes_after else 1.0

    def _change(self, digits: int) -> str:
        """How much smaller, or larger, the files are than the tensors."""
        is_smaller = self.ratio >= 1
        return f"{self.ratio if is_smaller else 1 / self.ratio:.{digits}f}x {'smaller' if is_smaller else 'larger'}"

    @property
    def worst(self) -> str | None:
        """The quantized tensor of the least SQNR."""
        return min(self.sqnr_db, key=lambda name: self.sqnr_db[name], default=None)

    def __str__(self) -> str:
        """A table, with the tensors that lost most."""
        rows = [
            ("folder", self.path),
            ("scheme", self.scheme),
            ("tensors", f"{len(self.sqnr_db)} quantized, {self.copied} copied"),
            ("bytes", f"{self.bytes_before:,} -> {self.bytes_after:,} ({self._change(2)})"),
        ]
        if self.skipped:
            rows.append(("there already", f"{self.skipped} of {self.tensors}"))
        lossiest = sorted(self.sqnr_db, key=lambda name: self.sqnr_db[name])[:LISTED]
        rows += [
            ("" if i else "least SQNR", f"{self.sqnr_db[name]:6.2f} dB  {name}") for i, name in enumerate(lossiest)
        ]
        return "\n".join(f"{name:<15}{text}" for name, text in rows)

    def __repr__(self) -> str:
        there = f" ({self.skipped} were there)" if self.skipped else ""
        copied = f" and {self.copied} copied" if self.copied else ""
        worst = "" if self.worst is None else f", worst SQNR {self.sqnr_db[self.worst]:.2f} dB: {self.worst}"
        return (
            f"CheckpointSummary({self.path}, {self.scheme}: {len(self.sqnr_db)} tensors quantized{copied}{there}, "
            f"{self.bytes_before:,} -> {self.bytes_after:,} bytes ({self._change(1)}){worst})"
        )


@public
class Checkpoint(Mapping[str, Any]):
    """The tensors of a folder that `quantize_checkpoint` wrote, by name; each is read when it is asked for.

    A quantized tensor is a `QArray`, a copied one an array: bfloat16 as float32, floats of 8 bits as the uint8 that
    hold their bits. ``ql.load(folder)`` gives such a mapping.

    Parameters
    ----------
    path : path-like
        The folder.

    Raises
    ------
    OSError
        A file cannot be read, or the folder is not complete.
    ValueError
        A file in it is damaged.

    Examples
    --------
    >>> import numpy as np, qlite as ql, os, tempfile
    >>> from safetensors.numpy import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"w": np.eye(4, 64)}, os.path.join(folder, "model.safetensors"))
    ...     _ = ql.quantize_checkpoint(folder, os.path.join(folder, "small"))
    ...     tensors = ql.load(os.path.join(folder, "small"))
    ...     tensors["w"]
    QArray(shape=(4, 64), int8, 4 scales along axis 0, 272 bytes, 8.50 bits/value)
    """

    def __init__(self, path: Any) -> None:
        self.path = _check.path("path", path)
        if not (self.path / INDEX).exists():
            raise FileNotFoundError(
                f"{self.path}: expected a checkpoint with {INDEX}, which is written when all is done"
            )
        try:
            index = parse(read_regular(self.path / INDEX), INDEX)
            if index.get("version") != INDEX_VERSION:
                raise ValueError(f"expected version {INDEX_VERSION}, got {index.get('version')!r}")
            self.options: dict[str, Any] = index["options"]
            self._entries: dict[str, dict[str, Any]] = index["tensors"]
            for name, entry in self._entries.items():
                if entry["file"] != file_name(name):
                    raise ValueError(f"expected {file_name(name)} for {name!r}, got {entry['file']!r:.80}")
                if not isinstance(entry["dtype"], str):
                    raise ValueError(f"expected the dtype of {name!r}, got {entry['dtype']!r:.80}")
            self.scheme: str = self.options["scheme"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{self.path}: not a usable checkpoint: {INDEX}: {error}") from None

    def __getitem__(self, name: str) -> Any:
        entry = self._entries[name]
        path = self.path / entry["file"]
        try:
            description, tensors = container.read(path)
            content = parse(description, "the description")
            if content.get("about", {}).get("tensor") != name:
                raise ValueError(f"expected the tensor {name!r}, got another one")
            array = array_file.build(content, tensors)
            return array if isinstance(array, QArray) else _copied(array, entry["dtype"])
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{path}: not a usable qlite file: {error}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    __eq__, __hash__ = object.__eq__, object.__hash__  # a mapping's would read everything

    def __repr__(self) -> str:
        return f"Checkpoint({os.fspath(self.path)!r}, {self.scheme}, {len(self)} tensors)"


def _copied(arrays: dict[str, Any], dtype: str) -> np.ndarray:
    """The values of a tensor that was copied."""
    if list(arrays) != [array_file.ALONE]:
        raise ValueError(f"expected one tensor, got {sorted(arrays)!r:.80}")
    array = arrays[array_file.ALONE]
    if array.dtype != HOLDERS.get(dtype):
        raise ValueError(f"expected a tensor of {dtype}, got {array.dtype}")
    return widened(array, dtype)


@dataclass(frozen=True)
class _Job:
    """A tensor that is to become a file; `quantizing` holds the options of `quantize`, or None for a copy."""

    tensor: ShardTensor
    folder: str
    options: dict[str, Any]
    quantizing: dict[str, Any] | None

    @property
    def path(self) -> Path:
        return Path(self.folder, file_name(self.tensor.name))

    @property
    def note(self) -> dict[str, Any]:
        """The source and the options, for the file."""
        return {"tensor": self.tensor.name, "origin": self.tensor.origin, "options": self.options}


@dataclass(frozen=True)
class _Outcome:
    """Result for a tensor: its entry in the index, or an error."""

    tensor: ShardTensor
    entry: dict[str, Any] | None
    error: str = ""
    was_there: bool = False


def _carry_out(job: _Job) -> _Outcome:
    """Make the file of a tensor, unless it is there; always the same bytes, wherever and how often it is called."""
    about = _about(job.path)
    was_there = about is not None and about == {**job.note, **{name: about.get(name) for name in FINDINGS}}
    if not was_there:
        try:
            about = _make(job)
        except ValueError as error:
            job.path.unlink(missing_ok=True)
            return _Outcome(job.tensor, None, str(error).removeprefix("w: "))
    assert about is not None
    entry = {
        "file": job.path.name,
        "dtype": job.tensor.dtype,
        "shape": list(job.tensor.shape),
        "source_bytes": job.tensor.nbytes,
        "bytes": job.path.stat().st_size,
        "quantized": about["quantized"],
        "sqnr_db": about["sqnr_db"],
    }
    return _Outcome(job.tensor, entry, was_there=was_there)


def _about(path: Path) -> dict[str, Any] | None:
    """The note in a file of the folder that is whole; None if there is none."""
    try:
        description, _ = container.read(path, follow_links=False)
        about = parse(description, "the description").get("about")
    except (ValueError, RecursionError, OSError):
        return None
    return about if isinstance(about, dict) else None


def _make(job: _Job) -> dict[str, Any]:
    tensor = job.tensor.read()
    about = {**job.note, "quantized": job.quantizing is not None, "sqnr_db": None}
    if job.quantizing is None:
        array_file.save_arrays(job.path, {array_file.ALONE: tensor}, about=about, follow_links=False)
        return about
    values = _check.real_array("tensor", widened(tensor, job.tensor.dtype))
    del tensor
    q = _quantized(values, job.quantizing)
    if job.quantizing["nonfinite"] == "saturate":
        is_finite = np.isfinite(values)  # the others have no error that could be measured
        values = values if is_finite.all() else np.where(is_finite, values, q.dequantize())
    sqnr_db = float(q.error(values).sqnr_db)
    about["sqnr_db"] = sqnr_db if math.isfinite(sqnr_db) else None
    del values
    array_file.save_arrays(job.path, {array_file.ALONE: q}, alone=True, about=about, follow_links=False)
    return about


def _quantized(w: np.ndarray, options: dict[str, Any]) -> QArray:
    """Quantize a matrix, a filter, or a stack of matrices, whose leading axes count them.

    A stack gets the codes and parameters that its matrices, one above the other, would get as a single one.
    """
    if options["axis"] is None or w.ndim < 3:
        return quantize(w, **options)
    is_in_out = options["axis"] % 2 == 1
    rows = np.ascontiguousarray(np.moveaxis(w, -2, -1)) if is_in_out else w
    length = rows.shape[-1]
    if length < min(SHORTEST_ROW, options["group_size"] or SHORTEST_ROW):
        return quantize(w, **options)
    q = quantize(rows.reshape(-1, length), **{**options, "axis": 0})

    def stacked(array: np.ndarray) -> np.ndarray:
        array = array.reshape(*rows.shape[:-1], *array.shape[1:])
        return np.swapaxes(array, w.ndim - 2, w.ndim - 1) if is_in_out else array

    p, codes = q.qparams, q.qparams.scale_codes
    parameters = replace(
        p,
        scale=stacked(p.scale),
        zero_point=stacked(p.zero_point),
        axis=None,
        group_size=p.group_size or length,
        group_axis=w.ndim - 1 - is_in_out,
        codebook=p.codebook if p.codebook is None or p.codebook.ndim == 1 else stacked(p.codebook),
        scale_codes=None if codes is None else ScaleCodes(stacked(codes.codes), stacked(codes.scale), codes.dtype),
    )
    return QArray(np.ascontiguousarray(stacked(q.codes)), parameters)


def quantize_checkpoint(
    src: Any,
    dst: Any,
    scheme: str | None = None,
    *,
    method: str = "minmax",
    grid: Any = "uniform",
    axis: int | None = 0,
    symmetric: bool | None = None,
    percentile: float = PERCENTILE,
    scale_dtype: str | None = None,
    nonfinite: str = "raise",
    skip: str | Sequence[str] = (),
    follow_links: bool = False,
    client: Any = None,
) -> CheckpointSummary:
    """Quantize a folder of safetensors shards tensor by tensor; ``ql.load(dst)`` opens the result.

    Tensors of float64, float32, float16 and bfloat16 with two dimensions or more are quantized; all others, biases and
    integers for example, are copied bit for bit. So are scales, zero points and what else belongs to weights that are
    quantized already: floats of such a name, or in one module with a matrix of codes. Memory is bounded by the largest
    tensor: its float32 copy and its codes.

    With more than two dimensions a weight is a stack of matrices, of experts for example: the leading axes count them,
    and each row has the scales that it would have in a matrix of its own. One whose rows are shorter than 32 values,
    and than a group, is a filter (out, in, height, width), and keeps scales along `axis` alone.

    Every tensor becomes a file of its own, whole at every moment, and a last file, qlite.index.json, says for each what
    was lost. Run it again after an interruption and it does what is missing: files that are whole and were made with
    the same options from the same bytes of a shard that has not changed since are left as they are. One run at a time.
    A symbolic link in `dst` is replaced by the file; what it leads to stays as it is.

    Parameters
    ----------
    src : path-like
        The folder, with or without Hugging Face's ``model.safetensors.index.json``, or a single file.
    dst : path-like
        The folder for the result: a new one, or the one of an unfinished run.
    scheme : str, optional
        Weights alone: ``w<bits>[g<group>]``, such as "w4g32"; "w8", or the width of the grid, by default. Symmetric and
        without the lowest code from 8 bits on; asymmetric below.
    method, grid, percentile, scale_dtype
        See `choose_qparams`; the grid's width is that of the scheme: "w4" for "nf4".
    axis : int or None
        The axis that keeps a scale per index. Here weights are (out, in), as in PyTorch and Hugging Face's files.
        Groups cut the last other axis.
    symmetric : bool, optional
        Instead of the scheme's choice.
    nonfinite : {"raise", "saturate"}
        Whether tensors with NaN or infinities are an error, or these become the zero point and the ends of the range.
    skip : str or sequence of str
        Patterns such as ``"lm_head.*"`` or ``"*embed*"``: tensors of these names are copied. Each fits one at least.
    follow_links : bool
        Whether files in the folder `src` may be symbolic links, as they are in the cache of the Hugging Face hub.
    client : distributed.Client, optional
        Where to run (extra: dask): a task for each tensor, on workers that see the same folders. The same files, bit
        for bit.

    Returns
    -------
    CheckpointSummary

    Raises
    ------
    TypeError
        `src` or `dst` is no path, or an option is of another type.
    OSError
        There is no `src`, or a file cannot be written.
    ValueError
        An option is not one of those that there are; `dst` holds a run with other options, or something else than a
        file under the name of one. Or, once everything else is done: shards are broken or no regular files, or tensors
        hold NaN or infinity; the message names them all. There is no index then.

    Examples
    --------
    >>> import numpy as np, qlite as ql, tempfile
    >>> from safetensors.numpy import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"w": np.eye(128), "b": np.ones(4)}, f"{folder}/model.safetensors")
    ...     done = ql.quantize_checkpoint(folder, f"{folder}/small", "w8")
    >>> done.tensors, done.copied, done.sqnr_db
    (2, 1, {'w': inf})
    """
    src, dst = _check.path("src", src).absolute(), _check.path("dst", dst).absolute()  # workers may run elsewhere
    if client is not None:
        distributed.checked(client)
    if scheme is None:
        scheme = f"w{GRIDS[grid].widths[0]}" if isinstance(grid, str) and grid in GRIDS else "w8"
    parsed = Scheme.of_weights(scheme)
    patterns = _patterns(skip)
    quantizing = {
        **parsed.weight_options(None if axis is None else _check.integer("axis", axis)),
        **{"grid": grid, "method": method, "percentile": _check.number("percentile", percentile)},
        **{"scale_dtype": scale_dtype, "nonfinite": nonfinite},
    }
    if symmetric is not None:
        quantizing["symmetric"] = _check.flag("symmetric", symmetric)
    elif not (isinstance(grid, str) and grid == "uniform"):
        quantizing["symmetric"] = True  # these have their own zero
    quantize(np.eye(2, 64, dtype=np.float32), **quantizing)  # refuses bad options before anything is done
    plain_grid = grid if isinstance(grid, str) else _check.numbers("grid", grid).astype(np.float64).tolist()
    options = {"scheme": parsed.name, **quantizing, "grid": plain_grid, "skip": list(patterns)}
    tensors, broken = find_tensors(src, _check.flag("follow_links", follow_links))
    names = [tensor.name for tensor in tensors]
    unused = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]
    if unused and not broken:
        raise ValueError(f"skip: expected patterns of names in {src}, got some that fit none: {', '.join(unused)}")
    if broken and not tensors:
        _refuse_failures(src, dst, broken, [])
    _prepare(src, dst, options)
    kept = of_quantized(tensors) | {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}

    def is_quantized(tensor: ShardTensor) -> bool:
        return tensor.dtype in FLOATS and len(tensor.shape) > 1 and 0 not in tensor.shape and tensor.name not in kept

    jobs = [_Job(t, str(dst), options, quantizing if is_quantized(t) else None) for t in tensors]
    outcomes: dict[str, _Outcome] = {}
    with closing((_carry_out(j) for j in jobs) if client is None else distributed.run(client, _carry_out, jobs)) as run:
        for outcome in progress(run, "quantizing", "tensor", len(jobs)):
            if not outcome.was_there:
                (dst / INDEX).unlink(missing_ok=True)
            outcomes[outcome.tensor.name] = outcome
    remove_leftovers(dst)
    ordered = [outcomes[tensor.name] for tensor in tensors]
    _refuse_failures(src, dst, broken, ordered)
    _write_index(dst, options, ordered)
    return _summary(dst, parsed.name, ordered)


def _patterns(skip: Any) -> tuple[str, ...]:
    patterns = (skip,) if isinstance(skip, str) else skip
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(f"skip: expected patterns of names, got {skip!r}")
    return tuple(patterns)


def _prepare(src: Path, dst: Path, options: dict[str, Any]) -> None:
    """Make the folder, or refuse one with files that were made with other options."""
    folder = src if src.is_dir() else src.parent
    if dst.exists() and dst.samefile(folder):
        raise ValueError(f"dst: expected another folder than that of src, got {dst}")
    if dst.exists() and not dst.is_dir():
        raise ValueError(f"dst: expected a folder, got what is none: {dst}")
    dst.mkdir(parents=True, exist_ok=True)
    for path in [dst / INDEX, *dst.glob("*.qlite")]:
        if path.exists() and not path.is_symlink() and not path.is_file():
            raise ValueError(f"dst: expected files, got {kind(path)}: {path}")
    for path in dst.glob("*.qlite"):
        try:
            about = parse(container.read_description(path, follow_links=False), "the description").get("about")
            before = about["options"] if isinstance(about, dict) else None
        except (ValueError, KeyError, OSError):
            continue  # a damaged file, or a link, is written again
        if isinstance(before, dict) and before != options:
            names = sorted(name for name in {*before, *options} if before.get(name) != options.get(name))
            changes = ", ".join(f"{name} {before.get(name)!r} there and {options.get(name)!r} here" for name in names)
            raise ValueError(f"dst: expected a new folder or a run with the same options, got {dst} with {changes}")


def _refuse_failures(src: Path, dst: Path, broken: dict[str, str], outcomes: list[_Outcome]) -> None:
    bad = [outcome for outcome in outcomes if outcome.entry is None]
    if not broken and not bad:
        return
    done = len(outcomes) - len(bad)
    lines = [f"shard {shard}: {error}" for shard, error in broken.items()]
    lines += [f"tensor {o.tensor.name!r} in {Path(o.tensor.shard).name}: {o.error}" for o in bad]
    what = f"not everything in {src} can be quantized; {done} tensors are done in {dst}, and another run will not do "
    what += "them again; these are not:"
    raise ValueError("\n  ".join([f"src: {what if done else f'nothing in {src} can be quantized:'}", *lines]))


def _write_index(dst: Path, options: dict[str, Any], outcomes: list[_Outcome]) -> None:
    index = {"version": INDEX_VERSION, "options": options, "tensors": {o.tensor.name: o.entry for o in outcomes}}
    replace_file(dst / INDEX, json.dumps(index, indent=1, allow_nan=False).encode())


def _summary(dst: Path, scheme: str, outcomes: list[_Outcome]) -> CheckpointSummary:
    entries = {o.tensor.name: o.entry for o in outcomes if o.entry is not None}
    quantized = {name: entry["sqnr_db"] for name, entry in entries.items() if entry["quantized"]}
    return CheckpointSummary(
        os.fspath(dst),
        scheme,
        {name: math.inf if sqnr_db is None else sqnr_db for name, sqnr_db in quantized.items()},
        copied=len(entries) - len(quantized),
        skipped=sum(outcome.was_there for outcome in outcomes),
        bytes_before=sum(entry["source_bytes"] for entry in entries.values()),
        bytes_after=sum(entry["bytes"] for entry in entries.values()),
    )
