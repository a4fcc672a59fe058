"""Quantizing arrays: elementwise functions, ranges, histograms, codebooks.

Every contender computes the same from Gaussian values, whose grid is chosen before the clock runs, and writes into
memory that is already there where it can; where it cannot, its line says so.
"""

from functools import partial
from itertools import product

from . import works_lowbit as lowbit
from . import works_uniform as uniform
from .harness import Contender
from .limits import memory
from .report import Bench
from .tasks import Task, times_as_long
from .works_uniform import BINS, Case

L2, L3, DRAM = 65_536, 1_000_000, 16_777_216  # values whose float32 lie in a core's own cache, a shared one, or memory
SHARE = 0.75  # of the speed of memory, that every task is to reach which it bounds
PLACES = {"65,536": L2, "1 M": L3, "16 M": DRAM}


def contender(name, *modules):
    """Of a library: (what, work) to a contender."""
    return lambda what, make: Contender(name, what, modules, make)


ours = contender("qlite", "qlite")
numpy = contender("NumPy", "numpy")
torch = contender("torch", "torch")
torch_calls = contender("torch calls", "torch")
onnxruntime = contender("onnxruntime", "onnxruntime", "onnx")
sklearn = contender("scikit-learn", "sklearn")
ml_dtypes = contender("ml_dtypes", "ml_dtypes")


FOUR_CALLS = "divide, rint, clip, copyto, all into given memory"


def everywhere():
    """The tasks whose speed depends on where the values lie; targets hold where kernels have to be good, in L3."""
    for place, values in PLACES.items():
        case, is_at_goal = partial(Case.random, values), values == L3
        read, copy = (memory(kind, 4 * values, SHARE) if values > L2 else None for kind in ("read", "copy"))
        yield Task(
            f"quantize {place}",
            case,
            values,
            ours("quantize(x, qparams), with out= where faster", uniform.quantize),
            (
                torch("quantize_per_tensor; makes its output", uniform.torch_quantize),
                onnxruntime("QuantizeLinear, bound output", uniform.onnx_quantize),
            ),
            (numpy(FOUR_CALLS, uniform.numpy_quantize),),
            target=1.2 if is_at_goal else None,
            limit=read,
        )
        yield Task(
            f"dequantize {place}",
            case,
            values,
            ours("dequantize(q, out=)", uniform.dequantize),
            (
                torch("dequantize(), which makes its output, or mul(out=)", uniform.torch_dequantize),
                onnxruntime("DequantizeLinear, bound output", uniform.onnx_dequantize),
                numpy("multiply(out=)", uniform.numpy_dequantize),
            ),
            target=1.2 if is_at_goal else None,
            limit=copy,
        )
        yield Task(
            f"fake-quantize {place}",
            case,
            values,
            ours("fake_quantize(x, qparams), with out= where faster", uniform.fake_quantize),
            (torch("fake_quantize_per_tensor_affine; makes its output", uniform.torch_fake_quantize),),
            (
                torch_calls("quantize_per_tensor, dequantize; make their outputs", uniform.torch_there_and_back),
                numpy("divide, rint, clip, multiply, all into given memory", uniform.numpy_fake_quantize),
            ),
            target=30 if is_at_goal else None,
            limit=copy,
        )
        yield Task(
            f"min-max {place}",
            case,
            values,
            ours("choose_qparams(x)", uniform.minmax),
            (
                numpy("min, max", uniform.numpy_minmax),
                torch("aminmax, or amin and amax", uniform.torch_minmax),
                onnxruntime("ReduceMin, ReduceMax, bound outputs", uniform.onnx_minmax),
            ),
            target=2 if is_at_goal else None,
            limit=read,
        )


def per_channel():
    for axis in (0, 1):
        yield Task(
            f"quantize 1000 x 1000 along axis {axis}",
            partial(Case.random, 1000, 1000, axis=axis),
            L3,
            ours("quantize(x, qparams), with out= where faster", uniform.quantize),
            (
                torch("quantize_per_channel; makes its output", partial(uniform.torch_quantize_channels, axis=axis)),
                onnxruntime("QuantizeLinear, bound output", partial(uniform.onnx_quantize, axis=axis)),
            ),
            (
                numpy(FOUR_CALLS, uniform.numpy_quantize),
                torch_calls("div, round_, clamp_, copy_, all into given memory", uniform.torch_recipe),
            ),
            target=20,
            limit=memory("read", 4 * L3, SHARE),
        )


def fortran():
    """The transposed arrays that weights of other frameworks are, against the same values by rows."""
    calls = {
        "quantize": ("quantize(x, qparams)", uniform.quantize, uniform.numpy_quantize),
        "fake-quantize": ("fake_quantize(x, qparams)", uniform.fake_quantize, uniform.numpy_fake_quantize),
        "min-max": ("choose_qparams(x, axis=)", uniform.minmax_along, None),
        "histogram": ("Calibrator(axis=).update(x)", uniform.histogram_along, None),
    }
    for size, axis, (name, (what, make, peer)) in product((1024, 2048), (None, 0, 1), calls.items()):
        yield Task(
            f"{name} fortran {size} x {size}, axis {axis}",
            partial(Case.random, size, size, axis=axis),
            size * size,
            ours(f"{what}, x in Fortran order", partial(uniform.in_fortran_order, make)),
            (),
            (
                Contender("by rows", f"{what}, x by rows", ("qlite",), make),
                *((numpy(FOUR_CALLS, partial(uniform.in_fortran_order, peer)),) if peer else ()),
            ),
            goals=(times_as_long("qlite", "by rows", 1.3),),
        )


def of_one_million():
    flat = partial(Case.random, L3)
    yield Task(
        f"histogram of {BINS} bins, 1 M",
        flat,
        L3,
        ours(f"Calibrator(bins={BINS}).update(x)", uniform.histogram),
        (numpy("histogram", uniform.numpy_histogram), torch("histc", uniform.torch_histogram)),
        target=8,
    )
    yield Task(
        "nearest of 16 codes, 1 M",
        partial(Case.random, L3, bits=4, grid="kmeans"),
        L3,
        ours("quantize(x, qparams with a codebook), packs too", lowbit.quantize_packed),
        (
            sklearn("KMeans.predict", lowbit.sklearn_nearest),
            numpy("searchsorted in the thresholds", lowbit.numpy_nearest),
            torch("bucketize in the thresholds, out=", lowbit.torch_nearest),
        ),
        target=40,
    )
    yield Task(
        "k-means codebook of 16, 1 M",
        flat,
        L3,
        ours('choose_qparams(x, 4, grid="kmeans")', lowbit.kmeans),
        (sklearn("KMeans(16, n_init=1).fit", lowbit.sklearn_kmeans),),
        target=20,
    )
    groups = partial(Case.random, *lowbit.GROUPED, bits=4, group_size=lowbit.GROUP)
    yield Task(
        "4 bits in groups of 32, 1 M",
        groups,
        L3,
        ours("quantize(x, qparams), packs too", lowbit.quantize_packed),
        (onnxruntime("QuantizeLinear to int4, bound output", lowbit.onnx_quantize_groups),),
        (numpy(f"{FOUR_CALLS}; not packed", partial(lowbit.numpy_quantize_groups, choosing=False)),),
    )
    yield Task(
        "the same, scales chosen, 1 M",
        groups,
        L3,
        ours(f"quantize(x, 4, group_size={lowbit.GROUP})", lowbit.quantize_choosing),
        (),
        (
            numpy(
                "abs, max, divide, rint, clip, copyto; not packed", partial(lowbit.numpy_quantize_groups, choosing=True)
            ),
        ),
    )
    yield Task(
        "FP8 (e4m3), 1 M",
        partial(Case.random, L3, grid="fp8_e4m3"),
        L3,
        ours("quantize(x, qparams, out=)", lowbit.quantize_fp8),
        (onnxruntime("QuantizeLinear, bound output", lowbit.onnx_fp8),),
        (
            ml_dtypes("divide, copyto, into given memory", lowbit.numpy_fp8),
            torch("div, copy_, into given memory", lowbit.torch_fp8),
        ),
    )
    yield Task(
        "quantize with stochastic rounding, 1 M",
        flat,
        L3,
        ours('quantize(x, qparams, rounding="stochastic", out=)', lowbit.quantize_stochastic),
        (),
        (
            numpy("random, divide, add, floor, clip, copyto", lowbit.numpy_stochastic),
            torch("rand, div, add_, floor_, clamp_, copy_", lowbit.torch_stochastic),
        ),
    )
    packed = partial(Case.random, 1000, 1000, bits=4)
    yield Task(
        "pack 4 bits, 1 M",
        packed,
        L3,
        ours("QArray.from_codes(codes, scale, bits=4)", lowbit.pack),
        (),
        (numpy("bitwise_and, left_shift, bitwise_or, into given memory", lowbit.numpy_pack),),
    )
    yield Task(
        "unpack 4 bits, 1 M",
        packed,
        L3,
        ours("q.codes", lowbit.unpack),
        (),
        (numpy("left_shift, right_shift, into given memory", lowbit.numpy_unpack),),
    )


BENCH = Bench(
    title="Arrays of float32",
    unit="Ge/s = 10^9 values a second",
    tasks=(task for tasks in (everywhere, per_channel, fortran, of_one_million) for task in tasks()),
    notes=(
        "Of memory: the time of the fastest read or copy of as many float32 here / qlite's.",
        "Of two calls that stand for one function which is lacking (min and max), both are in the time.",
    ),
)
