"""Objects that functions make, made by hand of something else: refused by the argument's name."""

import dataclasses

import numpy as np
import pytest

import qlite as ql
from qlite.analysis.report import LayerReport

LAYER = LayerReport("a", (2, 3), 40.0, 41.0, 0.0, 0.1, 0.2, 0.5, 60.0, 10, 40, 0.1, 0.2, "exact.")
NUMBERS = {field.name: 1.0 for field in dataclasses.fields(ql.ErrorStats)}


def test_what_fits_is_taken():
    assert (
        "40.0" in str(ql.Report((LAYER,), np.float32(40), None, 3)) and ql.Report((), 1, 0.5, np.int64(3)).samples == 3
    )
    assert repr(ql.ErrorStats(**NUMBERS)).startswith("ErrorStats(mse=1")
    assert ql.ErrorStats(**dict.fromkeys(NUMBERS, np.ones(2))).mse.size == 2


@pytest.mark.parametrize("name, value", [("layers", "x"), ("layers", None), ("layers", [LAYER]), ("layers", (1,))])
def test_case_m_reports_of_other_layers(name, value):
    with pytest.raises(TypeError, match=r"^layers: expected a tuple of LayerReport, got "):
        ql.Report(value, 1.0, None, 3)


@pytest.mark.parametrize("name", ["sqnr_db", "agreement", "samples"])
@pytest.mark.parametrize("value", ["x", (1,), True, 1j])
def test_case_m_reports_of_other_figures(name, value):
    with pytest.raises(TypeError, match=rf"^{name}: expected "):
        ql.Report(**{"layers": (), "sqnr_db": 1.0, "agreement": None, "samples": 3, name: value})


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(LAYER)])
def test_case_m_layers_of_other_figures(name):
    with pytest.raises(TypeError, match=rf"^{name}: expected "):
        dataclasses.replace(LAYER, **{name: None})


def test_case_m_layers_of_other_shapes():
    with pytest.raises(TypeError, match=r"^shape: expected "):
        dataclasses.replace(LAYER, shape=("3",))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["x", None, (1, 2), True])
def test_case_m_errors_of_other_figures(name, value):
    with pytest.raises(TypeError, match=rf"^{name}: expected a number, or an array of them, got "):
        ql.ErrorStats(**{**NUMBERS, name: value})


@pytest.mark.parametrize("value", ["x", None, (1, 2, 3), np.eye(2)])
def test_case_m_packed_weights_and_models_of_something_else(value):
    with pytest.raises(TypeError, match=r"^weights: expected "):
        ql.PackedWeight(value)
    with pytest.raises(TypeError, match=r"^program: expected a Program, got "):
        ql.QModel(value, scheme="w8a8", target="numpy")
