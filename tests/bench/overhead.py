"""What calls from Python cost: products of next to nothing, and a small network at every batch size.

Over the kernel is all of a product's time but that of its multiply-adds at the peak. The network is
784-128-64-10 with random weights, quantized for target "tflite"; LiteRT and onnxruntime run the same integers.
"""

from functools import partial

from . import limits, works_gemm, works_linear, works_overhead
from .harness import Contender
from .report import Bench
from .tasks import Goal, Task
from .works_gemm import Product, Requantized
from .works_linear import Dynamic
from .works_overhead import Batch

SHAPES = [(1, 1, 1), (1, 64, 64), (8, 64, 64)]
BATCHES = [1, 8, 32, 256, 1024]
TOLERANCE = 0.1  # of the greatest value: sums of few products, whose activations each library rounds on its own grid
CALL_MICROSECONDS, NETWORK_MICROSECONDS = 1.0, 3.0  # beyond the kernel; of the network at batch 1, in all


def products():
    for m, k, n in SHAPES:
        operations = 2 * m * k * n

        def over_kernel(times, operations=operations):
            return times["qlite"].min - limits.kernel_time(operations, times)

        for name, case, ours, others in (
            ("matmul_integer", Product, works_gemm.OURS, (works_gemm.NUMPY, works_gemm.ONNXRUNTIME)),
            ("linear of codes", Requantized, works_gemm.requantizing("float")[0], works_gemm.REQUANTIZING_PEERS),
            ("linear", Dynamic, works_linear.OURS, (works_linear.NUMPY, works_linear.ONNXRUNTIME)),
        ):
            yield Task(
                f"{name} {m}x{k}x{n}",
                partial(case.random, m, k, n),
                operations,
                ours,
                others=others,
                tolerance=TOLERANCE,
                limit=limits.peak(operations),
                goals=(Goal("us over kernel", over_kernel, most=CALL_MICROSECONDS),),
            )


def contender(name, what, make, *modules):
    return Contender(name, what, modules, make)


LITERT = ("ai_edge_litert", "flatbuffers")
QLITE_FLOAT = contender("qlite", "QModel(x), float32 in and out", works_overhead.qlite, "qlite")
QLITE_CODES = contender("qlite", "its program alone, int8 in and out", works_overhead.qlite_int8, "qlite")
LITERT_FLOAT = contender("LiteRT", "set, invoke, get; float32 in and out", works_overhead.litert_float32, *LITERT)
LITERT_CODES = contender("LiteRT", "set, invoke, get; int8 in and out", works_overhead.litert_int8, *LITERT)
ONNXRUNTIME = contender("onnxruntime", "QGemm, bound float32", works_overhead.onnxruntime, "onnxruntime", "onnx")
NUMPY = contender("NumPy float32", "three lines, x @ w + b", works_overhead.numpy_float32, "numpy")


def networks():
    in_all = Goal("us", lambda times: times["qlite"].min, most=NETWORK_MICROSECONDS)
    for rows in BATCHES:
        for ends, ours, peers in (
            ("floats", QLITE_FLOAT, (LITERT_FLOAT, ONNXRUNTIME, NUMPY)),
            ("codes", QLITE_CODES, (LITERT_CODES,)),
        ):
            yield Task(
                f"network of {ends}, batch {rows}",
                partial(Batch.random, rows),
                works_overhead.operations(rows),
                ours,
                peers,
                target=1.0,
                limit=limits.peak(works_overhead.operations(rows)),
                goals=(in_all,) if rows == 1 else (),
            )


BENCH = Bench(
    title="Calls from Python",
    unit="GOPS = 10^9 multiplications and additions a second",
    tasks=(task for tasks in (products, networks) for task in tasks()),
)
