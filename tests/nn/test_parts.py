"""Products that are cut along their channels: a product, and a grid, for each part."""

import numpy as np
import pytest
import reference
from models import extra
from quantized_networks import codes_agree, network_of
from samples import same_bytes

import qlite as ql
from qlite.nn.fuse import fuse
from qlite.nn.lower import Builder
from qlite.nn.scheme import Scheme

pytestmark = pytest.mark.filterwarnings("ignore:data. samples that stand out:UserWarning")

#: Float sums of a part may go in another order than those of the whole.
TOLERANCE = 1e-5


def normal(rng, *shape, scale=1.0):
    return rng.normal(0, scale, shape).astype(np.float32)


def samples(rng, shape):
    return normal(rng, 96, *shape)


def sqnr_db(y, other):
    return 10 * np.log10(np.sum(y.astype(np.float64) ** 2) / np.sum((y - other).astype(np.float64) ** 2))


def detector(rng, head, cut):
    """A head of three anchors for each pixel, of 4 numbers of a box in pixels and a score each."""
    x = ql.Input((8, 8, 3))
    y = ql.Conv2D(normal(rng, 3, 3, 3, 16, scale=0.2), normal(rng, 16), "relu", padding="same")(x)
    return ql.Model(x, cut(head(rng)(y)))


def wide(rng, anchors=1):
    """A convolution whose boxes are 100 times as far from 0 as its scores."""
    weight = normal(rng, 1, 1, 16, 5 * anchors, scale=0.3)
    weight.reshape(1, 1, 16, anchors, 5)[..., :4] *= 100
    return ql.Conv2D(weight, normal(rng, 5 * anchors))


def by_anchor(y):
    return ql.Split([4, 1])(ql.Reshape((-1, 5))(y))


HEADS = {
    "parts of a convolution": (wide, ql.Split([4, 1])),
    "of a shape behind it": (lambda rng: wide(rng, 3), by_anchor),
    "of any order, one left out": (wide, lambda y: [ql.Slice(stride=(1, 1, -2))(y), ql.Slice((0, 0, 1), (8, 8, 2))(y)]),
    "clamped": (lambda rng: ql.Conv2D(wide(rng).weight, None, "relu"), ql.Split([4, 1])),
}
#: By how many dB the scores gain at least.
GAIN_DB = 20


@pytest.mark.parametrize("head", HEADS)
def test_a_model_computes_the_same(rng, head):
    m, x = detector(rng, *HEADS[head]), samples(rng, (8, 8, 3))
    fused = fuse(m)
    assert "slice" not in {layer.kind for layer in fused.layers}
    assert fused.outputs == m.outputs
    assert fuse(fused).names == fused.names
    for y, other in zip(m(x), fused(x), strict=True):
        assert y.shape == other.shape
        np.testing.assert_allclose(other, y, rtol=0, atol=TOLERANCE * np.abs(y).max())


@pytest.mark.parametrize("target", ["numpy", "tflite", "tflm"])
@pytest.mark.parametrize("head", ["parts of a convolution", "of a shape behind it"])
def test_parts_have_grids_of_their_own(isa, rng, head, target, monkeypatch):
    m, x = detector(rng, *HEADS[head]), samples(rng, (8, 8, 3))
    qm = ql.quantize_model(m, "w8a8", x, target=target, method="minmax")
    monkeypatch.setattr("qlite.nn.fuse.with_parts", lambda model: model)
    whole = ql.quantize_model(m, "w8a8", x, target=target, method="minmax")
    (boxes, scores), got, before = m(x), qm(x), whole(x)
    assert sqnr_db(boxes, got[0]) > sqnr_db(boxes, before[0]) - 1
    assert sqnr_db(scores, got[1]) > sqnr_db(scores, before[1]) + GAIN_DB
    values = reference.evaluate(qm.program, x)
    for y, number in zip(got, qm.program.outputs, strict=True):
        same_bytes(y, values[number])


@pytest.mark.parametrize("head", HEADS)
def test_files_give_the_same_bytes_in_litert(rng, tmp_path, head):
    extra("ai_edge_litert.interpreter"), extra("tflite")
    m, x = detector(rng, *HEADS[head]), samples(rng, (8, 8, 3))
    qm = ql.quantize_model(m, "w8a8", x, target="tflite", method="minmax")
    qm.to_tflite(tmp_path / "m.tflite")
    assert qm.verify(tmp_path / "m.tflite", x).mismatches == 0


def test_an_activation_behind_a_part_goes_into_it(rng):
    x = ql.Input((6,))
    a, b = ql.Split(2)(ql.Dense(normal(rng, 6, 8))(x))
    m = ql.Model(x, ql.Multiply()(ql.Activation("relu6")(a), ql.Activation("sigmoid")(b)))
    layers = dict(zip(*(getattr(fuse(m), what) for what in ("names", "layers")), strict=True))
    assert (layers["slice_1"].kind, layers["slice_1"].activation) == ("dense", "relu6")
    assert (layers["slice_2"].kind, layers["slice_2"].activation) == ("dense", None)


def test_a_batch_norm_before_the_cut_goes_into_the_weights_first(rng):
    x = ql.Input((6,))
    norm = ql.BatchNorm(gamma=normal(rng, 8), mean=normal(rng, 8), variance=np.abs(normal(rng, 8)) + 1)
    m = ql.Model(x, ql.Split(2)(norm(ql.Dense(normal(rng, 6, 8))(x))))
    assert [layer.kind for layer in fuse(m).layers] == ["dense", "dense"]


STAY = {
    "an output": lambda y: [y, *ql.Split([4, 1])(y)],
    "another reader": lambda y: [ql.Slice((0, 0, 0), (8, 8, 2))(y), ql.MaxPool(2)(y)],
    "another axis": lambda y: ql.Split(2, axis=0)(y),
    "a shape that joins pixels": lambda y: ql.Split(2)(ql.Reshape((8, 40))(y)),
    "a shape that is an output": lambda y: [r := ql.Reshape((64, 5))(y), ql.Slice((0, 0), (64, 1))(r)],
    "a softmax": lambda y: ql.Split([4, 1])(ql.Activation("softmax")(y)),
}


@pytest.mark.parametrize("cut", STAY)
def test_what_stays_whole(rng, cut):
    m = detector(rng, wide, STAY[cut])
    assert [layer.kind for layer in fuse(m).layers] == [layer.kind for layer in m.layers]


def test_products_that_mix_their_groups_stay_whole(rng):
    x = ql.Input((4, 4, 4))
    grouped = ql.Conv2D(normal(rng, 1, 1, 2, 8), groups=2)(x)
    depthwise = ql.DepthwiseConv2D(normal(rng, 1, 1, 4, 2))(x)
    for y in (grouped, depthwise):
        m = ql.Model(x, ql.Split(2)(y))
        assert [layer.kind for layer in fuse(m).layers] == [layer.kind for layer in m.layers]


def test_transposed_convolutions_and_lines(rng):
    for shape, layer in (
        ((5, 6, 3), ql.Conv2DTranspose(normal(rng, 3, 3, 3, 6), normal(rng, 6), stride=2)),
        ((9, 3), ql.Conv1D(normal(rng, 3, 3, 6), normal(rng, 6), padding="same")),
    ):
        x, given = ql.Input(shape), samples(rng, shape)
        m = ql.Model(x, ql.Split([1, 5])(layer(x)))
        fused = fuse(m)
        assert [each.kind for each in fused.layers] == [layer.kind, layer.kind]
        for y, other in zip(m(given), fused(given), strict=True):
            np.testing.assert_allclose(other, y, rtol=0, atol=TOLERANCE * np.abs(y).max())


def test_trained_with_a_scheme(rng):
    x = ql.Input((6,))
    y = ql.Dense(normal(rng, 6, 16), normal(rng, 16), "relu")(x)
    a, b = ql.Split([3, 1])(ql.Dense(normal(rng, 16, 4))(y))
    m, given = fuse(ql.Model(x, ql.Multiply()(a, b))), samples(rng, (6,))
    network = network_of(m, "w8a8", given)
    qm = codes_agree(m, network, given, rng.integers(0, 3, 96), classes=3)
    same_bytes(qm(given), network(given))


def test_layers_per_part(rng):
    m, x = detector(rng, *HEADS["parts of a convolution"]), samples(rng, (8, 8, 3))
    qm = ql.quantize_model(m, "w8a8", x, per_layer={"slice_1": None})
    assert {s.kind for s in qm.program.steps} >= {"conv", "conv_f32"}
    with pytest.raises(ValueError, match=r"per_layer: .*'conv2d_2'"):
        ql.quantize_model(m, "w8a8", x, per_layer={"conv2d_2": None})


def test_float_files_hold_the_parts(rng):
    builder = Builder(Scheme.parse("float32"))
    program = builder.program(fuse(detector(rng, *HEADS["parts of a convolution"])).lower(builder))
    assert [step.kind for step in program.steps] == ["conv_f32"] * 3
