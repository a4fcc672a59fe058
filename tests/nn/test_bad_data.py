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
