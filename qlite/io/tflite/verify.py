"""What the runtime makes of a TensorFlow Lite file, next to what the model that was written gives."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qlite.io.tflite.graph import Graph, Tensor
from qlite.io.tflite.runtime import run
from qlite.io.tflite.write import write
from qlite.nn.qmodel import QModel
from qlite.nn.steps import Dequantize, Quantize

#: The machines whose rules there are, as models call them.
MACHINES = {"x86_64": "x86-64", "AMD64": "x86-64", "aarch64": "aarch64", "arm64": "aarch64"}
#: The types of tensors that hold codes.
CODES = ("INT8", "UINT8")


@dataclass(frozen=True)
class Verification:
    """How a file's bytes in the runtime compare with the model's.

    Attributes
    ----------
    runtime : str
        Its name and version.
    samples, bytes, mismatches : int
        Of all outputs together.
    first : str or None
        The first tensor of the graph that differs anywhere; None where none does.
    """

    runtime: str
    samples: int
    bytes: int
    mismatches: int
    first: str | None

    def __bool__(self) -> bool:
        return self.mismatches == 0

    def __repr__(self) -> str:
        where = "" if self.first is None else f", first in {self.first!r}"
        return (
            f"Verification({self.runtime}: {self.mismatches:,} of {self.bytes:,} bytes differ, "
            f"{self.samples:,} samples{where})"
        )


def verify(model: QModel, graph: Graph, samples: Any) -> Verification:
    """Run a graph on a model's codes in LiteRT and compare all outputs; where one differs, all tensors as well."""
    _same_rules(model)
    if not any(graph.tensors[i].type in CODES for operator in graph.operators for i in operator.outputs):
        raise ValueError("expected a file of integers, got one of floats: compare holds a model against these")
    computed = {name: np.asarray(values) for name, values in model.intermediates(samples).items()}
    given, wanted = _ends(model, graph, computed)
    count = len(given[0])
    if count == 0:
        raise ValueError("x: expected at least one sample, got none")
    runtime, found = run(write(graph), given)
    mismatches = sum(_different(a, b) for a, b in zip(found, wanted, strict=True))
    first = _first_difference(graph, given, computed) if mismatches else None
    return Verification(runtime, count, sum(a.nbytes for a in wanted), mismatches, first)


def _same_rules(model: QModel) -> None:
    """Refuse a model that computes what the runtime gives on other machines."""
    here = MACHINES.get(platform.machine())
    if here is not None and model.cpu not in (None, here):
        raise ValueError(
            f"model: expected the rules of this machine, cpu={here!r}, got those of {model.cpu!r}: "
            f"qm.retarget('tflite', cpu={here!r}) is a model of the same file"
        )


def _ends(model: QModel, graph: Graph, computed: dict[str, np.ndarray]) -> list[list[np.ndarray]]:
    """The values of the model that a graph reads, and those that it gives: of the same names, or else, as names of a
    file that was read may be taken, in the same places, before or behind the step between floats and codes.
    """
    program = model.program
    buffers, steps = program.buffers, program.steps
    inputs = [[i, *(s.output for s in steps if isinstance(s, Quantize) and s.inputs[0] == i)] for i in program.inputs]
    codes = {step.output: step.inputs[0] for step in steps if isinstance(step, Dequantize)}
    outputs = [[i, codes[i]] if i in codes else [i] for i in program.outputs]
    ends = []
    for what, numbers, places in (("input", graph.inputs, inputs), ("output", graph.outputs, outputs)):
        if len(numbers) != len(places):
            raise ValueError(f"expected a file that this model wrote, of {len(places)} {what}s, got {len(numbers)}")
        arrays = []
        for number, place in zip(numbers, places, strict=True):
            tensor = graph.tensors[number]
            names = [tensor.name, *(buffers[i].name for i in place)]
            fitting = (computed[name] for name in names if name in computed and _fits(computed[name], tensor))
            array = next(fitting, None)
            if array is None:
                raise ValueError(
                    f"expected a file that this model wrote, got {what} {tensor.name!r}, {tensor.type} of shape "
                    f"{tensor.shape}"
                )
            arrays.append(array)
        ends.append(arrays)
    return ends


def _fits(values: np.ndarray, tensor: Tensor) -> bool:
    return (*values.shape[1:], values.dtype.name.upper()) == (*tensor.shape[1:], tensor.type)


def _first_difference(graph: Graph, given: Sequence[np.ndarray], computed: dict[str, np.ndarray]) -> str | None:
    """The first tensor, in the order of the operators, that is not what the model computes."""
    numbers = [
        i for op in graph.operators for i in op.outputs
        if graph.tensors[i].data is None and _is_computed(graph.tensors[i], computed)
    ]  # fmt: skip
    names = tuple(graph.tensors[i].name for i in numbers)
    _, found = run(write(replace(graph, outputs=tuple(numbers), output_names=names)), given)
    return next((name for name, a in zip(names, found, strict=True) if _different(a, computed[name])), None)


def _is_computed(tensor: Tensor, computed: dict[str, np.ndarray]) -> bool:
    return tensor.name in computed and _fits(computed[tensor.name], tensor)


def _different(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.count_nonzero(a.view(np.uint8) != b.view(np.uint8)))
