"""The compiled core, private. Arguments are positional; names are for error messages. Arrays come in as they are:
floating data may be any real floating dtype and layout (it is converted to C-contiguous float32), codes and parameters
must have exactly the dtype that is named here."""

from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]
S32 = NDArray[np.int32]
S64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
X8 = NDArray[np.int8] | NDArray[np.uint8]
X16 = NDArray[np.int16] | NDArray[np.uint16]

HISTOGRAM_DTYPE: np.dtype[np.void]  # fields min max exponent origin count zeros

# scale, zero_point, multiplier: one element, or rank of the data and along each axis 1, the data's length, or along
# group_axis the number of groups of group_size
# codes: 8 bits if qmin..qmax fit, else 16, signed if qmin < 0; rounding: "even" "away" "stochastic", which has a seed

# numbers by rows, copied only if they do not lie so
def contiguous(array: NDArray[Any]) -> NDArray[Any]: ...

# Results of these lie in memory as their data do.
def quantize(
    x: ArrayLike,
    scale: F32,
    zero_point: S32,
    qmin: int,
    qmax: int,
    refuse_nonfinite: bool,
    out: X8 | X16 | None,
    name: str = "x",
    group_size: int = 0,
    group_axis: int = 0,
    rounding: str = "even",
    seed: int = 0,
) -> X8 | X16: ...
def dequantize(
    codes: X8 | X16, scale: F32, zero_point: S32, out: F32 | None, group_size: int = 0, group_axis: int = 0
) -> F32: ...
def fake_quantize(
    x: ArrayLike,
    scale: F32,
    zero_point: S32,
    qmin: int,
    qmax: int,
    refuse_nonfinite: bool,
    out: F32 | None,
    group_size: int = 0,
    group_axis: int = 0,
    rounding: str = "even",
    seed: int = 0,
) -> F32: ...

# qmin <= rint(x / scale) + zero_point <= qmax
def in_range(
    x: ArrayLike, scale: F32, zero_point: S32, qmin: int, qmax: int, group_size: int = 0, group_axis: int = 0
) -> NDArray[np.bool_]: ...

# codebook: [entries] values in the order of their codes, or one such row per parameter (then scale has that shape too)
def quantize_codebook(
    x: ArrayLike,
    scale: F32,
    codebook: F32,
    refuse_nonfinite: bool,
    out: U8 | None,
    name: str = "x",
    group_size: int = 0,
    group_axis: int = 0,
) -> U8: ...
def dequantize_codebook(
    codes: U8, scale: F32, codebook: F32, out: F32 | None, group_size: int = 0, group_axis: int = 0
) -> F32: ...

# the last axis packed, low bits first, each row filled up to a byte
def pack_bits(codes: X8 | X16, bits: int) -> U8: ...

# codes first .. first + count - 1 of each row
def unpack_bits(packed: U8, bits: int, is_signed: bool, first: int, count: int) -> X8 | X16: ...
def requantize(
    acc: S32, multiplier: NDArray[np.float64], zero_point: int, qmin: int, qmax: int, fixed: bool, out: X8 | None
) -> X8: ...

# matrices; gradient is written over, scale_gradient (groups, columns) and column_sum (columns,) are written; x / scale
# is clamped to qmin - z and qmax - z; inside the ends scales move only if `moves_inside`
def quantize_gradient(
    x: F32,
    gradient: F32,
    scale: F32,
    zero_point: S32,
    group_size: int,
    qmin: int,
    qmax: int,
    moves_inside: bool,
    scale_gradient: F32,
) -> None: ...

# steps: low and high end of the grid, floor and ceiling of the activation; returns the scale's gradient
def requantize_gradient(
    sums: S32,
    gradient: F32,
    multiplier: F32,
    steps: tuple[float, float, float, float],
    moves_inside: bool,
    column_sum: F32,
) -> float: ...
def quantize_multiplier(value: float) -> tuple[int, int]: ...

# shape: of the parameters, as above; the last is whether all values were finite
def minmax(x: ArrayLike, shape: tuple[int, ...], group_size: int = 0, group_axis: int = 0) -> tuple[F32, F32, bool]: ...

# sums of x, of x**2 and of |x|, in arrays of that shape
def moments(
    x: ArrayLike, shape: tuple[int, ...], group_size: int = 0, group_axis: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
def histogram_clear(state: NDArray[np.void], counts: S64) -> None: ...
def histogram_update(x: ArrayLike, axis: int, state: NDArray[np.void], counts: S64, name: str = "x") -> None: ...
def histogram_merge(state: NDArray[np.void], counts: S64, other_state: NDArray[np.void], other_counts: S64) -> None: ...

# scale_type: "float32" "float16" "e8m0"; codebook: [entries] in any order, or None for a uniform grid
# one grid per (low, high): scale and zero_point in the shape of low
def range_qparams(
    low: F32,
    high: F32,
    qmin: int,
    qmax: int,
    symmetric: bool,
    scale_type: str = "float32",
    codebook: F32 | None = None,
) -> tuple[F32, S32]: ...

# method: "percentile" "mse" "entropy" (of histograms and uniform grids); returns low[channels], high[channels]
def histogram_range(
    state: NDArray[np.void],
    counts: S64,
    method: str,
    percentile: float,
    qmin: int,
    qmax: int,
    symmetric: bool,
    scale_type: str = "float32",
    codebook: F32 | None = None,
) -> tuple[F32, F32]: ...

# x: [rows, n], every row ascending; returns low[rows], high[rows]
def sorted_range(
    x: F32,
    method: str,
    percentile: float,
    qmin: int,
    qmax: int,
    symmetric: bool,
    scale_type: str = "float32",
    codebook: F32 | None = None,
) -> tuple[F32, F32]: ...

# kind: "kmeans" "quantile"; returns [channels, entries] or [rows, entries], strictly ascending
def histogram_codebook(state: NDArray[np.void], counts: S64, kind: str, entries: int) -> F32: ...
def sorted_codebook(x: F32, weights: NDArray[np.float64] | None, kind: str, entries: int) -> F32: ...

# codebook: [entries], or the shape of scale and entries; codes are then uint8. axis -1: over everything. Returns
# [channels, 8]: sum w**2, sums of the clipped and of the other squared errors, sum w * v, sum v**2, greatest |w - v|,
# how many are clipped, divergence
def error_sums(
    w: ArrayLike,
    codes: X8 | X16,
    scale: F32,
    zero_point: S32,
    codebook: F32 | None,
    qmin: int,
    qmax: int,
    axis: int,
    group_size: int = 0,
    group_axis: int = 0,
) -> NDArray[np.float64]: ...

# table: [256], an entry for each byte, whose dtype is the result's; out may be codes
# function: None or the name of one; apply and function_gradient return out or a new array, apply_bias y
def apply(x: ArrayLike, function: str | None, slope: float, out: F32 | None) -> F32: ...
def apply_bias(y: F32, bias: F32, function: str | None, slope: float) -> F32: ...
def function_gradient(gradient: F32, z: F32 | None, function: str | None, slope: float, out: F32 | None) -> F32: ...
def lookup(codes: X8, table: X8, out: X8 | None) -> X8: ...

# over the last axis, to scale 1/256 with the lowest code as zero point; out may be x
def softmax(x: X8, scale: float, beta: float, fixed: bool, out: X8 | None) -> X8: ...

# x: [images, height, width, channels]; before: what the first window lies above and left of the image, less than kernel
def max_pool(
    x: X8,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    before: tuple[int, int],
    size: tuple[int, int],
    out: X8 | None,
) -> X8: ...
def avg_pool(
    x: X8,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    before: tuple[int, int],
    size: tuple[int, int],
    out: X8 | None,
) -> X8: ...

# optimizer: "sgd" "adam" "rmsprop"; the arrays are written in place
# update: gradient_scale, limit, decay, shrink, rate, momentum, memory, root, epsilon, nesterov
def optimize(
    optimizer: str,
    parameter: F32,
    gradient: F32,
    first: F32 | None,
    second: F32 | None,
    update: tuple[float, float, float, float, float, float, float, float, float, bool],
) -> None: ...

# target: labels [rows] or probabilities [rows, n]; share: [rows]; returns the loss and its gradient
def cross_entropy(raw: np.ndarray, target: np.ndarray, share: np.ndarray, smoothing: float) -> tuple[float, F32]: ...

@final
class Packed:
    """Weights packed for the active instruction set, of one of three kinds: a matrix with a scale per column, grouped
    (in groups or on a codebook), or the filter of a convolution. purpose: "integer", "float", "integer7" of a matrix.
    """
    @classmethod
    def matrix(cls, codes: X8, zero_point: S32 | None, purpose: str) -> Packed: ...

    # codes: [in, out]; scale, zero_point: [groups, out]; codebook: [entries] or [groups, out, entries]
    @classmethod
    def grouped(
        cls,
        codes: X8,
        scale: F32,
        zero_point: S32 | None,
        codebook: F32 | None,
        bits: int,
        group_size: int,
        purpose: str,
    ) -> Packed: ...

    # codes: [kernel_h, kernel_w, in, out]; is_dilated: for windows with gaps along the width
    @classmethod
    def filter(cls, codes: X8, zero_point: S32 | None, groups: int, is_dilated: bool) -> Packed: ...
    @property
    def kind(self) -> str: ...  # "matrix" "grouped" "filter"
    @property
    def purpose(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def groups(self) -> int: ...  # of a filter's channels, else 1
    @property
    def is_dilated(self) -> bool: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def isa(self) -> str: ...

# b as it lies in memory, with a zero point for each column
def matmul_unpacked(a: X8, b: X8, a_zero_point: S32, b_zero_point: S32, out: S32 | None) -> S32: ...
def matmul_integer(a: X8, b: Packed, a_zero_point: S32, out: S32 | None) -> S32: ...
def output_clamps(
    requant: str, activation: str | None, scale: float, zero_point: int, qmin: int, qmax: int
) -> tuple[int, int]: ...
def linear_static(
    x: X8, w: Packed, x_zero_point: S32, bias: S32 | None, output: tuple[Any, ...], out: NDArray[Any] | None
) -> NDArray[Any]: ...
def linear(
    x: ArrayLike,
    w: Packed,
    scale: F32,
    bias: F32 | None,
    activation: str | None,
    per_tensor: bool,
    out: F32 | None,
) -> F32: ...
def matmul_float(
    x: ArrayLike, w: Packed, scale: F32, bias: F32 | None, activation: str | None, out: F32 | None
) -> F32: ...
def linear_grouped(x: ArrayLike, w: Packed, bias: F32 | None, activation: str | None, out: F32 | None) -> F32: ...
def matmul_grouped(x: ArrayLike, w: Packed, out: F32 | None) -> F32: ...

# window: stride, dilation, padding before the image, size of the result: height and width of each
def conv2d_integer(
    x: X8, w: Packed, x_zero_point: int, window: tuple[int, int, int, int, int, int, int, int], out: S32 | None
) -> S32: ...
def conv2d(
    x: X8,
    w: Packed,
    x_zero_point: int,
    window: tuple[int, int, int, int, int, int, int, int],
    bias: S32 | None,
    fields: tuple[Any, ...],
    out: F32 | X8 | None,
) -> F32 | X8: ...

# scale, zero_point: one per image; bias: (images, out)
def conv2d_images(
    x: X8,
    w: Packed,
    scale: F32,
    zero_point: S32,
    window: tuple[int, int, int, int, int, int, int, int],
    bias: S32 | None,
    fields: tuple[Any, ...],
    out: F32 | X8 | None,
) -> F32 | X8: ...

# Float images, (images, height, width, channels). numbers: kernel, stride, dilation, padding before the image, size of
# the result: height and width of each. rows: first, last of the rows of windows over all images, channel, channels.
# What is written to is given.
Numbers = tuple[int, ...]

def image_add_columns(columns: F32, numbers: Numbers, rows: tuple[int, int, int, int], x: F32) -> None: ...
def conv2d_f32(x: F32, weight: F32, y: F32, groups: int, numbers: Numbers) -> None: ...
def conv2d_weight_gradient(x: F32, weight: F32, gradient: F32, groups: int, numbers: Numbers) -> None: ...
def depthwise_input_gradient(x: F32, weight: F32, gradient: F32, groups: int, numbers: Numbers) -> None: ...
def depthwise_weight_gradient(x: F32, weight: F32, gradient: F32, groups: int, numbers: Numbers) -> None: ...
def max_pool_f32(x: F32, numbers: Numbers, y: F32, index: S32 | None) -> None: ...
def max_pool_gradient_f32(gradient: F32, index: S32, numbers: Numbers, x: F32) -> None: ...
def average_pool_f32(x: F32, numbers: Numbers, y: F32) -> None: ...
def average_pool_gradient_f32(gradient: F32, numbers: Numbers, x: F32) -> None: ...

class Plan:
    """buffers: (dtype, shape, scale, zero_point, row_scale, row_zero_point, bits) each; -1 for no row buffer."""
    def __init__(
        self,
        buffers: list[tuple[str, tuple[int, ...], float, int, int, int, int]],
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        names: tuple[str, ...] = ...,  # of the inputs, for errors where there are several
    ) -> None: ...
    rows: int
    workspace_nbytes: int
    def add(self, kind: str, fields: dict[str, Any]) -> None: ...
    def finish(self) -> None: ...
    # (buffer, scale, zero_point) each, and (step, fields) each
    def update(self, grids: list[tuple[int, float, int]], steps: list[tuple[int, dict[str, Any]]]) -> None: ...
    def run(self, *inputs: ArrayLike) -> Any: ...
    def timed(self, *inputs: ArrayLike) -> tuple[Any, NDArray[np.float64]]: ...  # seconds of each step
    def run_steps(
        self, first: int, last: int, given: tuple[int, ...], arrays: tuple[Any, ...], wanted: tuple[int, ...]
    ) -> tuple[NDArray[Any], ...]: ...

# n multiply-adds of a (uint8) and b (int8) in registers, n in proportion to rounds; returns n and their sum modulo 2^32
def peak(rounds: int, a: int, b: int) -> tuple[int, int]: ...
def info() -> dict[str, Any]: ...
def isa_select(name: str | None) -> None: ...
def num_threads() -> int: ...
def set_num_threads(n: int | None) -> int | None: ...  # returns what was set before; None: nothing
