"""Files of TensorFlow's converter: a network calibrated by plain minimum and maximum has its codes and zero points.

The converter's own choices differ in three places. Its calibration reads the operand of a sum once more after the sum
was written over it: OVERWRITTEN names these. Of values that are concatenated it takes the range behind pools and
slices, and cuts off what these read, where qlite covers both. And it has no end of ranges that only a sigmoid or a tanh
reads, which qlite puts at 8 and 4.
"""

import numpy as np
import pytest
from tflite_converter import FOLDER, SHAPES, samples

import qlite as ql
from qlite.io.tflite.read import read

#: Of scales: the calibrated float network adds in another order.
TOLERANCE = 1e-6
#: Of the figures of two models whose grids differ where the converter's own choices do.
DECIBELS = 2.0
#: By network: tensors whose range in the converter's file is that of the sum as well.
OVERWRITTEN = {"residual": {"BiasAdd_2;Conv2D_1;BiasAdd_2/bias1": "add"}}


def tensors_of(path):
    """By what an operator gives: its name, and the tensors that it reads and writes."""
    graph = read(path.read_bytes())
    operators = {graph.tensors[op.outputs[0]].name: op for op in graph.operators}
    return {name: (op.name, [graph.tensors[i] for i in (*op.inputs, *op.outputs)]) for name, op in operators.items()}


@pytest.fixture(params=SHAPES)
def both(request, tmp_path):
    """The network's name, and the tensors of both files operator by operator."""
    name = request.param
    model = ql.from_tflite(FOLDER / f"{name}_float.tflite")
    quantized = ql.quantize_model(model, data=samples(SHAPES[name]), method="minmax", target="tflite")
    quantized.to_tflite(tmp_path / "ours.tflite")
    return name, tensors_of(tmp_path / "ours.tflite"), tensors_of(FOLDER / f"{name}_int8.tflite")


def test_codes_and_grids_are_those_of_the_converter(both):
    network, ours, theirs = both
    assert ours.keys() == theirs.keys()
    for name, (operator, tensors) in ours.items():
        wanted_operator, wanted = theirs[name]
        assert operator == wanted_operator
        for a, b in zip(tensors, wanted, strict=True):
            assert a.type == b.type
            if b.data is not None and b.scale is not None:
                np.testing.assert_array_equal(a.data.ravel(), b.data.ravel(), err_msg=b.name)
            if b.name not in OVERWRITTEN.get(network, ()):
                same_grids(a, b)


def same_grids(a, b):
    assert (a.scale is None) == (b.scale is None), b.name
    if b.scale is None:
        return
    np.testing.assert_allclose(a.scale, b.scale, rtol=TOLERANCE, err_msg=b.name)
    np.testing.assert_array_equal(a.zero_point, b.zero_point, err_msg=b.name)
    assert a.axis == b.axis or a.scale.size == 1


def ends(tensor):
    """The least and the greatest value of a tensor's codes."""
    return (np.array([-128, 127]) - tensor.zero_point) * tensor.scale


def test_an_operand_that_a_sum_overwrote_has_the_range_of_both_in_the_converter(both):
    name, ours, theirs = both
    found, wanted = ({t.name: t for _, tensors in side.values() for t in tensors} for side in (ours, theirs))
    for operand, total in OVERWRITTEN.get(name, {}).items():
        own, sum_, converters = ends(found[operand]), ends(found[total]), ends(wanted[operand])
        step = np.ptp(converters) / 255
        union = np.minimum(own[0], sum_[0]), np.maximum(own[1], sum_[1])
        np.testing.assert_allclose(converters, union, rtol=0, atol=step)


@pytest.mark.parametrize("name", SHAPES)
def test_files_of_integers_are_compared_with_those_of_floats(name):
    """Layer by layer: both have the same names. Figures are those of a model that was quantized here."""
    model, theirs = (ql.from_tflite(FOLDER / f"{name}_{kind}.tflite") for kind in ("float", "int8"))
    x = samples(SHAPES[name])
    ours = ql.quantize_model(model, data=x, method="minmax", target="tflite")
    found, wanted = ql.compare(model, theirs, x), ql.compare(model, ours, x)
    assert [layer.name for layer in found.layers] == [layer.name for layer in wanted.layers]
    for a, b in zip(found.layers, wanted.layers, strict=True):
        assert (a.shape, a.weight_sqnr_db) == (b.shape, pytest.approx(b.weight_sqnr_db, rel=1e-4))
    assert found.sqnr_db == pytest.approx(wanted.sqnr_db, abs=DECIBELS) and found.sqnr_db > 30
    other = ql.from_tflite(FOLDER / f"{'joined' if name == 'residual' else 'residual'}_int8.tflite")
    with pytest.raises(ValueError, match=r"^quantized: expected the layers of model, "):
        ql.compare(model, other, x)
