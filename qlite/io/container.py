"""The container of qlite's files: safetensors, whose metadata holds a JSON description and a digest.

``__metadata__`` holds ``qlite``, the description, and ``digest``, a SHA-256 of the description and of all tensors, so
that a changed byte is found. Reading runs no code.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from qlite.io.atomic_file import replace_file
from qlite.io.strict_json import parse

#: Bytes of the longest header that is read; a description of a thousand layers has about a megabyte.
MAX_HEADER = 8 << 20


def write(path: Any, description: str, tensors: dict[str, np.ndarray]) -> None:
    """Write a description and the arrays that it speaks of."""
    from safetensors.numpy import save as to_bytes

    metadata = {"qlite": description, "digest": _digest(description, tensors)}
    content = memoryview(to_bytes(tensors, metadata))
    length = int.from_bytes(content[:8], "little")
    replace_file(Path(os.path.realpath(path)), _ordered(bytes(content[8 : 8 + length])), content[8 + length :])


def read(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """The description and the tensors, unchanged since they were written; the file's bytes are gone on return."""
    data = path.read_bytes()
    description, digest = _metadata(data)
    tensors = _tensors(data)
    if _digest(description, tensors) != digest:
        raise ValueError("the digest does not match: the file was changed or damaged")
    return description, tensors


def read_description(path: Path) -> str:
    """The description alone, unchecked: the digest needs the whole file."""
    with open(path, "rb") as file:
        head = file.read(8)
        return _metadata(head + file.read(min(int.from_bytes(head, "little"), MAX_HEADER)))[0]


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


def _metadata(data: bytes) -> tuple[str, str]:
    """The description and the digest, once the file's outer form is right."""
    if len(data) < 8:
        raise ValueError(f"expected at least 8 bytes, got {len(data)}")
    length = int.from_bytes(data[:8], "little")
    if length > min(len(data) - 8, MAX_HEADER):
        raise ValueError(f"the header should have {length} bytes, of {len(data) - 8} in the file (limit {MAX_HEADER})")
    metadata = parse(data[8 : 8 + length], "the header").get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("qlite"), str):
        raise ValueError("it is a safetensors file without a qlite description")
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
