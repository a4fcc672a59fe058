"""LiteRT, the runtime of TensorFlow Lite files: what it makes of samples.

It writes a note about its delegate to the standard error of the process, once, and has no switch for that. While it
starts, that stream goes into a file, of which all but notes are passed on afterwards: errors and what other threads
write come later, but come.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from qlite._locks import new_lock

#: How lines of the runtime begin that say nothing of a file.
NOTE = b"INFO: "
STANDARD_ERROR = 2

_starting = new_lock()  # of threads that start at once one would take the other's file for the stream


def run(content: bytes, given: Sequence[np.ndarray]) -> tuple[str, list[np.ndarray]]:
    """The runtime's name, and the outputs in the file's order for all samples, one at a time."""
    try:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"verify needs the package {error.name!r}, the runtime: pip install 'qlite-quant[litert]'", name=error.name
        ) from None
    with _starting, without_notes():
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    found: list[list[Any]] = [[] for _ in outputs]
    for i in range(len(given[0])):
        for details, array in zip(inputs, given, strict=True):
            interpreter.set_tensor(details["index"], array[i : i + 1])
        interpreter.invoke()
        for results, details in zip(found, outputs, strict=True):
            results.append(interpreter.get_tensor(details["index"]))
    return f"LiteRT {ai_edge_litert.__version__}", [np.concatenate(results) for results in found]


@contextmanager
def without_notes() -> Iterator[None]:
    """Leave notes out of what is written to the standard error of the process."""
    try:
        stream = os.dup(STANDARD_ERROR)
    except OSError:  # closed: nothing is written
        yield
        return
    try:
        held = tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # no folder for it: the notes are written
        os.close(stream)
        yield
        return
    try:
        with held:
            os.dup2(held.fileno(), STANDARD_ERROR)
            try:
                yield
            finally:
                os.dup2(stream, STANDARD_ERROR)
                held.seek(0)
                if rest := b"".join(line for line in held if not line.startswith(NOTE)):
                    os.write(STANDARD_ERROR, rest)
    finally:
        os.close(stream)
