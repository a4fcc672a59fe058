"""Layers of sequences: against plain NumPy, gradients, what they refuse, models and their files in every scheme."""

import pickle

import numpy as np
import pytest
import reference
from gradients import check_gradients
from samples import same_bytes

import qlite as ql
from qlite.nn.fuse import fuse

STATIC = ["w8a8", "w4a8", "w4a4", "w4g8a8", "ternary"]
SCHEMES = [*STATIC, "w8", "w4", "w4g8", "dynamic", "w4a8-dynamic"]
#: Of float32 results near 1 that come from some ten terms, in other orders.
FLOAT32 = 1e-5


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention(rng, heads=2, size=3, features=5, memory=5, out=4):
    width = heads * size
    shapes = {"query": (features, width), "key": (memory, width), "value": (memory, width), "output": (width, out)}
    arrays = {f"{what}_weight": 0.5 * normal(rng, *shape) for what, shape in shapes.items()}
    arrays |= {f"{what}_bias": normal(rng, shape[1]) for what, shape in shapes.items()}
    return ql.MultiHeadAttention(heads, **arrays), arrays


# ---- what they compute ------------------------------------------------------------------------------


@pytest.mark.parametrize("transpose_b", [False, True])
def test_products_of_matrices(rng, transpose_b):
    a, b = normal(rng, 2, 3, 4, 5), normal(rng, 2, 3, 5, 6)
    layer = ql.MatMul(transpose_b)
    y = layer(a, np.ascontiguousarray(b.swapaxes(2, 3)) if transpose_b else b)
    np.testing.assert_allclose(y, np.einsum("...mk,...kn->...mn", a, b), atol=FLOAT32)
    assert layer.macs((3, 4, 5), (3, 6, 5) if transpose_b else (3, 5, 6)) == 3 * 4 * 5 * 6


def test_products_by_heads(rng):
    q, k, v = normal(rng, 2, 4, 6), normal(rng, 2, 5, 6), normal(rng, 2, 5, 9)
    scores, context = ql.MatMul(transpose_b=True, heads=3), ql.MatMul(heads=3)
    s = scores(q, k)
    y = context(s, v)
    assert s.shape == (2, 3, 4, 5) and y.shape == (2, 4, 9)
    for h in range(3):
        of_q, of_k = q[..., 2 * h : 2 * h + 2], k[..., 2 * h : 2 * h + 2]
        np.testing.assert_allclose(s[:, h], of_q @ of_k.swapaxes(1, 2), atol=FLOAT32)
        np.testing.assert_allclose(y[..., 3 * h : 3 * h + 3], s[:, h] @ v[..., 3 * h : 3 * h + 3], atol=FLOAT32)
    assert scores.macs((4, 6), (5, 6)) == 4 * 5 * 6
    assert context.macs((3, 4, 5), (5, 9)) == 4 * 5 * 9


def test_layer_norm(rng):
    x, gamma, beta = normal(rng, 3, 4, 7) * 5 + 2, normal(rng, 7), normal(rng, 7)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * gamma + beta
    np.testing.assert_allclose(ql.LayerNorm(gamma, beta, 1e-3)(x), expected, atol=FLOAT32)


@pytest.mark.parametrize("inputs", [1, 2])
def test_attention(rng, inputs):
    memory = 5 if inputs == 1 else 7
    layer, w = attention(rng, memory=memory)
    x = (normal(rng, 3, 6, 5), normal(rng, 3, 8, 7))[:inputs]
    q, k, v = (
        (source @ w[f"{what}_weight"] + w[f"{what}_bias"]).reshape(3, -1, 2, 3).transpose(0, 2, 1, 3)
        for what, source in (("query", x[0]), ("key", x[-1]), ("value", x[-1]))
    )
    context = (softmax(q @ k.swapaxes(2, 3) / np.sqrt(3)) @ v).transpose(0, 2, 1, 3).reshape(3, 6, 6)
    np.testing.assert_allclose(layer(*x), context @ w["output_weight"] + w["output_bias"], atol=10 * FLOAT32)
    shapes = [array.shape[1:] for array in x]
    rows, others = shapes[0][0], shapes[-1][0]
    macs = rows * 5 * 6 + 2 * others * memory * 6 + 2 * rows * others * 6 + rows * 6 * 4
    assert layer.macs(*shapes) == macs


def test_gradients(rng):
    layers = [
        (ql.MatMul(), (3, 4), (4, 2)),
        (ql.MatMul(True), (2, 3, 4), (2, 5, 4)),
        (ql.MatMul(True, heads=2), (3, 4), (5, 4)),
        (ql.MatMul(heads=2), (2, 3, 5), (5, 4)),
        (ql.MatMul(True, heads=2), (2, 3, 2), (5, 4)),
        (ql.LayerNorm(normal(rng, 6), normal(rng, 6)), (2, 6)),
        (attention(rng)[0], (4, 5)),
        (attention(rng, memory=3)[0], (4, 5), (2, 3)),
    ]
    for layer, *shapes in layers:
        spread = 4 if isinstance(layer, ql.LayerNorm) else 1  # a step is small beside the deviation of a row
        x = tuple(spread * normal(rng, 2, *shape) for shape in shapes)
        check_gradients(layer, x, normal(rng, *layer(*x).shape))


def test_gradient_of_a_table(rng):
    layer, x = ql.Embedding(normal(rng, 5, 3)), np.array([[1, 4, 1], [0, 1, 1]])
    y, saved = layer.forward(x, rng=rng)
    gradient = normal(rng, *y.shape)
    _, gradients = layer.backward(saved, gradient.copy())
    expected = np.zeros((5, 3), np.float32)
    for i in np.ndindex(x.shape):
        expected[x[i]] += gradient[i]
    np.testing.assert_allclose(gradients["weight"], expected, atol=FLOAT32)


# ---- models -----------------------------------------------------------------------------------------


def model(rng):
    """Words and places through two blocks, of which the second attends to the first input too."""
    words, places = ql.Input((7,), dtype="int32"), ql.Input((7, 8), "places")
    x = ql.Add()(ql.Embedding(entries=11, features=8)(words), places)
    x = ql.Add()(x, ql.MultiHeadAttention(4)(ql.LayerNorm()(x)))
    x = ql.Add()(x, ql.Dense(units=8)(ql.Dense(units=12, activation="gelu")(ql.LayerNorm()(x))))
    x = ql.MultiHeadAttention(2, 6)(x, places)
    return ql.Model([words, places], ql.Dense(units=3)(ql.Flatten()(x)), seed=3)


@pytest.fixture
def made(rng):
    m = model(rng)
    return m, (rng.integers(0, 11, (40, 7)), normal(rng, 40, 7, 8))


def test_attention_falls_into_layers(made):
    m, x = made
    fused = fuse(m)
    parts = [f"attention_1_{what}" for what in ("query", "key", "value", "scores", "softmax", "context", "output")]
    assert sorted(name for name in fused.names if name.startswith("attention_1")) == sorted(parts)
    same_bytes(fused(x), m(x))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme(isa, made, scheme, tmp_path):
    """One program, whose results are the reference's, from its file and pickle too."""
    m, x = made
    qm = ql.quantize_model(m, scheme, x if scheme in STATIC else None)
    y = qm(x)
    values = reference.evaluate(qm.program, x[0].astype(np.int32), x[1])
    same_bytes(y, values[qm.program.outputs[0]])
    qm.save(tmp_path / "qm.qlite")
    for other in (ql.load(tmp_path / "qm.qlite"), pickle.loads(pickle.dumps(qm))):
        same_bytes(other(x), y)
    if scheme in ("w8a8", "w8", "dynamic"):
        ql.testing.assert_sqnr(m, qm, x, min_db=20)


@pytest.mark.parametrize("target", ["onnx", "tflite", "tflm", "c"])
def test_every_target(isa, made, target):
    m, x = made
    qm = ql.quantize_model(m, "w8a8", x).retarget(target)
    values = reference.evaluate(qm.program, x[0].astype(np.int32), x[1])
    same_bytes(qm(x), values[qm.program.outputs[0]])


def test_threads_and_batches_change_nothing(made):
    m, x = made
    for scheme, data in (("dynamic", None), ("w8a8", x)):
        qm = ql.quantize_model(m, scheme, data)
        y = qm(x)
        same_bytes(np.concatenate([qm(tuple(a[i : i + 3] for a in x)) for i in range(0, 40, 3)]), y)
        ql.set_num_threads(3)
        try:
            same_bytes(qm(x), y)
        finally:
            ql.set_num_threads(None)


def test_files_of_float_models(made, tmp_path):
    m, x = made
    m.save(tmp_path / "m.qlite")
    loaded = ql.load(tmp_path / "m.qlite")
    assert loaded.dtypes == {"input_1": "int32", "places": "float32"}
    same_bytes(loaded(x), m(x))
    same_bytes(pickle.loads(pickle.dumps(m))(x), m(x))


def test_training_with_indices(made):
    m, x = made
    y = (x[0][:, 0] > 5).astype(int)
    trained = ql.train(m, x, y, epochs=30, learning_rate=0.01, progress=False)
    assert trained.evaluate(x, y)["accuracy"] > 0.9
    qm = ql.quantize_model(ql.train(trained, x, y, scheme="w8a8", epochs=1, learning_rate=1e-3, progress=False))
    assert qm.evaluate(x, y)["accuracy"] > 0.85


def test_indices_are_checked(made):
    m, x = made
    for f in (m, ql.quantize_model(m, "dynamic")):
        for words, error, message in (
            (x[0] + 11, ValueError, r"x\['input_1'\]: expected 0 to 10, got 11 to 21"),
            (x[0] - 1, ValueError, r"x\['input_1'\]: expected 0 to 10, got -1 to 9"),
            (x[0] * 1.0, TypeError, r"x\['input_1'\]: expected integers, got float64"),
        ):
            with pytest.raises(error, match=message):
                f((words, x[1]))


def test_a_table_alone(rng):
    m = ql.Sequential([ql.Embedding(normal(rng, 6, 2)), ql.Flatten(), ql.Dense(units=3)], input_shape=(4,))
    x = rng.integers(0, 6, (9, 4))
    assert m.dtypes == {"input": "int32"}
    qm = ql.quantize_model(m, "w8a8", x)
    assert qm.input_dtype == "int32"
    ql.testing.assert_sqnr(m, qm, x, min_db=25)
    with pytest.raises(ValueError, match="x: expected 0 to 5"):
        qm(x + 1)


# ---- what they refuse -------------------------------------------------------------------------------


def test_one_input_of_indices_in_a_dict(rng):
    layers = [ql.Embedding(rng.normal(size=(10, 6))), ql.Dense(rng.normal(size=(6, 3)))]
    m = ql.Sequential(layers, input_shape=(7,), task="regression")
    x = rng.integers(0, 10, (30, 7))
    qm = ql.quantize_model(m, "w8a8", x)
    same_bytes(qm({"input": x}), qm(x))
    same_bytes(qm.intermediates({"input": x})["dense_1"], qm(x))
    assert [layer.name for layer in ql.compare(m, qm, x).layers] == ["embedding_1", "dense_1"]


def test_arguments_are_checked(rng):
    w = normal(rng, 4, 4)
    four = {"query_weight": w, "key_weight": w, "value_weight": w, "output_weight": w}
    for make, error, message in (
        (lambda: ql.MatMul(1), TypeError, "transpose_b: expected True or False"),
        (lambda: ql.MatMul(heads=0), ValueError, "heads: expected"),
        (lambda: ql.LayerNorm(w), ValueError, "gamma: expected shape"),
        (lambda: ql.LayerNorm(w[0], w[0, :2]), ValueError, "beta: expected shape"),
        (lambda: ql.LayerNorm(epsilon=0), ValueError, "epsilon: expected"),
        (lambda: ql.Embedding(w[0]), ValueError, "weight: expected shape"),
        (lambda: ql.Embedding(entries=3), ValueError, "weight: expected an array"),
        (lambda: ql.Embedding(w, entries=3, features=4), ValueError, "entries, features: expected"),
        (lambda: ql.MultiHeadAttention(0), ValueError, "heads: expected"),
        (lambda: ql.MultiHeadAttention(3, **four), ValueError, "query_weight: expected 3 heads"),
        (lambda: ql.MultiHeadAttention(2, query_weight=w), ValueError, "key_weight: expected an array"),
        (lambda: ql.MultiHeadAttention(2, query_bias=w[0]), ValueError, "query_weight: expected an array"),
        (lambda: ql.MultiHeadAttention(2, **four | {"key_weight": w[:, :2]}), ValueError, "key_weight: expected 4"),
        (lambda: ql.MultiHeadAttention(2, **four | {"value_weight": w[:2]}), ValueError, "value_weight: expected as"),
        (lambda: ql.MultiHeadAttention(2, **four | {"output_weight": w[:2]}), ValueError, "output_weight: expected"),
        (lambda: ql.MultiHeadAttention(2, **four | {"key_bias": w[0] * np.nan}), ValueError, "key_bias: expected"),
        (lambda: ql.Input((3,), dtype="int64"), ValueError, "dtype: expected"),
    ):
        with pytest.raises(error, match=message):
            make()


def test_shapes_are_checked(rng):
    for layer, shapes, message in (
        (ql.MatMul(), ((3, 4), (5, 4)), "expected 4 as the depth"),
        (ql.MatMul(heads=2), ((3, 3, 4), (4, 4)), "expected 2 heads"),
        (ql.LayerNorm(normal(rng, 4)), ((3,),), "expected 4 features"),
        (attention(rng)[0], ((3, 5, 2),), "expected one or two inputs"),
        (attention(rng)[0], ((3, 4),), "expected 5 features"),
        (ql.MultiHeadAttention(3), ((3, 4), (3, 4), (3, 4)), "expected one or two inputs"),
    ):
        with pytest.raises(ValueError, match=message):
            layer(*map(ql.Input, shapes))
    with pytest.raises(ValueError, match="expected a multiple of 3 features"):
        ql.Sequential([ql.MultiHeadAttention(3)], input_shape=(3, 4))


def test_indices_and_numbers_are_apart(rng):
    table = ql.Embedding(normal(rng, 6, 2))
    with pytest.raises(TypeError, match="expected int32, got"):
        table(ql.Input((4,)))
    with pytest.raises(TypeError, match="expected float32, got"):
        ql.Dense(units=3)(ql.Input((4,), dtype="int32"))
    with pytest.raises(ValueError, match="expected float32, got 'a' of int32"):
        ql.Model({"a": (4,)}, ["b", "c"], nodes=[("b", table, "a"), ("c", ql.Flatten(), "a")])
    with pytest.raises(ValueError, match="mean, scale: expected None"):
        ql.Sequential([ql.Embedding(normal(rng, 6, 2))], input_shape=(4,), mean=np.zeros(4))
