"""The steps of an integer program, in plain NumPy: a function on arrays for each kind."""

import math
from dataclasses import replace

import numpy as np
from reference.activations import lookup, prelu, softmax_aarch64, softmax_fixed, softmax_float
from reference.basics import F32, HUGE, at_least, spread
from reference.conv import conv_integer
from reference.elementwise import dequantize, quantize
from reference.functions import apply, layer_norm
from reference.gemm import matmul_float, matmul_integer, output_of_sums, quantize_rows, scale_sums
from reference.grouped import in_s8, matmul_grouped, quantize_rows_symmetric, sum_groups
from reference.images import conv as conv_f32
from reference.merging import add_fixed, add_float, multiply_aarch64, multiply_fixed, multiply_float
from reference.pool import avg_pool, avg_pool_float, max_pool, max_pool_float
from reference.reductions import (
    elements_first,
    greatest_of,
    least_of,
    normalized_codes,
    normalized_floats,
    sum_fixed,
    sum_float,
    sum_of_floats,
)
from reference.requantization import code_clamps
from reference.resizes import resize_bilinear_codes, resize_bilinear_floats, resize_nearest
from reference.sequences import embedding, matmul_codes, matmul_f32
from reference.transposed import conv_transpose, conv_transpose_integer

CLAMPS = {None: (-np.inf, np.inf), "relu": (0.0, np.inf), "relu6": (0.0, 6.0)}


def evaluate(program, *inputs):
    """All buffers of a program (qlite.nn.program) for some samples, step by step, in the order of its buffers."""
    values = [None] * len(program.buffers)
    for i, x in zip(program.inputs, inputs, strict=True):
        values[i] = np.asarray(x).astype(program.buffers[i].dtype)
    for step in program.steps:
        STEPS[step.kind](program.buffers, on_entries(step), values)
    return values


def on_entries(step):
    """A product by weights on a codebook as one by its entries; those in groups look up themselves."""
    codebook = getattr(step, "codebook", None)
    if codebook is None or step.kind.startswith("gemm_grouped"):
        return step
    if codebook.dtype == np.int8:
        return step.without_codebook
    weight = codebook[step.weight] * step.weight_scale
    return replace(step, weight=weight, weight_scale=None, weight_bits=8, codebook=None)


def rows(x):
    """An array as a matrix of rows along its last axis."""
    return x.reshape(-1, x.shape[-1])


def code_range(target):
    """The least and the greatest code of a buffer of uint8 or int8."""
    lowest = -(2 ** (target.bits - 1)) if target.dtype == "int8" else 0
    return lowest, lowest + 2**target.bits - 1


def clamps_of(step, target):
    """The least and greatest code that a step's activation lets through, on the scale and zero point of a buffer."""
    fixed = step.requant == "fixed"
    return code_clamps(CLAMPS[step.activation], *affine(target), *code_range(target), fixed)


def affine(buffer):
    return buffer.scale, buffer.zero_point


def step_normalize(buffers, step, values):
    """(x - mean) / scale: a subtraction and a division, each rounded to float32."""
    (x,) = step.inputs
    with np.errstate(over="ignore", under="ignore"):
        values[step.output] = (values[x] - step.mean) / step.scale


def step_quantize(buffers, step, values):
    (x,) = step.inputs
    target = buffers[step.output]
    codes = quantize(values[x], F32(target.scale), target.zero_point, *code_range(target))
    values[step.output] = codes.astype(target.dtype)


def step_quantize_dynamic(buffers, step, values):
    (x,) = step.inputs
    target, shape = buffers[step.output], values[x].shape
    own_shape = (len(values[x]), *buffers[target.row_scale].shape)
    length = math.prod(shape[1:]) // math.prod(own_shape[1:])
    codes, scale, zero_point = quantize_rows(values[x].reshape(-1, length))
    values[step.output] = codes.reshape(shape)
    for i, own in ((target.row_scale, scale), (target.row_zero_point, zero_point)):
        values[i] = own.reshape(own_shape)


def step_dequantize(buffers, step, values):
    (x,) = step.inputs
    values[step.output] = dequantize(values[x], F32(buffers[x].scale), buffers[x].zero_point)


def result_of_sums(acc, input_scale, step, target):
    """What a step makes of sums for a buffer: codes or float32."""
    params = None
    if getattr(step, "curve", None) is not None:
        return curved(acc, input_scale, step, target)
    if target.dtype != "float32":
        params = (*affine(target), *clamps_of(step, target))
    fixed = step.requant == "fixed"
    result = output_of_sums(acc, input_scale, step.weight_scale, params, fixed, *CLAMPS[step.activation])
    return result.astype(target.dtype)


def curved(acc, input_scale, step, target):
    """A function of what sums stand for, in float32, then codes: half to even."""
    scale, zero_point = F32(target.scale), target.zero_point
    with np.errstate(over="ignore", invalid="ignore"):
        scales = F32(input_scale) * step.weight_scale
        if step.curve in ("prelu", "leaky_relu"):
            multiplier = scales / scale
            slopes = F32(step.slope_scale)
            if step.slope is not None:
                slopes = (step.slope.astype(np.int32) - step.slope_zero_point).astype(F32) * slopes
            steps = acc.astype(F32) * np.where(acc < 0, multiplier * slopes, multiplier)
        else:
            v = acc.astype(F32) * scales
            gate = np.clip(v + F32(3), F32(0), F32(6))
            steps = (v * gate if step.curve == "hard_swish" else gate) * (F32(1 / 6) / scale)
    lowest, highest = code_range(target)
    steps = np.fmin(np.fmax(steps, F32(lowest - zero_point)), F32(highest - zero_point))
    return (np.rint(steps).astype(np.int32) + zero_point).astype(target.dtype)


def step_requantize(buffers, step, values):
    (x,) = step.inputs
    values[step.output] = result_of_sums(values[x], step.input_scale, step, buffers[step.output])


def finished_sums(acc, x, step, buffers, values):
    """What a step makes of the exact sums of products with buffer x, without a bias: the first axis is that of samples,
    or of rows where these have scales of their own."""
    source, target = buffers[x], buffers[step.output]
    bias = 0 if step.bias is None else step.bias
    if source.row_scale is not None:
        own = values[source.row_scale].reshape(-1, *(1,) * (acc.ndim - 1))
        return scale_sums(acc, own, step.weight_scale, bias, *CLAMPS[step.activation])
    acc = acc + np.asarray(bias, np.int32)
    if len(step.inputs) == 2:
        acc = acc + residual_terms(x, step, buffers, values).reshape(acc.shape)
    return acc if target.dtype == "int32" else result_of_sums(acc, source.scale, step, target)


def residual_terms(x, step, buffers, values):
    """What a second input adds to the sums of products with buffer x, in their units: by factors of 23 bits."""
    residual = step.inputs[1]
    ratio = F32(buffers[residual].scale) / (F32(buffers[x].scale) * step.weight_scale)
    factors = [residual_factor(float(r)) for r in ratio]
    factor, shift = (np.array(part, np.int64) for part in zip(*factors, strict=True))
    terms = (values[residual].astype(np.int64) * factor >> shift) - (buffers[residual].zero_point * factor >> shift)
    return terms.astype(np.int32)


def residual_factor(ratio):
    """An integer and the power of two by which it is divided."""
    shift = min(23 - math.frexp(ratio)[1], 31)
    return round(ratio * 2**shift), shift


def step_gemm(buffers, step, values):
    x = step.inputs[0]
    source = buffers[x]
    weight_zero_point = 0 if step.weight_zero_point is None else step.weight_zero_point
    zero_point = source.zero_point if source.row_scale is None else rows(values[source.row_zero_point])
    acc = matmul_integer(rows(values[x]), step.weight, zero_point, weight_zero_point)
    result = finished_sums(acc, x, step, buffers, values)
    values[step.output] = result.reshape(*values[x].shape[:-1], step.weight.shape[1])


def step_conv(buffers, step, values):
    """Windows of images; a sample of lower rank is an image of height 1, or of width 1 as well."""
    x = step.inputs[0]
    images = images_of(values[x])
    options = {"stride": step.stride, "padding": (step.padding[:2], step.padding[2:]), "dilation": step.dilation}
    step_images(lambda *given: conv_integer(*given, groups=step.groups, **options), images, buffers, step, values)


def step_conv_transpose(buffers, step, values):
    (x,) = step.inputs
    options = step.stride, step.padding, step.output_padding
    step_images(lambda *given: conv_transpose_integer(*given, *options), images_of(values[x]), buffers, step, values)


def images_of(x):
    """The images of samples, of which those of rank 4 hold several."""
    return x.reshape(-1, *x.shape[2:]) if x.ndim == 5 else x.reshape(len(x), *(1, 1, *x.shape[1:])[-3:])


def step_quantize_digits(buffers, step, values):
    """int16 codes at once, then their high and low digits, -128 to 127, with 128 added."""
    (x,) = step.inputs
    codes = quantize(values[x], F32(buffers[step.output].scale), 0, -32639, 32639).astype(np.int32)
    low = (codes + 128) % 256 - 128
    high = (codes - low) // 256
    values[step.output] = (np.stack([high, low], axis=1) + 128).astype(np.uint8)


def step_join_digits(buffers, step, values):
    """The product of 16-bit codes is that of the digits: exact in int64, then float64, rounded once to float32."""
    (x,) = step.inputs
    sums = values[x].astype(np.int64)
    scale = np.float64(F32(step.input_scale)) * step.weight_scale.astype(np.float64)
    y = (256 * sums[:, 0] + sums[:, 1]).astype(np.float64) * scale
    with np.errstate(over="ignore"):
        y = (y + (0.0 if step.bias is None else step.bias.astype(np.float64))).astype(F32)
    low, high = CLAMPS[step.activation]
    values[step.output] = at_least(-at_least(-y, -F32(high)), F32(low))


def step_images(sums, images, buffers, step, values):
    """What a step makes of exact sums (images, weight, zero points of both) -> int32, for all images or each."""
    x = step.inputs[0]
    source = buffers[x]
    weight_zero_point = 0 if step.weight_zero_point is None else step.weight_zero_point
    if source.row_scale is None:
        acc = sums(images, step.weight, source.zero_point, weight_zero_point)
    else:
        zero_points = values[source.row_zero_point].ravel()
        each = [
            sums(image[None], step.weight, z, weight_zero_point) for image, z in zip(images, zero_points, strict=True)
        ]
        acc = np.concatenate(each) if each else np.zeros((0, *buffers[step.output].shape), np.int32)
    result = finished_sums(acc, x, step, buffers, values)
    values[step.output] = result.reshape(len(values[x]), *buffers[step.output].shape)


def step_conv_f32(buffers, step, values):
    """Images as in step_conv; codes of weights become floats first."""
    (x,) = step.inputs
    samples = values[x]
    images = samples.reshape(len(samples), *(1, 1, *samples.shape[1:])[-3:])
    y = conv_f32(images, float_weight(step), step.stride, step.dilation, step.padding, step.groups)
    values[step.output] = finished(y, step, (len(samples), *buffers[step.output].shape))


def step_conv_transpose_f32(buffers, step, values):
    (x,) = step.inputs
    y = conv_transpose(values[x], float_weight(step), step.stride, step.padding, step.output_padding)
    values[step.output] = finished(y, step, (len(y), *buffers[step.output].shape))


def float_weight(step):
    """Weights of float32, or what their codes stand for, rounded once."""
    scale, zero_point = getattr(step, "weight_scale", None), getattr(step, "weight_zero_point", None)
    if step.weight.dtype == np.float32:
        return step.weight
    return (step.weight.astype(np.int32) - (0 if zero_point is None else zero_point)).astype(F32) * scale


def step_gemm_f32(buffers, step, values):
    (x,) = step.inputs
    zero_point = 0 if step.weight_zero_point is None else step.weight_zero_point
    bias = 0 if step.bias is None else step.bias
    result = matmul_float(rows(values[x]), step.weight, step.weight_scale, zero_point, bias, *CLAMPS[step.activation])
    values[step.output] = result.reshape(*values[x].shape[:-1], step.weight.shape[1])


def step_dense_f32(buffers, step, values):
    """A layer that stayed in float: one fma per k, k ascending, then the bias and the activation."""
    (x,) = step.inputs
    y = matmul_grouped(rows(values[x]), step.weight)
    values[step.output] = finished(y, step, values[x].shape)


def finished(y, step, shape):
    """What a bias and an activation make of float sums, in rows of samples of this shape."""
    low, high = CLAMPS[step.activation]
    with np.errstate(over="ignore", invalid="ignore"):
        y = at_least(-at_least(-(y + (F32(0) if step.bias is None else step.bias)), -high), low)
    return y.reshape(*shape[:-1], step.weight.shape[-1])


def group_parameters(step):
    zero_point = step.weight_zero_point
    return step.weight_scale, np.zeros(step.weight_scale.shape, np.int32) if zero_point is None else zero_point


def step_gemm_grouped(buffers, step, values):
    (x,) = step.inputs
    source, (scale, zero_point) = buffers[x], group_parameters(step)
    bias = np.zeros(step.weight.shape[1], F32) if step.bias is None else step.bias
    if source.dtype == "float32":
        codes, row_scale = quantize_rows_symmetric(np.clip(rows(values[x]), -HUGE, HUGE))
    else:
        lowest = -128 if source.dtype == "int8" else 0
        codes, row_scale = rows(values[x]).astype(np.int32) - lowest - 128, F32(source.scale)
        bias = shifted_bias(bias, step, source.zero_point - lowest - 128, source.scale)
    weight = step.weight
    if step.codebook is not None:
        weight, scale = in_s8(weight, scale, step.codebook, step.group_size)
    sums = sum_groups(codes, row_scale, weight, scale, zero_point, step.group_size, bias, *CLAMPS[step.activation])
    values[step.output] = sums.reshape(*values[x].shape[:-1], step.weight.shape[1])


def shifted_bias(bias, step, zero_point, input_scale):
    """The bias with what the zero point of the codes adds to a product, in float64, groups ascending."""
    scale, weight_zero_point = group_parameters(step)
    weight = step.weight.astype(np.int64) - spread(weight_zero_point, step.weight.shape, group_size=step.group_size)
    total = np.zeros(weight.shape[1])
    for g, s in enumerate(scale):
        total += s.astype(np.float64) * weight[g * step.group_size : (g + 1) * step.group_size].sum(axis=0)
    return (bias.astype(np.float64) - (np.float64(zero_point) * np.float64(F32(input_scale))) * total).astype(F32)


def step_gemm_grouped_f32(buffers, step, values):
    (x,) = step.inputs
    scale, zero_point = (spread(p, step.weight.shape, group_size=step.group_size) for p in group_parameters(step))
    codes = step.weight.astype(np.int32) - zero_point
    weight = (codes.astype(F32) if step.codebook is None else step.codebook[codes]) * scale
    values[step.output] = finished(matmul_grouped(rows(values[x]), weight), step, values[x].shape)


def aligned(x, y):
    """Samples with axes of length 1 behind the first, as many as those of others have more."""
    return x.reshape(len(x), *(1,) * (y.ndim - x.ndim), *x.shape[1:])


def step_matmul(buffers, step, values):
    a, b = step.inputs
    target, how = buffers[step.output], (step.transpose_b, step.heads)
    if target.dtype == "float32":
        values[step.output] = matmul_f32(values[a], values[b], *how)
        return
    grids = (affine(buffer) for buffer in (buffers[a], buffers[b], target))
    codes = matmul_codes(values[a], values[b], *how, *grids, *code_range(target), step.requant)
    values[step.output] = codes.astype(target.dtype)


def step_layer_norm(buffers, step, values):
    (x,) = step.inputs
    with np.errstate(all="ignore"):
        values[step.output] = layer_norm(values[x], step.gamma, step.beta, step.epsilon)


def step_embedding(buffers, step, values):
    (x,) = step.inputs
    values[step.output] = embedding(values[x], step.weight, step.weight_scale, step.weight_zero_point)


def step_binary(of_floats, of_codes, **options):
    """A step of two inputs that broadcast, by a function on floats, rounded to float32 before the activation, and
    functions on codes by rule."""

    def step_of_pairs(buffers, step, values):
        first, second = step.inputs
        a, b, target = values[first], values[second], buffers[step.output]
        a, b = aligned(a, b), aligned(b, a)
        if target.dtype == "float32":
            low, high = CLAMPS[step.activation]
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                values[step.output] = at_least(-at_least(-of_floats(a, b), -high), low)
            return
        grids = (affine(buffers[i]) for i in (first, second, step.output))
        values[step.output] = of_codes[step.requant](a, b, *grids, *clamps_of(step, target), **options)

    return step_of_pairs


def step_constant(buffers, step, values):
    """The value for each sample; the number of samples is that of what was given."""
    samples = len(next(value for value in values if value is not None))
    values[step.output] = np.repeat(step.value[None], samples, axis=0)


def step_sum(is_mean):
    def step_of_sums(buffers, step, values):
        (x,) = step.inputs
        target, elements = buffers[step.output], elements_first(values[x], step.axes)
        if target.dtype == "float32":
            result = sum_of_floats(elements, is_mean)
        else:
            function = {"float": sum_float, "fixed": sum_fixed}[step.requant]
            result = function(elements, affine(buffers[x]), affine(target), *code_range(target), is_mean)
        values[step.output] = result.reshape(len(values[x]), *target.shape)

    return step_of_sums


def step_extreme(function):
    def step_of_extremes(buffers, step, values):
        (x,) = step.inputs
        result = function(elements_first(values[x], step.axes))
        values[step.output] = result.reshape(len(values[x]), *buffers[step.output].shape)

    return step_of_extremes


def step_l2_normalize(buffers, step, values):
    (x,) = step.inputs
    is_float = buffers[x].dtype == "float32"
    y = normalized_floats(rows(values[x])) if is_float else normalized_codes(rows(values[x]), buffers[x].zero_point)
    values[step.output] = y.reshape(values[x].shape)


def step_concatenate(buffers, step, values):
    values[step.output] = np.concatenate([values[i] for i in step.inputs], axis=step.axis + 1)


def step_pad(buffers, step, values):
    """Zeros, which are the zero point in codes."""
    (x,) = step.inputs
    sides = [(0, 0), *zip(step.padding[::2], step.padding[1::2], strict=True)]
    zero = 0 if buffers[x].dtype == "float32" else buffers[x].zero_point
    values[step.output] = np.pad(values[x], sides, constant_values=zero)


def step_pool(functions):
    """A step of pooling, by a function on codes and one on floats; images of lower rank have lengths of 1 in front."""

    def step_of_windows(buffers, step, values):
        (x,) = step.inputs
        shape = values[x].shape
        images = values[x].reshape(shape[0], *(1,) * (4 - len(shape)), *shape[1:])
        top, bottom, left, right = step.padding
        function = functions[buffers[x].dtype == "float32"]
        y = function(images, step.size, step.stride, ((top, bottom), (left, right)))
        values[step.output] = y.reshape(len(y), *y.shape[5 - len(shape) :])

    return step_of_windows


def step_activate(buffers, step, values):
    (x,) = step.inputs
    values[step.output] = apply(step.function, values[x], step.slope)


def step_lookup(buffers, step, values):
    (x,) = step.inputs
    values[step.output] = lookup(values[x], step.table)


def step_prelu(buffers, step, values):
    """x >= 0 ? x : x * slope; codes by rule B, with multipliers of float32 or float64."""
    (x,) = step.inputs
    source, target = buffers[x], buffers[step.output]
    if target.dtype == "float32":
        with np.errstate(over="ignore", invalid="ignore"):
            values[step.output] = values[x] * np.where(values[x] < 0, step.slope, F32(1))
        return
    slope = step.slope.astype(np.int64) - step.slope_zero_point
    grids = affine(source), step.slope_scale, affine(target)
    values[step.output] = prelu(values[x], slope, *grids, step.requant == "fixed", *code_range(target))


def step_softmax(buffers, step, values):
    (x,) = step.inputs
    rules = {"float": softmax_float, "aarch64": softmax_aarch64, "fixed": softmax_fixed}
    result = rules[step.requant](rows(values[x]), buffers[x].scale)
    values[step.output] = result.reshape(values[x].shape)


def step_reshape(buffers, step, values):
    (x,) = step.inputs
    values[step.output] = values[x].reshape(len(values[x]), *step.shape)


def step_resize_nearest(buffers, step, values):
    (x,) = step.inputs
    values[step.output] = resize_nearest(values[x], step.size, step.align_corners, step.half_pixel_centers)


def step_resize_bilinear(buffers, step, values):
    (x,) = step.inputs
    options = step.size, step.align_corners, step.half_pixel_centers
    if buffers[x].dtype == "float32":
        values[step.output] = resize_bilinear_floats(values[x], *options)
    else:
        values[step.output] = resize_bilinear_codes(values[x], *options, step.requant == "fixed")


def step_mirror_pad(buffers, step, values):
    (x,) = step.inputs
    sides = [(0, 0), *zip(step.padding[::2], step.padding[1::2], strict=True)]
    values[step.output] = np.pad(values[x], sides, step.mode)


def step_transpose(buffers, step, values):
    (x,) = step.inputs
    values[step.output] = values[x].transpose(0, *(axis + 1 for axis in step.axes))


def step_slice(buffers, step, values):
    """Place by place."""
    (x,) = step.inputs
    y = values[x]
    for axis, places in enumerate(zip(step.begin, step.end, step.stride, strict=True), 1):
        y = np.take(y, list(range(*places)), axis)
    values[step.output] = y


def step_depth_to_space(buffers, step, values):
    (x,) = step.inputs
    (samples, height, width, channels), block = values[x].shape, step.block
    squares = values[x].reshape(samples, height, width, block, block, channels // block**2)
    rows = squares.transpose(0, 1, 3, 2, 4, 5)
    values[step.output] = rows.reshape(samples, height * block, width * block, channels // block**2)


def step_space_to_depth(buffers, step, values):
    (x,) = step.inputs
    (samples, height, width, channels), block = values[x].shape, step.block
    rows = values[x].reshape(samples, height // block, block, width // block, block, channels)
    squares = rows.transpose(0, 1, 3, 2, 4, 5)
    values[step.output] = squares.reshape(samples, height // block, width // block, block**2 * channels)


STEPS = {
    "normalize": step_normalize,
    "quantize": step_quantize,
    "quantize_dynamic": step_quantize_dynamic,
    "dequantize": step_dequantize,
    "gemm": step_gemm,
    "conv": step_conv,
    "conv_f32": step_conv_f32,
    "conv_transpose": step_conv_transpose,
    "conv_transpose_f32": step_conv_transpose_f32,
    "requantize": step_requantize,
    "matmul": step_matmul,
    "layer_norm": step_layer_norm,
    "embedding": step_embedding,
    "quantize_digits": step_quantize_digits,
    "join_digits": step_join_digits,
    "gemm_grouped": step_gemm_grouped,
    "gemm_grouped_f32": step_gemm_grouped_f32,
    "dense_f32": step_dense_f32,
    "gemm_f32": step_gemm_f32,
    "add": step_binary(np.add, {"float": add_float, "fixed": add_fixed}),
    "subtract": step_binary(np.subtract, {"float": add_float, "fixed": add_fixed}, signs=(1, -1)),
    "multiply": step_binary(
        np.multiply, {"float": multiply_float, "aarch64": multiply_aarch64, "fixed": multiply_fixed}
    ),
    "constant": step_constant,
    "mean": step_sum(True),
    "sum": step_sum(False),
    "reduce_max": step_extreme(greatest_of),
    "reduce_min": step_extreme(least_of),
    "l2_normalize": step_l2_normalize,
    "concatenate": step_concatenate,
    "pad": step_pad,
    "max_pool": step_pool((max_pool, max_pool_float)),
    "average_pool": step_pool((avg_pool, avg_pool_float)),
    "activate": step_activate,
    "lookup": step_lookup,
    "prelu": step_prelu,
    "softmax": step_softmax,
    "reshape": step_reshape,
    "mirror_pad": step_mirror_pad,
    "transpose": step_transpose,
    "slice": step_slice,
    "depth_to_space": step_depth_to_space,
    "space_to_depth": step_space_to_depth,
    "resize_nearest": step_resize_nearest,
    "resize_bilinear": step_resize_bilinear,
}
