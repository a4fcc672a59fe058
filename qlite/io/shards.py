"""Safetensors shards as other tools write them, read tensor by tensor.

The package `safetensors` checks each header: that it is whole and covers the file without gaps. A tensor is then read
from its offset, so no shard is ever read or mapped as a whole, and dtypes that NumPy lacks come out too.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qlite.io.container import expect_whole, header_length
from qlite.io.regular_file import open_regular, read_regular
from qlite.io.strict_json import parse

#: NumPy's dtype for the bits of each of the format's dtypes: integers for bfloat16 and floats of 8 bits.
HOLDERS = {
    "BOOL": "?",
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    "C64": "<c8",
    "BF16": "<u2",
    **{f"F8_{kind}": "u1" for kind in ("E4M3", "E5M2", "E8M0", "E4M3FNUZ", "E5M2FNUZ")},
}
#: Dtypes of weights that are not quantized yet.
FLOATS = ("F64", "F32", "F16", "BF16")
#: Dtypes of codes, in matrices of weights that are quantized already; integers of 64 bits are indices and positions.
CODES = tuple(name for name in HOLDERS if name.strip("UI") in ("8", "16", "32") or name.startswith("F8_"))
#: Parts of the names of scales and their like, which belong to codes wherever these are.
SCALE_NAMES = re.compile(r"scale|absmax|zeros?$|zero_?points?$|codebook|quant_map")
#: Bytes of the longest header that the package `safetensors` reads.
MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class ShardTensor:
    """A tensor of a shard; its first byte is at `offset` in the file."""

    shard: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    shard_size: int
    shard_time: int  # of the last change, in nanoseconds

    @property
    def origin(self) -> list[str | int]:
        """Identity of the tensor's bytes: another shard, or one that was changed, gives another list."""
        return [Path(self.shard).name, self.shard_size, self.shard_time, self.dtype, self.offset, *self.shape]

    def read(self) -> np.ndarray:
        """The tensor, in the dtype that holds its bits."""
        if self.dtype not in HOLDERS:
            raise ValueError(f"expected one of the dtypes {', '.join(HOLDERS)}, got {self.dtype}")
        tensor = np.empty(self.shape, HOLDERS[self.dtype])
        with open_regular(Path(self.shard)) as file:
            file.seek(self.offset)
            left = tensor.reshape(-1).view(np.uint8).data
            while left:
                count = file.readinto(left)
                if not count:
                    raise ValueError("the shard has become shorter")
                left = left[count:]
        return tensor


def widened(tensor: np.ndarray, dtype: str) -> np.ndarray:
    """The values of a tensor whose bits `read` gave: bfloat16 becomes float32, of which it is the upper half."""
    if dtype != "BF16":
        return tensor
    bits = tensor.astype(np.uint32)
    bits <<= 16
    return bits.view(np.float32)


def of_quantized(tensors: Iterable[ShardTensor]) -> set[str]:
    """Names of the floats that belong to weights which are quantized already: their scales, zero points, codebooks.

    They are named as such, or stand in one module with a matrix of codes: ``layer.scales`` with ``layer.qweight``,
    ``layer.weight_scale_inv`` with a ``layer.weight`` of 8-bit floats, ``experts_bias`` with ``experts_blocks``.
    """
    tensors = list(tensors)
    codes = [t.name for t in tensors if t.dtype in CODES and len(t.shape) > 1]
    coded = {*codes, *map(_module, codes)} - {""}
    floats = [t.name for t in tensors if t.dtype in FLOATS]
    return {name for name in floats if _module(name) in coded or SCALE_NAMES.search(name.rpartition(".")[2])}


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def find_tensors(src: Path, follow_links: bool = False) -> tuple[list[ShardTensor], dict[str, str]]:
    """All tensors of a shard or of a folder of shards, and an error for each shard that is broken.

    A shard is a regular file, or, if these shall be followed, a symbolic link to one.
    """
    if not src.exists():
        raise FileNotFoundError(f"src: expected a folder of safetensors files, or one of them, got nothing at {src}")
    is_folder = src.is_dir()
    follow_links |= not is_folder  # a name that the caller gave
    folder, shards, index = (src, *_listed(src, follow_links)) if is_folder else (src.parent, [src.name], None)
    if not shards:
        raise ValueError(f"src: expected *.safetensors in {src}, got none")
    found: dict[str, ShardTensor] = {}
    broken: dict[str, str] = {}
    for shard in shards:
        try:
            tensors = _tensors(folder / shard, follow_links)
        except ValueError as error:
            broken[shard] = str(error)
            continue
        except OSError as error:
            broken[shard] = error.strerror or str(error)
            continue
        if index is not None:
            tensors = [t for t in tensors if index.get(t.name) == shard]
            missing = {name for name, file in index.items() if file == shard} - {t.name for t in tensors}
            if missing:
                broken[shard] = f"{len(missing)} tensors that the index names are not in it, such as {min(missing)!r}"
        for tensor in tensors:
            if tensor.name in found:
                other = Path(found[tensor.name].shard).name
                raise ValueError(f"src: expected each tensor once, got {tensor.name!r} in both {other} and {shard}")
            found[tensor.name] = tensor
    return list(found.values()), broken


def _listed(folder: Path, follow_links: bool) -> tuple[list[str], Mapping[str, str] | None]:
    """The names of a folder's shards, and its index from tensors to shards, if there is one."""
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    if not indexes:
        return sorted(path.name for path in folder.glob("*.safetensors")), None
    if len(indexes) > 1:
        raise ValueError(f"src: expected one index in {folder}, got {', '.join(path.name for path in indexes)}")
    try:
        content = read_regular(indexes[0], follow_links)
    except OSError as error:
        raise OSError(f"src: {error}") from None
    index = parse(content, f"src: {indexes[0]}").get("weight_map")
    if not isinstance(index, dict) or not all(_is_plain(shard) for shard in index.values()):
        raise ValueError(f"src: expected a weight_map from tensors to files of the folder in {indexes[0]}")
    return sorted(set(index.values())), index


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)


def _tensors(shard: Path, follow_links: bool) -> list[ShardTensor]:
    from safetensors import SafetensorError, safe_open

    with open_regular(shard, follow_links) as file:
        status = os.fstat(file.fileno())
        length = header_length(file, MAX_HEADER)
        header = parse(file.read(length), "the header")
        expect_whole(file, length, header)
        try:
            with safe_open(shard, "numpy"):
                pass
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    header.pop("__metadata__", None)
    tensors = []
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        position = (8 + length + first, end - first, status.st_size, status.st_mtime_ns)
        tensors.append(ShardTensor(str(shard), name, entry["dtype"], tuple(entry["shape"]), *position))
    return sorted(tensors, key=lambda tensor: tensor.offset)
