"""Files of float models: what is saved comes back as it was, grids of training included; whatever else is refused."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
from models import same_program
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors
from samples import same_bytes

import qlite as ql
from qlite.io import container, float_model_file
from qlite.nn.layers.layer import KINDS, Layer

X = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 4, 200)
CHANGES = 500
VALUES = [None, True, -1, 0, 3, 2**31, 2**80, 0.5, 1e300, "", "relu", "w8a8", "dense", [], [1], [2**40], {}, {"a": 1}]


def network():
    """A model of every kind of layer."""
    layers = [
        ql.BatchNorm(momentum=0.75, epsilon=1e-3),
        ql.Dense(units=9, activation="tanh", initializer="glorot_normal"),
        ql.Dropout(0.1, name="drop"),
        ql.Dense(units=8, name="hidden"),
        ql.BatchNorm(),
        ql.Activation("leaky_relu", slope=0.3),
        ql.Flatten(),
        ql.Dense(units=4),
        ql.Softmax(),
    ]
    return ql.Sequential(
        layers, input_shape=(6,), mean=X.mean(axis=0), scale=X.std(axis=0), classes=["a", "b", "cc", "ü"]
    )


def image_network():
    """A graph of every kind of layer that images have, with options that are not the default."""
    x = ql.Input((9, 8, 2))
    a = ql.Conv2D(filters=6, kernel_size=(3, 2), stride=(2, 1), padding=((1, 0), (0, 2)), activation="relu")(x)
    b = ql.DepthwiseConv2D(kernel_size=3, padding="same", dilation=(1, 2), initializer="glorot_normal")(a)
    c = ql.SeparableConv2D(filters=6, kernel_size=3, multiplier=2, padding=1, activation="tanh", name="two")(b)
    c = ql.BatchNorm()(ql.Add("relu6")(ql.Multiply("relu")(a, ql.Constant(np.arange(6.0))()), ql.Subtract()(c, 0.5)))
    c = ql.MaxPool((2, 3), stride=(1, 2), padding=((1, 0), (1, 1)))(ql.Concatenate(0)(c, b))
    c = ql.AveragePool(3, stride=2, padding="same")(ql.Pad([(1, 0), (0, 3)], "symmetric")(c))
    c = ql.Transpose((1, 0, 2))(ql.Slice((None, 1), stride=(-1, 1))(c))
    c = ql.SpaceToDepth(2)(ql.DepthToSpace(2)(ql.Concatenate()(*ql.Split([4, 2])(c), c)))
    c = ql.ResizeBilinear((3, 2), align_corners=True)(ql.ResizeNearest(scale=(2, 1))(c))
    c = ql.Conv2DTranspose(filters=8, kernel_size=(3, 2), stride=2, padding=1, output_padding=(1, 0))(c)
    d = ql.Add()(ql.Mean(0, True)(c), ql.Sum((0, 1), keepdims=True)(ql.Max(-1, True)(c)))
    d = ql.L2Normalize()(ql.Subtract()(d, ql.Reshape((1, 1, -1))(ql.GlobalMaxPool()(ql.Min([1], True)(c)))))
    c = ql.Multiply()(c, d)
    line = ql.Conv1D(filters=4, kernel_size=3, groups=2, padding=(2, 0), dilation=2)(ql.Reshape((-1, 4))(c))
    return ql.Model(x, ql.Dense(units=3)(ql.Concatenate()(ql.Flatten()(line), ql.GlobalAveragePool()(c))))


def sequence_network():
    """A graph of every kind of layer that sequences have."""
    words, places = ql.Input((5,), dtype="int32"), ql.Input((5, 6), "places")
    x = ql.Add()(ql.Embedding(entries=9, features=6)(words), places)
    x = ql.MultiHeadAttention(2, 4, initializer="he_normal")(ql.LayerNorm(epsilon=1e-3)(x), places)
    return ql.Model([words, places], ql.PReLU(init=0.3)(ql.MatMul(True, heads=3)(x, x)))


@pytest.fixture(scope="module")
def trained():
    """The same after training, with statistics of its batch norms."""
    return ql.train(network(), X, network().classes[Y], epochs=1)


@pytest.fixture(scope="module")
def quantized():
    """A model that was trained with a scheme."""
    return ql.train(network(), X, network().classes[Y], epochs=1, scheme="w4a4", per_layer={"hidden": "w4g8a8"})


def through(path, model):
    model.save(path)
    return ql.load(path)


def same_model(loaded, saved):
    assert type(loaded) is type(saved)
    assert repr(loaded) == repr(saved)
    assert (loaded.names, loaded.input_shape, loaded.task) == (saved.names, saved.input_shape, saved.task)
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in saved.layers]
    for one, other in zip(loaded.layers, saved.layers, strict=True):
        assert one.name == other.name or not isinstance(saved, ql.Sequential)  # nodes of graphs have names
        assert [getattr(one, name) for name in one.options] == [getattr(other, name) for name in other.options]
        ours, theirs = (layer.parameters | layer.statistics for layer in (one, other))
        assert list(ours) == list(theirs)
        for name, array in ours.items():
            same_bytes(array, theirs[name])
            assert array.flags.writeable
    for name in ("mean", "scale", "classes"):
        ours, theirs = getattr(loaded, name), getattr(saved, name)
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            same_bytes(ours, theirs)
    assert loaded.grids == saved.grids


def parts(path):
    text, tensors = container.read(path)
    return json.loads(text), tensors


def write(path, description, tensors):
    """A file with this content whose digest is right: what somebody would write who means it."""
    text = description if isinstance(description, str) else json.dumps(description)
    path.write_bytes(write_tensors(tensors, {"qlite": text, "digest": container._digest(text, tensors)}))


def refused(path, words):
    with pytest.raises(ValueError, match=rf"{re.escape(path.name)}: not a usable qlite file: .*{words}"):
        ql.load(path)


def places(content, prefix=()):
    """The way to every value of nested lists and dicts."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*prefix, key)
        yield from places(value, (*prefix, key))


# ---- there and back ---------------------------------------------------------------------------------


def test_every_kind_of_layer_is_tested_here():
    tested = {layer.kind for model in (network(), image_network(), sequence_network()) for layer in model.layers}
    assert tested == {k for k, cls in KINDS.items() if cls.__module__ == "qlite" and cls.is_stored}


@pytest.mark.parametrize("name", ["trained", "quantized"])
def test_there_and_back(tmp_path, request, name):
    saved = request.getfixturevalue(name)
    loaded = through(tmp_path / "m", saved)
    same_model(loaded, saved)
    same_bytes(loaded(X), saved(X))
    same_bytes(loaded.predict(X), saved.predict(X))
    assert loaded.history is None
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def test_graphs_of_images_come_back_with_all_options(tmp_path):
    saved = image_network()
    loaded = through(tmp_path / "m", saved)
    same_model(loaded, saved)
    assert (loaded.sources, loaded.shapes, loaded.outputs) == (saved.sources, saved.shapes, saved.outputs)
    x = np.random.default_rng(2).normal(size=(5, 9, 8, 2))
    same_bytes(loaded(x), saved(x))
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def test_graphs_of_sequences_come_back_with_all_options(tmp_path, rng):
    saved = sequence_network()
    loaded = through(tmp_path / "m", saved)
    assert (loaded.sources, loaded.shapes, loaded.dtypes) == (saved.sources, saved.shapes, saved.dtypes)
    for one, other in zip(loaded.layers, saved.layers, strict=True):
        assert [getattr(one, name) for name in one.options] == [getattr(other, name) for name in other.options]
    x = rng.integers(0, 9, (4, 5)), rng.normal(size=(4, 5, 6))
    same_bytes(loaded(x), saved(x))


@pytest.mark.parametrize("scheme", ["w8a8", "w4a4", "w2a2", "w4g8a8", "w4g8", "w8", "dynamic", "ternary"])
def test_a_loaded_model_becomes_the_same_integers(tmp_path, scheme):
    saved = ql.train(network(), X, network().classes[Y], epochs=1, scheme=scheme)
    loaded = through(tmp_path / "m", saved)
    same_model(loaded, saved)
    one, other = ql.quantize_model(loaded), ql.quantize_model(saved)
    assert same_program(one.program, other.program)
    assert one.scheme == other.scheme == saved.grids.scheme
    same_bytes(one(X), other(X))


@pytest.mark.parametrize("scheme", ["w8a8", "w4a4", "w4g8a8", "dynamic", "ternary"])
def test_a_loaded_convolutional_model_becomes_the_same_integers(tmp_path, rng, scheme):
    image = ql.Input((5, 5, 2))
    h = ql.Activation("relu")(ql.BatchNorm()(ql.Conv2D(filters=4, kernel_size=3, padding="same")(image)))
    h = ql.BatchNorm()(ql.Add()(h, ql.SeparableConv2D(filters=4, kernel_size=3, padding="same")(h)))
    network = ql.Model(image, ql.Dense(units=3)(ql.GlobalAveragePool()(h)))
    x, y = rng.normal(size=(20, 5, 5, 2)).astype(np.float32), rng.integers(0, 3, 20)
    saved = ql.train(network, x, y, epochs=1, scheme=scheme)
    saved.save(tmp_path / "m.qlite")
    loaded = ql.load(tmp_path / "m.qlite")
    same_bytes(ql.quantize_model(loaded)(x), ql.quantize_model(saved)(x))


def test_layers_of_their_own_schemes_become_the_same_integers(tmp_path, quantized):
    loaded = through(tmp_path / "m", quantized)
    assert loaded.grids.per_layer == {"hidden": "w4g8a8"}
    assert same_program(ql.quantize_model(loaded).program, ql.quantize_model(quantized).program)


def test_a_loaded_model_is_trained_as_the_one_that_was_saved(tmp_path, trained):
    labels, loaded = network().classes[Y], through(tmp_path / "m", trained)
    one, other = (ql.train(m, X, labels, epochs=1, scheme="w4a4") for m in (loaded, trained))
    same_bytes(one(X), other(X))


@pytest.mark.parametrize(
    "model",
    [
        ql.from_weights([(np.eye(3, 1), None)], task="binary", classes=[False, True]),
        ql.from_weights([(np.eye(3, 2), None)], task="regression"),
        ql.from_weights([(np.eye(3, 1), None)], task="multioutput"),
        ql.Sequential([ql.Dense(np.eye(3), name=n) for n in ("a", "a.weight", "ü\n", "layers.0")]),
        ql.Sequential([ql.Flatten(), ql.Dense(units=2)], input_shape=(4, 3)),
        ql.Sequential([ql.Activation("relu")], input_shape=(3,), mean=np.ones(3)),
    ],
    ids=lambda model: f"{model.task} {model.names}",
)
def test_tasks_names_and_shapes(tmp_path, model):
    loaded = through(tmp_path / "m", model)
    same_model(loaded, model)
    x = np.random.default_rng(2).normal(size=(5, *model.input_shape))
    same_bytes(loaded(x), model(x))


def test_names_of_grids_may_look_like_tensors(tmp_path):
    layers = [ql.Dense(np.eye(6), name=name) for name in ("a", "a.scale", "0")]
    saved = ql.train(ql.Sequential(layers), X, Y, epochs=1, scheme="w4a4")
    same_model(through(tmp_path / "m", saved), saved)


def test_the_file_is_a_safetensors_file(tmp_path, quantized):
    quantized.save(tmp_path / "m")
    tensors = read_tensors((tmp_path / "m").read_bytes())
    same_bytes(tensors["layers.0.weight"], quantized.layers[0].weight)
    same_bytes(tensors["mean"], quantized.mean)
    same_bytes(tensors["grids.weights.0.scale"], quantized.grids.weights["dense_1"].scale)


@pytest.mark.parametrize("path", [1, None, b"", "a\0b"], ids=str)
def test_paths_that_are_none(path):
    with pytest.raises((TypeError, ValueError), match=r"^path: expected a path"):
        network().save(path)


# ---- layers of one's own ----------------------------------------------------------------------------


class Scaled(Layer):
    """A layer whose class this file alone knows."""

    kind = "scaled"
    options = ("factor", "lengths")

    def __init__(self, factor, lengths, summand, name=None):
        super().__init__(name)
        self.factor, self.lengths, self.summand = factor, tuple(lengths), summand

    @property
    def parameters(self):
        return {"summand": self.summand}

    def infer(self, *shapes):
        return shapes[0]

    def compute(self, *x):
        return x[0] * np.float32(self.factor) + self.summand

    def lower(self, builder, inputs):
        raise NotImplementedError


def test_a_layer_of_ones_own_needs_no_more_than_its_class(tmp_path, monkeypatch):
    saved = ql.Sequential([Scaled(0.1, (2, 3), np.arange(6, dtype=np.float32))], input_shape=(6,))
    loaded = through(tmp_path / "m", saved)
    same_bytes(loaded(X), saved(X))
    assert loaded.layers[0].lengths == (2, 3)
    monkeypatch.delitem(KINDS, "scaled")
    refused(tmp_path / "m", r"layers\.0: kind: expected one of activation, .*, got 'scaled'")
    with pytest.raises(TypeError, match=r"^layers\[0\]: expected a class with a kind of its own, got Scaled"):
        saved.save(tmp_path / "other")


def test_a_kind_has_one_class(tmp_path):
    with pytest.raises(TypeError, match=r"^kind: expected one of its own, got 'dense', which Dense has"):

        class Other(Layer):
            kind = "dense"

    class Quiet(ql.Dense):
        """A class that has its kind of another."""

    assert KINDS["dense"] is ql.Dense
    with pytest.raises(TypeError, match=r"^layers\[1\]: .* got .*Quiet"):
        ql.Sequential([ql.Dense(np.eye(2)), Quiet(np.eye(2))]).save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


# ---- what is not saved ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "message"),
    [(np.full((3, 3), np.nan, np.float32), "expected finite"), (np.eye(3), "expected float32, got float64")],
)
def test_arrays_that_no_layer_would_take(tmp_path, array, message):
    model = ql.from_weights([(np.eye(3), None)])
    model.save(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    model.layers[0].weight = array
    with pytest.raises(ValueError, match=rf"^layers\[0\]: weight: {message}"):
        model.save(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == before


def test_grids_of_another_model(tmp_path, quantized):
    model = ql.from_weights([(np.eye(6, 4), None)])
    model.grids = quantized.grids
    with pytest.raises(ValueError, match=r"per_layer: .*'hidden'"):
        model.save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["w4a4", "w4g8a8", "w8"])
def test_grids_of_convolutions(tmp_path, rng, scheme):
    x = rng.normal(size=(8, 9, 8, 2)).astype(np.float32)
    model = ql.train(image_network(), x, np.arange(8) % 3, epochs=1, scheme=scheme, progress=False)
    loaded = through(tmp_path / "m", model)
    same_model(loaded, model)
    assert same_program(ql.quantize_model(loaded).program, ql.quantize_model(model).program)


# ---- damage -----------------------------------------------------------------------------------------


@pytest.fixture
def path(quantized, tmp_path):
    quantized.save(tmp_path / "model.qlite")
    return tmp_path / "model.qlite"


@pytest.mark.parametrize("version", [0, 3, 99, -1, 1.0, True, "1", [1], None])
def test_versions_that_are_not_known(path, version):
    description, tensors = parts(path)
    write(path, description | {"version": version}, tensors)
    refused(path, "expected format version 1 or 2 of a float model, got")


def test_padding_beyond_all_memory_is_refused(tmp_path):
    path = tmp_path / "model.qlite"
    ql.Model(x := ql.Input((4, 4, 1)), ql.Pad(1)(x), task="regression").save(path)
    description, tensors = parts(path)
    description["layers"][0]["options"]["padding"] = 2**30
    write(path, description, tensors)
    refused(path, "layers: padding: expected what [0-9]+ bytes of memory hold")


def test_padding_without_a_mode_is_of_zeros(tmp_path):
    """As files had it before there were modes."""
    path = tmp_path / "model.qlite"
    model = ql.Model(x := ql.Input((4, 4, 1)), ql.Pad(1)(x), task="regression")
    model.save(path)
    description, tensors = parts(path)
    del description["layers"][0]["options"]["mode"]
    write(path, description, tensors)
    samples = np.ones((2, 4, 4, 1), np.float32)
    same_bytes(ql.load(path)(samples), model(samples))


@pytest.mark.parametrize("kind", ["conv", "Dense", "__init__", "", None, 1, ["dense"]], ids=str)
def test_kinds_of_layers_that_are_not_known(path, kind):
    description, tensors = parts(path)
    description["layers"][1]["kind"] = kind
    write(path, description, tensors)
    refused(path, rf"layers\.1: kind: expected one of activation, add, .*, got {re.escape(repr(kind))}")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("layers", 0, "options", "units"), 2**40, r"layers\.0: options: expected \['activation', 'initializer'\]"),
        (("layers", 0, "options", "activation"), "exec", r"layers\.0: activation: expected one of"),
        (("layers", 0, "name"), "", r"layers\.0: name: expected a string"),
        (("layers", 0, "name"), "hidden", "layers: expected different names"),
        (("input_shape",), [2**40], "expected 6 features"),
        (("input_shape",), [2**40, 6], "expected 8 features"),
        (("input_shape",), [True], "input_shape: expected an integer"),
        (("input_shape",), None, "input_shape: expected a list"),
        (("task",), "binary", "task: expected"),
        (("classes", "dtype"), "O", "classes: dtype: expected"),
        (("grids", "scheme"), "w8", "grids: "),
        (("grids", "scheme"), "w3a4", r"grids: weights: dense_1: expected w3a4 .* got QParams\(uint4"),
        (("grids", "per_layer", "hidden"), None, "grids: per_layer: expected names of schemes"),
        (("grids", "per_layer", "hidden"), "w4g16a8", "grids: weights: hidden: expected w4g16a8"),
        (("grids", "per_layer", "none"), "w8", "per_layer: expected a layer or a pattern of layers.* got 'none'"),
        (("grids", "activations", "other"), {}, r"grids\.activations\..*: expected a description"),
        (("grids", "weights", "dense_1", "scale_shape"), [1, 2**40], "scale: expected float32 of shape"),
        (("grids", "weights", "dense_1", "axis"), 0, "axis: expected"),
        (("grids", "activations", "softmax_1", "signed"), True, "softmax_1: expected unsigned codes with one scale"),
        (("grids", "activations", "dense_1", "bits"), 9, "grids: activations: dense_1: stored: expected shape"),
        (("grids", "activations", "dense_1", "grid"), "mxint8", "grids: activations: dense_1: ."),
    ],
    ids=str,
)
def test_values_that_do_not_belong(path, place, value, message):
    description, tensors = parts(path)
    parent = description
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    write(path, description, tensors)
    refused(path, message)


def test_grids_for_layers_that_are_not_there(path):
    description, tensors = parts(path)
    for what in ("weights", "activations"):
        changed = copy.deepcopy(description)
        grids = changed["grids"][what]
        grids["other"] = grids.pop("dense_1")
        ours = dict(tensors)
        kept = list(description["grids"][what])
        order = [*(name for name in kept if name != "dense_1"), "dense_1"]
        for i, name in enumerate(order):
            for tensor in [t for t in tensors if t.startswith(f"grids.{what}.{kept.index(name)}.")]:
                ours[f"grids.{what}.{i}.{tensor.rpartition('.')[2]}"] = tensors[tensor]
        write(path, changed, ours)
        refused(path, f"(grids: {what}: expected those of .*'dense_1'|tensors that nothing uses)")


def test_names_that_do_not_belong(path):
    description, tensors = parts(path)
    for place in [(), *places(description)]:
        changed = copy.deepcopy(description)
        value = changed
        for key in place:
            value = value[key]
        if isinstance(value, dict):
            value["surplus"] = 1
            write(path, changed, tensors)
            refused(path, "surplus|expected")


def test_tensors_that_do_not_fit(path):
    description, tensors = parts(path)
    for name, tensor in tensors.items():
        others = [
            *([tensor[:-1]] if tensor.ndim else []),
            tensor[None],
            np.stack([tensor, tensor]),
            tensor.astype(np.float64),
        ]
        if tensor.dtype.kind == "f":
            others += [np.full_like(tensor, bad) for bad in (np.nan, np.inf)]
        for other in others:
            write(path, description, tensors | {name: np.ascontiguousarray(other)})
            refused(path, ".")
        if not name.endswith("zero_point"):  # 0 where there is none
            write(path, description, {k: v for k, v in tensors.items() if k != name})
            refused(path, ".")
    for surplus in ("layers.0.codes", "layers.0.activation", "layers.0.units", "layers.99.weight", "layers.weight"):
        write(path, description, tensors | {surplus: np.zeros(2, np.float32)})
        refused(path, ".")
    for surplus in ("", "other", "grids.weights.99.scale", "grids.weights.0.codes"):
        write(path, description, tensors | {surplus: np.zeros(2, np.float32)})
        refused(path, "tensors that nothing uses")


SMALL = {
    "float": [ql.Dense(units=5, activation="relu"), ql.BatchNorm(), ql.Dropout(0.1), ql.Dense(units=4)],
    "w4a4": [ql.Dense(units=4)],
    "images": [
        ql.Reshape((2, 3, 1)),
        ql.Pad([(1, 0), (0, 1)]),
        ql.Conv2D(filters=2, kernel_size=2),
        ql.DepthwiseConv2D(kernel_size=2, padding=((0, 1), (1, 0))),
        ql.MaxPool((1, 2), stride=1),
        ql.SeparableConv2D(filters=3, kernel_size=1),
        ql.GlobalAveragePool(),
        ql.Dense(units=4),
    ],
}


@pytest.mark.parametrize(("scheme", "most"), [("float", 45), ("w4a4", 35), ("images", 100)])
def test_every_value_of_the_description(tmp_path, scheme, most):
    """Missing or replaced by anything: a ValueError that names the file, or a model that is as usable as any."""
    model, path = ql.Sequential(SMALL[scheme], input_shape=(6,), classes=[2, 3, 5, 7]), tmp_path / "model.qlite"
    if scheme == "w4a4":
        model = ql.train(model, X, model.classes[Y], epochs=1, scheme=scheme)
    model.save(path)
    description, tensors = parts(path)
    loaded = tried = 0
    for place in places(description):
        for value in ["(missing)", *VALUES]:
            changed = copy.deepcopy(description)
            parent = changed
            for key in place[:-1]:
                parent = parent[key]
            if value == "(missing)":
                del parent[place[-1]]
            else:
                parent[place[-1]] = value
            write(path, changed, tensors)
            tried += 1
            try:
                model = ql.load(path)
            except ValueError as error:
                assert path.name in str(error)
            else:
                loaded += 1
                assert model(X).shape == (200, 4), (place, value)
    assert tried > 600
    assert loaded < most  # what loads has another name, option or label


def test_changed_bytes(path, quantized):
    """Refused, or the change was in spaces and the like and every number is as it was."""
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for position, change in zip(rng.integers(0, len(content), CHANGES), rng.integers(1, 256, CHANGES), strict=True):
        changed = bytearray(content)
        changed[position] ^= change
        path.write_bytes(changed)
        try:
            loaded = ql.load(path)
        except ValueError as error:
            assert path.name in str(error)
        else:
            same_model(loaded, quantized)


def test_no_check_is_an_assert():
    source = Path(float_model_file.__file__).read_text()
    assert not re.search(r"^\s*assert\b", source, re.MULTILINE)
