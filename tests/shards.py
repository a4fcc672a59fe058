"""Safetensors shards, written by hand: with dtypes that NumPy lacks, and as broken as a test wants them."""

import json

import numpy as np

DTYPES = {"f2": "F16", "f4": "F32", "f8": "F64", "i4": "I32", "i8": "I64", "u1": "U8", "b1": "BOOL", "c8": "C64"}


class Bits:
    """A tensor by the name of its dtype and the integers that hold its bits."""

    def __init__(self, dtype, bits):
        self.dtype, self.bits = dtype, bits


def bfloat16(x):
    """The upper half of float32, rounded toward zero."""
    return Bits("BF16", (np.asarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16))


def shard_bytes(tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Bits):
            tensor = Bits(DTYPES[tensor.dtype.str[1:]], tensor)
        content = tensor.bits.tobytes()
        place = [len(data), len(data) + len(content)]
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.bits.shape), "data_offsets": place}
        data += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def write_checkpoint(folder, shards, index=False):
    """A folder of shards, a dict of tensors each, with or without Hugging Face's index; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard, tensors in shards.items():
        (folder / shard).write_bytes(shard_bytes(tensors))
    if index:
        places = {name: shard for shard, tensors in shards.items() for name in tensors}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def two_shards(rng):
    """A small model: weights, biases and what else stands in checkpoints."""
    return {
        "model-00001-of-00002.safetensors": {
            "embed.weight": rng.normal(size=(40, 24)).astype(np.float32),
            "layers.0.weight": bfloat16(rng.normal(size=(32, 24))),
            "layers.0.bias": bfloat16(rng.normal(size=32)),
        },
        "model-00002-of-00002.safetensors": {
            "layers.1.weight": rng.normal(size=(16, 32)).astype(np.float16),
            "layers.1.bias": rng.normal(size=16),
            "head.weight": rng.normal(size=(10, 16)),
            "positions": np.arange(6).reshape(2, 3),
        },
    }


def contents(folder):
    """The bytes of each file."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
