"""What qlite computes, in plain NumPy: the specification that every kernel is compared with, byte for byte.

    real = scale * (code - zero_point)

Every function takes and returns arrays, rounds half to even unless told otherwise, and does its arithmetic in the
precision that its text says: float32 unless it says int64 or float64. Parameters broadcast against the data as NumPy
arrays do.

The modules divide it by topic; the names that tests use most are here as well.
"""

# ruff: noqa: F401  (imported for others)
from reference.basics import HUGE, TINY, code_dtype, fma, spread
from reference.bits import pack_bits, unpack_bits
from reference.codebooks import (
    codebook_error,
    dequantize_codebook,
    filled_up,
    kmeans,
    nearest_code,
    quantiles,
    quantize_codebook,
)
from reference.elementwise import ROUND, dequantize, fake_quantize, in_range, quantize, uniform
from reference.error import error_sums, log
from reference.gemm import linear, matmul_float, matmul_integer, output_of_sums, quantize_rows, scale_sums
from reference.histograms import count_beyond, divergence, histogram, squared_error
from reference.program import CLAMPS, evaluate
from reference.ranges import range_qparams
from reference.requantization import code_clamps, quantize_multiplier, requantize_fixed, requantize_float
from reference.sums import minmax, minmax_per_parameter, moments
