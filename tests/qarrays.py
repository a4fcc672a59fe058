"""Quantized arrays of every kind of grid, width and granularity."""

import numpy as np

import qlite as ql

# One of each kind of grid, width and granularity, for data of shape (6, 10, 7).
SHAPE = (6, 10, 7)
KINDS = {
    "int8": {"bits": 8},
    "int8 axis 1": {"bits": 8, "axis": 1},
    "int4": {"bits": 4},
    "int4 axis 0": {"bits": 4, "axis": 0},
    "uint5 axis 1": {"bits": 5, "axis": 1, "symmetric": False},
    "int3 axis 2": {"bits": 3, "axis": -1},
    "uint2 groups": {"bits": 2, "axis": 0, "group_size": 3, "symmetric": False},
    "int4 groups of axis 1": {"bits": 4, "axis": 2, "group_size": 4, "group_axis": 1},
    "int4 blocks": {"bits": 4, "group_size": 2},
    "int4 blocks of axis 0": {"bits": 4, "group_size": 4, "group_axis": 0},
    "int6 float16": {"bits": 6, "axis": 1, "scale_dtype": "float16"},
    "uint7 e8m0": {"bits": 7, "axis": 1, "scale_dtype": "e8m0", "symmetric": False},
    "int4 two levels": {"bits": 4, "axis": 0, "group_size": 5, "scale_dtype": "uint8"},
    "uint4 two levels": {"bits": 4, "group_size": 2, "scale_dtype": "fp8_e4m3", "symmetric": False},
    "int12 axis 0": {"bits": 12, "axis": 0},
    "uint16 groups": {"bits": 16, "axis": 1, "group_size": 3, "symmetric": False},
    "sign": {"bits": 1, "axis": 0},
    "nf4": {"grid": "nf4", "axis": 2, "group_size": 4},
    "fp8_e4m3": {"grid": "fp8_e4m3", "axis": 1},
    "fp8_e5m2": {"grid": "fp8_e5m2"},
    "mxfp4": {"grid": "mxfp4", "group_axis": 1},
    "mxint8": {"grid": "mxint8"},
    "nvfp4": {"grid": "nvfp4", "group_axis": 1},
    "kmeans": {"grid": "kmeans", "bits": 3},
    "kmeans axis 1": {"grid": "kmeans", "bits": 2, "axis": 1},
    "quantile groups": {"grid": "quantile", "bits": 2, "axis": 0, "group_size": 5},
    "codebook": {"grid": [-1.0, -0.25, 0.0, 0.5, 1.0], "axis": 0},
}


def quantized(rng, kind):
    return ql.quantize(rng.normal(size=SHAPE).astype(np.float32), **KINDS[kind])
