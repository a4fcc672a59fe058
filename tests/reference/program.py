"""The steps of an integer program, in plain NumPy."""

import numpy as np
from reference.basics import F32
from reference.elementwise import dequantize, quantize
from reference.gemm import matmul_float, matmul_integer, output_of_sums, quantize_rows, scale_sums


def evaluate(program, x):
    """All buffers of a program (qlite.nn.program) for the samples x, step by step, in the order of its buffers."""
    values = [None] * len(program.buffers)
    values[program.input] = np.asarray(x).astype(program.buffers[program.input].dtype)
    for step in program.steps:
        STEPS[step.kind](program.buffers, step, values)
    return values


def step_normalize(buffers, step, values):
    """(x - mean) / scale: a subtraction and a division, each rounded to float32."""
    with np.errstate(over="ignore", under="ignore"):
        values[step.output] = (values[step.input] - step.mean) / step.scale


def step_quantize(buffers, step, values):
    grid = buffers[step.output]
    limits = np.iinfo(grid.dtype)
    values[step.output] = quantize(values[step.input], F32(grid.scale), grid.zero_point, limits.min, limits.max)


def step_quantize_dynamic(buffers, step, values):
    codes, scale, zero_point = quantize_rows(values[step.input])
    grid = buffers[step.output]
    values[step.output], values[grid.row_scale], values[grid.row_zero_point] = codes, scale, zero_point


def step_dequantize(buffers, step, values):
    grid = buffers[step.input]
    values[step.output] = dequantize(values[step.input], F32(grid.scale), grid.zero_point)


def step_gemm(buffers, step, values):
    source, target = buffers[step.input], buffers[step.output]
    weight_zero_point = 0 if step.weight_zero_point is None else step.weight_zero_point
    bias = 0 if step.bias is None else step.bias
    low = 0 if step.relu else -np.inf
    if source.row_scale is not None:
        acc = matmul_integer(values[step.input], step.weight, values[source.row_zero_point], weight_zero_point)
        values[step.output] = scale_sums(acc, values[source.row_scale], step.weight_scale, bias, low)
        return
    acc = matmul_integer(values[step.input], step.weight, source.zero_point, weight_zero_point)
    acc = acc + np.asarray(bias, np.int32)
    limits = np.iinfo(np.int8 if target.dtype == "int8" else np.uint8)
    qmin = target.zero_point if step.relu else limits.min
    grid = None if target.dtype == "float32" else (target.scale, target.zero_point, qmin, limits.max)
    result = output_of_sums(acc, source.scale, step.weight_scale, grid, step.fixed, low)
    values[step.output] = result.astype(target.dtype)


def step_gemm_f32(buffers, step, values):
    zero_point = 0 if step.weight_zero_point is None else step.weight_zero_point
    bias = 0 if step.bias is None else step.bias
    low = 0 if step.relu else -np.inf
    values[step.output] = matmul_float(values[step.input], step.weight, step.weight_scale, zero_point, bias, low)


STEPS = {
    "normalize": step_normalize,
    "quantize": step_quantize,
    "quantize_dynamic": step_quantize_dynamic,
    "dequantize": step_dequantize,
    "gemm": step_gemm,
    "gemm_f32": step_gemm_f32,
}
