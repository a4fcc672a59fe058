"""Whether results are the same bytes on 1 to 8 threads and on every instruction set.

SHA-256 of what the products and models of the public interface give, in sizes at which the work is parted.
"""

from hashlib import sha256

import numpy as np
from samples import codes, zero_points

import qlite as ql
from qlite.config import on_threads

from .kernels import SIGNS, on_isa
from .tally import Tally

THREADS = range(1, 9)
# (rows, depth, columns): one row, few, blocks of rows, ragged, narrow, deep.
SHAPES = ((1, 4096, 4096), (7, 2048, 1500), (400, 401, 403), (1500, 257, 65), (97, 4097, 129), (3000, 784, 10))
IMAGES = ((1, 57, 56, 64), (5, 40, 41, 16), (40, 9, 8, 33))  # (count, height, width, channels)
FEW, FEW_IMAGES = ((400, 201, 203),), ((5, 20, 41, 16),)
SEED = 1


def verify(checks, isas):
    """Print and check everything."""
    tally = Tally()
    check(tally, isas)
    tally.conclude(checks)


def check(tally, isas, shapes=SHAPES, images=IMAGES, threads=THREADS):
    """Count results that differ from the first one."""
    for shape in shapes:
        _compare(tally, isas, threads, shape, works(np.random.default_rng(SEED), *shape))
    for shape in images:
        _compare(tally, isas, threads, shape, convolutions(np.random.default_rng(SEED), shape))


def _compare(tally, isas, threads, shape, made):
    for name, make in made.items():
        digests = {}
        for isa in isas:
            with on_isa(isa):
                run = make()
                for count in threads:
                    with on_threads(count):
                        digests[isa, count] = sha256(np.ascontiguousarray(run())).hexdigest()
        odd = [key for key, digest in digests.items() if digest != digests[isas[0], threads[0]]]
        tally.add(name, len(digests), len(odd), lambda odd=odd: f"{shape}: {odd}")


def works(rng, m, k, n):
    """What is computed: functions that quantize and pack on the active instruction set, and return what multiplies."""
    x, w = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    bias = rng.normal(size=n).astype(np.float32)
    made = {f"matmul_integer {signs}": integers(rng, m, k, n, *dtypes) for signs, dtypes in SIGNS.items()}
    grids = {
        "symmetric": {"axis": 1},
        "with zero points": {"axis": 1, "symmetric": False},
        "of 4 bits in groups": {"bits": 4, "axis": 1, "group_size": 32},
    }
    for grid, options in grids.items():
        made[f"linear {grid}"] = linear(x, w, bias, options)
        if "group_size" not in options:
            made[f"static linear {grid}"] = static_linear(x, w, bias, options)
        made[f"x @ q {grid}"] = weight_only(x, w, options)
    layers = ql.from_weights([(w, bias), (w.T, None)])
    made |= {f"model {scheme}": model(layers, scheme, x) for scheme in ("w8a8", "w8", "dynamic")}
    return made


def integers(rng, m, k, n, a_dtype, b_dtype):
    a, b = codes(rng, (m, k), a_dtype), codes(rng, (k, n), b_dtype)
    za, zb = zero_points(rng, m, a_dtype), zero_points(rng, n, b_dtype)

    def make():
        packed = ql.pack(b, zb)
        return lambda: ql.matmul_integer(a, packed, za)

    return make


def linear(x, w, bias, options):
    def make():
        packed = ql.pack(ql.quantize(w, **options))
        return lambda: ql.linear(x, packed, bias, activation="relu")

    return make


def static_linear(x, w, bias, options):
    def make():
        packed, codes_of_x = ql.pack(ql.quantize(w, **options)), ql.quantize(x, symmetric=False)
        grid = ql.choose_qparams(ql.linear(codes_of_x, packed, bias), symmetric=False)
        return lambda: ql.linear(codes_of_x, packed, bias, output_qparams=grid).codes

    return make


def weight_only(x, w, options):
    def make():
        q = ql.quantize(w, **options)
        return lambda: x @ q

    return make


def model(layers, scheme, x):
    def make():
        quantized = ql.quantize_model(layers, scheme, data=x[:64])
        return lambda: quantized(x)

    return make


def convolutions(rng, shape):
    """3 x 3 windows over images, whole, in groups of channels and by channel; exact, as floats and as codes."""
    images, channels = rng.normal(size=shape).astype(np.float32), shape[-1]
    x = ql.quantize(images, symmetric=False)
    made = {}
    for name, groups, outputs in (("conv2d", 1, 40), ("depthwise conv2d", channels, channels)):
        w = rng.normal(size=(3, 3, channels // groups, outputs)).astype(np.float32)
        options = {"padding": "same", "groups": groups}
        made[name] = convolution(x, w, options)
        made[f"{name} to codes"] = convolution(
            x, w, options | {"output_qparams": ql.choose_qparams(images * 5)}, lambda q: q.codes
        )
    return made


def convolution(x, w, options, result=np.asarray):
    def make():
        q = ql.quantize(w, axis=3)
        return lambda: result(ql.conv2d(x, q, **options))

    return make
