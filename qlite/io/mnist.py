"""MNIST and the data sets in its format: four IDX files, or Keras' archive ``mnist.npz``."""

import math
import os
from pathlib import Path

import numpy as np

from qlite import _check
from qlite.io.idx import read_idx
from qlite.io.npz import read_npz

_ARCHIVE = "mnist.npz"


def load_mnist(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Load MNIST, or a data set in its format.

    It is a folder with the four files ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
    ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte`` (``.idx`` for ``-idx`` is as good, and so is ``.gz`` at
    the end), or with Keras' ``mnist.npz``, or such an archive itself.

    Parameters
    ----------
    path : path-like
        The folder, or the archive.

    Returns
    -------
    x_train, y_train, x_test, y_test : ndarray
        Images as float32 in [0, 1], one row each (``(n, 784)`` for 28 x 28 pixels); labels as int64.

    Raises
    ------
    FileNotFoundError
        A file is missing; the message lists the names that were looked for.
    ValueError
        A file is damaged, does not hold images or labels, or the files don't belong together.
    """
    path = _check.path("path", path)
    archive = path / _ARCHIVE if path.is_dir() else path
    if archive.is_file():
        names = ("x_train", "y_train", "x_test", "y_test")
        arrays, sources = read_npz(archive, names), [f"{archive}: {name}" for name in names]
    else:
        paths = [_find(path, f"{part}-{kind}") for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
        arrays, sources = [read_idx(p) for p in paths], [str(p) for p in paths]
    x_train, y_train = _part(arrays[:2], sources[:2])
    x_test, y_test = _part(arrays[2:], sources[2:])
    if x_train.shape[1] != x_test.shape[1]:
        raise ValueError(f"{sources[2]}: expected {x_train.shape[1]} pixels per image, got {x_test.shape[1]}")
    return x_train, y_train, x_test, y_test


def _find(folder: Path, name: str) -> Path:
    names = [f"{stem}-ubyte{end}" for stem in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    for candidate in names:
        if (folder / candidate).is_file():
            return folder / candidate
    raise FileNotFoundError(f"{folder}: expected one of {', '.join(names)}, or {_ARCHIVE}, got none of them")


def _part(arrays: list[np.ndarray], sources: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Images as rows of floats and labels as integers; the sources are for errors."""
    for source, array, ndim in zip(sources, arrays, (3, 1), strict=True):
        if array.dtype != np.uint8 or array.ndim != ndim:
            raise ValueError(f"{source}: expected uint8 of {ndim} dimensions, got {array.dtype} {array.shape}")
    images, labels = arrays
    if len(images) != len(labels):
        raise ValueError(f"{sources[1]}: expected a label for each of {len(images)} images, got {len(labels)}")
    flat = images.reshape(len(images), math.prod(images.shape[1:]))
    return np.divide(flat, 255, dtype=np.float32), labels.astype(np.int64)
