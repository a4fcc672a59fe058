"""MNIST in its formats, whole and damaged. Every file is made on the fly."""

import gzip
import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from samples import same_bytes

from qlite.io.mnist import load_mnist

MNIST = {"train-images-idx3-ubyte": (5, 28, 28), "train-labels-idx1-ubyte": (5,)}
MNIST |= {"t10k-images-idx3-ubyte": (3, 28, 28), "t10k-labels-idx1-ubyte": (3,)}
ARCHIVE_NAMES = ("x_train", "y_train", "x_test", "y_test")


# ---- four files -----------------------------------------------------------------------------------------------------


def idx_bytes(array):
    code = {"uint8": 0x08, "int32": 0x0C, "float32": 0x0D}[array.dtype.name]
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def draw(rng):
    return {name: rng.integers(0, 256 if len(shape) == 3 else 10, shape, np.uint8) for name, shape in MNIST.items()}


def write_mnist(folder, rng, rename=lambda name: name, packed=bytes):
    arrays = draw(rng)
    for name, array in arrays.items():
        (folder / rename(name)).write_bytes(packed(idx_bytes(array)))
    return arrays


@pytest.mark.parametrize(
    "rename, packed",
    [
        (lambda name: name, bytes),
        (lambda name: name.replace("-idx", ".idx"), bytes),
        (lambda name: f"{name}.gz", gzip.compress),
        (lambda name: f"{name.replace('-idx', '.idx')}.gz", bytes),
    ],
    ids=["dash", "dot", "dash gz", "dot gz, not gzipped"],
)
def test_load_mnist(tmp_path, rng, rename, packed):
    arrays = write_mnist(tmp_path, rng, rename, packed)
    parts = load_mnist(tmp_path)
    for name, got in zip(MNIST, parts, strict=True):
        if "images" in name:
            same_bytes(got, arrays[name].reshape(-1, 784).astype(np.float32) / np.float32(255))
        else:
            same_bytes(got, arrays[name].astype(np.int64))
    assert parts[0].min() >= 0 and parts[0].max() <= 1


@pytest.mark.parametrize("name", MNIST)
def test_load_mnist_lists_what_it_looked_for(tmp_path, rng, name):
    write_mnist(tmp_path, rng)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_mnist(str(tmp_path))
    for sought in (name, name.replace("-idx", ".idx"), f"{name}.gz", f"{name.replace('-idx', '.idx')}.gz"):
        assert f"{sought}," in f"{error.value},"
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    "name, array, said",
    [
        ("train-labels-idx1-ubyte", np.zeros(4, np.uint8), "a label for each of 5 images, got 4"),
        ("t10k-labels-idx1-ubyte", np.zeros(5, np.uint8), "a label for each of 3 images, got 5"),
        ("train-labels-idx1-ubyte", np.zeros(5, np.int32), r"uint8 of 1 dimensions, got int32 \(5,\)"),
        ("train-images-idx3-ubyte", np.zeros((5, 784), np.uint8), r"uint8 of 3 dimensions, got uint8 \(5, 784\)"),
        ("train-images-idx3-ubyte", np.zeros((5, 28, 28), np.float32), "uint8 of 3 dimensions, got float32"),
        ("t10k-images-idx3-ubyte", np.zeros((3, 28, 27), np.uint8), "784 pixels per image, got 756"),
    ],
)
def test_load_mnist_refuses_what_does_not_belong_together(tmp_path, rng, name, array, said):
    write_mnist(tmp_path, rng)
    (tmp_path / name).write_bytes(idx_bytes(array))
    with pytest.raises(ValueError, match=said) as error:
        load_mnist(tmp_path)
    assert str(error.value).startswith(str(tmp_path / name))


# ---- an archive -----------------------------------------------------------------------------------------------------


def archive_of(rng):
    return dict(zip(ARCHIVE_NAMES, draw(rng).values(), strict=True))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("is_folder", [True, False])
def test_load_keras_archive(tmp_path, rng, save, is_folder):
    arrays = archive_of(rng)
    save(tmp_path / "mnist.npz", **arrays)
    x, y, x_test, y_test = load_mnist(tmp_path if is_folder else tmp_path / "mnist.npz")
    same_bytes(x, arrays["x_train"].reshape(5, 784).astype(np.float32) / np.float32(255))
    same_bytes(y, arrays["y_train"].astype(np.int64))
    assert x_test.shape == (3, 784) and y_test.shape == (3,)


def test_archives_of_other_orders(tmp_path, rng):
    arrays = archive_of(rng)
    np.savez(tmp_path / "mnist.npz", **arrays | {"x_train": np.asfortranarray(arrays["x_train"])})
    same_bytes(load_mnist(tmp_path)[0], arrays["x_train"].reshape(5, 784).astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"y_test": np.zeros(5, np.uint8)}, "y_test: expected a label for each of 3 images, got 5"),
        ({"x_train": np.zeros((5, 28, 28))}, "x_train: expected uint8 of 3 dimensions, got float64"),
        ({"x_train": np.array([{}], object)}, "x_train: expected an array of numbers, got"),
        ({"x_test": np.zeros((3, 28, 27), np.uint8)}, "x_test: expected 784 pixels per image, got 756"),
    ],
)
def test_archives_that_do_not_fit_are_refused(tmp_path, rng, changed, said):
    np.savez(tmp_path / "mnist.npz", **archive_of(rng) | changed)
    with pytest.raises(ValueError, match=said):
        load_mnist(tmp_path)


def test_archives_without_an_array_are_refused(tmp_path, rng):
    np.savez(tmp_path / "mnist.npz", x_train=np.zeros((5, 28, 28), np.uint8))
    with pytest.raises(ValueError, match=r"expected the array 'y_train', got an archive of x_train\.npy"):
        load_mnist(tmp_path)


def npy_bytes(shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize("shape", [(2**40,), (2**62, 2**62), (6, 28, 28)], ids=str)
def test_archives_that_declare_more_than_they_hold_cost_nothing(tmp_path, rng, shape):
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w") as archive:
        archive.writestr("x_train.npy", npy_bytes(shape) + bytes(5 * 784))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"x_train: expected .* bytes for uint8"):
            load_mnist(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_header_that_ends_too_soon_is_refused(tmp_path):
    header = npy_bytes((5, 28, 28))
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w") as archive:
        archive.writestr("x_train.npy", header[:-2].rstrip() + b"(".ljust(len(header) - len(header[:-2].rstrip())))
    with pytest.raises(ValueError, match=r"x_train: expected an array of numbers"):
        load_mnist(tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_archives_are_refused_or_read(tmp_path, seed):
    rng = np.random.default_rng(seed)
    arrays = archive_of(np.random.default_rng(0))
    np.savez_compressed(tmp_path / "mnist.npz", **arrays)
    content = bytearray((tmp_path / "mnist.npz").read_bytes())
    for place in rng.integers(len(content), size=3):
        content[place] ^= 1 << rng.integers(8)
    (tmp_path / "mnist.npz").write_bytes(content)
    try:
        x = load_mnist(tmp_path)[0]
    except ValueError as error:
        assert str(error).startswith(f"{tmp_path}")
    else:  # a byte that says nothing of the arrays
        same_bytes(x, arrays["x_train"].reshape(5, 784).astype(np.float32) / np.float32(255))


def test_no_archive_and_no_folder(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="expected an intact archive"):
        load_mnist(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"or mnist\.npz, got none"):
        load_mnist(tmp_path / "missing")
