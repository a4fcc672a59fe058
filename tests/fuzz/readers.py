"""The readers of files, what a whole file of each looks like, and ways to tamper with it.

As a script it is the child process: `readers.py READER FOLDER SECONDS SEED`. A reader gives what is in the file, or
raises one of a few errors that name the file; soon, and within the file's size and `ALLOWANCE` bytes.
"""

import copy
import gzip
import json
import re
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

import numpy as np

import qlite as ql
from qlite.io import container
from qlite.io.array_file import save_arrays
from qlite.io.idx import read_idx
from qlite.io.mnist import load_mnist
from qlite.io.shards import find_tensors

#: Bytes of memory beyond the file's size.
ALLOWANCE = 64 << 20
#: Seconds that a file of a few kilobytes may take, on a machine that has other work.
PATIENCE = 5.0
#: Elements of what is computed from a file that loads.
MOST_ELEMENTS = 1 << 20
NASTY = [0, 1, -1, 2, 3, 63, 64, 127, 255, 256, 2**15, 2**24, 2**31 - 1, 2**31, 2**32, 2**40, 2**48 - 1, 2**62, 2**63]
NASTY += [
    2**64 - 1,
    10**30,
    0.5,
    1e300,
    1e-45,
    None,
    True,
    False,
    "",
    "a",
    "float32",
    "../a",
    [],
    {},
    [2**40],
    [1] * 70,
]
SIZES = [n for n in NASTY if type(n) is int and 0 <= n < 2**64]
DTYPES = "?bBhHiIqQefdF"


# ---- whole files: a function of a folder that writes some there ------------------------------------------------------


def arrays(folder):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(6, 40))
    made = [
        ql.quantize(w, 4, axis=0, group_size=8, symmetric=False),
        ql.quantize(w, 3, axis=0, group_size=16, scale_dtype="uint8"),
        ql.quantize(w, grid="mxfp4"),
        ql.quantize(w, 2, grid="kmeans", axis=0),
        ql.quantize(w, 12, axis=1, scale_dtype="float16"),
        ql.quantize(w, 1, grid="sign", axis=0),
    ]
    for i, q in enumerate(made):
        q.save(folder / f"{i}")
    save_arrays(folder / "many", {"a": made[0], "b": w.astype(np.float32), "c": made[3]})


def branched():
    """A graph with two outputs: a convolution whose result is pooled, added and joined."""
    x = ql.Input((6, 6, 2))
    y = ql.Conv2D(filters=3, kernel_size=3, padding="same", activation="relu")(x)
    z = ql.Add()(y, ql.DepthwiseConv2D(kernel_size=3, padding="same")(y))
    joined = ql.Concatenate()(z, ql.MaxPool(3, stride=1, padding="same")(y))
    return ql.Model(x, [ql.Dense(units=2)(ql.GlobalAveragePool()(joined)), ql.AveragePool(2)(joined)])


def models(folder):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6))
    layers = [(rng.normal(size=(6, 9)), rng.normal(size=9)), (rng.normal(size=(9, 4)), rng.normal(size=4))]
    model = ql.from_weights(layers, classes=["a", "b", "cc", "d"])
    scaled = ql.Sequential(model.layers, mean=x.mean(0), scale=x.std(0))
    for scheme in ("w8a8", "dynamic", "w8"):
        ql.quantize_model(model, scheme, data=x).save(folder / scheme)
    ql.quantize_model(scaled, data=x, target="tflite").save(folder / "tflite")
    graph, images = branched(), rng.normal(size=(20, 6, 6, 2))
    for scheme in ("w8a8", "dynamic", "w4"):
        ql.quantize_model(graph, scheme, data=images).save(folder / f"graph_{scheme}")


def float_models(folder):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 6)), rng.integers(0, 4, 50)
    layers = [ql.Dense(units=9), ql.BatchNorm(), ql.Activation("leaky_relu"), ql.Dropout(0.1), ql.Flatten()]
    layers += [ql.Dense(units=4), ql.Softmax()]
    model = ql.Sequential(layers, input_shape=(6,), mean=x.mean(0), scale=x.std(0), classes=["a", "b", "cc", "d"])
    model.save(folder / "float")
    branched().save(folder / "graph")
    for scheme in ("w4a4", "w4g8"):
        ql.train(model, x, model.classes[y], epochs=1, scheme=scheme).save(folder / scheme)


def shards(folder):
    from safetensors.numpy import save_file

    tensors = {"w": np.ones((4, 3)), "b": np.ones(4, np.float16), "i": np.arange(6).reshape(2, 3), "e": np.ones((0, 3))}
    save_file(tensors, folder / "shard")


def indexes(folder):
    shards(folder)
    (folder / "shard").rename(folder / "m.safetensors")
    ql.quantize_checkpoint(folder, folder / "small", "w4")
    (folder / "m.safetensors").unlink()
    for path in (folder / "small").iterdir():
        path.rename(folder / path.name)
    (folder / "small").rmdir()


def images(folder):
    head = bytes([0, 0, 8, 3]) + np.array([5, 4, 3], ">u4").tobytes()
    (folder / "plain").write_bytes(head + bytes(60))
    (folder / "floats").write_bytes(bytes([0, 0, 13, 1, 0, 0, 0, 9]) + bytes(36))
    (folder / "zipped").write_bytes(gzip.compress(head + bytes(60)))


def archives(folder):
    x, y = np.zeros((5, 4, 3), np.uint8), np.zeros(5, np.uint8)
    for save in (np.savez, np.savez_compressed):
        save(folder / f"{save.__name__}.npz", x_train=x, y_train=y, x_test=x, y_test=y)


def calibrators(folder):
    c = ql.Calibrator(axis=1, momentum=0.1).update(np.random.default_rng(0).normal(size=(4, 3)))
    (folder / "state").write_text(c.to_json())


def networks(folder):
    """TensorFlow Lite files: of floats, of codes, and of sparse weights in half precision."""
    rng = np.random.default_rng(0)
    graph = branched()
    image = ql.Input((4, 4, 4))
    first, second = ql.Split(2, axis=2)(ql.PReLU(np.full(4, 0.2))(ql.Pad([(1, 1), (0, 2), (0, 0)])(image)))
    product = ql.Multiply()(first, ql.Activation("sigmoid")(second))
    moves = ql.Model(image, ql.Mean((0, 1))(ql.Transpose((1, 0, 2))(ql.ResizeBilinear((5, 7))(product))))
    for name, model in (("graph", graph), ("moves", moves)):
        model.to_tflite(folder / name)
        x = rng.normal(size=(20, *model.input_shape))
        ql.quantize_model(model, data=x, target="tflite").to_tflite(folder / f"{name}_int8")
    words = ql.Input((5,), dtype="int32")
    vectors = ql.LayerNorm(rng.normal(size=6), rng.normal(size=6))(ql.Embedding(rng.normal(size=(9, 6)))(words))
    ql.Model(words, ql.Activation("softplus")(vectors)).to_tflite(folder / "words")
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from litert_file import Operator, Sparse, Tensor
    from litert_file import model as file_of

    weights = np.kron(np.eye(3, 2), np.ones((1, 4))).astype(np.float16)
    stored, dense = Sparse.of(weights, 4), Tensor(weights.shape, np.float16)
    floats, x, y = (Tensor(shape, np.float32) for shape in ((3, 8), (1, 8), (1, 3)))
    operators = [Operator("DENSIFY", [stored], dense), Operator("DEQUANTIZE", [dense], floats, {}, 3)]
    operators.append(Operator("FULLY_CONNECTED", [x, floats], y))
    (folder / "sparse").write_bytes(file_of(operators, [x]))


# ---- readers: a function of a path -----------------------------------------------------------------------------------


def read_container(path):
    content = ql.load(path)
    for value in content.values() if isinstance(content, dict) else [content]:
        if isinstance(value, ql.QArray) and value.size < MOST_ELEMENTS:
            np.asarray(value)
        elif isinstance(value, ql.QModel):
            shape = value.program.buffers[value.program.inputs[0]].shape
            if np.prod(shape, dtype=np.float64) < MOST_ELEMENTS:
                value(np.ones((3, *shape), np.float32))


def read_float_model(path):
    """A float model, which is run and, where it has grids, becomes integers or is refused."""
    model = ql.load(path)
    shapes = model.inputs.values()
    if max(np.prod(shape, dtype=np.float64) for shape in (*shapes, *model.shapes.values())) < MOST_ELEMENTS:
        with np.errstate(all="ignore"):
            model({name: np.ones((3, *shape), np.float32) for name, shape in model.inputs.items()})
    if model.grids is not None:
        with suppress(ValueError):  # of scales that no integers can have, say
            ql.quantize_model(model)


def read_network(path):
    """A network, which is run where it is small and reads floats."""
    model = ql.from_tflite(path)
    if isinstance(model, ql.QModel):
        shapes = [buffer.shape for buffer in model.program.buffers]
        reads_floats = True
    else:
        shapes = [*model.inputs.values(), *model.shapes.values()]
        reads_floats = all(layer.kind != "embedding" for layer in model.layers)
    if reads_floats and max(np.prod(shape, dtype=np.float64) for shape in shapes) < MOST_ELEMENTS:
        with np.errstate(all="ignore"), suppress(MemoryError):  # of windows that reach far, say
            model({name: np.ones((3, *shape), np.float32) for name, shape in model.inputs.items()})


def read_shard(path):
    tensors, broken = find_tensors(path)
    for tensor in tensors:
        tensor.read()
    if broken:
        raise ValueError(f"{path}: {broken}")


def read_index(path):
    """The folder of a checkpoint, of which one file was tampered with."""
    if path.name.endswith(".json"):
        path = path.rename(path.parent / "qlite.index.json")
    for name, tensor in (loaded := ql.load(path.parent)).items():
        assert name in loaded and tensor.shape is not None


def read_state(path):
    try:
        ql.Calibrator.from_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


READERS = {
    "array": (arrays, read_container),
    "model": (models, read_container),
    "float_model": (float_models, read_float_model),
    "shard": (shards, read_shard),
    "index": (indexes, read_index),
    "idx": (images, read_idx),
    "npz": (archives, load_mnist),
    "tflite": (networks, read_network),
    "calibrator": (calibrators, read_state),
}


# ---- tampering -------------------------------------------------------------------------------------------------------


def with_other_bytes(content, rng):
    """A few bytes changed, cut off, put in or doubled."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(content) + 1))
        match rng.integers(5):
            case 0 if place < len(content):
                content[place] ^= 1 << rng.integers(8)
            case 1:
                del content[place:]
            case 2:
                content[place:place] = rng.bytes(int(rng.integers(1, 9)))
            case 3:
                number = SIZES[rng.integers(len(SIZES))]
                content[place : place + 8] = number.to_bytes(8, ("little", "big")[rng.integers(2)])
            case _:
                content[place:place] = content[place : place + int(rng.integers(1, 64))]
    return bytes(content)


def with_other_number(content, rng):
    """A number in a text replaced."""
    places = list(re.finditer(rb"\d+", content))
    if not places:
        return content
    place = places[rng.integers(len(places))]
    other = json.dumps(NASTY[rng.integers(len(NASTY))]).encode()
    return content[: place.start()] + other + content[place.end() :]


def with_other_word(content, rng):
    """A few numbers of a TensorFlow Lite file, or of what points from table to table, replaced."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        width = int(2 ** rng.integers(4))
        place = int(rng.integers(len(content) // width)) * width
        number = int.from_bytes(content[place : place + width], "little")
        match rng.integers(4):
            case 0:
                number += int(rng.integers(-8, 9))
            case 1:
                number = SIZES[rng.integers(len(SIZES))]
            case 2:
                number = -SIZES[rng.integers(len(SIZES))]
            case _:
                other = int(rng.integers(len(content) // width)) * width
                number = int.from_bytes(content[other : other + width], "little")
        content[place : place + width] = (number % 256**width).to_bytes(width, "little")
    return bytes(content)


def nodes(value):
    """All places of a JSON value that can be replaced: (container, key)."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from nodes(value[key])


def with_other_value(value, rng):
    """A JSON value with one part replaced, dropped, doubled or put elsewhere; in place."""
    for _ in range(rng.integers(1, 3)):
        places = list(nodes(value))
        if not places:
            return
        (parent, key), (other_parent, other_key) = (places[i] for i in rng.integers(len(places), size=2))
        match rng.integers(5):
            case 0:
                del parent[key]
            case 1:
                parent[key] = copy.deepcopy(other_parent[other_key])
            case 2 if isinstance(parent, list):
                parent.insert(key, copy.deepcopy(parent[key]))
            case 3 if type(parent[key]) is int:
                parent[key] = SIZES[rng.integers(len(SIZES))]
            case _:
                parent[key] = copy.deepcopy(NASTY[rng.integers(len(NASTY))])


def with_other_content(path, rng):
    """A container whose description or tensors were changed by somebody who made its digest right."""
    text, tensors = container.read(path)
    description = json.loads(text)
    if rng.integers(4) and description:
        with_other_value(description, rng)
    elif tensors:
        name = sorted(tensors)[rng.integers(len(tensors))]
        tensor = tensors.pop(name)
        match rng.integers(4):
            case 0:
                tensors[name] = tensor[:-1] if tensor.ndim else tensor
            case 1:
                tensors[name] = rng.permuted(tensor.ravel()).reshape(tensor.shape[::-1])
            case 2:
                dtype = np.dtype(DTYPES[rng.integers(len(DTYPES))])
                tensors[name] = np.frombuffer(
                    tensor.tobytes()[: tensor.nbytes // dtype.itemsize * dtype.itemsize], dtype
                )
            case _:
                tensors[name] = np.frombuffer(rng.bytes(tensor.nbytes), tensor.dtype).reshape(tensor.shape)
    container.write(path, json.dumps(description), tensors)


def tamper(path, rng):
    """Change a file."""
    content = path.read_bytes()
    is_tables = content[4:8] == b"TFL3"
    is_container = b'"__metadata__":{"digest"' in content[:200]
    choice = rng.integers(4)
    if is_container and choice > 0:
        with_other_content(path, rng)
    elif content[:1] == b"{" and choice > 0:
        value = json.loads(content)
        with_other_value(value, rng)
        path.write_text(json.dumps(value))
    elif choice > 0 and is_tables:
        path.write_bytes(with_other_word(content, rng))
    elif choice > 1 and not is_container:
        path.write_bytes(with_other_number(content, rng))
    else:
        path.write_bytes(with_other_bytes(content, rng))


# ---- the child process -----------------------------------------------------------------------------------------------


def limit_memory(nbytes):
    """Let this process have that many bytes more than it has."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + nbytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def fault(read, path):
    """What is wrong with the way in which a reader takes a file, in words; None if nothing is."""
    start = time.perf_counter()
    try:
        read(path)
    except (ValueError, OSError) as error:
        if str(path.parent) not in str(error):
            return "".join(traceback.format_exception(error))
    except BaseException as error:
        return "".join(traceback.format_exception(error))
    seconds = time.perf_counter() - start
    return f"it took {seconds:.1f} s" if seconds > PATIENCE else None


def main(name, folder, seconds, seed):
    make, read = READERS[name]
    folder, rng = Path(folder), np.random.default_rng(seed)
    ql.set_num_threads(1)
    whole = folder / "whole"
    whole.mkdir()
    make(whole)
    contents = {path.name: path.read_bytes() for path in sorted(whole.iterdir())}
    work = folder / "work"
    work.mkdir()

    def lay_out():
        for path in work.iterdir():
            path.unlink()
        for file, content in contents.items():
            (work / file).write_bytes(content)

    for file in contents:
        lay_out()
        if error := fault(read, work / file):
            raise SystemExit(f"{name}: the whole file {file}: {error}")
    if sys.platform == "linux":
        limit_memory(ALLOWANCE + max(map(len, contents.values())))
    end, tried, faults = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end and faults < 5:
        lay_out()
        path = work / list(contents)[rng.integers(len(contents))]
        try:
            tamper(path, rng)
        except ValueError:  # no file can be made of that
            continue
        content = path.read_bytes()
        tried += 1
        if error := fault(read, path):
            faults += 1
            (folder / f"fault_{faults}").write_bytes(content)
            print(f"{name}: {path.name}, kept as {folder / f'fault_{faults}'}: {error}")
    print(f"{name}: {tried:,} files, {faults} gave way")
    raise SystemExit(faults > 0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
