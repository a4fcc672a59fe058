"""The container of qlite's files: safetensors, whose metadata holds a JSON description and a digest.

``__metadata__`` holds ``qlite``, the description, and ``digest``, a SHA-256 of the description and of all tensors, so
that a changed byte is found. Reading runs no code.
"""

import hashlib
import json
import os
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from qlite.io.atomic_file import replace_file
from qlite.io.regular_file import format_of, open_regular
from qlite.io.strict_json import parse

#: Bytes of the longest header that is read; a description of a thousand layers has about a megabyte.
MAX_HEADER = 8 << 20
#: Bytes that tell another format: the start of a ZIP archive with the name of its first member.
MAX_MAGIC = 300


def write(path: Path, description: str, tensors: dict[str, np.ndarray], follow_links: bool = True) -> None:
    """Write a description and the arrays that it speaks of; a link that is not followed is replaced by the file."""
    from safetensors.numpy import save as to_bytes

    metadata = {"qlite": description, "digest": _digest(description, tensors)}
    content = memoryview(to_bytes(tensors, metadata))
    length = int.from_bytes(content[:8], "little")
    header = _ordered(bytes(content[8 : 8 + length]))
    if len(header) > 8 + MAX_HEADER:
        raise ValueError(f"expected a description of at most {MAX_HEADER} bytes, got {len(header) - 8}")
    replace_file(Path(os.path.realpath(path)) if follow_links else path, header, content[8 + length :])


def read(path: Path, follow_links: bool = True) -> tuple[str, dict[str, np.ndarray]]:
    """The description and the tensors, unchanged since they were written; the file's bytes are gone on return."""
    with open_regular(path, follow_links) as file:
        description, digest = _metadata(file)
        file.seek(0)
        data = file.read()
    tensors = _tensors(data)
    if _digest(description, tensors) != digest:
        raise ValueError("the digest does not match: the file was changed or damaged")
    return description, tensors


def read_description(path: Path, follow_links: bool = True) -> str:
    """The description alone, unchecked: the digest needs the whole file."""
    with open_regular(path, follow_links) as file:
        return _metadata(file)[0]


def _ordered(header: bytes) -> bytes:
    """The start of a file, with sorted metadata, whose order safetensors leaves to chance."""
    content = json.loads(header)
    content["__metadata__"] = dict(sorted(content["__metadata__"].items()))
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _digest(description: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def header_length(file: BufferedReader, limit: int) -> int:
    """The length of the header that follows, held against the file's size; ValueError says what else the file is."""
    left, head = os.fstat(file.fileno()).st_size - 8, file.read(8)
    length = int.from_bytes(head, "little")
    if len(head) == 8 and length <= min(left, limit):
        return length
    found = format_of(head + file.read(MAX_MAGIC))
    if found is not None:
        raise ValueError(f"it is {found}")
    if len(head) < 8:
        raise ValueError(f"expected at least 8 bytes, got {len(head)}")
    raise ValueError(f"the header should have {length} bytes, of {left} in the file (limit {limit})")


def expect_whole(file: BufferedReader, length: int, header: dict[str, Any]) -> None:
    """Refuse a file that ends before the last of the tensors that its header of so many bytes tells of."""
    offsets = [entry.get("data_offsets") for entry in header.values() if isinstance(entry, dict)]
    ends = [pair[1] for pair in offsets if isinstance(pair, list) and len(pair) == 2 and type(pair[1]) is int]
    expected, found = 8 + length + max(ends, default=0), os.fstat(file.fileno()).st_size
    if found < expected:
        raise ValueError(f"expected {expected:,} bytes, as its header says, got {found:,}: it was cut off")


def _metadata(file: BufferedReader) -> tuple[str, str]:
    """The description and the digest, once the file's outer form is right."""
    length = header_length(file, MAX_HEADER)
    header = parse(file.read(length), "the header")
    expect_whole(file, length, header)
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("qlite"), str):
        raise ValueError("it is a safetensors file without a qlite description: qlite.quantize_checkpoint takes those")
    if set(metadata) != {"qlite", "digest"}:
        raise ValueError(f"expected the metadata qlite and digest, got {sorted(metadata)}")
    return metadata["qlite"], metadata["digest"]


def _tensors(data: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(data)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"the tensors cannot be read ({error})") from None
