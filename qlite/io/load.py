"""Opening any of qlite's files."""

from typing import Any

from qlite import _check


def load(path: Any) -> Any:
    """Load what `QModel.save`, `Sequential.save`, `QArray.save` or `quantize_checkpoint` wrote, exactly as it was.

    A file is a safetensors file: loading runs no code, checks everything before it builds anything, and needs about
    twice the file's size. Of a folder, only the list of tensors is read; each is read when it is asked for.

    Parameters
    ----------
    path : path-like
        Its name, or that of the folder.

    Returns
    -------
    QModel, Sequential, QArray, a dict of arrays by name, or, for a folder, a `Checkpoint`

    Raises
    ------
    TypeError
        `path` is no path, but an open file for example.
    OSError
        The file cannot be read or is no regular file, or the folder is not a complete checkpoint.
    ValueError
        It is no such file (the message says what it is, where that is known), is damaged, or was written by a version
        that this one does not know.

    Examples
    --------
    >>> import numpy as np, qlite as ql, tempfile, os
    >>> m = ql.quantize_model(ql.from_weights([(np.eye(3), None)]), "w8")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     m.save(os.path.join(folder, "m.qlite"))
    ...     same = ql.load(os.path.join(folder, "m.qlite"))
    >>> same(np.array([[1.0, 2.0, 3.0]]))
    array([[1., 2., 3.]], dtype=float32)
    """
    path = _check.path("path", path)
    if path.is_dir():
        from qlite.io.checkpoint import Checkpoint

        return Checkpoint(path)
    from qlite.io import container
    from qlite.io.strict_json import parse

    try:
        description, tensors = container.read(path)
        content = parse(description, "the description")
        if "arrays" in content:
            from qlite.io import array_file

            return array_file.build(content, tensors)
        if "training" in content:
            raise ValueError("it is the checkpoint of a training, which qlite.train(..., checkpoint=path) goes on with")
        if "layers" in content:
            from qlite.io import float_model_file

            return float_model_file.build(content, tensors)
        from qlite.io import model_file

        return model_file.build(content, tensors)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: not a usable qlite file: {error}") from None
