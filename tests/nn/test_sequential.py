"""Float models: layers, sequences, and from raw outputs to labels, probabilities and figures."""

import copy
import math
import pickle
import re

import numpy as np
import pytest
from samples import same_bytes

import qlite as ql
from qlite import Dense, Sequential, from_weights, quantize_model

W1, W2 = np.arange(6.0).reshape(2, 3) - 2, np.arange(12.0).reshape(3, 4) - 5
B1, B2 = np.array([1.0, -1, 0]), np.zeros(4)
X = np.array([[1.0, -2], [0.5, 3], [0, 0]])
M = from_weights([(W1, B1), (W2, None)])
VALUES = from_weights([(W1, B1)], task="regression")
VALUE = from_weights([(W1[:, :1], None)], task="regression")
BINARY = from_weights([(W1[:, :1], [0.25])], task="binary", classes=["no", "yes"])
LETTERS = from_weights([(W1, B1)], classes=["a", "b", "c"])

CASES = """
TypeError  weight  Dense([[1, 2]])
TypeError  weight  Dense(W1 * 1j)
TypeError  weight  Dense("text")
ValueError weight  Dense(W1[0])
ValueError weight  Dense(W1[None])
ValueError weight  Dense(np.ones((0, 2)))
ValueError weight  Dense(np.ones((2, 0)))
ValueError weight  Dense([[1, np.nan]])
ValueError weight  Dense([[1e300]])
TypeError  bias  Dense(W1, [1, 2, 3])
ValueError bias  Dense(W1, [1.0, 2.0])
ValueError bias  Dense(W1, [[1.0, 2.0, 3.0]])
ValueError bias  Dense(W1, [1.0, 2.0, np.inf])
ValueError activation  Dense(W1, activation="tan")
ValueError activation  Dense(W1, activation=True)
TypeError  name  Dense(W1, name=3)
ValueError layers  Sequential([])
TypeError  layers  Sequential(Dense(W1))
TypeError  layers  Sequential(None)
TypeError  layers\\[1\\]  Sequential([Dense(W1), W2])
ValueError layer.'dense_2'  Sequential([Dense(W1), Dense(W1)])
ValueError task  Sequential([Dense(W1)], input_shape=(5, 2))
ValueError input_shape  Sequential([ql.Flatten()])
ValueError layers  Sequential([Dense(W1, name="a"), Dense(W2, name="a")])
ValueError task  Sequential([Dense(W1)], task="tanh")
ValueError task  Sequential([Dense(W1)], task="binary")
ValueError task  Sequential([Dense(W1[:, :1])], task="multiclass")
ValueError classes  Sequential([Dense(W1)], classes=["a", "b"])
ValueError classes  Sequential([Dense(W1)], classes=["c", "b", "a"])
ValueError classes  Sequential([Dense(W1)], classes=["a", "a", "b"])
ValueError classes  Sequential([Dense(W1)], classes=[[1, 2, 3]])
ValueError classes  Sequential([Dense(W1)], classes=[0.0, 1.0, np.nan])
TypeError classes  Sequential([Dense(W1)], classes=[1, 2, "a"])
TypeError classes  Sequential([Dense(W1)], classes=[True, 2, 3])
ValueError classes  Sequential([Dense(W1)], task="regression", classes=["a", "b", "c"])
ValueError classes  Sequential([Dense(W1[:, :1])], task="binary", classes=["a"])
TypeError  weights  from_weights(None)
ValueError layers  from_weights([])
ValueError weights\\[1\\]  from_weights([(W1, B1), W2])
TypeError  weights\\[1\\]: weight  from_weights([(W1, B1), ("text", None)])
ValueError weights\\[1\\]: weight  from_weights([(W1, B1), (W2 * np.nan, None)])
ValueError weights\\[0\\]: bias  from_weights([(W1, B2), (W2, None)])
ValueError weights\\[0\\]: bias  from_weights([(W1.T, B2), (W2.T, None)], layout="out_in")
ValueError layer.'dense_2'  from_weights([(W1, B1), (W1, B1)])
ValueError layout  from_weights([(W1, B1)], layout="rows")
ValueError .*activation  from_weights([(W1, B1), (W2, None)], "gelu6")
ValueError activation  from_weights([(W1, B1)], "gelu6")
ValueError classes  from_weights([(W1, B1)], classes=["a"])
TypeError  x  M([[1, 2]])
TypeError  x  M.predict(None)
ValueError x  M(X[0])
ValueError x  M(X[:, :1])
ValueError x  M.predict(X.T)
ValueError x  M.intermediates(X[None])
ValueError task  VALUES.predict_proba(X)
ValueError metrics  M.evaluate(X, [0, 1, 2], metrics=["f2"])
ValueError metrics  M.evaluate(X, [0, 1, 2], metrics="mse")
ValueError metrics  M.evaluate(X, [0, 1, 2], metrics="top_5_accuracy")
ValueError metrics  VALUES.evaluate(X, X, metrics=("accuracy",))
ValueError y  M.evaluate(X, [0, 1])
ValueError y  M.evaluate(X[:0], [])
ValueError y  M.evaluate(X, 3)
ValueError y  M.evaluate(X, [[[0]], [[1]], [[2]]])
ValueError y  M.evaluate(X, np.eye(4)[[0, 1, 2]])
ValueError y  M.evaluate(X, ["0", "1", "2"])
ValueError y  M.evaluate(X, [0, 1, 7], metrics=["cross_entropy"])
ValueError y  LETTERS.evaluate(X, [0, 1, 2])
ValueError y  VALUES.evaluate(X, [1.0, 2.0, 3.0])
ValueError y  VALUES.evaluate(X, X)
ValueError y  VALUE.evaluate(X, X)
"""


@pytest.mark.parametrize("case", [line for line in CASES.splitlines() if line])
def test_bad_arguments(case):
    error, name, call = case.split(maxsplit=2)
    if name.endswith("]:"):  # the argument of a layer
        argument, call = call.split(maxsplit=1)
        name = f"{name} {argument}"
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(call)
    assert type(raised.value).__name__ == error
    assert re.match(rf"{name}: ", str(raised.value)), str(raised.value)


def test_case_o_an_activation_that_there_is_not():
    with pytest.raises(ValueError, match=r"^activation: expected one of None, 'relu', .*, got 'swish'"):
        Dense(W1, activation="swish")
    with pytest.raises(ValueError, match=r"^activation: expected .*, got 'ReLU': did you mean 'relu'\?$"):
        Dense(W1, activation="ReLU")


# ---- building and running ---------------------------------------------------------------------------


def test_dense():
    layer = Dense(W1, B1, "relu")
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    np.testing.assert_array_equal(layer(np.float32(X)), np.maximum(X @ W1 + B1, 0))
    np.testing.assert_array_equal(Dense(W1)(np.float32(X)), X @ W1)
    assert repr(layer) == "Dense(2 -> 3, relu)"


def test_a_sequence_runs_its_layers():
    expected = np.maximum(X @ W1 + B1, 0) @ W2
    for x in (X, X.astype(np.float16), X.astype(">f8"), X.tolist(), np.asfortranarray(X)):
        assert M(x).dtype == np.float32
        np.testing.assert_array_equal(M(x), expected)
    assert M(X[:0]).shape == (0, 4)
    values = M.intermediates(X)
    assert list(values) == ["input", "dense_1", "dense_2"]
    np.testing.assert_array_equal(values["dense_1"], np.maximum(X @ W1 + B1, 0))
    same_bytes(values["dense_2"], M(X))
    assert (M.in_features, M.nbytes) == (2, 4 * (6 + 3 + 12 + 4))
    assert "dense_1: Dense(2 -> 3, relu)" in repr(M) and "100 bytes" in repr(M)


def test_names():
    m = Sequential([Dense(W1, name="first"), Dense(W2)])
    assert m.names == ["first", "dense_2"]
    assert list(m.intermediates(X)) == ["input", "first", "dense_2"]


def three_layers(name):
    return Sequential([Dense(W1, B1, "relu", "first"), Dense(W2, B2, "relu", name), Dense(W2.T, name="last")])


@pytest.mark.parametrize("name", ["input", "output", "input_codes", "first_codes", "first_scale", "first_zero_point"])
def test_a_layer_may_not_hide_another_value(name):
    with pytest.raises(ValueError, match=rf"^layers: expected names that no other buffer has, got \['{name}'\]$"):
        three_layers(name)


@pytest.mark.parametrize("name", ["inputs", "first_output", "codes", "scale", "first.codes", "dense_1"])
@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
def test_names_change_no_value(name, scheme):
    m, plain = three_layers(name), three_layers("second")
    for target in ["numpy", "tflite"] if scheme == "w8a8" else ["numpy"]:
        data = 9 * X if scheme == "w8a8" else None
        same_bytes(
            quantize_model(m, scheme, data, target=target)(X), quantize_model(plain, scheme, data, target=target)(X)
        )
        values = quantize_model(m, scheme, data, target=target).intermediates(X)
        assert len(values) == len(quantize_model(plain, scheme, data, target=target).intermediates(X))


@pytest.mark.parametrize(
    "names", [["input"], ["output"], ["normalized"], ["a", "a_codes"], ["a_scale", "a"], [3], [""]]
)
def test_names_that_are_taken(names):
    with pytest.raises((TypeError, ValueError), match="name"):
        ql.Sequential([ql.Dense(np.eye(3), name=name) for name in names])


def test_one_layer_used_twice(rng):
    layer = ql.Dense(rng.normal(size=(5, 5)), activation="relu")
    m, x = ql.Sequential([layer, layer]), rng.normal(size=(50, 5))
    qm = ql.quantize_model(m, data=x)
    assert [b.dtype for b in qm.program.buffers] == ["float32", "uint8", "uint8", "float32"]
    assert ql.compare(m, qm, x).sqnr_db > 25


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
def test_a_layer_may_stand_twice(scheme):
    square = Dense(np.float32([[0.5, -0.2], [0.3, 0.9]]), [0.1, -0.1], "relu")
    twice = Sequential([square, square])
    twins = Sequential([square, Dense(square.weight, square.bias, "relu")])
    data = X if scheme == "w8a8" else None
    same_bytes(quantize_model(twice, scheme, data)(X), quantize_model(twins, scheme, data)(X))


def test_from_weights():
    assert [layer.activation for layer in M.layers] == ["relu", None]
    assert [layer.activation for layer in from_weights([(W1, B1), (W2, None)], None).layers] == [None, None]
    same_bytes(from_weights(((W1.T, B1), (W2.T, None)), layout="out_in")(X), M(X))
    same_bytes(from_weights(iter([[W1.tolist(), B1.tolist()], [W2, None]]))(X), M(X))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies(clone):
    twin = clone(LETTERS)
    same_bytes(twin(X), LETTERS(X))
    assert twin.predict(X).tolist() == LETTERS.predict(X).tolist()


# ---- labels, probabilities, figures -----------------------------------------------------------------


def test_softmax():
    raw = LETTERS(X).astype(np.float64)
    assert LETTERS.predict(X).tolist() == [list("abc")[i] for i in raw.argmax(axis=1)]
    assert from_weights([(W1, B1)]).predict(X).tolist() == raw.argmax(axis=1).tolist()
    assert from_weights([(W1, B1)], classes=[10, 20, 30]).predict(X).tolist() == (10 * raw.argmax(axis=1) + 10).tolist()
    odds = np.exp(raw)
    np.testing.assert_allclose(LETTERS.predict_proba(X), odds / odds.sum(axis=1, keepdims=True), rtol=1e-12)
    huge = from_weights([(1000 * W1, None)]).predict_proba(1000 * X)
    np.testing.assert_allclose(huge.sum(axis=1), 1)


def test_sigmoid():
    raw = BINARY(X)[:, 0].astype(np.float64)
    assert BINARY.predict(X).tolist() == ["yes" if logit > 0 else "no" for logit in raw]
    second = 1 / (1 + np.exp(-raw))
    np.testing.assert_allclose(BINARY.predict_proba(X), np.stack([1 - second, second], axis=1), rtol=1e-12)
    assert BINARY.predict_proba(1e4 * X).sum() == 3
    numbered = from_weights([(W1[:, :1], None)], task="binary")
    assert set(numbered.predict(X).tolist()) <= {0, 1}


def test_identity():
    same_bytes(VALUES.predict(X), VALUES(X))
    assert VALUE.predict(X).shape == (3,)
    same_bytes(VALUE.predict(X), VALUE(X)[:, 0].copy())
    assert M.predict(X[:0]).shape == VALUE.predict(X[:0]).shape == (0,)


def test_evaluate():
    y = np.array(["a", "b", "c"])
    predicted, probability = LETTERS.predict(X), LETTERS.predict_proba(X)
    figures = LETTERS.evaluate(X, y, metrics=("accuracy", "recall", "cross_entropy"))
    assert list(figures) == ["accuracy", "recall", "cross_entropy"]
    assert figures["accuracy"] == np.mean(predicted == y)
    assert math.isclose(figures["cross_entropy"], -np.log(np.diag(probability)).mean(), rel_tol=1e-12)
    assert LETTERS.evaluate(X, y.tolist()) == {k: figures[k] for k in ("accuracy", "recall")}
    assert LETTERS.evaluate(X, y, "accuracy") == {"accuracy": figures["accuracy"]}
    assert all(type(value) is float for value in figures.values())


def test_recall_is_averaged_over_the_classes_that_occur():
    m = from_weights([(np.eye(3), None)])
    x = np.eye(3)[[0, 0, 0, 1, 0, 1]]  # predicted: 0 0 0 1 0 1
    y = [0, 0, 0, 0, 1, 1]
    assert m.evaluate(x, y)["recall"] == (3 / 4 + 1 / 2) / 2
    assert m.evaluate(x, y)["accuracy"] == 4 / 6


def test_cross_entropy_of_impossible_answers_is_finite():
    m = from_weights([(1e6 * np.eye(2), None)])
    assert 100 < m.evaluate(np.eye(2), [1, 0], "cross_entropy")["cross_entropy"] < 1e3


def test_evaluate_values():
    y = VALUES(X) + 0.5
    assert VALUES.evaluate(X, y) == {"mse": 0.25}
    assert VALUES.evaluate(X, y.tolist(), metrics=["mse"]) == {"mse": 0.25}
    for shape in ((3,), (3, 1)):  # both are usual for one value each
        assert VALUE.evaluate(X, VALUE(X).reshape(shape) + 0.5) == {"mse": 0.25}


class Counted(ql.Sequential):
    calls = 0

    def __call__(self, x):
        self.calls += 1
        return super().__call__(x)


def test_evaluating_runs_the_model_once(rng):
    weight, x = rng.normal(size=(6, 5)), rng.normal(size=(8, 6))
    m = Counted([Dense(weight)])
    figures = m.evaluate(x, np.zeros((8, 1), int), ("accuracy", "recall", "cross_entropy"))
    assert m.calls == 1 and figures == m.evaluate(x, np.zeros(8, int), ("accuracy", "recall", "cross_entropy"))
    for y in (0, np.zeros(7), np.zeros((8, 2)), np.zeros((1, 8)), ["a"] * 8):
        with pytest.raises(ValueError, match=r"^y: "):
            m.evaluate(x, y)
    with pytest.raises(TypeError, match=r"^y: .* got None"):
        m.evaluate(x, None)
    with pytest.raises(ValueError, match=r"^x: "):
        m.evaluate(1.0, [0])
    with pytest.raises(TypeError, match=r"^metrics: "):
        m.evaluate(x, np.zeros(8), 3)
    values = ql.Sequential([Dense(weight[:, :1])], task="regression")
    assert values.evaluate(x, values(x)) == {"mse": 0.0} == values.evaluate(x, values.predict(x))


def test_labels_of_other_dtypes():
    assert ql.Sequential([ql.Dense(np.eye(2))], classes=np.array(["a", "b"], object)).classes.dtype.kind == "U"
    with pytest.raises(TypeError, match=r"^classes: "):
        ql.Sequential([ql.Dense(np.eye(2))], classes=np.array([1 + 0j, 2]))


def test_outputs_are_named_alike_in_both_kinds_of_models():
    q = quantize_model(BINARY, data=X)
    assert q.task == "binary" and q.classes.tolist() == ["no", "yes"]
    assert q.predict(X).tolist() == BINARY.predict(X).tolist()
    assert q.evaluate(X, ["no", "yes", "yes"]).keys() == BINARY.evaluate(X, ["no", "yes", "yes"]).keys()
    assert ql.QModel.predict is Sequential.predict


def test_case_i_weights_that_are_no_pairs():
    for weights, said in (
        ({"0.weight": np.eye(2)}, r"^weights: expected pairs .* got dict: pick them by name"),
        ("file.npy", r"^weights: expected pairs .* got str"),
        (3, r"^weights: expected pairs .* got int"),
    ):
        with pytest.raises(TypeError, match=said):
            ql.from_weights(weights)
    with pytest.raises(TypeError, match=r"^weights\[0\]: weight: expected an array"):
        ql.from_weights([({}, None)])


def test_a_layer_takes_what_its_model_takes():
    layer = Dense(np.eye(3))
    with pytest.raises(ValueError, match=r"^x: expected 3 features, got samples of shape \(2,\)"):
        layer(np.ones((2, 2)))
    with pytest.raises(TypeError, match=r"^x: expected a real floating dtype, got int64"):
        layer([[1, 2, 3]])
    assert layer([[1.0, 2.0, 3.0]]).dtype == np.float32
