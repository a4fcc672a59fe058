"""Integer programs of random numbers."""

from itertools import pairwise

import numpy as np
from samples import codes, zero_points

from qlite.nn.program import Buffer, Program
from qlite.nn.steps import (
    DenseF32,
    Dequantize,
    Gemm,
    GemmF32,
    GemmGrouped,
    GemmGroupedF32,
    Quantize,
    QuantizeDynamic,
)

STATIC = ["static", "integer_out", "fixed", "signed", "signed_fixed", "narrow", "signed_narrow"]
FLOAT_LAYERS = ["dynamic", "weight_only", "grouped", "grouped_static", "grouped_weight_only", "float"]
KINDS = STATIC + FLOAT_LAYERS


ACTIVATIONS = np.array([None, "relu", "relu6"])


def weights(rng, k, n, signed):
    dtype = np.int8 if signed else np.uint8
    zero_point = zero_points(rng, n, dtype) if rng.random() < 0.5 else None
    return {
        "weight": codes(rng, (k, n), dtype),
        "weight_scale": rng.uniform(0.001, 0.02, n).astype(np.float32),
        "weight_zero_point": zero_point,
    }


def float_layers(rng, widths, step_of):
    """A program of float32 buffers; step_of makes the steps from buffer i to the next one."""
    buffers, steps = [Buffer("input", "input", (widths[0],), "float32")], []
    for k, n in pairwise(widths):
        bias = rng.normal(size=n).astype(np.float32) if rng.random() < 0.7 else None
        fields = weights(rng, k, n, rng.random() < 0.5) | {"bias": bias, "activation": rng.choice(ACTIVATIONS)}
        step_of(buffers, steps, k, n, fields)
    return Program(buffers, steps)


def dynamic_step(buffers, steps, k, n, fields):
    i = len(buffers)
    buffers += [
        Buffer(f"scale{i}", "layer", (1,), "float32"),
        Buffer(f"zero_point{i}", "layer", (1,), "int32"),
        Buffer(f"codes{i}", "layer", (k,), "uint8", row_scale=i, row_zero_point=i + 1),
        Buffer(f"layer{i}", "layer", (n,), "float32"),
    ]
    steps += [QuantizeDynamic((i - 1,), i + 2), Gemm((i + 2,), i + 3, **fields, requant="float")]


def weight_only_step(buffers, steps, k, n, fields):
    buffers.append(Buffer(f"layer{len(buffers)}", "layer", (n,), "float32"))
    steps.append(GemmF32((len(buffers) - 2,), len(buffers) - 1, **fields))


def groups(rng, k, fields, bits):
    """Fields of a product with weights in groups of 8 or 16, or all of a column in one."""
    bias, activation = fields["bias"], fields["activation"]
    signed, size, n = fields["weight"].dtype == np.int8, int(rng.choice([8, 16, 200])), fields["weight"].shape[1]
    lowest = -(2 ** (bits - 1)) if signed else 0
    weight = rng.integers(lowest, lowest + 2**bits, (k, n)).astype(fields["weight"].dtype)
    zero_point = rng.integers(lowest, lowest + 2**bits, (-(-k // size), n), dtype=np.int32)
    scale = rng.uniform(0.01, 0.2, zero_point.shape).astype(np.float32)
    zero_point = zero_point if rng.random() < 0.6 else None
    return {"weight": weight, "weight_scale": scale, "weight_zero_point": zero_point, "group_size": size} | {
        "bias": bias,
        "activation": activation,
        "weight_bits": bits,
    }


def grouped_step(kind):
    def step(buffers, steps, k, n, fields):
        i, rng = len(buffers), np.random.default_rng(len(buffers) + k + n)
        buffers.append(Buffer(f"layer{i}", "layer", (n,), "float32"))
        if kind is DenseF32:
            weight = rng.normal(size=(k, n)).astype(np.float32)
            steps.append(DenseF32((i - 1,), i, weight, fields["bias"], fields["activation"]))
        else:
            steps.append(kind((i - 1,), i, **groups(rng, k, fields, int(rng.choice([2, 3, 4, 8])))))

    return step


def grouped_static_step(buffers, steps, k, n, fields):
    i, rng = len(buffers), np.random.default_rng(len(buffers) + k + n)
    dtype = str(rng.choice(["int8", "uint8"]))
    zero_point = int(zero_points(rng, 1, np.dtype(dtype))[0])
    buffers.append(Buffer(f"codes{i}", "layer", (k,), dtype, float(np.float32(0.02)), zero_point))
    buffers.append(Buffer(f"layer{i}", "layer", (n,), "float32"))
    steps += [Quantize((i - 1,), i), GemmGrouped((i,), i + 1, **groups(rng, k, fields, int(rng.integers(1, 5))))]


def static_layers(rng, widths, dtype, fixed, integer_out, narrow):
    def grid(scale):
        bits = int(rng.integers(1, 8)) if narrow else 8
        lowest = -(2 ** (bits - 1)) if dtype == "int8" else 0
        zero_point, scale = int(rng.integers(lowest, lowest + 2**bits)), float(np.float32(scale * 2 ** (8 - bits)))
        return {"dtype": dtype, "scale": scale, "zero_point": zero_point, "bits": bits}

    buffers = [Buffer("input", "input", (widths[0],), "float32"), Buffer("codes", "input", (widths[0],), **grid(0.03))]
    steps = [Quantize((0,), 1)]
    for i, (k, n) in enumerate(pairwise(widths)):
        is_last = i == len(widths) - 2
        fields = weights(rng, k, n, rng.random() < 0.7)
        spread = buffers[-1].scale * 0.01 * 120 * 120 * np.sqrt(k)
        result = {"dtype": "float32"} if is_last and not integer_out else grid(spread / 100)
        bias = rng.integers(-5000, 5000, n, dtype=np.int32) if rng.random() < 0.7 else None
        buffers.append(Buffer(f"layer{i}", f"layer{i}", (n,), **result))
        fields |= {"bias": bias, "activation": rng.choice(ACTIVATIONS), "requant": "fixed" if fixed else "float"}
        steps.append(Gemm((len(buffers) - 2,), len(buffers) - 1, **fields))
    if integer_out:
        buffers.append(Buffer("output", "layer", (widths[-1],), "float32"))
        steps.append(Dequantize((len(buffers) - 2,), len(buffers) - 1))
    return Program(buffers, steps)


def random_program(rng, kind, widths):
    steps = {
        "dynamic": dynamic_step,
        "weight_only": weight_only_step,
        "grouped": grouped_step(GemmGrouped),
        "grouped_static": grouped_static_step,
        "grouped_weight_only": grouped_step(GemmGroupedF32),
        "float": grouped_step(DenseF32),
    }
    if kind in steps:
        return float_layers(rng, widths, steps[kind])
    dtype = "int8" if "signed" in kind else "uint8"
    return static_layers(rng, widths, dtype, "fixed" in kind, kind != "static", "narrow" in kind)


def curve_fields(rng, name, outputs):
    """Of a curve, on any grid between."""
    fields = {"curve": name, "inner_name": "between", "inner_scale": 0.25, "inner_zero_point": 3}
    if name == "prelu":
        fields |= {"slope": codes(rng, outputs, np.int8), "slope_scale": 0.0078125, "slope_zero_point": -20}
    return fields | ({"slope_scale": 0.125} if name == "leaky_relu" else {})
