"""Data that a model cannot be quantized with, or take."""

import numpy as np
import pytest

import qlite as ql


def test_the_data_is_named():
    with pytest.raises(ValueError, match=r"^data: expected shape"):
        ql.quantize_model(ql.Sequential([ql.Dense(np.eye(6))]), data=np.ones((3, 5)))


def test_values_beyond_float32():
    model = ql.quantize_model(ql.Sequential([ql.Dense(np.eye(6))]), "w8")
    with pytest.raises(ValueError, match=r"^x: "):
        model(np.full((1, 6), 1e300))


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_layers_that_leave_float32_are_named():
    model = ql.Sequential([ql.Dense(np.eye(6)), ql.Dense(np.full((6, 6), 3e38), name="large"), ql.Dense(np.eye(6))])
    with pytest.raises(ValueError, match=r"^data: expected finite values in all layers, got others in 'large'"):
        ql.quantize_model(model, data=np.eye(6) + 1)


@pytest.mark.parametrize("dtype, hint", [("int8", r"QArray\(x, "), ("uint8", r"QArray\(x, "), ("int64", r"\.astype\(")])
def test_integers_are_told_what_makes_samples_of_them(dtype, hint):
    model = ql.quantize_model(ql.Sequential([ql.Dense(np.eye(6))]), "w8")
    with pytest.raises(TypeError, match=rf"^x: expected a real floating dtype, got {dtype} \(.*{hint}"):
        model(np.ones((2, 6), dtype))
