"""The tensors and operators of a TensorFlow Lite graph while the steps of a program become them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from qlite.io.tflite.graph import Graph, Operator, Tensor
from qlite.io.tflite.schema import FUSED, OPTIONS, VECTORS, VERSIONS
from qlite.nn.program import Buffer, Program, Step
from qlite.nn.steps import Dequantize, Normalize, Quantize


class Exporter:
    """The tensors and operators of a graph as they come."""

    def __init__(self, program: Program, floats: bool, batch: int | None, is_micro: bool) -> None:
        self.program, self.batch, self.is_micro = program, -1 if batch is None else batch, is_micro
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.number: dict[int, int] = {}  # of a buffer's tensor
        self.steps = list(program.steps)
        self.inputs, self.outputs = list(program.inputs), list(program.outputs)
        if not floats:
            self._leave_codes()

    def graph(self, append: "Callable[[Exporter, Step], None]", description: str) -> Graph:
        """Return the graph, to which a function appends the operators of each step."""
        for i in self.inputs:
            self.tensor(i)
        for step in self.steps:
            append(self, step)
        names = self.program.buffers
        outputs = tuple(names[i].layer for i in self.program.outputs)  # as the model calls several
        return Graph(
            self.tensors,
            self.operators,
            tuple(self.number[i] for i in self.inputs),
            tuple(self.number[i] for i in self.outputs),
            tuple(names[i].name for i in self.program.inputs),
            outputs if len(set(outputs)) == len(outputs) > 1 else tuple(names[i].name for i in self.program.outputs),
            description,
        )

    def refused(self, step: Step, why: str) -> ValueError:
        return ValueError(f"layer {self.program.buffers[step.output].layer!r}: {why}")

    def _leave_codes(self) -> None:
        """Take out what makes codes of the inputs, and floats of the outputs."""
        for i, number in enumerate(self.inputs):
            while not self.program.buffers[self.inputs[i]].is_codes:
                readers = [step for step in self.steps if self.inputs[i] in step.inputs]
                if len(readers) != 1 or not isinstance(readers[0], Quantize | Normalize):
                    name = self.program.buffers[number].name
                    raise ValueError(f"input {name!r}: expected one that becomes codes, got one that stays float32")
                self.inputs[i] = readers[0].output
                self.steps.remove(readers[0])
        for i, number in enumerate(self.outputs):
            (last,) = (step for step in self.steps if step.output == number)
            if not isinstance(last, Dequantize):
                raise ValueError(f"output {self.program.buffers[number].name!r}: expected codes, got float32")
            self.outputs[i] = last.inputs[0]
            self.steps.remove(last)

    # ---- for steps

    def buffer(self, i: int) -> Buffer:
        return self.program.buffers[i]

    def tensor(self, i: int) -> int:
        """The number of a buffer's tensor."""
        if i not in self.number:
            b = self.buffer(i)
            self.number[i] = self.between(i, b.name, b.shape)
        return self.number[i]

    def between(self, i: int, name: str, shape: Sequence[int]) -> int:
        """Add a tensor for samples of a shape, of a buffer's dtype and grid, and return its number."""
        b = self.buffer(i)
        return self.add(name, (self.batch, *shape), b.dtype, *(b.affine if b.is_codes else ()))

    def add(
        self, name: str, shape: tuple[int, ...], dtype: str, scale: Any = None, zero_point: Any = None, **fields: Any
    ) -> int:
        """Add a tensor and return its number."""
        grid = {}
        if scale is not None:
            scale = np.atleast_1d(np.asarray(scale, np.float32))
            zero_points = np.broadcast_to(np.asarray(zero_point, np.int64), scale.shape)
            grid = {"scale": scale, "zero_point": zero_points}
        self.tensors.append(Tensor(name, shape, dtype.upper(), **grid, **fields))
        return len(self.tensors) - 1

    def constant(self, name: str, data: np.ndarray, scale: Any = None, axis: int = 0) -> int:
        """Add a constant; with scales its zero points are 0."""
        grid = {} if scale is None else {"scale": scale, "zero_point": 0, "axis": axis}
        return self.add(name, data.shape, data.dtype.name, data=np.ascontiguousarray(data), **grid)

    def integers(self, step: Step, what: str, numbers: Sequence[Any]) -> int:
        """Add a constant of int32 that an operator reads."""
        return self.constant(f"{self.buffer(step.output).name}/{what}", np.array(numbers, np.int32))

    def append(self, step: Step, name: str, *constants: int, **options: Any) -> None:
        """Append an operator that reads what a step reads, and constants behind it, and writes what the step writes."""
        self.operator(name, [*(self.tensor(i) for i in step.inputs), *constants], self.tensor(step.output), **options)

    def operator(self, name: str, inputs: Sequence[int], output: int, **options: Any) -> None:
        """Append an operator. Options that are not given are 0."""
        fields = OPTIONS[name][1].split()
        whole = {field: () if field in VECTORS else 0 for field in fields} | options
        self.operators.append(Operator(name, tuple(inputs), (output,), whole, VERSIONS.get(name, 2)))

    def fused(self, activation: str | None) -> dict[str, int]:
        return {"fused_activation_function": FUSED.index(activation)}

    def padded(
        self, step: Any, size: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
    ) -> tuple[int, str]:
        """Return the tensor of a step's image, with a PAD before it where the format's two kinds of padding do not say
        it, and the kind."""
        (x,) = step.inputs
        image = self._image(x)
        spans = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
        same = [same_padding(n, span, s) for n, span, s in zip(image[:2], spans, step.stride, strict=True)]
        if tuple(padding) == (0, 0, 0, 0):
            return self.as_image(x), "valid"
        if tuple(padding) == tuple(n for pair in same for n in pair):
            return self.as_image(x), "same"
        top, bottom, left, right = padding
        name = f"{self.buffer(step.output).name}/padded"
        result = self.between(x, name, (image[0] + top + bottom, image[1] + left + right, image[2]))
        pairs = self.integers(step, "paddings", [(0, 0), (top, bottom), (left, right), (0, 0)])
        self.operator("PAD", [self.as_image(x), pairs], result)
        return result, "valid"

    def _image(self, i: int) -> tuple[int, ...]:
        """The shape of a sample as (height, width, channels)."""
        shape = self.buffer(i).shape
        return (1,) * (3 - len(shape)) + shape

    def as_image(self, i: int) -> int:
        """The tensor of an image; of lines and vectors a reshaped one."""
        b = self.buffer(i)
        if len(b.shape) == 3:
            return self.tensor(i)
        result = self.between(i, f"{b.name}/image", self._image(i))
        self.reshape(self.tensor(i), result, f"{b.name}/image")
        return result

    def from_image(self, step: Step, append: Callable[[int], None]) -> None:
        """Append, by a function of the result's tensor, what gives an image that the step's output is."""
        b = self.buffer(step.output)
        if len(b.shape) == 3:
            append(self.tensor(step.output))
            return
        image = self.between(step.output, f"{b.name}/of_image", self._image(step.output))
        append(image)
        self.reshape(image, self.tensor(step.output), b.name)

    def reshape(self, source: int, result: int, name: str) -> None:
        """Append the operator that gives a tensor the shape of another one."""
        shape = self.tensors[result].shape
        number = self.constant(f"{name}/shape", np.array(shape, np.int32))
        self.operator("RESHAPE", [source, number], result, new_shape=shape)

    def transpose(self, source: int, result: int, axes: Sequence[int], name: str) -> None:
        """Append the operator that exchanges axes of a sample."""
        order = np.array([0, *(axis + 1 for axis in axes)], np.int32)
        self.operator("TRANSPOSE", [source, self.constant(f"{name}/axes", order)], result)

    def window(self, source: int, result: int, begin: Sequence[int], name: str) -> None:
        """Append the operator that takes so much of samples, from a place on, as the result holds."""
        end = [n + b for n, b in zip(self.tensors[result].shape[1:], begin, strict=True)]
        bounds = {"begin": [0, *begin], "end": [0, *end], "stride": [1] * (len(end) + 1)}
        numbers = [self.constant(f"{name}/{what}", np.array(n, np.int32)) for what, n in bounds.items()]
        self.operator("STRIDED_SLICE", [source, *numbers], result, begin_mask=1, end_mask=1)

    def weights(self, step: Any, data: np.ndarray, axis: int) -> int:
        """Add a product's weights in the order of the format; codes with a scale along an axis."""
        name = f"{self.buffer(step.output).name}/weights"
        if data.dtype == np.float32:
            return self.constant(name, data)
        if step.weight_zero_point is not None or data.dtype != np.int8:
            raise self.refused(step, "expected int8 weights without zero points")
        return self.constant(name, data, step.weight_scale, axis)

    def bias(self, step: Any) -> int:
        """Add a product's bias, which the runtime wants even where all are zeros."""
        name, x = f"{self.buffer(step.output).name}/bias", self.buffer(step.inputs[0])
        if not x.is_codes:
            return self.constant(name, np.zeros(step.weight.shape[-1], np.float32) if step.bias is None else step.bias)
        bias = np.zeros(step.weight.shape[-1], np.int32) if step.bias is None else step.bias
        return self.constant(name, bias, np.float32(x.affine[0]) * step.weight_scale)


def same_padding(length: int, span: int, stride: int) -> tuple[int, int]:
    """Padding before and after along an axis that the format calls SAME."""
    total = max((-(-length // stride) - 1) * stride + span - length, 0)
    return total // 2, total - total // 2
