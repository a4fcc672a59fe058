"""What train refuses: by the argument's name, before anything is changed."""

import numpy as np
import pytest

import qlite as ql

X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
Y = np.arange(20) % 3


def network(**options):
    layers = [ql.Dense(units=5, activation="relu"), ql.Dense(units=3)]
    return ql.Sequential(layers, **({"input_shape": (4,)} | options))


def values(units=2):
    return ql.Sequential([ql.Dense(units=units)], input_shape=(4,), task="regression")


def binary(**options):
    return ql.Sequential([ql.Dense(units=1)], input_shape=(4,), task="binary", **options)


def named():
    return network(classes=["a", "b", "c"])


BATCH = (X[:5], Y[:5])
CASES = {
    # samples
    "no labels": (ValueError, "y: expected labels or values", {"y": None}),
    "X of another dtype": (TypeError, "X: expected a real floating dtype, got int64", {"X": X.astype(int)}),
    "X of another shape": (ValueError, r"X: expected shape \(samples, 4\)", {"X": X[:, :3]}),
    "X without samples": (ValueError, "X: expected at least one sample", {"X": X[:0], "y": Y[:0]}),
    # labels
    "too few labels": (ValueError, "y: expected one for each of 20 samples", {"y": Y[:3]}),
    "labels out of range": (
        ValueError,
        r"y: expected labels out of \[0 1 2\], got \[3\] too",
        {"y": np.arange(20) % 4},
    ),
    "negative labels": (ValueError, "y: expected labels out of", {"y": Y - 1}),
    "labels of strings": (TypeError, r"y: expected integers, .* \(the model's classes=", {"y": Y.astype(str)}),
    "labels of floats": (TypeError, "y: expected integers, 0 to 2, got float64", {"y": Y.astype(float)}),
    "labels in columns": (ValueError, "y: expected labels of shape", {"y": np.zeros((20, 2), int)}),
    "no probabilities": (ValueError, "y: expected rows whose sum is 1", {"y": np.full((20, 3), 0.5)}),
    "negative probabilities": (ValueError, "y: expected probabilities from 0 to 1", {"y": np.full((20, 3), -1.0)}),
    "strange names": (ValueError, "y: expected labels out of", {"model": named(), "y": np.full(20, "z")}),
    "numbers for names": (TypeError, "y: expected labels out of", {"model": named()}),
    "three of two classes": (ValueError, "y: expected labels out of", {"model": binary()}),
    "no probability": (ValueError, "y: expected probabilities", {"model": binary(), "y": np.full(20, 1.5)}),
    "values of another shape": (
        ValueError,
        r"y: expected shape \(20, 2\), got \(20, 1\)",
        {"model": values(1 + 1), "y": X[:, :1]},
    ),
    "values that are not finite": (
        ValueError,
        "y: expected finite",
        {"model": values(), "y": np.full((20, 2), np.nan)},
    ),
    "values of strings": (TypeError, "y: expected real numbers", {"model": values(), "y": np.full((20, 2), "a")}),
    # weights
    "weights of others": (
        ValueError,
        r"sample_weight: expected shape \(20,\), got \(3,\)",
        {"sample_weight": [1, 2, 3]},
    ),
    "negative weights": (ValueError, "sample_weight: expected none below 0", {"sample_weight": np.full(20, -1.0)}),
    "weights that are not finite": (
        ValueError,
        "sample_weight: expected finite",
        {"sample_weight": np.full(20, np.inf)},
    ),
    "no weight at all": (ValueError, "sample_weight: expected a sample that counts", {"sample_weight": np.zeros(20)}),
    "class weights": (ValueError, "class_weight: expected 'balanced', got 'balance'", {"class_weight": "balance"}),
    "class weights in a list": (TypeError, "class_weight: expected 'balanced' or a dict", {"class_weight": [1, 2, 3]}),
    "weights of no class": (ValueError, "class_weight: expected labels out of", {"class_weight": {7: 2.0}}),
    "class weights of several numbers": (
        ValueError,
        r"class_weight: expected a number for each label, got shape \(2,\)",
        {"class_weight": {1: [1.0, 2.0]}},
    ),
    "negative class weights": (ValueError, "class_weight: expected finite weights", {"class_weight": {1: -2.0}}),
    "weights whose product is infinite": (
        ValueError,
        "class_weight: expected finite values, got inf",
        {"sample_weight": np.full(20, 1e38), "class_weight": {1: 1e5}},
    ),
    "class weights of values": (
        ValueError,
        "class_weight: expected None where",
        {"model": values(1), "class_weight": {}},
    ),
    "class weights of probabilities": (
        ValueError,
        "class_weight: expected None where",
        {"y": np.full((20, 3), 1 / 3), "class_weight": "balanced"},
    ),
    # options
    "model": (TypeError, "model: expected a Model, got QModel", {"model": ql.quantize_model(network(), "w8")}),
    "loss": (ValueError, "loss: expected one of 'cross_entropy', .*'huber', got 'mes'", {"loss": "mes"}),
    "loss of another task": (ValueError, "loss: expected 'cross_entropy' for task='multiclass'", {"loss": "mse"}),
    "loss of no kind": (ValueError, "loss: expected one of", {"loss": 3}),
    "smoothing": (ValueError, "label_smoothing: expected 0 <= x < 1", {"label_smoothing": 1.0}),
    "smoothing of values": (ValueError, "label_smoothing: expected 0", {"model": values(1), "label_smoothing": 0.1}),
    "optimizer": (ValueError, "optimizer: expected one of 'sgd', 'adam', 'adamw', 'rmsprop'", {"optimizer": "adm"}),
    "momentum of adam": (ValueError, "momentum: expected None for Adam", {"momentum": 0.9}),
    "learning_rate": (ValueError, "learning_rate: expected x >= 0", {"learning_rate": -1.0}),
    "weight_decay": (TypeError, "weight_decay: expected a number", {"weight_decay": "1"}),
    "epochs": (ValueError, "epochs: expected at least 1", {"epochs": 0}),
    "batch_size": (TypeError, "batch_size: expected an integer", {"batch_size": 2.0}),
    "clip_norm": (ValueError, "clip_norm: expected x > 0", {"clip_norm": 0}),
    "clip_value": (TypeError, "clip_value: expected a number", {"clip_value": "1"}),
    "schedule": (ValueError, "schedule: expected one of 'constant'.*did you mean 'cosine'", {"schedule": "cosin"}),
    "frozen": (ValueError, r"frozen: expected names out of \['dense_1', 'dense_2'\], got \['x'\]", {"frozen": ["x"]}),
    "frozen as a string": (TypeError, "frozen: expected names", {"frozen": "dense_1"}),
    "all frozen": (ValueError, "frozen: expected a layer that is trained", {"frozen": ["dense_1", "dense_2"]}),
    "nothing to train": (
        ValueError,
        "model: expected a layer with parameters, got none",
        {"model": ql.Sequential([ql.Activation("relu")], input_shape=(4,)), "y": np.arange(20) % 4},
    ),
    "callbacks": (TypeError, r"callbacks: expected functions, got \[3\]", {"callbacks": [3]}),
    "augment": (TypeError, "augment: expected a function, got 'flip'", {"augment": "flip"}),
    "seed": (ValueError, "seed: expected at least 0", {"seed": -1}),
    "progress": (TypeError, "progress: expected True or False", {"progress": 1}),
    # validation
    "share of 0": (ValueError, "validation: expected 0 < x < 1", {"validation": 0.0}),
    "share of 1": (ValueError, "validation: expected 0 < x < 1", {"validation": 1.0}),
    "share of nobody": (ValueError, "validation: expected a share with samples on both sides", {"validation": 0.01}),
    "no pair": (TypeError, r"validation: expected a share, or \(X, y\), got ndarray", {"validation": X}),
    "no samples": (ValueError, "validation: X: expected at least one sample", {"validation": (X[:0], Y[:0])}),
    "strange labels": (ValueError, "validation: y: expected labels out of", {"validation": (X, Y + 1)}),
    "validation that is not finite": (
        ValueError,
        "validation: X: expected finite values, got nan",
        {"validation": (np.full_like(X, np.nan), Y)},
    ),
    "a share that is not finite": (
        ValueError,
        "X: expected finite values, got inf",
        {"X": np.full_like(X, np.inf), "validation": 0.2},
    ),
    "patience alone": (ValueError, "patience: expected None without `validation`, got 3", {"patience": 3}),
    "best of none": (ValueError, "restore_best: expected None without `validation`, got True", {"restore_best": True}),
    "patience": (ValueError, "patience: expected at least 1", {"validation": 0.2, "patience": 0}),
    # teachers
    "teacher": (TypeError, "teacher: expected a Model or a QModel", {"teacher": "m"}),
    "teacher of another task": (ValueError, "teacher: expected task='multiclass', got 'binary'", {"teacher": binary()}),
    "teacher of others": (
        ValueError,
        r"teacher: expected outputs of shape \(3,\), got \(2,\)",
        {"teacher": ql.Sequential([ql.Dense(units=2)], input_shape=(4,))},
    ),
    "teacher_weight": (ValueError, "teacher_weight: expected 0 <= x <= 1", {"teacher": network(), "teacher_weight": 2}),
    "temperature": (ValueError, "temperature: expected x > 0", {"teacher": network(), "temperature": 0}),
    "teacher of other samples": (
        ValueError,
        r"teacher: expected samples of shape \(4,\), got one that takes \(5,\)",
        {"teacher": ql.Sequential([ql.Dense(units=3)], input_shape=(5,))},
    ),
    "quantized teacher of other samples": (
        ValueError,
        r"teacher: expected samples of shape \(4,\), got one that takes \(5,\)",
        {"teacher": ql.quantize_model(ql.Sequential([ql.Dense(units=3)], input_shape=(5,)), "w8")},
    ),
    "teacher_weight alone": (
        ValueError,
        "teacher_weight: expected 0.5, the default, without a teacher, got 0.9",
        {"teacher_weight": 0.9},
    ),
    "temperature alone": (ValueError, "temperature: expected 2.0, the default, without a teacher", {"temperature": 3}),
    # batches
    "a name of a file": (TypeError, "X: expected an array, got the string 'x.npy'", {"X": "x.npy"}),
    "a dict of arrays": (ValueError, r"X: expected samples of \['input'\], got \['a'\]", {"X": {"a": X}}),
    "y with batches": (ValueError, "y: expected None where X gives batches", {"X": [BATCH]}),
    "share of batches": (
        ValueError,
        r"validation: expected \(X, y\) where",
        {"X": [BATCH], "y": None, "validation": 0.5},
    ),
    "an iterator": (ValueError, "X: expected a function that returns an iterable", {"X": iter([BATCH]), "y": None}),
    "no batches": (ValueError, "X: expected at least one batch, got 0", {"X": lambda: [], "y": None}),
    "no iterable": (TypeError, "X: expected an iterable of batches, got int", {"X": lambda: 3, "y": None}),
    "no pairs": (TypeError, r"X: batch 1: expected \(x, y\)", {"X": lambda: [BATCH, X], "y": None}),
    "another shape": (ValueError, "X: batch 1: expected shape", {"X": lambda: [BATCH, (X[:5, :3], Y[:5])], "y": None}),
    "weights of a batch": (
        ValueError,
        r"X: batch 0: weights: expected shape \(5,\), got \(3,\)",
        {"X": lambda: [(*BATCH, [1, 2, 3])], "y": None},
    ),
    "an empty batch": (ValueError, "X: batch 0: expected at least one", {"X": lambda: [(X[:0], Y[:0])], "y": None}),
    "labels of a batch": (ValueError, "X: batch 1: y: expected labels", {"X": lambda: [BATCH, (X, Y + 1)], "y": None}),
    "schedule of unknown length": (
        ValueError,
        "schedule: expected 'constant' or a function where the number of batches is not known",
        {"X": lambda: [BATCH], "y": None, "schedule": "cosine"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case):
    error, message, options = CASES[case]
    arguments = {"model": network(), "X": X, "y": Y, "epochs": 2} | options
    with pytest.raises(error, match=f"^{message}"):
        ql.train(arguments.pop("model"), arguments.pop("X"), arguments.pop("y"), **arguments)


def test_an_epoch_with_fewer_batches_is_refused():
    lengths = iter((3, 2))
    with pytest.raises(ValueError, match="X: expected 3 batches, as before, got 2"):
        ql.train(network(), lambda: [BATCH] * next(lengths), epochs=2)


def test_what_augment_returns_is_checked():
    with pytest.raises(ValueError, match=r"augment: expected samples of shape \(20, 4\), got \(20, 3\)"):
        ql.train(network(), X, Y, augment=lambda x, rng: x[:, :3])
    with pytest.raises(TypeError, match="augment: expected a real floating dtype, got int64"):
        ql.train(network(), X, Y, augment=lambda x, rng: x.astype(int))


def test_what_a_loss_returns_is_checked():
    with pytest.raises(TypeError, match=r"loss: expected a function that returns \(figure, gradient\), got float"):
        ql.train(network(), X, Y, loss=lambda raw, y: 0.0)
    with pytest.raises(ValueError, match=r"loss: expected a gradient of shape \(20, 3\), got \(20,\)"):
        ql.train(network(), X, Y, loss=lambda raw, y: (0.0, raw[:, 0]))
    with pytest.raises(TypeError, match="loss: expected an array, got the string '0'"):
        ql.train(network(), X, Y, loss=lambda raw, y: ("0", raw))
    with pytest.raises(TypeError, match="loss: expected real numbers, got complex128"):
        ql.train(network(), X, Y, loss=lambda raw, y: (1j, raw))
    with pytest.raises(ValueError, match=r"loss: expected a figure that is one number, got shape \(20,\)"):
        ql.train(network(), X, Y, loss=lambda raw, y: (raw[:, 0], raw))


def test_what_a_schedule_returns_is_checked():
    with pytest.raises(ValueError, match="schedule: expected a function with finite values of at least 0, got -1"):
        ql.train(network(), X, Y, schedule=lambda step: -1.0)
    with pytest.raises(TypeError, match="schedule: expected a number"):
        ql.train(network(), X, Y, schedule=lambda step: None)
