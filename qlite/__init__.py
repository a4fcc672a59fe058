"""qlite: quantization for people who work in NumPy.

Float arrays and models become integers, the integers run, and a report says what it cost.
"""

from typing import TYPE_CHECKING, Any

try:
    import qlite._core  # noqa: F401  (first, so that its absence is explained)
except ModuleNotFoundError as error:
    if error.name != "qlite._core":
        raise
    raise ImportError(
        "qlite: the compiled core is missing. Either this is the source folder, not an installed package (run "
        "`pip install .` and start Python elsewhere, or `pip install -e .`), or it is another project: the package "
        "called `qlite` on the package index also installs a module of this name. This one is `qlite-quant`."
    ) from None

from qlite import metrics
from qlite.analysis.compare import compare
from qlite.analysis.report import Report
from qlite.analysis.significance import AccuracyReport, compare_accuracy
from qlite.arrays.error import ErrorStats, quantization_error
from qlite.arrays.qarray import QArray
from qlite.arrays.quantize import dequantize, fake_quantize, quantize, requantize
from qlite.config import get_num_threads, set_num_threads, show_config
from qlite.grids.calibrator import Calibrator
from qlite.grids.choose import choose_qparams
from qlite.grids.qparams import QParams
from qlite.io.load import load
from qlite.io.sklearn import from_sklearn
from qlite.io.tflite import from_tflite
from qlite.nn.layers.activation import Activation, Softmax
from qlite.nn.layers.attention import MultiHeadAttention
from qlite.nn.layers.batch_norm import BatchNorm
from qlite.nn.layers.binary import Add, Multiply, Subtract
from qlite.nn.layers.constant import Constant
from qlite.nn.layers.conv import Conv2D, DepthwiseConv2D
from qlite.nn.layers.conv1d import Conv1D
from qlite.nn.layers.conv_transpose import Conv2DTranspose
from qlite.nn.layers.dense import Dense
from qlite.nn.layers.dropout import Dropout
from qlite.nn.layers.embedding import Embedding
from qlite.nn.layers.flatten import Flatten
from qlite.nn.layers.function import Function
from qlite.nn.layers.l2_normalize import L2Normalize
from qlite.nn.layers.layer_norm import LayerNorm
from qlite.nn.layers.matmul import MatMul
from qlite.nn.layers.merge import Concatenate
from qlite.nn.layers.move import DepthToSpace, Slice, SpaceToDepth, Split, Transpose
from qlite.nn.layers.pool import AveragePool, MaxPool
from qlite.nn.layers.prelu import PReLU
from qlite.nn.layers.reduce import GlobalAveragePool, GlobalMaxPool, Max, Mean, Min, Sum
from qlite.nn.layers.resize import ResizeBilinear, ResizeNearest
from qlite.nn.layers.separable import SeparableConv2D
from qlite.nn.layers.shape import Pad, Reshape
from qlite.nn.model import Model
from qlite.nn.qmodel import QModel
from qlite.nn.quantize import quantize_model
from qlite.nn.sequential import Sequential, from_weights
from qlite.nn.symbol import Input
from qlite.ops.conv import conv2d, conv2d_integer
from qlite.ops.linear import linear, matmul_integer
from qlite.ops.packing import PackedWeight, pack
from qlite.ops.pool import avg_pool2d, max_pool2d
from qlite.ops.softmax import softmax
from qlite.ops.tables import apply_table, lookup_table

if TYPE_CHECKING:
    from qlite import distributed, testing
    from qlite.io.checkpoint import Checkpoint, quantize_checkpoint
    from qlite.training.history import History
    from qlite.training.loop import train
    from qlite.training.optimizers import SGD, Adam, AdamW, RMSprop

#: Looked up when asked for: what these need takes longer to import than everything above.
_LATE = {"Checkpoint": "io.checkpoint", "quantize_checkpoint": "io.checkpoint"}
_LATE |= {"distributed": "distributed", "testing": "testing", "train": "training.loop", "History": "training.history"}
_LATE |= dict.fromkeys(("SGD", "Adam", "AdamW", "RMSprop"), "training.optimizers")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "__version__":
        return import_module("qlite.config").version()
    if name not in _LATE:
        raise AttributeError(f"module 'qlite' has no attribute {name!r}")
    module = import_module(f"qlite.{_LATE[name]}")
    return getattr(module, name, module)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "SGD",
    "AccuracyReport",
    "Activation",
    "Adam",
    "AdamW",
    "Add",
    "AveragePool",
    "BatchNorm",
    "Calibrator",
    "Checkpoint",
    "Concatenate",
    "Constant",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Dense",
    "DepthToSpace",
    "DepthwiseConv2D",
    "Dropout",
    "Embedding",
    "ErrorStats",
    "Flatten",
    "Function",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "History",
    "Input",
    "L2Normalize",
    "LayerNorm",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Min",
    "Model",
    "MultiHeadAttention",
    "Multiply",
    "PReLU",
    "PackedWeight",
    "Pad",
    "QArray",
    "QModel",
    "QParams",
    "RMSprop",
    "Report",
    "Reshape",
    "ResizeBilinear",
    "ResizeNearest",
    "SeparableConv2D",
    "Sequential",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "Subtract",
    "Sum",
    "Transpose",
    "apply_table",
    "avg_pool2d",
    "choose_qparams",
    "compare",
    "compare_accuracy",
    "conv2d",
    "conv2d_integer",
    "dequantize",
    "distributed",
    "fake_quantize",
    "from_sklearn",
    "from_tflite",
    "from_weights",
    "get_num_threads",
    "linear",
    "load",
    "lookup_table",
    "matmul_integer",
    "max_pool2d",
    "metrics",
    "pack",
    "quantization_error",
    "quantize",
    "quantize_checkpoint",
    "quantize_model",
    "requantize",
    "set_num_threads",
    "show_config",
    "softmax",
    "testing",
    "train",
]
