"""What `arrays.py` times on uniform grids, tensors and histograms: for each task the work of each contender."""

import warnings
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

import qlite as ql

from .harness import Work, fastest
from .onnx_model import one_node


@dataclass(frozen=True)
class Case:
    """Values and the grid that they go on."""

    x: np.ndarray
    qparams: ql.QParams

    @classmethod
    def random(cls, *shape, bits=8, **options):
        x = np.random.default_rng(shape).standard_normal(shape, np.float32)
        return cls(x, ql.choose_qparams(x, bits, **options))

    @cached_property
    def quantized(self):
        return ql.quantize(self.x, self.qparams)

    @cached_property
    def scale(self):
        """One float32 for ufuncs that are faster with a scalar, or the array."""
        scale = self.qparams.scale
        return scale.ravel()[0] if scale.size == 1 else scale

    @cached_property
    def fortran(self):
        """The same case whose first axis has the neighbours in memory."""
        return Case(np.asfortranarray(self.x), self.qparams)


def in_fortran_order(function, case):
    return function(case.fortran)


def tensor(x):
    import torch

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "torch.quantize_per_", UserWarning)  # deprecated, and still what there is
    return torch.from_numpy(x)


# quantize


def quantize(case):
    out = np.empty(case.x.shape, case.qparams.dtype)
    fresh = partial(ql.quantize, case.x, case.qparams)
    call = fastest({"fresh": fresh, "out": partial(fresh, out=out)})
    return Work(call, lambda: call().codes)


def numpy_quantize(case):
    p, steps, out = case.qparams, np.empty_like(case.x), np.empty(case.x.shape, case.qparams.dtype)

    def call():
        np.divide(case.x, case.scale, out=steps)
        np.rint(steps, out=steps)
        np.clip(steps, p.qmin, p.qmax, out=steps)
        np.copyto(out, steps, casting="unsafe")

    return Work(call, lambda: out)


def torch_quantize(case):
    import torch

    call = partial(torch.quantize_per_tensor, tensor(case.x), float(case.scale), 0, torch.qint8)
    return Work(call, lambda: call().int_repr().numpy())


def torch_recipe(case):
    import torch

    p, x, scale = case.qparams, tensor(case.x), torch.from_numpy(case.qparams.scale.copy())
    steps, out = torch.empty_like(x), torch.empty(x.shape, dtype=torch.int8)

    def call():
        torch.div(x, scale, out=steps)
        steps.round_().clamp_(p.qmin, p.qmax)
        out.copy_(steps)

    return Work(call, out.numpy)


def onnx_quantize(case, axis=1):
    scale = case.qparams.scale
    scale = scale.reshape(()) if scale.size == 1 else scale.ravel()
    constants = [scale, np.zeros(scale.shape, np.int8)]
    return one_node("QuantizeLinear", case.x, constants, case.x.shape, "INT8", opset=19, axis=axis)


def torch_quantize_channels(case, axis):
    import torch

    scale = torch.from_numpy(case.qparams.scale.ravel().copy())
    call = partial(
        torch.quantize_per_channel, tensor(case.x), scale, torch.zeros(len(scale), dtype=torch.int64), axis, torch.qint8
    )
    return Work(call, lambda: call().int_repr().numpy())


# dequantize


def dequantize(case):
    out = np.empty_like(case.x)
    return Work(partial(ql.dequantize, case.quantized, out=out), lambda: out)


def numpy_dequantize(case):
    codes, out = np.array(case.quantized.codes), np.empty_like(case.x)
    return Work(partial(np.multiply, codes, case.scale, out=out, dtype=np.float32), lambda: out)


def torch_dequantize(case):
    import torch

    x, scale = tensor(case.x), float(case.scale)
    quantized, out = torch.quantize_per_tensor(x, scale, 0, torch.qint8), torch.empty_like(x)
    call = fastest({"own": quantized.dequantize, "product": partial(torch.mul, quantized.int_repr(), scale, out=out)})
    return Work(call, lambda: call().numpy())


def onnx_dequantize(case):
    codes, constants = np.array(case.quantized.codes), [case.qparams.scale.reshape(()), np.int8(0)]
    return one_node("DequantizeLinear", codes, constants, case.x.shape, "FLOAT", opset=19)


# fake quantize


def fake_quantize(case):
    fresh = partial(ql.fake_quantize, case.x, case.qparams)
    call = fastest({"fresh": fresh, "out": partial(fresh, out=np.empty_like(case.x))})
    return Work(call, call)


def torch_fake_quantize(case):
    import torch

    p = case.qparams
    function = torch.fake_quantize_per_tensor_affine
    call = partial(function, tensor(case.x), float(case.scale), 0, p.qmin, p.qmax)
    return Work(call, lambda: call().numpy())


def torch_there_and_back(case):
    import torch

    x, scale = tensor(case.x), float(case.scale)

    def call():
        return torch.quantize_per_tensor(x, scale, 0, torch.qint8).dequantize()

    return Work(call, lambda: call().numpy())


def numpy_fake_quantize(case):
    p, out = case.qparams, np.empty_like(case.x)

    def call():
        np.divide(case.x, case.scale, out=out)
        np.rint(out, out=out)
        np.clip(out, p.qmin, p.qmax, out=out)
        np.multiply(out, case.scale, out=out)

    return Work(call, lambda: out)


# ranges and histograms


def scale_of(low, high):
    """The symmetric grid's scale, by which the ranges of all contenders are compared."""
    return np.float32(max(-low, high)) / np.float32(127)


def minmax(case):
    return Work(partial(ql.choose_qparams, case.x), lambda: case.qparams.scale.ravel()[0])


def minmax_along(case):
    """Ranges over the axis that the grid keeps."""
    return Work(partial(ql.choose_qparams, case.x, axis=case.qparams.axis), None)


def numpy_minmax(case):
    def call():
        return case.x.min(), case.x.max()

    return Work(call, lambda: scale_of(*call()))


def torch_minmax(case):
    import torch

    x = tensor(case.x)
    call = fastest({"one": partial(torch.aminmax, x), "two": lambda: (torch.amin(x), torch.amax(x))})
    return Work(call, lambda: scale_of(*(end.item() for end in call())))


def onnx_minmax(case):
    low, high = (one_node(name, case.x, [], (), "FLOAT", 18, keepdims=0) for name in ("ReduceMin", "ReduceMax"))

    def call():
        low.call()
        high.call()

    return Work(call, lambda: scale_of(low.result(), high.result()))


BINS = 2048


def histogram(case):
    return Work(lambda: ql.Calibrator(bins=BINS).update(case.x))


def histogram_along(case):
    return Work(lambda: ql.Calibrator(axis=case.qparams.axis).update(case.x))


def numpy_histogram(case):
    return Work(partial(np.histogram, case.x, BINS))


def torch_histogram(case):
    import torch

    return Work(partial(torch.histc, tensor(case.x), BINS))
