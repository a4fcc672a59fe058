"""Models with cpu="aarch64", next to LiteRT on that processor, byte for byte.

Files are made here and run by another Python, that of an emulator for example: each operator with a rule of its own
there, on all pairs of codes and on many grids, and random networks, every tensor of them. Rows tell how many bytes
differ (0 is promised), and how many would by the rules of x86-64. The digest is that of the operators' bytes: a test
holds qlite to it.
"""

import hashlib
import subprocess
import tempfile
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

import qlite as ql

RUNNER = Path(__file__).with_name("run_files.py")
NETWORKS, SAMPLES = 200, 8
#: What the format has no operators of codes for.
WITHOUT = ("layer_norm", "softplus")


def found_in(folder, python):
    """Run all files of a folder; returns a function from a name to the arrays that its file gave."""
    subprocess.run([python, "-P", RUNNER, folder], check=True)

    def arrays(name, count):
        with (folder / f"{name}.npy").open("rb") as file:
            return [np.load(file) for _ in range(count)]

    return arrays


def put(folder, name, content, inputs):
    (folder / f"{name}.tflite").write_bytes(content)
    np.savez(folder / f"{name}.npz", *inputs)


def digest(arrays):
    """Of codes, in their order."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def verify_operators(checks, python, folder):
    from aarch64_cases import cases  # here: it needs the packages of the test extra

    made = list(cases())
    for i, case in enumerate(made):
        put(folder, i, case.file, case.inputs)
    arrays = found_in(folder, python)
    found = [arrays(i, 1)[0] for i in range(len(made))]
    for kind in ("MUL", "SOFTMAX"):
        rows = [(case, array) for case, array in zip(made, found, strict=True) if case.name.startswith(kind)]
        differ, others = (sum(int((a != b).sum()) for a, b in pairs) for pairs in (
            [(case.expected, array) for case, array in rows], [(case.other, array) for case, array in rows]
        ))  # fmt: skip
        row(checks, kind, differ, others, sum(array.size for _, array in rows))
    print(f"sha256 {digest(found)}")


def row(checks, name, differ, others, count):
    checks.line(f"{name:24}{differ:8,} of {count:10,} bytes differ, {others:8,} by the rules of x86-64", differ == 0)


def verify_networks(checks, python, folder):
    graphs = {}
    for seed in range(NETWORKS):
        made = written(seed, folder)
        if made is not None:
            graphs[seed] = made
    arrays, differ, others, count = found_in(folder, python), Counter(), Counter(), Counter()
    for seed, (operators, expected, by_other) in graphs.items():
        for name, array, a, b in zip(operators, arrays(seed, len(operators)), expected, by_other, strict=True):
            differ[name] += int((array != a).sum())
            others[name] += int((array != b).sum())
            count[name] += array.size
    for name in sorted(count):
        row(checks, name, differ[name], others[name], count[name])
    row(checks, f"{len(graphs)} networks", differ.total(), others.total(), count.total())


def written(seed, folder):
    """Write a random network's file, all tensors of which are outputs; returns the operators that give them, and what
    qlite computes by the rules of both processors. None where the runtime would refuse its grids."""
    from random_networks import random_network

    from qlite.io.tflite.file import graph_of
    from qlite.io.tflite.write import write

    network, x = random_network(np.random.default_rng(seed), without=WITHOUT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # samples that stand out
        model = ql.quantize_model(network, "w8a8", x, method="minmax", target="tflite", cpu="aarch64")
    arrays = tuple(np.float32(1.5) * array[:SAMPLES] for array in (x if isinstance(x, tuple) else (x,)))
    given = arrays if len(arrays) > 1 else arrays[0]
    values, others = (m.intermediates(given) for m in (model, model.retarget("tflite", cpu="x86-64")))
    try:
        graph = graph_of(model, "int8")
    except ValueError as error:
        assert "input scale / output scale" in str(error)
        return None
    operators = {i: op.name for op in graph.operators for i in op.outputs if graph.tensors[i].name in values}
    names = tuple(graph.tensors[i].name for i in operators)
    inputs = [np.asarray(values[graph.tensors[i].name]) for i in graph.inputs]
    put(folder, seed, write(replace(graph, outputs=tuple(operators), output_names=names)), inputs)
    return list(operators.values()), [values[name] for name in names], [others[name] for name in names]


def verify(checks, python):
    for part in (verify_operators, verify_networks):
        with tempfile.TemporaryDirectory() as folder:
            part(checks, python, Path(folder))
