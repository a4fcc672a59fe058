"""Data that a model cannot be quantized with, or take."""

import re

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


class Loader:
    """Batches again and again, with labels or without, as those of torch."""

    def __init__(self, x, with_labels=False):
        self.x, self.with_labels = x, with_labels

    def __iter__(self):
        return ([x, x[:, 0]] if self.with_labels else x for x in np.array_split(self.x, 3))


def test_batches_of_what_is_iterable(rng):
    model, x = ql.Sequential([ql.Dense(rng.normal(size=(6, 3)))]), rng.normal(size=(40, 6)).astype(np.float32)
    wanted = ql.quantize_model(model, data=x, method="minmax")
    found = ql.quantize_model(model, data=Loader(x), method="minmax")
    assert repr(found.program) == repr(wanted.program) and found.input_qparams == wanted.input_qparams
    assert found.calibration.samples == 40


def test_a_list_of_one_array_is_that_array(rng):
    """As batches of torch's loaders of a TensorDataset."""
    model, x = ql.Sequential([ql.Dense(rng.normal(size=(6, 3)))]), rng.normal(size=(40, 6)).astype(np.float32)
    wanted = ql.quantize_model(model, data=x, method="minmax")
    for data in ([x], (x,), iter([[x[:9]], (x[9:],)])):
        found = ql.quantize_model(model, data=data, method="minmax")
        assert found.input_qparams == wanted.input_qparams and found.calibration.samples == 40


def test_batches_with_labels_and_lists_of_batches_are_told_apart_from_samples(rng):
    model, x = ql.Sequential([ql.Dense(rng.normal(size=(6, 3)))]), rng.normal(size=(40, 6)).astype(np.float32)
    batches, labelled = list(Loader(x)), Loader(x, True)
    for data, hint, meant in [
        (labelled, "a list of arrays of samples: data=(batch[0] for batch in data)", (b[0] for b in labelled)),
        (batches, "a list of arrays of samples: data=iter(data)", iter(batches)),
        ((x, x[:, 0]), "a tuple of arrays of samples: give the first, data=x", x),
        ([x, x[:, 0]], "a list of arrays of samples: give the first, data=x", x),
    ]:
        where = "data: batch 0" if data is labelled else "data"
        with pytest.raises(ValueError, match="^" + re.escape(f"{where}: expected samples, got {hint}")):
            ql.quantize_model(model, data=data)
        assert ql.quantize_model(model, data=meant, method="minmax").calibration.samples == 40
    ql.quantize_model(model, data=list(x), method="minmax")  # samples


def test_what_is_iterable_is_told_what_makes_an_array_of_it(rng):
    model, x = ql.Sequential([ql.Dense(rng.normal(size=(6, 3)))]), rng.normal(size=(40, 6)).astype(np.float32)
    quantized = ql.quantize_model(model, data=x, method="minmax")
    for call in (model, model.predict, quantized.predict, lambda data: ql.compare(model, quantized, data)):
        with pytest.raises(TypeError, match=r"^x: .*np\.concatenate\(\) on that list of arrays if it gives batches$"):
            call(Loader(x))
    assert np.array_equal(np.concatenate(list(Loader(x))), x)


@pytest.mark.parametrize("scheme", ["w8", "dynamic"])
def test_schemes_that_need_no_samples_refuse_what_is_none(scheme, rng):
    model = ql.Sequential([ql.Dense(rng.normal(size=(6, 3)))])
    for data, error in [("hello", TypeError), (np.ones((3, 5)), ValueError), (np.full((2, 6), np.nan), ValueError)]:
        with pytest.raises(error, match=r"^data: expected "):
            ql.quantize_model(model, scheme, data)
    batches = iter([np.ones((3, 6))])
    for data in (np.ones((3, 6)), batches, None):
        ql.quantize_model(model, scheme, data)
    assert len(list(batches)) == 1


def test_the_sample_that_is_not_finite_is_named(rng):
    model, x = ql.Sequential([ql.Dense(rng.normal(size=(2, 3)))]), rng.normal(size=(9000, 2)).astype(np.float32)
    x[7000, 1] = np.nan  # in the second part
    for data, message in [
        (x, r"^data: expected finite values, got nan \(as float32\), sample 7000"),
        ((part for part in np.split(x, 3)), r"^data: batch 2: .*, sample 1000"),
    ]:
        with pytest.raises(ValueError, match=message):
            ql.quantize_model(model, data=data)


@pytest.mark.parametrize(
    "weight, error, message",
    [
        (np.ones((6, 3)), TypeError, "expected an ndarray of float32, got float64"),
        ([[1.0]], TypeError, "expected an ndarray of float32, got list"),
        (np.full((6, 3), np.nan, np.float32), ValueError, "expected finite values, got nan"),
    ],
)
def test_arrays_that_were_put_into_layers(weight, error, message):
    model = ql.Sequential([ql.Dense(np.ones((6, 3), np.float32), name="first")])
    model.layers[0].weight = weight
    for scheme in ("w8a8", "dynamic"):
        with pytest.raises(error, match=f"^layer 'first': weight: {message}"):
            ql.quantize_model(model, scheme, np.eye(6))
