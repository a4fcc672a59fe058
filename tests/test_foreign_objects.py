"""Every argument for an array, with every kind of object that people give: what comes out is what the plain array
gives, or a TypeError or ValueError that begins with the argument's name and says what came or what to call."""

import dataclasses
import inspect
import re
from typing import Any

import numpy as np
import pytest
from foreign import REFUSED, SAME

import qlite as ql
from qlite.nn.layers.layer import Layer

pytestmark = [  # what the makers of these objects say about them
    pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),
]
FLOATS = np.float32([[1, -2, 0.5], [0, 1, -1], [3, -0.5, 2], [-3, 1.5, 1]])
SCALES, STEPS, BOOK = np.float32([0.5, 1, 2]), np.float32([0.5, 2, 1, 4]), np.float32([-2, -1, 0, 1])
CODES, BYTES = np.int8([[1, -2, 3], [4, 0, -6], [7, 1, -1], [2, 2, 5]]), np.uint8([[1, 2, 3, 4], [5, 0, 6, 7]])
SUMS, POINTS, LABELS = np.int32([[4, -8, 12], [400, 2, -7]]), np.int32([1, -2, 3]), np.int64([0, 1])
KERNEL, MIXING = FLOATS.reshape(1, 2, 2, 3), np.tile(FLOATS, (3, 2))[:6, :4].reshape(1, 1, 6, 4)
IMAGES, FILTERS = FLOATS.reshape(1, 2, 3, 2), CODES.reshape(2, 3, 2, 1)
SEQUENCE, SQUARE = FLOATS.reshape(1, 3, 4), MIXING[0, 0, :4]
Q, GRID = ql.quantize(FLOATS, axis=1), ql.QParams([0.25], 0)
ROWS = ql.quantize(FLOATS.T, GRID)
FILTER = ql.quantize(FLOATS.reshape(1, 1, 4, 3)[:, :, :2], axis=3)
DENSE = ql.Dense(FLOATS, SCALES)
MODEL = ql.Sequential([DENSE, ql.Dense(FLOATS.T[:, :2])])
GRAPH = ql.Model({"input": (4,)}, "head", nodes=[("body", DENSE, "input"), ("head", ql.Dense(FLOATS.T[:, :2]), "body")])
QMODEL = ql.quantize_model(MODEL, data=FLOATS.T)
OUTER = np.float32([[1.0]])
CLASSES, GUESSES, ORDER = np.array([0, 1, 2]), np.array([0, 2, 2]), np.array([2, 0, 1])
SHARES = np.float32([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.5, 0.25]])
DOUBLE = ql.quantize(np.ones((2, 32)), 4, group_size=16, scale_dtype="uint8").qparams
VALUES = ql.Sequential([DENSE], task="regression")
CLASSIFIER = ql.Sequential([DENSE])


def pair(codes, scale):
    return ql.QParams(DOUBLE.scale, 0, 4, narrow=True, group_size=16, scale_dtype="uint8", scale_codes=(codes, scale))


def of_function(value):
    return ql.lookup_table(lambda x: value, GRID, GRID)


def trained(x=FLOATS.T, y=CLASSES, model=CLASSIFIER, **options):
    """A model after three steps, and its validation loss where there is one."""
    options = {"batch_size": 1, "optimizer": "sgd"} | options
    m = ql.train(model, x, y, epochs=1, progress=False, **options)
    return m, m.history.figures.get("validation_loss")


#: By argument: a plain array that it takes, and the call. `Class` stands for its constructor, `Class()` for its call.
ARGUMENTS = {
    "Activation() x": (FLOATS, ql.Activation("tanh")),
    "Add() x": (FLOATS, lambda a: ql.Add()(a, FLOATS)),
    "AveragePool() x": (IMAGES, ql.AveragePool()),
    "BatchNorm gamma": (SCALES, lambda a: ql.BatchNorm(gamma=a)),
    "BatchNorm beta": (SCALES, lambda a: ql.BatchNorm(beta=a)),
    "BatchNorm mean": (SCALES, lambda a: ql.BatchNorm(mean=a)),
    "BatchNorm variance": (SCALES, lambda a: ql.BatchNorm(variance=a)),
    "BatchNorm() x": (FLOATS, ql.BatchNorm(mean=SCALES)),
    "Calibrator.from_data data": (FLOATS, lambda a: ql.Calibrator.from_data(a)),
    "Calibrator.update batch": (FLOATS, lambda a: ql.Calibrator(axis=1).update(a)),
    "Calibrator.qparams grid": (BOOK, lambda a: ql.Calibrator().update(FLOATS).qparams(grid=a, symmetric=True)),
    "Concatenate() x": (FLOATS, lambda a: ql.Concatenate()(FLOATS, a)),
    "Constant value": (FLOATS, lambda a: ql.Constant(a).value),
    "Conv1D weight": (KERNEL[0], lambda a: ql.Conv1D(a)),
    "Conv1D bias": (SCALES, lambda a: ql.Conv1D(KERNEL[0], a)),
    "Conv1D() x": (IMAGES[0], ql.Conv1D(KERNEL[0])),
    "Conv2D weight": (KERNEL, lambda a: ql.Conv2D(a)),
    "Conv2D bias": (SCALES, lambda a: ql.Conv2D(KERNEL, a)),
    "Conv2D() x": (IMAGES, ql.Conv2D(KERNEL)),
    "Conv2DTranspose weight": (KERNEL, lambda a: ql.Conv2DTranspose(a)),
    "Conv2DTranspose bias": (SCALES, lambda a: ql.Conv2DTranspose(KERNEL, a)),
    "Conv2DTranspose() x": (IMAGES, ql.Conv2DTranspose(KERNEL)),
    "Dense weight": (FLOATS, lambda a: ql.Dense(a)),
    "Dense bias": (SCALES, lambda a: ql.Dense(FLOATS, a)),
    "Dense() x": (FLOATS.T.copy(), DENSE),
    "DepthToSpace() x": (IMAGES, ql.DepthToSpace(1)),
    "DepthwiseConv2D weight": (KERNEL, lambda a: ql.DepthwiseConv2D(a)),
    "DepthwiseConv2D bias": (np.ones(6, np.float32), lambda a: ql.DepthwiseConv2D(KERNEL, a)),
    "DepthwiseConv2D() x": (IMAGES, ql.DepthwiseConv2D(KERNEL)),
    "Dropout() x": (FLOATS, ql.Dropout(0.5)),
    "Embedding weight": (FLOATS, lambda a: ql.Embedding(a)),
    "Embedding() x": (np.array([[0, 1], [1, 0]], np.int32), ql.Embedding(FLOATS)),
    "Flatten() x": (IMAGES, ql.Flatten()),
    "Function() x": (FLOATS, ql.Function(np.square)),
    "GlobalAveragePool() x": (IMAGES, ql.GlobalAveragePool()),
    "GlobalMaxPool() x": (IMAGES, ql.GlobalMaxPool()),
    "L2Normalize() x": (IMAGES, ql.L2Normalize()),
    "LayerNorm gamma": (SCALES, lambda a: ql.LayerNorm(a)),
    "LayerNorm beta": (SCALES, lambda a: ql.LayerNorm(None, a)),
    "LayerNorm() x": (FLOATS, ql.LayerNorm(SCALES)),
    "MatMul() x": (IMAGES, lambda a: ql.MatMul(True)(a, IMAGES)),
    "Max() x": (IMAGES, ql.Max(0)),
    "MaxPool() x": (IMAGES, ql.MaxPool()),
    "Mean() x": (IMAGES, ql.Mean(0)),
    "Min() x": (IMAGES, ql.Min(0)),
    "Model mean": (STEPS, lambda a: _graph(mean=a)),
    "Model scale": (STEPS, lambda a: _graph(scale=a)),
    "Model classes": (np.array([3, 5]), lambda a: _graph(classes=a)),
    "Model() x": (FLOATS.T.copy(), GRAPH),
    "Model.intermediates x": (FLOATS.T.copy(), GRAPH.intermediates),
    "Model.predict x": (FLOATS.T.copy(), GRAPH.predict),
    "Model.predict_proba x": (FLOATS.T.copy(), GRAPH.predict_proba),
    "Model.evaluate x": (FLOATS.T.copy(), lambda a: GRAPH.evaluate(a, [0, 1, 0])),
    "Model.evaluate y": (np.array([0, 1, 1]), lambda a: GRAPH.evaluate(FLOATS.T, a)),
    "MultiHeadAttention query_weight": (SQUARE, lambda a: _attention(query_weight=a)),
    "MultiHeadAttention query_bias": (STEPS, lambda a: _attention(query_bias=a)),
    "MultiHeadAttention key_weight": (SQUARE, lambda a: _attention(key_weight=a)),
    "MultiHeadAttention key_bias": (STEPS, lambda a: _attention(key_bias=a)),
    "MultiHeadAttention value_weight": (SQUARE, lambda a: _attention(value_weight=a)),
    "MultiHeadAttention value_bias": (STEPS, lambda a: _attention(value_bias=a)),
    "MultiHeadAttention output_weight": (SQUARE, lambda a: _attention(output_weight=a)),
    "MultiHeadAttention output_bias": (STEPS, lambda a: _attention(output_bias=a)),
    "MultiHeadAttention() x": (SEQUENCE, lambda a: _attention()(SEQUENCE, a)),
    "Multiply() x": (FLOATS, lambda a: ql.Multiply()(a, FLOATS)),
    "PReLU slope": (SCALES, lambda a: ql.PReLU(a)),
    "PReLU() x": (FLOATS, ql.PReLU(SCALES)),
    "Pad() x": (IMAGES, ql.Pad(1)),
    "QArray codes": (CODES, lambda a: ql.QArray(a, Q.qparams)),
    "QArray.from_codes codes": (CODES, lambda a: ql.QArray.from_codes(a, 0.5)),
    "QArray.from_codes scale": (SCALES, lambda a: ql.QArray.from_codes(CODES, a, axis=1)),
    "QArray.from_codes zero_point": (POINTS, lambda a: ql.QArray.from_codes(CODES, 0.5, a, axis=1)),
    "QArray.from_codes grid": (BOOK, lambda a: ql.QArray.from_codes(np.uint8([0, 3]), 0.5, grid=a)),
    "QArray.from_stored stored": (Q.stored, lambda a: ql.QArray.from_stored(a, Q.shape, Q.qparams)),
    "QArray.error w": (FLOATS, Q.error),
    "QArray.plot w": (FLOATS, lambda a: ql.QArray.error(Q, a)),
    "QArray[] index": (np.array([2, 0]), lambda a: Q[a]),
    "QArray[] [1] index": (np.array([2, 0]), lambda a: Q[1:, a]),
    "QArray@ x": (FLOATS.T.copy(), lambda a: Q.__rmatmul__(a)),
    "QModel classes": (LABELS, lambda a: _rebuilt(classes=a)),
    "QModel() x": (FLOATS.T.copy(), QMODEL),
    "QModel.intermediates x": (FLOATS.T.copy(), QMODEL.intermediates),
    "QModel.predict x": (FLOATS.T.copy(), QMODEL.predict),
    "QModel.predict_proba x": (FLOATS.T.copy(), QMODEL.predict_proba),
    "QModel.evaluate x": (FLOATS.T.copy(), lambda a: QMODEL.evaluate(a, [0, 1, 0])),
    "QModel.evaluate y": (np.array([0, 1, 1]), lambda a: QMODEL.evaluate(FLOATS.T, a)),
    "QParams scale": (SCALES, lambda a: ql.QParams(a, 0)),
    "QParams zero_point": (POINTS, lambda a: ql.QParams(SCALES, a)),
    "QParams codebook": (BOOK, lambda a: ql.QParams([0.5], 0, 2, False, codebook=a, grid="codebook")),
    "QParams scale_codes": (DOUBLE.scale_codes.codes, lambda a: pair(a, DOUBLE.scale_codes.scale)),
    "QParams [1] scale_codes": (OUTER, lambda a: pair(DOUBLE.scale_codes.codes, a)),
    "QParams.from_range low": (-SCALES, lambda a: ql.QParams.from_range(a, SCALES, symmetric=True)),
    "QParams.from_range high": (SCALES, lambda a: ql.QParams.from_range(-SCALES, a, symmetric=True)),
    "QParams.from_range grid": (BOOK, lambda a: ql.QParams.from_range(-1.0, 1.0, grid=a, symmetric=True)),
    "Reshape() x": (IMAGES, ql.Reshape((-1,))),
    "ResizeBilinear() x": (IMAGES, ql.ResizeBilinear(4)),
    "ResizeNearest() x": (IMAGES, ql.ResizeNearest(4)),
    "SeparableConv2D depthwise_weight": (KERNEL, lambda a: ql.SeparableConv2D(a, MIXING)),
    "SeparableConv2D pointwise_weight": (MIXING, lambda a: ql.SeparableConv2D(KERNEL, a)),
    "SeparableConv2D bias": (STEPS, lambda a: ql.SeparableConv2D(KERNEL, MIXING, a)),
    "SeparableConv2D() x": (IMAGES, ql.SeparableConv2D(KERNEL, MIXING)),
    "Sequential mean": (STEPS, lambda a: ql.Sequential([DENSE], mean=a)),
    "Sequential scale": (STEPS, lambda a: ql.Sequential([DENSE], scale=a)),
    "Sequential classes": (np.array([3, 5, 7]), lambda a: ql.Sequential([DENSE], classes=a)),
    "Sequential() x": (FLOATS.T.copy(), MODEL),
    "Sequential.intermediates x": (FLOATS.T.copy(), MODEL.intermediates),
    "Sequential.predict x": (FLOATS.T.copy(), MODEL.predict),
    "Sequential.predict_proba x": (FLOATS.T.copy(), MODEL.predict_proba),
    "Sequential.evaluate x": (FLOATS.T.copy(), lambda a: MODEL.evaluate(a, [0, 1, 0])),
    "Sequential.evaluate y": (np.array([0, 1, 1]), lambda a: MODEL.evaluate(FLOATS.T, a)),
    "Sequential.evaluate [values] y": (FLOATS[:3], lambda a: VALUES.evaluate(FLOATS.T, a)),
    "Slice() x": (IMAGES, ql.Slice(stride=-1)),
    "Softmax() x": (FLOATS, ql.Softmax()),
    "SpaceToDepth() x": (IMAGES, ql.SpaceToDepth(1)),
    "Split() x": (FLOATS, lambda a: ql.Split([1, 2])(a)[1]),
    "Subtract() x": (FLOATS, lambda a: ql.Subtract()(a, FLOATS)),
    "Sum() x": (IMAGES, ql.Sum(0)),
    "Transpose() x": (IMAGES, ql.Transpose((1, 0, 2))),
    "apply_table codes": (CODES, lambda a: ql.apply_table(a, np.arange(256, dtype=np.uint8))),
    "apply_table table": (np.arange(256, dtype=np.uint8), lambda a: ql.apply_table(CODES, a)),
    "avg_pool2d x": (CODES.reshape(1, 2, 3, 2), lambda a: ql.avg_pool2d(a, 2)),
    "compare_accuracy x": (FLOATS.T.copy(), lambda a: _compared(a, [0, 1, 0])),
    "compare_accuracy y": (np.array([0, 1, 1]), lambda a: _compared(FLOATS.T, a)),
    "choose_qparams w": (FLOATS, lambda a: ql.choose_qparams(a, axis=1)),
    "choose_qparams grid": (BOOK, lambda a: ql.choose_qparams(FLOATS, grid=a)),
    "choose_qparams importance": (FLOATS**2, lambda a: ql.choose_qparams(FLOATS, 2, grid="kmeans", importance=a)),
    "compare x": (FLOATS.T.copy(), lambda a: ql.compare(MODEL, QMODEL, a).sqnr_db),
    "conv2d x": (IMAGES, lambda a: ql.conv2d(a, FILTER)),
    "conv2d bias": (SCALES, lambda a: ql.conv2d(IMAGES, FILTER, a)),
    "conv2d_integer x": (CODES.reshape(1, 2, 3, 2), lambda a: ql.conv2d_integer(a, FILTERS)),
    "conv2d_integer w": (FILTERS, lambda a: ql.conv2d_integer(CODES.reshape(1, 2, 3, 2), a)),
    "conv2d_integer w_zero_point": (
        POINTS[:1],
        lambda a: ql.conv2d_integer(CODES.reshape(1, 2, 3, 2), FILTERS, w_zero_point=a),
    ),
    "fake_quantize x": (FLOATS, lambda a: ql.fake_quantize(a, GRID)),
    "from_weights weights": (FLOATS, lambda a: ql.from_weights([(a, None)], layout="out_in")),
    "from_weights [1] weights": (SCALES, lambda a: ql.from_weights([(FLOATS, a)])),
    "from_weights classes": (np.array([3, 5, 7]), lambda a: ql.from_weights([(FLOATS, None)], classes=a)),
    "linear x": (FLOATS.T.copy(), lambda a: ql.linear(a, Q)),
    "linear bias": (SCALES, lambda a: ql.linear(FLOATS.T, Q, a)),
    "linear [codes] bias": (SCALES, lambda a: ql.linear(ROWS, Q, a)),
    "lookup_table function": (np.arange(256, dtype=np.float32) / 16, of_function),
    "matmul_integer a": (BYTES, lambda a: ql.matmul_integer(a, CODES)),
    "matmul_integer b": (CODES, lambda a: ql.matmul_integer(BYTES, a)),
    "matmul_integer a_zero_point": (POINTS[[0, 2]], lambda a: ql.matmul_integer(BYTES, CODES, a)),
    "matmul_integer b_zero_point": (POINTS, lambda a: ql.matmul_integer(BYTES, CODES, 0, a)),
    "max_pool2d x": (CODES.reshape(1, 2, 3, 2), lambda a: ql.max_pool2d(a, 2)),
    "metrics.accuracy y": (CLASSES, lambda a: ql.metrics.accuracy(a, GUESSES)),
    "metrics.accuracy predicted": (GUESSES, lambda a: ql.metrics.accuracy(CLASSES, a)),
    "metrics.confusion_matrix y": (CLASSES, lambda a: ql.metrics.confusion_matrix(a, GUESSES)),
    "metrics.confusion_matrix predicted": (GUESSES, lambda a: ql.metrics.confusion_matrix(CLASSES, a)),
    "metrics.confusion_matrix labels": (ORDER, lambda a: ql.metrics.confusion_matrix(CLASSES, GUESSES, labels=a)),
    "metrics.cross_entropy y": (CLASSES, lambda a: ql.metrics.cross_entropy(a, SHARES)),
    "metrics.cross_entropy probability": (SHARES, lambda a: ql.metrics.cross_entropy(CLASSES, a)),
    "metrics.cross_entropy classes": (np.arange(3), lambda a: ql.metrics.cross_entropy(CLASSES, SHARES, a)),
    "metrics.f1 y": (CLASSES, lambda a: ql.metrics.f1(a, GUESSES)),
    "metrics.f1 predicted": (GUESSES, lambda a: ql.metrics.f1(CLASSES, a)),
    "metrics.f1 labels": (ORDER, lambda a: ql.metrics.f1(CLASSES, GUESSES, average=None, labels=a)),
    "metrics.mae y": (FLOATS, lambda a: ql.metrics.mae(a, FLOATS**2)),
    "metrics.mae predicted": (FLOATS, lambda a: ql.metrics.mae(FLOATS**2, a)),
    "metrics.mse y": (FLOATS, lambda a: ql.metrics.mse(a, FLOATS**2)),
    "metrics.mse predicted": (FLOATS, lambda a: ql.metrics.mse(FLOATS**2, a)),
    "metrics.precision y": (CLASSES, lambda a: ql.metrics.precision(a, GUESSES)),
    "metrics.precision predicted": (GUESSES, lambda a: ql.metrics.precision(CLASSES, a)),
    "metrics.precision labels": (ORDER, lambda a: ql.metrics.precision(CLASSES, GUESSES, average=None, labels=a)),
    "metrics.r2 y": (FLOATS, lambda a: ql.metrics.r2(a, FLOATS**2)),
    "metrics.r2 predicted": (FLOATS, lambda a: ql.metrics.r2(FLOATS**2, a)),
    "metrics.recall y": (CLASSES, lambda a: ql.metrics.recall(a, GUESSES)),
    "metrics.recall predicted": (GUESSES, lambda a: ql.metrics.recall(CLASSES, a)),
    "metrics.recall labels": (ORDER, lambda a: ql.metrics.recall(CLASSES, GUESSES, average=None, labels=a)),
    "metrics.rmse y": (FLOATS, lambda a: ql.metrics.rmse(a, FLOATS**2)),
    "metrics.rmse predicted": (FLOATS, lambda a: ql.metrics.rmse(FLOATS**2, a)),
    "metrics.roc_auc y": (CLASSES, lambda a: ql.metrics.roc_auc(a, SHARES)),
    "metrics.roc_auc score": (SHARES, lambda a: ql.metrics.roc_auc(CLASSES, a)),
    "metrics.roc_auc classes": (np.arange(3), lambda a: ql.metrics.roc_auc(CLASSES, SHARES, classes=a)),
    "metrics.sqnr_db exact": (FLOATS, lambda a: ql.metrics.sqnr_db(a, FLOATS + 1)),
    "metrics.sqnr_db approximate": (FLOATS, lambda a: ql.metrics.sqnr_db(FLOATS + 1, a)),
    "metrics.top_k_accuracy y": (CLASSES, lambda a: ql.metrics.top_k_accuracy(a, SHARES)),
    "metrics.top_k_accuracy score": (SHARES, lambda a: ql.metrics.top_k_accuracy(CLASSES, a)),
    "metrics.top_k_accuracy classes": (np.arange(3), lambda a: ql.metrics.top_k_accuracy(CLASSES, SHARES, classes=a)),
    "pack b": (CODES, lambda a: ql.matmul_integer(BYTES, ql.pack(a))),
    "pack zero_point": (POINTS, lambda a: ql.matmul_integer(BYTES, ql.pack(CODES, a))),
    "quantization_error w": (FLOATS, lambda a: ql.quantization_error(a, Q)),
    "quantize w": (FLOATS, lambda a: ql.quantize(a)),
    "quantize grid": (BOOK, lambda a: ql.quantize(FLOATS, grid=a)),
    "quantize importance": (FLOATS**2, lambda a: ql.quantize(FLOATS, 2, grid="kmeans", importance=a)),
    "quantize scale": (SCALES, lambda a: ql.quantize(FLOATS, scale=a, axis=1)),
    "quantize zero_point": (POINTS, lambda a: ql.quantize(FLOATS, scale=0.5, zero_point=a, axis=1)),
    "quantize_model data": (FLOATS.T.copy(), lambda a: ql.quantize_model(MODEL, data=a)),
    "requantize acc": (SUMS, lambda a: ql.requantize(a, 0.5)),
    "requantize multiplier": (SCALES, lambda a: ql.requantize(SUMS, a, axis=1)),
    "softmax x": (CODES, lambda a: ql.softmax(a, 0.1)),
    "testing.assert_accuracy x": (FLOATS.T.copy(), lambda a: _asserted("accuracy", a, [0, 1, 0], max_drop=1.0)),
    "testing.assert_accuracy y": (np.array([0, 1, 1]), lambda a: _asserted("accuracy", FLOATS.T, a, max_drop=1.0)),
    "testing.assert_agreement x": (FLOATS.T.copy(), lambda a: _asserted("agreement", a, min_agreement=0.0)),
    "testing.assert_bit_exact x": (FLOATS.T.copy(), lambda a: ql.testing.assert_bit_exact(QMODEL, QMODEL, a)),
    "testing.assert_sqnr x": (FLOATS.T.copy(), lambda a: _asserted("sqnr", a, min_db=0.0)),
    "train X": (FLOATS.T.copy(), trained),
    "train [batches] X": (FLOATS.T.copy(), lambda a: trained(lambda: [(a, CLASSES)], None)),
    "train [batches y] X": (CLASSES, lambda a: trained(lambda: [(FLOATS.T, a)], None)),
    "train [batches weights] X": (SCALES, lambda a: trained(lambda: [(FLOATS.T, CLASSES, a)], None)),
    "train y": (CLASSES, lambda a: trained(y=a)),
    "train [probabilities] y": (SHARES, lambda a: trained(y=a)),
    "train [values] y": (FLOATS[:3], lambda a: trained(y=a, model=VALUES)),
    "train [X] validation": (FLOATS.T.copy(), lambda a: trained(validation=(a, CLASSES))),
    "train [y] validation": (CLASSES, lambda a: trained(validation=(FLOATS.T, a))),
    "train class_weight": (np.array(2.0, np.float32), lambda a: trained(class_weight={1: a})),
    "train sample_weight": (SCALES, lambda a: trained(sample_weight=a)),
}
#: Parameters of any type that are no arrays of numbers, by name, or of one function.
OTHERS = {"axes", "dilation", "kernel_size", "out", "padding", "path", "shape", "size", "stride", "x_zero_point"}
OTHERS |= {"begin", "end", "output_padding", "parts", "ResizeBilinear scale", "ResizeNearest scale"}
OTHERS |= {"Constant() x", "QModel.verify x", "Function function", "Function derivative"}
OTHERS |= {"augment", "callbacks", "checkpoint", "loss", "optimizer", "schedule"}
OTHERS |= {"conv2d w", "linear w", "softmax scale", "testing.assert_bit_exact actual"}
OTHERS |= {"testing.assert_bit_exact expected", "Model inputs", "Model outputs", "Model nodes"}
#: Methods of layers and models that models and training call, with arrays of their own.
WITHIN_MODELS = {"compute", "forward", "forward_frozen", "backward", "multiply", "multiply_gradients"}
WITHIN_MODELS |= {"given", "walk", "samples", "compute_for", "factors", "function", "moved_back"}
#: What has parameters for arrays of other packages, or is made by qlite alone.
NOT_WALKED = {
    "distributed",
    "Report",
    "ErrorStats",
    "PackedWeight",
    "Checkpoint",
    "quantize_checkpoint",
    "from_sklearn",
}
#: Special methods that take arrays, as the table writes them.
SHOWN = {"__call__": "()", "__getitem__": "[]", "__rmatmul__": "@"}
#: Where a kind has a meaning of its own, by kind and argument: what is said then.
MEANT = {
    ("string", "grid"): "an array of values",  # a name
    ("dict", "batch"): "choose one",
    ("dict", "data"): "choose one",
    ("dict", "quantize_model data"): "samples of ['input']",
    **{
        (kind, "batch"): "choose one"
        for kind in ("list with a masked part", "list of tensors elsewhere", "ragged tensors")
    },
}
#: What `Calibrator` takes for several arrays, or calls.
BATCHES = {
    "list",
    "list of tensors",
    "list of torch",
    "list of bfloat16",
    "tuple of arrays",
    "ragged",
    "ragged tensors",
}
BATCHES |= {"function", "generator", "set", "0-d"}
#: What gives batches to those that take these in place of an array.
GIVE_BATCHES = {"Calibrator.from_data data": BATCHES, "train X": {"function", "generator"}}
GIVE_BATCHES |= {"quantize_model data": {"generator"}}


@pytest.fixture(autouse=True)
def untimed(monkeypatch):
    monkeypatch.setattr("qlite.analysis.compare._seconds", lambda model, *_: dict.fromkeys(model.names, (1.0, 1.0)))


def _compared(x, y):
    return ql.compare_accuracy(MODEL, QMODEL, x, y, resamples=10)


def _asserted(what, *arguments, **options):
    return getattr(ql.testing, f"assert_{what}")(MODEL, QMODEL, *arguments, **options)


def _graph(**options):
    return ql.Model({"input": (4,)}, "head", nodes=[("head", ql.Dense(FLOATS[:, :2]), "input")], **options)


def _attention(**arrays):
    weights = {f"{product}_weight": SQUARE for product in ("query", "key", "value", "output")}
    return ql.MultiHeadAttention(2, **(weights | arrays))


def _rebuilt(**options):
    return ql.QModel(QMODEL.program, scheme="w8a8", target="numpy", **options)


def contents(result: Any) -> Any:
    """What a result holds, to be compared with ==."""
    if isinstance(result, np.ndarray):
        return result.dtype.str, result.shape, result.tobytes()
    if isinstance(result, ql.QArray):
        return contents(result.codes), contents(result.qparams)
    if dataclasses.is_dataclass(result):
        return [contents(getattr(result, field.name)) for field in dataclasses.fields(result)]
    if isinstance(result, ql.Calibrator):
        return result.to_json()
    if isinstance(result, tuple):
        return [contents(part) for part in result]
    if isinstance(result, Layer):
        return contents(result.parameters), contents(result.statistics), repr(result)
    if isinstance(result, ql.Model):
        return contents(result(FLOATS.T)), repr(result)
    if isinstance(result, ql.QModel):
        return contents(result(FLOATS.T)), contents(result.classes)
    if isinstance(result, dict):
        return {name: contents(part) for name, part in result.items()}
    return np.asarray(result).tobytes() if isinstance(result, np.generic) else result


def outcome(call, value, name):
    """What a call gives, or the kind of its error; the message is qlite's own."""
    try:
        return "result", contents(call(value))
    except IndexError as error:  # of an index that lies outside
        return "IndexError", str(error)
    except (TypeError, ValueError) as error:
        message = str(error)
        assert re.match(r"(\w+(\[\d+\]| \d+)?: )+expected .*\bgot ", message), message
        assert not FOREIGN_TEXT.search(message) and "\n" not in message and len(message) < 300, message
        return type(error).__name__, message


FOREIGN_TEXT = re.compile(
    r"numpy\(\)|ScalarType|scalar array|inhomogeneous|setting an array|could not convert|ufunc|__array__|unhashable"
    r"|object of type|not iterable|has no attribute|DLTensor|no such thing|too deep\b|Can't call|can't convert"
)


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_taken_as_the_plain_array(argument):
    plain, call = ARGUMENTS[argument]
    name = argument.split()[-1]
    for kind, make in SAME.items():
        made = None if argument.startswith("Calibrator.") and kind in BATCHES else make(plain)
        if made is not None:  # else there is no such object of this rank or dtype
            value, array = made
            (got, result), (expected, expected_result) = outcome(call, value, name), outcome(call, array, name)
            assert (kind, got) == (kind, expected), result
            assert got != "result" or result == expected_result, kind


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_refused_by_name(argument):
    plain, call = ARGUMENTS[argument]
    name = argument.split()[-1]
    for kind, (make, said) in REFUSED.items():
        if kind in GIVE_BATCHES.get(argument, ()):
            continue
        given, message = outcome(call, make(plain), name)
        assert given != "result", kind
        assert re.match(rf"({name}|batch|weights\[0\]: \w+): ", message), (kind, message)
        meant = MEANT.get((kind, argument), MEANT.get((kind, name), said))
        assert meant in message, (kind, message)


def public_parameters():
    """(callable, parameter) of what `qlite` offers and an annotation lets be an array, or anything."""
    for name in sorted(set(ql.__all__) - NOT_WALKED):
        member = getattr(ql, name)
        if inspect.ismodule(member):
            callables = {f"{name}.{function}": getattr(member, function) for function in member.__all__}
        else:
            callables = {name: member}
        for attribute, method in inspect.getmembers(member, callable) if inspect.isclass(member) else ():
            shown = SHOWN.get(attribute, f".{attribute}")
            is_within = attribute in WITHIN_MODELS and issubclass(member, (Layer, ql.Model))
            is_within |= inspect.isclass(method)  # of steps, which layers become
            if (not attribute.startswith("_") or attribute in SHOWN) and not is_within:
                callables[name + shown] = method
        for shown, function in callables.items():
            for parameter in inspect.signature(function).parameters.values():
                if parameter.name != "self" and re.search("Any|ndarray|empty", str(parameter.annotation)):
                    yield shown, parameter.name


def test_the_table_holds_all_arguments():
    there = {(argument.split()[0], argument.split()[-1]) for argument in ARGUMENTS}
    walked = set(public_parameters())
    missing = [row for row in walked - there if row[1] not in OTHERS and " ".join(row) not in OTHERS]
    assert not missing, f"arguments for arrays without a row: {sorted(missing)}"
    assert len(walked & there) > 70
