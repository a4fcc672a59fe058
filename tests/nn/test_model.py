"""Float models that are graphs: called or listed, several inputs and outputs, what they say of themselves, and every
error of a graph, before anything is computed."""

import copy
import math
import pickle
import re
import time

import numpy as np
import pytest
from samples import same_bytes

import qlite as ql
from qlite.nn import steps
from qlite.nn.layers.layer import Layer

W = {
    (n, m): np.random.default_rng([n, m]).normal(size=(n, m)).astype(np.float32) for n in range(1, 9) for m in (2, 3, 4)
}
KERNEL = np.random.default_rng(1).normal(size=(3, 3, 2, 4)).astype(np.float32)


def dense(n, m, activation=None, name=None):
    return ql.Dense(W[n, m], np.arange(m) / 4, activation, name)


def residual():
    """A graph of which the first layer is read three times, once by a layer of three inputs."""
    x = ql.Input((4,))
    a = dense(4, 4, "relu", "a")(x)
    b = dense(4, 4, name="b")(a)
    c = ql.Add("relu", name="c")(a, b)
    return x, ql.Concatenate(name="d")(a, c, a)


def two_in_two_out(**options):
    left, right = ql.Input((4,), "left"), ql.Input((2, 2), "right")
    flat = ql.Flatten(name="flat")(right)
    total = ql.Add(name="total")(left, flat)
    return ql.Model([left, right], [total, dense(4, 3, name="head")(total)], **options)


def small(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X4, LEFT, RIGHT = small((5, 4)), small((5, 4), 1), small((5, 2, 2), 2)
TWO = two_in_two_out()
ONE = ql.Model(*residual())
QTWO, QONE = ql.quantize_model(TWO, data=(LEFT, RIGHT)), ql.quantize_model(ONE, data=X4)


# ---- what a graph computes --------------------------------------------------------------------------


def test_calls_and_nodes_give_the_same_model():
    nodes = [
        ("d", ql.Concatenate(), ("a", "c", "a")),
        ("c", ql.Add("relu"), ["a", "b"]),
        ("b", dense(4, 4), "a"),
        ("a", dense(4, 4, "relu"), ("input",)),
    ]
    listed = ql.Model({"input": (4,)}, "d", nodes=nodes)
    assert repr(listed) == repr(ONE)
    assert (listed.names, listed.sources, listed.shapes) == (ONE.names, ONE.sources, ONE.shapes)
    same_bytes(listed(X4), ONE(X4))


def test_a_graph_computes_its_layers():
    a = np.maximum(X4 @ W[4, 4] + np.float32([0, 0.25, 0.5, 0.75]), 0)
    b = a @ W[4, 4] + np.float32([0, 0.25, 0.5, 0.75])
    c = np.maximum(a + b, 0)
    same_bytes(ONE(X4), np.concatenate([a, c, a], axis=1))
    values = ONE.intermediates(X4)
    assert list(values) == ["input", "a", "b", "c", "d"]
    for name, expected in zip("abc", (a, b, c), strict=True):
        same_bytes(values[name], expected)
    assert ONE(X4[:0]).shape == (0, 12)


def test_several_inputs_and_outputs():
    total, head = TWO((LEFT, RIGHT))
    same_bytes(total, LEFT + RIGHT.reshape(5, 4))
    same_bytes(head, total @ W[4, 3] + np.float32([0, 0.25, 0.5]))
    for given in ([LEFT, RIGHT], {"right": RIGHT, "left": LEFT}, (LEFT.tolist(), RIGHT.astype(np.float64))):
        for got, expected in zip(TWO(given), (total, head), strict=True):
            same_bytes(got, expected)
    assert list(TWO.intermediates((LEFT, RIGHT))) == ["left", "right", "flat", "total", "head"]
    assert TWO.inputs == {"left": (4,), "right": (2, 2)}
    assert (TWO.outputs, TWO.task) == (("total", "head"), "multioutput")
    assert TWO.shapes == {"left": (4,), "right": (2, 2), "flat": (4,), "total": (4,), "head": (3,)}


def test_images_of_values_are_evaluated(rng):
    """All values of a sample are outputs."""
    x = rng.normal(size=(20, 6, 5, 2)).astype(np.float32)
    model = ql.Sequential([ql.Conv2D(filters=3, kernel_size=1)], input_shape=(6, 5, 2), task="multioutput")
    y = model(x) + rng.normal(size=(20, 6, 5, 3)).astype(np.float32)
    found = model.evaluate(x, y, ("mse", "mae", "r2"))
    flat = y.reshape(20, -1), model(x).reshape(20, -1)
    assert found == {name: getattr(ql.metrics, name)(*flat) for name in ("mse", "mae", "r2")}
    with pytest.raises(ValueError, match=r"^y: expected shape \(20, 6, 5, 3\)"):
        model.evaluate(x, y[..., :2])


def test_an_output_may_be_read_by_other_layers():
    x = ql.Input((4,))
    first = dense(4, 3, name="first")(x)
    model = ql.Model(x, [first, dense(3, 2, name="last")(first)])
    one, other = model(X4)
    same_bytes(one, X4 @ W[4, 3] + np.float32([0, 0.25, 0.5]))
    same_bytes(other, model.intermediates(X4)["last"])


def test_inputs_without_names_are_numbered():
    x, y, z = ql.Input((4,)), ql.Input((4,), "middle"), ql.Input((4,))
    assert list(ql.Model([x, y, z], ql.Concatenate()(x, y, z)).inputs) == ["input_1", "middle", "input_3"]
    assert list(ql.Model(x, ql.Flatten()(x)).inputs) == ["input"]


def test_layers_without_names_are_numbered_in_their_order():
    x = ql.Input((4,))
    left, right = dense(4, 4)(x), ql.Flatten()(dense(4, 4)(x))
    model = ql.Model(x, ql.Add()(left, right))
    assert model.names == ["dense_1", "dense_2", "flatten_1", "add_1"]
    assert model.sources == [("input",), ("input",), ("dense_2",), ("dense_1", "flatten_1")]


def test_weights_are_made_in_the_order_of_the_layers():
    def made(seed):
        x = ql.Input((6, 6, 3))
        y = ql.Conv2D(filters=4, kernel_size=3, padding="same")(x)
        z = ql.Add()(y, ql.SeparableConv2D(filters=4, kernel_size=3, padding="same")(y))
        return ql.Model(x, ql.Dense(units=2)(ql.GlobalAveragePool()(z)), seed=seed)

    one, again, other = made(1), made(1), made(2)
    for layer, twin, third in zip(one.layers, again.layers, other.layers, strict=True):
        for name, array in layer.parameters.items():
            same_bytes(array, twin.parameters[name])
            assert not array.any() or not np.array_equal(array, third.parameters[name])


def test_mean_and_scale_come_before_every_reader():
    x = ql.Input((4,))
    mean, scale = np.float32([1, 2, 3, 4]), np.float32([1, 2, 4, 8])
    model = ql.Model(x, ql.Add()(x, dense(4, 4)(x)), mean=mean, scale=scale)
    assert model.sources == [("normalized",), ("normalized", "dense_1")]
    assert model.shapes["normalized"] == (4,)
    normalized = (X4 - mean) / scale
    same_bytes(model(X4), normalized + (normalized @ W[4, 4] + np.float32([0, 0.25, 0.5, 0.75])))
    assert "normalized: (x - mean) / scale" in repr(model)


def test_a_long_chain_of_layers():
    """Longer than Python's stack is deep."""
    y = x = ql.Input((2,))
    for _ in range(2000):
        y = ql.Add()(y, x)
    same_bytes(ql.Model(x, y)(np.ones((1, 2), np.float32)), np.full((1, 2), 2001, np.float32))


# ---- copies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("twin", [lambda m: m.copy(), copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_have_arrays_of_their_own(twin):
    for model, x in ((ONE, X4), (TWO, (LEFT, RIGHT))):
        other = twin(model)
        assert repr(other) == repr(model)
        assert (other.inputs, other.outputs, other.sources) == (model.inputs, model.outputs, model.sources)
        before = model(x) if isinstance(model(x), tuple) else (model(x),)
        after = other(x) if isinstance(other(x), tuple) else (other(x),)
        for got, expected in zip(after, before, strict=True):
            same_bytes(got, expected)
        for layer in other.layers:
            for array in layer.parameters.values():
                array += 1
        again = model(x) if isinstance(model(x), tuple) else (model(x),)
        for got, expected in zip(again, before, strict=True):
            same_bytes(got, expected)


def test_a_part_of_a_model():
    part = ONE.part(ONE.layers[:2])
    assert (part.names, part.outputs) == (["a", "b"], ("b",))
    same_bytes(part(X4), ONE.intermediates(X4)["b"])
    assert part.layers[0] is ONE.layers[0]
    whole = TWO.part(TWO.layers)
    assert (whole.names, whole.sources, whole.outputs) == (TWO.names, TWO.sources, TWO.outputs)


def test_a_part_without_the_softmax():
    x = ql.Input((4,))
    logits = dense(4, 3)(x)
    model = ql.Model(x, ql.Softmax()(logits))
    assert model.gives_probabilities
    part = model.part(model.logits_layers)
    same_bytes(part(X4), model.intermediates(X4)["dense_1"])
    np.testing.assert_allclose(part.predict_proba(X4), model(X4), rtol=1e-6)


# ---- what it says of itself -------------------------------------------------------------------------


def image_network():
    x = ql.Input((6, 8, 2))
    y = ql.Conv2D(KERNEL, padding="same", stride=2, activation="relu")(x)  # 3 x 4 x 4
    z = ql.BatchNorm()(ql.DepthwiseConv2D(np.ones((3, 3, 4, 1)), padding="same")(y))
    return ql.Model(x, dense(4, 3)(ql.GlobalAveragePool()(ql.Add()(y, z))))


def test_summary():
    """Products and parameters by hand: of 3 x 4 pixels 9 * 2 * 4 and 9 * 4 each; a batch norm has four vectors."""
    model = image_network()
    rows = {row.name: row for row in model.summary().layers}
    assert list(rows) == model.names
    sizes = {name: (row.shape, row.inputs, row.parameters, row.macs) for name, row in rows.items()}
    pixels = 3 * 4
    assert sizes == {
        "conv2d_1": ((3, 4, 4), ("input",), 9 * 2 * 4 + 4, pixels * 9 * 2 * 4),
        "depthwise_conv2d_1": ((3, 4, 4), ("conv2d_1",), 9 * 4 + 4, pixels * 9 * 4),
        "batch_norm_1": ((3, 4, 4), ("depthwise_conv2d_1",), 4 * 4, 0),
        "add_1": ((3, 4, 4), ("conv2d_1", "batch_norm_1"), 0, 0),
        "global_average_pool_1": ((4,), ("add_1",), 0, 0),
        "dense_1": ((3,), ("global_average_pool_1",), 4 * 3 + 3, 4 * 3),
    }
    parameters = 76 + 40 + 16 + 15
    assert sum(row.nbytes for row in rows.values()) == model.nbytes == 4 * parameters
    assert model.flops == 2 * (pixels * 72 + pixels * 36 + 12)
    lines = str(model.summary()).splitlines()
    assert lines[0] == "Model of input 6 x 8 x 2, multiclass"
    assert lines[1].split() == ["layer", "reads", "shape", "parameters", "MACs", "bytes"]
    assert lines[-1].split() == ["total", f"{parameters:,}", f"{model.flops // 2:,}", f"{4 * parameters:,}"]
    with_bytes = [line for line in lines[1:] if not line.startswith(("add_1", "global_average_pool_1"))]
    assert len({len(line) for line in with_bytes}) == 1  # the last column is aligned to the right


def test_summary_in_a_notebook():
    html = image_network()._repr_html_()
    for text in ("<td>conv2d_1, batch_norm_1</td>", "<td>3 x 4 x 4</td>", "<td>864</td>", "<th>MACs</th>"):
        assert text in html
    assert html.count("<tr>") == len(image_network().layers) + 2


def test_names_in_a_notebook_are_escaped():
    x = ql.Input((4,))
    html = ql.Model(x, dense(4, 2, name="<b>&")(x))._repr_html_()
    assert "&lt;b&gt;&amp;" in html and "<b>" not in html


def test_repr_tells_what_layers_read_unless_they_follow_one_another():
    assert "  d: Concatenate(axis -1) <- a, c, a" in repr(ONE).splitlines()
    x = ql.Input((4,))
    chain = ql.Model(x, dense(4, 2)(dense(4, 4, "relu")(x)))
    assert repr(chain).replace("Model", "Sequential", 1) == repr(ql.Sequential([dense(4, 4, "relu"), dense(4, 2)]))


# ---- bad input: graphs ------------------------------------------------------------------------------

#: Error, what its message matches, and the call.
GRAPHS = r"""
ValueError nodes: .*no.cycle,.got.'b'.->.'a'.->.'b'  nodes("b", ("a", F(4, 4), "b"), ("b", F(4, 4), "a"))
ValueError nodes: .*no.cycle,.got.'a'.->.'a'       nodes("a", ("a", ql.Add(), ("x", "a")))
ValueError nodes:.'b':.inputs: .*got.'frist'.*mean.'first'  nodes("b", ("first", F(4, 4), "x"), ("b", F(4, 2), "frist"))
ValueError outputs: .*got.'scond'.*mean.'second'   nodes("scond", ("second", F(4, 4), "x"))
ValueError outputs: .*one.of|.*got.'x'             nodes("x", ("second", F(4, 4), "x"))
ValueError outputs: .*each.once                    nodes(["a", "a"], ("a", F(4, 4), "x"))
ValueError outputs: .*at.least.one.name            nodes([], ("a", F(4, 4), "x"))
TypeError  outputs: .*got.3                        nodes(3, ("a", F(4, 4), "x"))
TypeError  outputs: .*names,.got.<Flatten          nodes(ql.Flatten()(S(4)), ("a", F(4, 4), "x"))
ValueError nodes\[1\]: .*got.'a'                   nodes("a", ("a", F(4, 4), "x"), ("a", F(4, 4), "x"))
ValueError nodes\[0\]: .*got.'x'                   nodes("x", ("x", F(4, 4), "x"))
ValueError nodes: .*got.\['idle'\].beside          nodes("a", ("a", F(4, 4), "x"), ("idle", F(4, 4), "x"))
ValueError nodes: .*at.least.one                   nodes("a")
TypeError  nodes\[0\]: .*got.\('a',.Dense          nodes("a", ("a", F(4, 4)))
TypeError  nodes\[0\]: .*got.\(''                  nodes("a", ("", F(4, 4), "x"))
TypeError  nodes\[0\]:.'a': .*layer,.got.Symbol    nodes("a", ("a", S(4), "x"))
TypeError  nodes\[0\]:.'a': .*layer,.got.ndarray   nodes("a", ("a", X4, "x"))
TypeError  nodes\[0\]:.'a':.inputs: .*got.None     nodes("a", ("a", F(4, 4), None))
TypeError  nodes\[0\]:.'a':.inputs: .*got.\[<Input  nodes("a", ("a", F(4, 4), [S(4)]))
TypeError  nodes: .*sequence                       ql.Model({"x": (4,)}, "a", nodes={"a": F(4, 4)})
TypeError  inputs: .*dict                          ql.Model(["x"], "a", nodes=[("a", F(4, 4), "x")])
TypeError  inputs: .*strings.*got.1                ql.Model({1: (4,)}, "a", nodes=[("a", F(4, 4), "x")])
TypeError  inputs\['x'\]: .*sequence               nodes("a", ("a", F(4, 4), "x"), inputs={"x": 4})
ValueError inputs\['x'\]: .*none.of.them.0         nodes("a", ("a", F(4, 4), "x"), inputs={"x": (0,)})
ValueError inputs: .*got.\['y'\].beside            nodes("a", ("a", F(4, 4), "x"), inputs={"x": (4,), "y": (4,)})
ValueError layer.'a': .*1.to.read,.got.2           nodes("a", ("a", F(4, 4), ("x", "x")))
ValueError layer.'a': .*2.to.read,.got.1           nodes("a", ("a", ql.Add(), "x"))
ValueError layer.'(a|b)': .*each.place             nodes("b", ("a", SHARED, "x"), ("b", SHARED, "a"))
ValueError layers: .*no.other.buffer.*'a_codes'    nodes("a_codes", ("a", F(4, 4), "x"), ("a_codes", F(4, 4), "a"))
ValueError layers: .*'normalized'  nodes("a", ("a", F(4, 4), "normalized"), inputs={"normalized": (4,)})
ValueError layer.'b':.Dense\(3.->.2\): .*\(4,\),.which.'a'.gives  nodes("b", ("a", F(4, 4), "x"), ("b", F(3, 2), "a"))
ValueError layer.'s': .*\(3,\).and.\(4,\),.*'a',.'x'.gives  nodes("s", ("a", F(4, 3), "x"), ("s", ql.Add(), ("a", "x")))
ValueError layer.'c': .*\(3,\),.\(4,.4\).*'i'  nodes("c", ("a", F(4, 3), "x"), ("c", JOIN, ["a", "i"]), inputs=X_I)
ValueError layer.'c': .*3.groups.*4\),.which.'i'.gives  nodes("c", ("c", THREE_GROUPS, "i"), inputs={"i": (6, 6, 4)})
ValueError groups: .*divisor.of.the.7.filters,.got.2  ql.Conv2D(filters=7, kernel_size=3, groups=2)
ValueError layer.'c': .*9.x.9,.got.6.x.6.*'i'.gives  nodes("c", ("c", ql.MaxPool(9), "i"), inputs={"i": (6, 6, 4)})
ValueError layer.'b': .*3.features.*\(4,\),.which.'a'.gives  F(3, 2, name="b")(F(4, 4, name="a")(S(4)))
ValueError layer.'b': .*3.features.*\(4,\),.which.'x'.gives  F(3, 2, name="b")(S(4, "x"))
ValueError layer.'s': .*\(4,\).and.\(3,\),.which.an.input,.Flatten\(\).gives  ql.Add(name="s")(S(4), ql.Flatten()(S(3)))
ValueError inputs: .*beside                        ql.Model([S(4, "idle"), BEGIN], END)
ValueError inputs: .*without.it                    ql.Model(S(4), END)
ValueError inputs: .*what.Input\(\).gives,.got.<Concat  ql.Model(END, END)
ValueError inputs: .*each.once                     ql.Model([BEGIN, BEGIN], END)
ValueError inputs: .*different.names               ql.Model([S(4, "x"), S(4, "x")], END)
ValueError outputs: .*results.of.layers,.got.<Input  ql.Model(BEGIN, BEGIN)
ValueError outputs: .*each.once                    ql.Model(BEGIN, [END, END])
TypeError  inputs: .*one.or.several,.got.\[\]      ql.Model([], END)
TypeError  outputs: .*one.or.several,.got.\[\]     ql.Model(BEGIN, [])
TypeError  inputs: .*Input\(\).*got.array          ql.Model(X4, END)
TypeError  inputs: .*Input\(\).*got.array          ql.Model([X4], END)
TypeError  outputs: .*Input\(\).*got.array         ql.Model(BEGIN, X4)
TypeError  outputs: .*Input\(\).*got.'d'           ql.Model(BEGIN, "d")
ValueError layer.'dense_.': .*each.place           ql.Model(BEGIN, SHARED(SHARED(BEGIN)))
ValueError layers: .*different.names               ql.Model(BEGIN, F(4, 2, name="q")(F(4, 4, name="q")(BEGIN)))
ValueError shape: .*none.of.them.0                 ql.Input((4, 0))
TypeError  shape: .*sequence                       ql.Input(4)
TypeError  weight: .*an.array,.got.10.\(.*units=   ql.Dense(10)
TypeError  weight: .*an.array,.got.8.\(.*filters=  ql.Conv2D(8, 3)
TypeError  weight: .*an.array,.got.3.\(.*_size=    ql.DepthwiseConv2D(3)
TypeError  x: .*Constant.*that.was.not.called      ql.Add()(S(4), ql.Constant(np.ones(4)))
TypeError  layers\[0\]: .*got.the.class.Flatten    ql.Sequential([ql.Flatten])
TypeError  name: .*not.empty                       ql.Input((4,), "")
ValueError mean: .*\(4,\),.got.\(2,\)              ql.Model(BEGIN, END, mean=[1.0, 2.0])
ValueError model: .*one.input,.got.'left',.'right'  two_in_two_out(mean=np.ones(4))
ValueError task: .*'multioutput'                   two_in_two_out(task="multiclass")
"""

SHARED, (BEGIN, END) = dense(4, 4), residual()
JOIN, THREE_GROUPS = ql.Concatenate(0), ql.Conv2D(filters=6, kernel_size=3, groups=3)
X_I = {"x": (4,), "i": (4, 4)}
F, quantize = dense, ql.quantize_model


def S(n, name=None):
    return ql.Input((n,), name)


def nodes(outputs, *listed, inputs=None):
    return ql.Model({"x": (4,)} if inputs is None else inputs, outputs, nodes=list(listed))


def refused(case, names):
    """Runs a call that is to be refused before a layer computes anything."""
    error, pattern, call = re.match(r"(\w+)\s+(\S+: \S+)\s+(.*)", case).groups()
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(call, names)
    assert type(raised.value).__name__ == error
    assert re.match(pattern, str(raised.value)), str(raised.value)


@pytest.mark.parametrize("case", [line for line in GRAPHS.splitlines() if line])
def test_bad_graphs(case):
    refused(case, globals())


# ---- bad input: samples -----------------------------------------------------------------------------

#: The same, for both models. A quantized model names an input where the samples of one are at fault.
SAMPLES = r"""
ValueError x: .*\['left',.'right'\],.got.ndarray   M(LEFT)
ValueError x: .*got.1.arrays                       M((LEFT,))
ValueError x: .*got.3.arrays                       M((LEFT, RIGHT, LEFT))
ValueError x: .*got.NoneType                       M(None)
ValueError x: .*\['left',.'right'\],.got.\['left'\]  M({"left": LEFT})
ValueError x: .*got.\['left',.'right',.'more'\]    M({"left": LEFT, "right": RIGHT, "more": LEFT})
ValueError (x|right): .*samples.*left.*.4          M((LEFT, RIGHT[:4]))
ValueError (x\['right'\]|right): .*\(samples,.2,.2\),.got.\(5,.4\)  M((LEFT, LEFT))
TypeError  (x\['left'\]|left): .*got.Symbol        M((S(4), RIGHT))
TypeError  (x\['right'\]|right): .*got.Symbol      M({"left": LEFT, "right": ql.Input((2, 2))})
TypeError  (x\['right'\]|right): .*real.floating.dtype  M((LEFT, RIGHT.astype(int)))
ValueError x: .*got.ndarray                        M.intermediates(LEFT)
ValueError model: .*one.output,.got.'total',.'head'  M.predict((LEFT, RIGHT))
ValueError model: .*one.output,.got.'total',.'head'  M.predict_proba((LEFT, RIGHT))
ValueError model: .*one.output,.got.'total',.'head'  M.evaluate((LEFT, RIGHT), np.zeros(5))
"""


@pytest.mark.parametrize("case", [line for line in SAMPLES.splitlines() if line])
@pytest.mark.parametrize("model", [TWO, QTWO], ids=["float", "quantized"])
def test_bad_samples(case, model, monkeypatch):
    for layer in TWO.layers:  # nothing is computed before the error
        monkeypatch.setattr(layer, "compute", pytest.fail)
    refused(case, globals() | {"M": model})


CALLS = r"""
TypeError  x: .*got.Symbol                         ONE(S(4))
TypeError  x: .*got.Symbol                         QONE(S(4))
ValueError x: .*\(samples,.4\),.got.\(5,.3\)       ONE(X4[:, :3])
ValueError x: .*\['input'\],.got.\['inputs'\]      ONE({"inputs": X4})
TypeError  x: .*Input\(\).*got.array               ql.Concatenate()(S(4), X4)
TypeError  x: .*Input\(\).*got.array               ql.MatMul()(X4, S(4))
TypeError  x: .*2.arrays.of.samples,.got.1         ql.Add()(S(4))
TypeError  x: .*1.array.of.samples,.got.2          F(4, 4)(X4, X4)
ValueError x: .*\[5,.4\]                           ql.Add()(X4, X4[:4])
TypeError  data: .*got.Symbol                      quantize(ONE, data=S(4))
ValueError data: .*got.ndarray                     quantize(TWO, data=LEFT)
ValueError data: .*got.\['left'\]                  quantize(TWO, data={"left": LEFT})
ValueError data: .*'left':.5,.'right':.4           quantize(TWO, data=(LEFT, RIGHT[:4]))
ValueError data\['right'\]: .*got.\(5,.4\)         quantize(TWO, data=(LEFT, LEFT))
ValueError data\['right'\]: .*finite               quantize(TWO, data=(LEFT, RIGHT * np.nan))
ValueError data:.batch.1\['right'\]: .*got.\(5,.4\)  quantize(TWO, data=iter([(LEFT, RIGHT), (LEFT, LEFT)]))
ValueError data:.batch.1: .*'left':.5,.'right':.4  quantize(TWO, data=iter([(LEFT, RIGHT), (LEFT, RIGHT[:4])]))
ValueError data:.batch.1: .*got.ndarray            quantize(TWO, data=iter([(LEFT, RIGHT), LEFT]))
ValueError data:.batch.2: .*\(samples,.4\),.got.\(2,.3\)  quantize(ONE, data=iter([X4, X4[:1], X4[:2, :3]]))
ValueError data: .*at.least.one.sample             quantize(ONE, data=iter([]))
ValueError data: .*at.least.one.sample             quantize(TWO, data=(LEFT[:0], RIGHT[:0]))
TypeError  layers\[0\]: .*got.Symbol               ql.Sequential([S(4)])
ValueError model: .*one.input,.got.'left',.'right'  TWO.input_shape
ValueError model: .*one.output,.got.'total',.'head'  TWO.output_shape
"""


@pytest.mark.parametrize("case", [line for line in CALLS.splitlines() if line])
def test_bad_calls(case):
    refused(case, globals())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (np.asarray, r"^expected an array, got <Input: "),
        (np.exp, "operand 'Symbol' does not support ufuncs"),
        (lambda x: np.ones(4) * x, r"unsupported operand type\(s\) for \*: 'numpy.ndarray' and 'Symbol'"),
        (lambda x: x + np.ones(4), "operand 'Symbol' does not support ufuncs"),
    ],
)
def test_symbols_are_no_numbers(call, message):
    with pytest.raises(TypeError, match=message):
        call(ql.Input((4,)))


def test_a_layer_whose_weights_are_not_made_takes_no_samples():
    with pytest.raises(ValueError, match=r"^layer: expected one whose weights a model has made"):
        ql.Dense(units=3)(X4)
    assert math.prod(ql.Dense(units=3)(ql.Input((4,))).shape) == 3


def test_a_layer_of_a_users_own():
    class Twice(Layer):
        kind = "twice_in_test_model"

        def infer(self, *shapes):
            return shapes[0]

        def compute(self, *x):
            return x[0] + x[0]

        def lower(self, builder, inputs):
            return builder.computed(steps.Add, (*inputs, *inputs))

    x = ql.Input((4,))
    model = ql.Model(x, Twice(None)(x))
    assert model.names == ["twice_in_test_model_1"]
    same_bytes(model(X4), X4 + X4)
    same_bytes(ql.quantize_model(model, "w8")(X4), X4 + X4)


def chain(count, first="x"):
    """Nodes that each read the one before, the first of them another value as well."""
    nodes = [("a0", ql.Concatenate(), ("x", first))]
    return nodes + [(f"a{i}", ql.Activation("relu"), f"a{i - 1}") for i in range(1, count)]


def test_long_chains_of_nodes_take_linear_time():
    count = 20_000  # with a search among all names for each of them this takes minutes
    before = time.process_time()
    model = ql.Model({"x": (3,)}, f"a{count - 1}", nodes=chain(count)[::-1])
    assert time.process_time() - before < 20
    assert model.names == [f"a{i}" for i in range(count)]


def test_a_long_cycle_is_told_by_its_ends():
    with pytest.raises(ValueError, match=r"^nodes: expected no cycle, got 'a99' -> .* -> [.]{3} -> .* -> 'a99'$"):
        ql.Model({"x": (3,)}, "a99", nodes=chain(100, first="a99"))


def test_results_larger_than_the_memory_are_refused():
    x = y = ql.Input((4,))
    for _ in range(60):
        y = ql.Concatenate()(y, y)
    with pytest.raises(MemoryError, match=r"^layer 'concatenate_"):
        ql.Model(x, y)
