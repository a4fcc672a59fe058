"""Summaries of quantized models: what layers compute in, products, bytes and shares."""

import numpy as np
import pytest

import qlite as ql
from qlite.nn.fuse import fuse


def image_network(rng):
    x = ql.Input((8, 8, 3))
    y = ql.Conv2D(filters=6, kernel_size=3, padding="same", activation="relu", name="conv")(x)
    y = ql.Add(name="sum")(y, ql.DepthwiseConv2D(kernel_size=3, padding="same", name="depthwise")(y))
    y = ql.Conv2DTranspose(filters=4, kernel_size=2, stride=2, name="up")(y)
    model = ql.Model(x, ql.Dense(units=5, name="dense")(ql.GlobalAveragePool(name="mean")(y)))
    return model, rng.normal(size=(20, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8", "w4a4"])
def test_products_and_bytes_are_those_of_the_models(scheme, rng):
    model, x = image_network(rng)
    quantized = ql.quantize_model(model, scheme, x)
    summary = quantized.summary()
    rows = {row.name: row for row in summary.layers}
    for row in fuse(model).summary().layers:
        assert rows[row.name].macs == row.macs
        assert rows[row.name].shape == row.shape
    assert sum(row.nbytes for row in summary.layers) == quantized.nbytes
    assert all(row.microseconds > 0 for row in summary.layers)
    kinds = sorted(kind for row in summary.layers for kind in row.steps)
    assert kinds == sorted(step.kind for step in quantized.program.steps)


def test_what_is_in_float_and_its_share(rng):
    model, x = image_network(rng)
    whole = ql.quantize_model(model, data=x).summary()
    assert {row.name: row.arithmetic for row in whole.layers} == {
        "input": "",
        **dict.fromkeys(["conv", "depthwise", "sum", "up", "mean", "dense"], "integer"),
    }
    assert (whole.float_macs, whole.float_time) == (0, 0) and 0 < whole.between_time < 1
    assert "in float32: no layer; between floats and codes: " in str(whole)
    mixed = ql.quantize_model(model, data=x, per_layer={"up": None, "dense": "w8"}).summary()
    assert [row.name for row in mixed.layers if row.arithmetic == "float32"] == ["up", "dense"]
    macs = {row.name: row.macs for row in mixed.layers}
    assert mixed.float_macs == (macs["up"] + macs["dense"]) / sum(macs.values())
    assert 0 < mixed.float_time < 1
    assert f"in float32: up, dense ({mixed.float_macs:.1%} of the MACs, {mixed.float_time:.1%} of the time)" in str(
        mixed
    )
    assert ql.quantize_model(model, "w8").summary().float_macs == 1


def test_what_activations_of_16_bits_cost(rng):
    model, x = image_network(rng)
    plain = ql.quantize_model(model, data=x).summary()
    assert (plain.wide_macs, plain.wide_time) == (0, 0) and "16 bits" not in str(plain)
    wide = ql.quantize_model(model, data=x, per_layer={"conv": "w8a16", "dense": "w8a16"}).summary()
    macs, before = ({row.name: row.macs for row in summary.layers} for summary in (wide, plain))
    assert (macs["conv"], macs["dense"], macs["up"]) == (2 * before["conv"], 2 * before["dense"], before["up"])
    assert wide.wide_macs == (macs["conv"] + macs["dense"]) / sum(macs.values())
    assert 0 < wide.wide_time < 1
    shares = f"{wide.wide_macs:.1%} of the MACs, each made twice, {wide.wide_time:.1%} of the time"
    assert f"activations of 16 bits: conv, dense ({shares})" in str(wide)


def test_products_of_two_tensors(rng):
    x = ql.Input((6, 8))
    scores = ql.MatMul(transpose_b=True, name="scores")(x, x)
    model = ql.Model(x, ql.MatMul(name="mixed")(scores, x))
    data = rng.normal(size=(20, 6, 8)).astype(np.float32)
    macs = {row.name: row.macs for row in ql.quantize_model(model, data=data).summary().layers}
    assert macs["scores"] == macs["mixed"] == 6 * 6 * 8


def test_text_and_html(rng):
    model, x = image_network(rng)
    qm = ql.quantize_model(model, data=x)
    summary = qm.summary()
    lines = str(summary).splitlines()
    assert lines[0] == "QModel of w8a8, target numpy"
    assert lines[1].split() == ["layer", "steps", "in", "shape", "MACs", "bytes", "us/sample"]
    assert lines[-2].startswith("total") and len(lines) == len(summary.layers) + 4
    assert repr(summary) == str(summary)
    assert summary._repr_html_().count("<tr>") == len(summary.layers) + 2
    assert lines[-1] in summary._repr_html_()
    assert all(f"<td>{row.name}</td>" in qm._repr_html_() for row in summary.layers)
