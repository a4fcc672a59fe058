"""The catalogue of known faults (see tests/test_known_faults.py): what has gone wrong in observers and calibrators."""

import pickle
import tracemalloc

import numpy as np
import pytest

import qlite as ql


def test_k32_never_calibrated():
    with pytest.raises(ValueError, match=r"^method: "):
        ql.Calibrator().qparams()
    qp = ql.Calibrator().update(np.zeros((4, 4), np.float32)).qparams()
    assert np.isfinite(qp.scale).all()


def test_k34_tiny_first_batch(isa):
    calibrator = ql.Calibrator().update(np.float32([-1e-45, 1e-45])).update(np.float32([-1e30, 1e30]))
    assert calibrator.count == 4
    for method in ("minmax", "percentile", "mse", "entropy"):
        assert np.isfinite(calibrator.qparams(method).scale).all()


def test_k35_range_that_explodes(isa):
    calibrator = ql.Calibrator().update(np.float32([-3.4, -0.0])).update(np.float32([-3.4e38, -0.0]))
    assert np.isfinite(calibrator.qparams("mse").scale).all()


def test_k36_zeros_empty_and_single_element_batches(isa):
    calibrator = ql.Calibrator().update(np.zeros(5, np.float32)).update(np.zeros((0, 3), np.float32))
    qp = calibrator.update(np.float32([0.75])).qparams()
    assert calibrator.count == 6
    assert qp.scale.item() == np.float32(0.75) / np.float32(255)


def test_k37_more_values_than_int32(isa):
    calibrator = ql.Calibrator().update(np.float32([-1.0, 0.5, 1.0, 1.0]))
    for _ in range(40):
        twin = pickle.loads(pickle.dumps(calibrator))
        calibrator.merge(twin)
    assert calibrator.count == 4 * 2**40
    assert np.isfinite(calibrator.qparams("entropy").scale).all()


def test_k38_state_does_not_grow(isa):
    calibrator = ql.Calibrator()
    batch = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    calibrator.update(batch)
    tracemalloc.start()
    for factor in range(1, 20):
        calibrator.update(batch[: 1000 * factor])
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 10_000


def test_k39_one_outlier_does_not_cost_memory(isa):
    calibrator = ql.Calibrator().update(np.append(np.random.default_rng(0).random(6545), 1e15).astype(np.float32))
    assert calibrator.qparams("percentile", percentile=99.9).scale.item() < 1e15 / 255


def test_k40_zero_point_of_entropy_calibration(isa):
    x = np.random.default_rng(0).gamma(9, 0.5, 10_000).astype(np.float32)
    qp = ql.Calibrator().update(x).qparams("entropy")
    assert qp.zero_point.item() == qp.qmin
    assert ql.quantization_error(x, ql.quantize(x, qp)).sqnr_db > 30


@pytest.mark.parametrize("first, then", [(1e-6, 1e6), (1e-3, 1e3)], ids=["r2", "r3"])
def test_r2_r3_bins_are_fixed(isa, first, then):
    calibrator = ql.Calibrator().update(np.float32([-first, first])).update(np.float32([then]))
    assert np.isfinite(calibrator.qparams("entropy").scale).all()


def test_r4_r5_nan_and_infinity_in_calibration(isa):
    for bad in ([1, np.nan, 2], [-np.inf, np.inf]):
        calibrator = ql.Calibrator().update(np.float32([1, 2]))
        with pytest.raises(ValueError, match=r"^batch: "):
            calibrator.update(np.float32(bad))
        assert calibrator.count == 2
        with pytest.raises(ValueError, match=r"^w: "):
            ql.choose_qparams(np.float32(bad))
