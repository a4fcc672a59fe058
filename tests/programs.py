"""Integer programs of random numbers."""

from itertools import pairwise

import numpy as np
from samples import codes, zero_points

from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Dequantize, Gemm, GemmF32, Quantize, QuantizeDynamic

KINDS = ["static", "integer_out", "fixed", "signed", "signed_fixed", "dynamic", "weight_only"]


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


def static_layers(rng, widths, dtype, fixed, integer_out):
    limits = np.iinfo(dtype)

    def grid(scale):
        zero_point = int(rng.integers(limits.min, limits.max + 1))
        return {"dtype": dtype, "scale": float(np.float32(scale)), "zero_point": zero_point}

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
    if kind == "dynamic":
        return float_layers(rng, widths, dynamic_step)
    if kind == "weight_only":
        return float_layers(rng, widths, weight_only_step)
    dtype = "int8" if "signed" in kind else "uint8"
    return static_layers(rng, widths, dtype, "fixed" in kind, kind != "static")
