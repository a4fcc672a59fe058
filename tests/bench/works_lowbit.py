"""What `arrays.py` times below and beside 8 bits: codebooks, groups, small floats, stochastic rounding, packing."""

from functools import partial

import numpy as np

import qlite as ql

from .harness import Work
from .onnx_model import one_node
from .works_uniform import quantize, tensor

# codebooks


def codebook(case):
    """Its entries, ascending as k-means leaves them, and the thresholds halfway between."""
    entries = (case.qparams.scale.ravel()[0] * case.qparams.codebook.ravel()).astype(np.float32)
    return entries, (entries[1:] + entries[:-1]) / 2


def sklearn_nearest(case):
    from sklearn.cluster import KMeans

    entries = codebook(case)[0].reshape(-1, 1)
    means = KMeans(len(entries), init=entries, n_init=1, max_iter=1).fit(entries)
    call = partial(means.predict, case.x.reshape(-1, 1))
    return Work(call, lambda: call().reshape(case.x.shape))


def numpy_nearest(case):
    call = partial(np.searchsorted, codebook(case)[1], case.x)
    return Work(call, call)


def torch_nearest(case):
    import torch

    thresholds, out = torch.from_numpy(codebook(case)[1]), torch.empty(case.x.shape, dtype=torch.int32)
    return Work(partial(torch.bucketize, tensor(case.x), thresholds, out_int32=True, out=out), out.numpy)


def kmeans(case):
    return Work(partial(ql.choose_qparams, case.x, 4, grid="kmeans"))


def sklearn_kmeans(case):
    from sklearn.cluster import KMeans

    return Work(partial(KMeans(16, n_init=1, random_state=0).fit, case.x.reshape(-1, 1)))


# groups, small floats, stochastic rounding, packing

GROUP = 32
GROUPED = (1250, 25 * GROUP)


def quantize_packed(case):
    call = partial(ql.quantize, case.x, case.qparams)
    return Work(call, lambda: call().codes)


def quantize_choosing(case):
    call = partial(ql.quantize, case.x, 4, group_size=GROUP)
    return Work(call, lambda: call().codes)


def onnx_int4(values):
    from onnx import TensorProto, helper

    return helper.make_tensor("codes", TensorProto.INT4, values.shape, values.ravel())


def onnx_quantize_groups(case):
    constants = [case.qparams.scale, onnx_int4(np.zeros(case.qparams.scale.shape, np.int8))]
    options = {"opset": 21, "axis": 1, "block_size": GROUP}
    return Work(one_node("QuantizeLinear", case.x, constants, case.x.shape, "INT4", **options).call)


def numpy_quantize_groups(case, choosing):
    """Codes, a byte each: packing them is left out."""
    x, scale = case.x.reshape(len(case.x), -1, GROUP), case.qparams.scale[..., None]
    steps, out = np.empty_like(x), np.empty(x.shape, np.int8)

    def call():
        found = np.abs(x).max(axis=-1, keepdims=True) / np.float32(7) if choosing else scale
        np.divide(x, found, out=steps)
        np.rint(steps, out=steps)
        np.clip(steps, -7, 7, out=steps)
        np.copyto(out, steps, casting="unsafe")

    return Work(call, lambda: out.reshape(case.x.shape))


def small_float(out):
    """Codes of FP8 as the values that they stand for."""
    import ml_dtypes

    return np.asarray(out).view(ml_dtypes.float8_e4m3fn).astype(np.float32)


def quantize_fp8(case):
    work = quantize(case)
    return Work(work.call, lambda: small_float(work.result()))


def numpy_fp8(case):
    import ml_dtypes

    steps, out = np.empty_like(case.x), np.empty(case.x.shape, ml_dtypes.float8_e4m3fn)

    def call():
        np.divide(case.x, case.scale, out=steps)
        np.copyto(out, steps, casting="unsafe")

    return Work(call, lambda: small_float(out))


def torch_fp8(case):
    import torch

    x, scale = tensor(case.x), float(case.scale)
    steps, out = torch.empty_like(x), torch.empty(x.shape, dtype=torch.float8_e4m3fn)

    def call():
        torch.div(x, scale, out=steps)
        out.copy_(steps)

    return Work(call, lambda: small_float(out.view(torch.uint8).numpy()))


def onnx_fp8(case):
    from onnx import TensorProto, helper

    zero = helper.make_tensor("zero_point", TensorProto.FLOAT8E4M3FN, [], [0.0])
    constants = [case.qparams.scale.reshape(()), zero]
    work = one_node("QuantizeLinear", case.x, constants, case.x.shape, "FLOAT8E4M3FN", opset=19)
    return Work(work.call, lambda: small_float(work.result()))


def quantize_stochastic(case):
    out = np.empty(case.x.shape, case.qparams.dtype)
    return Work(partial(ql.quantize, case.x, case.qparams, rounding="stochastic", out=out))


def numpy_stochastic(case):
    p, rng = case.qparams, np.random.default_rng(0)
    noise, steps, out = np.empty_like(case.x), np.empty_like(case.x), np.empty(case.x.shape, case.qparams.dtype)

    def call():
        rng.random(dtype=np.float32, out=noise)
        np.divide(case.x, case.scale, out=steps)
        np.add(steps, noise, out=steps)
        np.floor(steps, out=steps)
        np.clip(steps, p.qmin, p.qmax, out=steps)
        np.copyto(out, steps, casting="unsafe")

    return Work(call)


def torch_stochastic(case):
    import torch

    p, x, scale = case.qparams, tensor(case.x), float(case.scale)
    noise, steps, out = torch.empty_like(x), torch.empty_like(x), torch.empty(x.shape, dtype=torch.int8)

    def call():
        torch.rand(x.shape, out=noise)
        torch.div(x, scale, out=steps)
        steps.add_(noise).floor_().clamp_(p.qmin, p.qmax)
        out.copy_(steps)

    return Work(call)


def pack(case):
    return Work(partial(ql.QArray.from_codes, np.array(case.quantized.codes), 1.0, bits=4))


def numpy_pack(case):
    codes = np.array(case.quantized.codes).view(np.uint8)
    low, high = np.empty((2, *codes[:, ::2].shape), np.uint8)

    def call():
        np.bitwise_and(codes[:, ::2], 15, out=low)
        np.left_shift(codes[:, 1::2], 4, out=high)
        np.bitwise_or(low, high, out=high)

    return Work(call)


def unpack(case):
    def call():
        return case.quantized.codes

    return Work(call, call)


def numpy_unpack(case):
    codes = np.array(case.quantized.codes)
    packed = (codes[:, ::2] & 15 | codes[:, 1::2] << 4).astype(np.int8)
    low, out = np.empty_like(packed), np.empty_like(codes)

    def call():
        np.left_shift(packed, 4, out=low)
        np.right_shift(low, 4, out=out[:, ::2])
        np.right_shift(packed, 4, out=out[:, 1::2])

    return Work(call, lambda: out)
