"""The kinds of steps of the integer program.

A new kind is a dataclass here and its name in `STEPS`, a file in csrc/core/program with the same field names, and a
function in the reference.
"""

from qlite.nn.program import Step
from qlite.nn.steps.binary import Add, Constant, Multiply, Subtract
from qlite.nn.steps.convs import Conv
from qlite.nn.steps.convs_f32 import ConvF32
from qlite.nn.steps.digits import JoinDigits, QuantizeDigits
from qlite.nn.steps.embedding import Embedding
from qlite.nn.steps.functions import Activate, LayerNorm, Lookup, Prelu, SoftmaxX8
from qlite.nn.steps.grids import Dequantize, Normalize, Quantize, QuantizeDynamic
from qlite.nn.steps.matmul import MatMul
from qlite.nn.steps.merging import Concatenate
from qlite.nn.steps.moves import DepthToSpace, Slice, SpaceToDepth, Transpose
from qlite.nn.steps.pools import AveragePool, MaxPool
from qlite.nn.steps.products import DenseF32, Gemm, GemmF32, GemmGrouped, GemmGroupedF32, Requantize
from qlite.nn.steps.reductions import L2Normalize, Mean, ReduceMax, ReduceMin, Sum
from qlite.nn.steps.resizes import ResizeBilinear, ResizeNearest
from qlite.nn.steps.shapes import MirrorPad, Pad, Reshape
from qlite.nn.steps.transposed import ConvTranspose, ConvTransposeF32

#: The steps that multiply by quantized weights.
PRODUCTS = (Gemm, GemmF32, GemmGrouped, GemmGroupedF32, Conv, ConvF32, ConvTranspose, ConvTransposeF32)

STEPS: dict[str, type[Step]] = {
    cls.kind: cls
    for cls in (
        *(Normalize, Quantize, QuantizeDynamic, Dequantize),
        *(*PRODUCTS, DenseF32, MatMul, Requantize, Embedding),
        *(QuantizeDigits, JoinDigits),
        *(Add, Subtract, Multiply, Constant),
        Concatenate,
        *(MaxPool, AveragePool),
        *(Mean, Sum, ReduceMax, ReduceMin, L2Normalize),
        *(Activate, LayerNorm, Lookup, Prelu, SoftmaxX8),
        *(Reshape, Pad, MirrorPad),
        *(Transpose, Slice, DepthToSpace, SpaceToDepth),
        *(ResizeNearest, ResizeBilinear),
    )
}
