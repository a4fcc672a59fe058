"""python run_files.py FOLDER: what LiteRT makes of its files NAME.tflite with the inputs of NAME.npz, as NAME.npy.

It needs NumPy and LiteRT alone, so that it runs where qlite does not. A sample at a time; several outputs are arrays
that follow each other in the file.
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def outputs_of(path, given):
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    found = [[] for _ in outputs]
    for i in range(len(given[0])):
        for details, array in zip(inputs, given, strict=True):
            interpreter.set_tensor(details["index"], array[i : i + 1])
        interpreter.invoke()
        for results, details in zip(found, outputs, strict=True):
            results.append(interpreter.get_tensor(details["index"]))
    return [np.concatenate(results) for results in found]


def main(folder):
    for path in sorted(Path(folder).glob("*.tflite")):
        with np.load(path.with_suffix(".npz")) as arrays:
            given = [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
        with path.with_suffix(".npy").open("wb") as file:
            for array in outputs_of(path, given):
                np.save(file, array)


main(sys.argv[1])
