"""What `overhead.py` times: products that are hardly any work, and a small network from Python."""

import itertools
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

import qlite as ql

from ..litert_file import Operator, Tensor
from . import litert_model, onnx_model
from .harness import Work

WIDTHS = (784, 128, 64, 10)


def _layers():
    rng = np.random.default_rng(WIDTHS)
    for fan_in, fan_out in itertools.pairwise(WIDTHS):
        weight = rng.standard_normal((fan_in, fan_out), np.float32) * np.float32(fan_in**-0.5)
        yield weight, rng.standard_normal(fan_out, np.float32)


LAYERS = tuple(_layers())
MODEL = ql.from_weights(list(LAYERS), activation="relu", layout="in_out")


@dataclass(frozen=True)
class Batch:
    """Inputs of a network of dense layers with random weights, as floats and as its int8 codes."""

    x: np.ndarray
    network: ql.QModel

    @classmethod
    def random(cls, rows):
        rng = np.random.default_rng(rows)
        network = ql.quantize_model(MODEL, "w8a8", data=rng.random((256, WIDTHS[0]), np.float32), target="tflite")
        return cls(rng.random((rows, WIDTHS[0]), np.float32), network)

    @cached_property
    def products(self):
        """The steps from codes to codes, without those at both ends that turn floats into them."""
        return self.network.program.steps[1:-1]

    @cached_property
    def codes(self):
        program = self.network.program
        return self.network.intermediates(self.x)[program.buffers[program.steps[0].output].name]

    def real(self, codes):
        program = self.network.program
        scale, zero_point = program.buffers[program.steps[-1].inputs[0]].affine
        return (codes.astype(np.int32) - zero_point).astype(np.float32) * np.float32(scale)


def qlite(case):
    return Work(partial(case.network, case.x), lambda: case.network(case.x))


def qlite_int8(case):
    steps = case.network.program.steps
    ends = (steps[0].output,), (case.codes,), (steps[-1].inputs[0],)
    call = partial(case.network.plan.run_steps, 1, len(steps) - 1, *ends)
    return Work(call, lambda: case.real(call()[0]))


def numpy_float32(case):
    (w1, b1), (w2, b2), (w3, b3) = LAYERS

    def call():
        h = np.maximum(case.x @ w1 + b1, 0)
        h = np.maximum(h @ w2 + b2, 0)
        return h @ w3 + b3

    return Work(call)


def _dense(case):
    """LiteRT's operators of the very same integers."""
    program, rows = case.network.program, len(case.x)
    buffers = program.buffers

    def tensor(number):
        scale, zero_point = buffers[number].affine
        return Tensor((rows, *buffers[number].shape), np.int8, scale=scale, zero_point=zero_point)

    source = tensor(program.steps[0].output)
    for step in case.products:
        input_scale, _ = buffers[step.inputs[0]].affine
        scale = np.broadcast_to(step.weight_scale, step.weight.shape[1])
        weight = Tensor.constant(np.ascontiguousarray(step.weight.T), scale)
        bias = Tensor.constant(step.bias, np.float32(input_scale) * scale)
        target = tensor(step.output)
        activation = {"fusedActivationFunction": int(step.activation == "relu")}  # 0 none, 1 RELU
        yield Operator("FULLY_CONNECTED", [source, weight, bias], target, activation, version=4)
        source = target


def litert_int8(case):
    return litert_model.work(list(_dense(case)), case.codes, result_of=case.real)


def litert_float32(case):
    operators = list(_dense(case))
    first, last = operators[0].inputs[0], operators[-1].outputs
    x, y = Tensor(first.shape, np.float32), Tensor(last.shape, np.float32)
    ends = Operator("QUANTIZE", [x], first), Operator("DEQUANTIZE", [last], y, version=2)
    return litert_model.work([ends[0], *operators, ends[1]], case.x)


def onnxruntime(case):
    """The same integers with uint8 activations, which its kernels are made for: every zero point is 128 higher."""
    program = case.network.program
    buffers, constants, nodes = program.buffers, {}, []

    def grid(number):
        scale, zero_point = buffers[number].affine
        names = [f"scale{number}", f"zero_point{number}"]
        constants.update(zip(names, (np.float32(scale), np.uint8(zero_point + 128)), strict=True))
        return names

    source = program.steps[0].output
    nodes.append(("QuantizeLinear", ["x", *grid(source)], [f"b{source}"], "", {}))
    for i, step in enumerate(case.products):
        scale = np.broadcast_to(step.weight_scale, step.weight.shape[1]).astype(np.float32)
        names = [f"weight{i}", f"weight_scale{i}", f"weight_zero_point{i}"]
        constants.update(zip(names, (step.weight, scale, np.zeros(scale.shape, np.int8)), strict=True))
        constants[f"bias{i}"] = step.bias
        inputs = [f"b{step.inputs[0]}", *grid(step.inputs[0]), *names, f"bias{i}", *grid(step.output)]
        nodes.append(("QGemm", inputs, [f"b{step.output}"], "com.microsoft", {}))
        if step.activation == "relu" and buffers[step.output].affine[1] != -128:
            raise NotImplementedError("QGemm has no activation: zero is to be the lowest code")
    nodes.append(("DequantizeLinear", [f"b{step.output}", *grid(step.output)], ["y"], "", {}))
    return onnx_model.work(nodes, case.x, constants, (len(case.x), WIDTHS[-1]), "FLOAT", opset=13)


def operations(rows):
    return 2 * rows * sum(fan_in * fan_out for fan_in, fan_out in itertools.pairwise(WIDTHS))
