"""What `conv.py` times: for each contender the work of a convolution of codes into codes."""

import warnings
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

import qlite as ql

from ..litert_file import Operator, Tensor
from . import litert_model, onnx_model, openvino_model
from .harness import Contender, Work, fastest

X_SCALE = 0.02

TOLERANCE = 1 / 250  # of the greatest value: one code, where a library rounds the bias or the multiplier in another way


@dataclass(frozen=True)
class Layer:
    """One image of a square (h, w, c) by 3 x 3 or 1 x 1 windows, bias and requantization.

    Activations are uint8 with zero point 0, as after a ReLU, in both directions; weights are int8 with a scale per
    channel. Weights are (height, width, in / groups, out). Padding is (size - 1) / 2 on every side.
    """

    size: int
    fan_in: int
    fan_out: int
    window: int = 3
    stride: int = 1
    groups: int = 1
    threads: int = 1

    @cached_property
    def _random(self):
        return np.random.default_rng((self.size, self.fan_in, self.fan_out, self.window, self.stride, self.groups))

    @cached_property
    def x(self):
        return self._random.integers(0, 256, (1, self.size, self.size, self.fan_in), np.uint8)

    @cached_property
    def w(self):
        shape = (self.window, self.window, self.fan_in // self.groups, self.fan_out)
        return self._random.integers(-127, 128, shape, np.int8)

    @cached_property
    def bias(self):
        return self._random.integers(-10_000, 10_000, self.fan_out, np.int32)

    @cached_property
    def w_scale(self):
        return np.linspace(0.01, 0.02, self.fan_out, dtype=np.float32)

    @property
    def real_bias(self):
        return (self.bias * (np.float32(X_SCALE) * self.w_scale)).astype(np.float32)

    @property
    def depth(self):
        return self.window**2 * self.fan_in // self.groups

    @property
    def y_scale(self):
        """Such that a code of 60 is a usual sum's: uniform codes have squares of 21,700 and 5,400 in the mean."""
        return X_SCALE * 0.015 * (self.depth * 21_700 * 5_400) ** 0.5 / 60

    @property
    def padding(self):
        return self.window // 2

    @property
    def shape(self):
        side = (self.size + self.stride - 1) // self.stride
        return 1, side, side, self.fan_out

    @property
    def operations(self):
        return 2 * self.shape[1] * self.shape[2] * self.fan_out * self.depth


def qlite(case):
    x = ql.QArray.from_codes(case.x, X_SCALE)
    w = ql.QArray.from_codes(case.w, case.w_scale.reshape(1, 1, 1, -1))
    grid, out = ql.QParams(np.float32(case.y_scale), 0, signed=False), np.empty(case.shape, np.uint8)
    window = {"stride": case.stride, "padding": case.padding, "groups": case.groups}
    return Work(partial(ql.conv2d, x, w, case.bias, output_qparams=grid, out=out, **window), lambda: out)


def onnxruntime(case):
    """Its own operator on channels last, or the standard one on channels first, the faster one."""
    channels_first = np.ascontiguousarray(case.x.transpose(0, 3, 1, 2))
    w = np.ascontiguousarray(case.w.transpose(3, 2, 0, 1))
    zeros = np.zeros(case.fan_out, np.int8)
    constants = {
        **{"x_scale": np.float32(X_SCALE), "x_zero": np.uint8(0)},
        **{"w": w, "w_scale": case.w_scale, "w_zero": zeros},
        **{"y_scale": np.float32(case.y_scale), "y_zero": np.uint8(0), "bias": case.bias},
    }
    inputs = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero", "bias"]
    attributes = {
        "pads": [case.padding] * 4,
        "strides": [case.stride] * 2,
        "group": case.groups,
        "kernel_shape": [case.window] * 2,
    }
    last = [("QLinearConv", inputs, ["y"], "com.microsoft", {**attributes, "channels_last": 1})]
    first = [("QLinearConv", inputs, ["y"], "", attributes)]
    n, h, w, c = case.shape
    works = {
        "last": onnx_model.work(last, case.x, constants, case.shape, "UINT8", 13, case.threads),
        "first": onnx_model.work(first, channels_first, constants, (n, c, h, w), "UINT8", 13, case.threads),
    }
    call = fastest({name: work.call for name, work in works.items()})
    if call == works["last"].call:
        return works["last"]
    return Work(call, lambda: works["first"].result().transpose(0, 2, 3, 1))


def qlite_integer(case, pack=False, as_stored=False):
    """Codes to int32 with filters as arrays, packed beforehand, or in the order (out, in, height, width)."""
    w = np.ascontiguousarray(case.w.transpose(3, 2, 0, 1)).transpose(2, 3, 1, 0) if as_stored else case.w
    w, out = ql.pack(w) if pack else w, np.empty(case.shape, np.int32)
    return Work(partial(ql.conv2d_integer, case.x, w, stride=case.stride, padding=case.padding, out=out), lambda: out)


def onnxruntime_integer(case):
    """Filters come at run time, channels first."""
    x, w = (np.ascontiguousarray(codes) for codes in (case.x.transpose(0, 3, 1, 2), case.w.transpose(3, 2, 0, 1)))
    attributes = {"pads": [case.padding] * 4, "strides": [case.stride] * 2}
    nodes = [("ConvInteger", ["x", "w"], ["y"], "", attributes)]
    n, height, width, c = case.shape
    peer = onnx_model.work(nodes, x, {}, (n, c, height, width), "INT32", 10, case.threads, inputs={"w": w})
    return Work(peer.call, lambda: peer.result().transpose(0, 2, 3, 1))


def openvino(case):
    from openvino import opset13 as op

    x = op.parameter(case.x.shape, np.uint8)
    codes = openvino_model.as_codes(op.convert(x, "f32"), X_SCALE, 0, 0, 255, before=(1, 0))
    codes = op.transpose(codes, [0, 3, 1, 2])
    w = np.ascontiguousarray(case.w.transpose(3, 2, 0, 1))
    scale = case.w_scale.reshape(-1, 1, 1, 1)
    strides, pads, ones = [case.stride] * 2, [case.padding] * 2, [1, 1]
    if case.groups > 1:
        w, scale = w[:, None], scale[:, None]
        y = op.group_convolution(codes, openvino_model.weights(w, scale), strides, pads, pads, ones)
    else:
        y = op.convolution(codes, openvino_model.weights(w, scale), strides, pads, pads, ones)
    y = op.add(y, case.real_bias.reshape(1, -1, 1, 1))
    y = openvino_model.as_codes(y, case.y_scale, 0, 0, 255, after=(1, 0))
    y = op.convert(op.transpose(y, [0, 2, 3, 1]), "u8")
    return openvino_model.work(x, y, case.x, case.threads, kernel="Convolution")


def torch(case):
    import torch

    torch.set_num_threads(case.threads)
    warnings.filterwarnings("ignore", "torch.quantize_per_", UserWarning)  # deprecated, and still what there is
    w = torch._make_per_channel_quantized_tensor(
        torch.from_numpy(np.ascontiguousarray(case.w.transpose(3, 2, 0, 1))),
        torch.from_numpy(case.w_scale).double(),
        torch.zeros(case.fan_out, dtype=torch.int64),
        0,
    ).contiguous(memory_format=torch.channels_last)
    x = torch._make_per_tensor_quantized_tensor(torch.from_numpy(case.x).permute(0, 3, 1, 2), X_SCALE, 0)
    bias = torch.from_numpy(case.real_bias)
    window = [case.stride] * 2, [case.padding] * 2, [1, 1], case.groups
    calls, engine = {}, torch.backends.quantized.engine
    for name in ("fbgemm", "onednn"):
        torch.backends.quantized.engine = name
        packed = torch.ops.quantized.conv2d_prepack(w, bias, *window)
        calls[name] = partial(torch.ops.quantized.conv2d, x, packed, case.y_scale, 0)
    torch.backends.quantized.engine = engine
    call = fastest(calls)
    return Work(
        call, lambda: call().int_repr().permute(0, 2, 3, 1).numpy(), partial(torch.set_num_threads, case.threads)
    )


def litert(case):
    """Its codes are int8: 128 lower. What is padded is padded beforehand, where its own rule would do it otherwise."""
    x, same = (case.x ^ np.uint8(128)).view(np.int8), case.stride == 1
    if not same:
        x = np.pad(x, ((0, 0), (case.padding, 0), (case.padding, 0), (0, 0)), constant_values=-128)
    source = Tensor(x.shape, np.int8, scale=X_SCALE, zero_point=-128)
    target = Tensor(case.shape, np.int8, scale=case.y_scale, zero_point=-128)
    bias = Tensor.constant(case.bias, np.float32(X_SCALE) * case.w_scale)
    options = {"padding": 0 if same else 1, "strideW": case.stride, "strideH": case.stride}
    if case.groups > 1:
        w = Tensor.constant(np.ascontiguousarray(case.w.transpose(2, 0, 1, 3)), case.w_scale, axis=3)
        options["depthMultiplier"] = 1
        operator = Operator("DEPTHWISE_CONV_2D", [source, w, bias], target, options, version=3)
    else:
        w = Tensor.constant(np.ascontiguousarray(case.w.transpose(3, 0, 1, 2)), case.w_scale, axis=0)
        operator = Operator("CONV_2D", [source, w, bias], target, options, version=3)
    return litert_model.work([operator], x, case.threads, lambda codes: codes.view(np.uint8) ^ np.uint8(128))


OURS = Contender("qlite", "conv2d, codes in and out, out=", ("qlite",), qlite)
ONNXRUNTIME = Contender("onnxruntime", "QLinearConv, bound output", ("onnxruntime", "onnx"), onnxruntime)
OPENVINO = Contender("OpenVINO", "Convolution of FakeQuantize", ("openvino",), openvino)
TORCH = Contender("torch", "quantized.conv2d of fbgemm or oneDNN", ("torch",), torch)
LITERT = Contender("LiteRT", "convolution of int8: set, invoke, get", ("ai_edge_litert", "flatbuffers"), litert)
PEERS = (ONNXRUNTIME, OPENVINO, TORCH, LITERT)

INTEGER = Contender("qlite", "conv2d_integer, filters as arrays, out=", ("qlite",), qlite_integer)
INTEGER_OTHERS = (
    Contender("packed", "the same, filters packed", ("qlite",), partial(qlite_integer, pack=True)),
    Contender(
        "out first", "the same, filters stored (out, in, h, w)", ("qlite",), partial(qlite_integer, as_stored=True)
    ),
)
INTEGER_PEERS = (
    Contender("onnxruntime", "ConvInteger, filters at run time", ("onnxruntime", "onnx"), onnxruntime_integer),
)
