"""TensorFlow Lite files, read and written."""

from collections.abc import Sequence
from typing import Any


def from_tflite(path: Any, *, outputs: Sequence[str] | None = None) -> Any:
    """Take over a network from a TensorFlow Lite file.

    A file of floats becomes a float model, also where its weights are stored in half precision, as 8-bit codes (dynamic
    range) or sparsely. A file of integers becomes a quantized model at once, whose codes, scales and biases are those
    of the file: it gives the bytes that the runtime gives.

    Parameters
    ----------
    path : path-like
    outputs : sequence of str, optional
        Names of tensors that the model shall give instead of the file's outputs: a part of the network. All names are
        in the last column of ``qlite inspect``.

    Returns
    -------
    Model or QModel
        Its layers have the names of the tensors that they give. Samples have no axis in front that counts them in
        `input_shape`, as everywhere here; where a file takes a fixed number of them, the model takes any. Older files
        of uint8 become models for the target "onnx", whose codes are unsigned, with the tables of LiteRT.

    Raises
    ------
    TypeError
        `path` is no path, `outputs` a string.
    OSError
        The file cannot be read.
    ValueError
        It is no TensorFlow Lite file or a damaged one; it has an operator that no layer computes, which is named with
        the tensor that it gives and those before it; or it mixes samples.
    ModuleNotFoundError
        The packages of the extra `tflite` are not installed.

    Examples
    --------
    >>> import numpy as np, qlite as ql, tempfile, os
    >>> m = ql.Sequential([ql.Dense(np.eye(3), name="same")])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     m.to_tflite(os.path.join(folder, "m.tflite"))
    ...     ql.from_tflite(os.path.join(folder, "m.tflite"))
    Model(48 bytes, multiclass)
      same: Dense(3 -> 3)
    """
    from qlite.io.tflite import file  # here: models that come from elsewhere need none of it

    return file.load(path, outputs)
