"""Bad input to the array functions: an exception whose message starts with the argument's name, before anything is
written. What is wrong with models and files stands in the tests of those."""

import re

import numpy as np
import pytest
from samples import same_bytes

import qlite as ql
from qlite import (  # noqa: F401 (the table's names)
    Calibrator,
    QArray,
    QParams,
    _core,
    apply_table,
    avg_pool2d,
    choose_qparams,
    dequantize,
    fake_quantize,
    linear,
    matmul_integer,
    max_pool2d,
    pack,
    quantization_error,
    quantize,
    requantize,
    set_num_threads,
    show_config,
    softmax,
)

W = np.linspace(-1, 1, 12).reshape(4, 3).astype(np.float32)
X = W.T
Q = quantize(W, axis=1)
QP = Q.qparams
ROWS = quantize(W, axis=0)
CODES = quantize(X)
A, B = np.ones((2, 4), np.uint8), np.ones((4, 3), np.int8)
ACC = np.ones((4, 3), np.int32)
PACKED = pack(B, 1)
PACKED_FILTER = pack(quantize(W.reshape(1, 1, 4, 3)))
RAGGED, MASKED = [[1], [2, 3]], np.ma.masked_array(A, A * [1, 0, 0, 0])
SEEN = Calibrator(axis=1).update(W)
NAN, INF, HUGE = np.array([1, np.nan]), np.array([1, -np.inf]), np.array([1, 1e300])  # the last is none in float32
ONE, ZERO = np.ones((1, 1), np.float32), np.zeros((1, 1), np.int32)
TABLE = np.zeros(256, np.int8)
from_codes = QArray.from_codes

# Each row: what is raised, the argument that it names, and the call.
CASES = """
TypeError  w  quantize([[1, 2]])
TypeError  w  quantize(W.astype(int))
TypeError  w  quantize(W.astype(complex))
TypeError  w  quantize(W > 0)
TypeError  w  quantize("text")
TypeError  w  quantize(None)
TypeError  w  quantize(np.array([{}]))
ValueError w  quantize(NAN)
ValueError w  quantize(INF)
ValueError w  quantize(HUGE)
ValueError w  quantize(W[:0])
TypeError  bits  quantize(W, "8")
TypeError  bits  quantize(W, 8.0)
TypeError  bits  quantize(W, True)
ValueError bits  quantize(W, 0)
ValueError bits  quantize(W, -1)
ValueError bits  quantize(W, 17)
TypeError  axis  quantize(W, axis="1")
TypeError  axis  quantize(W, axis=0.5)
TypeError  axis  quantize(W, axis=True)
TypeError  axis  quantize(W, axis=(0, 1))
ValueError axis  quantize(W, axis=2)
ValueError axis  quantize(W, axis=-3)
ValueError axis  quantize(1.5, axis=0)
ValueError method  quantize(W, method="max")
ValueError method  quantize(W, method=None)
ValueError method  quantize(W, method="ema")
ValueError group_size  quantize(W, group_size=0)
ValueError nonfinite  quantize(W, nonfinite="ignore")
ValueError nonfinite  quantize(W, nonfinite=True)
ValueError percentile  quantize(W, method="percentile", percentile=30)
TypeError  percentile  quantize(W, method="percentile", percentile="99")
ValueError scale  quantize(W, scale=0.0)
ValueError scale  quantize(W, scale=-1.0)
ValueError scale  quantize(W, scale=1e-40)
ValueError scale  quantize(W, scale=[0.1, 0.2, 0.3])
ValueError scale  quantize(W, scale=[0.1, 0.2], axis=1)
ValueError scale  quantize(W, scale=np.ones((4, 2)))
TypeError  scale  quantize(W, scale="a")
TypeError  scale  quantize(W, scale=1j)
ValueError zero_point  quantize(W, zero_point=0)
TypeError  zero_point  quantize(W, scale=1.0, zero_point=0.5)
ValueError zero_point  quantize(W, scale=1.0, zero_point=200)
ValueError zero_point  quantize(W, scale=[1.0] * 3, zero_point=[1, 2], axis=1)
ValueError scale  quantize(W.T, QP)
ValueError scale  quantize(W[0], QP)

TypeError  w  choose_qparams([[1, 2]])
ValueError w  choose_qparams(NAN)
ValueError w  choose_qparams(INF, method="mse")
ValueError w  choose_qparams(HUGE)
ValueError w  choose_qparams([])
ValueError w  choose_qparams(W[:, :0], axis=1)
ValueError bits  choose_qparams(W, 17)
ValueError axis  choose_qparams(W, axis=2)
ValueError method  choose_qparams(W, method="max")
ValueError percentile  choose_qparams(W, method="percentile", percentile=101)

TypeError  scale  QParams("a", ZERO)
TypeError  scale  QParams(ONE * 1j, ZERO)
TypeError  scale  QParams(None, ZERO)
ValueError scale  QParams(ONE * 0, ZERO)
ValueError scale  QParams(-ONE, ZERO)
ValueError scale  QParams(ONE * np.nan, ZERO)
ValueError scale  QParams(ONE * np.inf, ZERO)
ValueError scale  QParams(np.float32([1e-40]), ZERO)
ValueError scale  QParams(np.float64([1e-300]), ZERO)
ValueError scale  QParams(np.float64([1e300]), ZERO)
TypeError  zero_point  QParams(ONE, ONE)
TypeError  zero_point  QParams(ONE, None)
ValueError zero_point  QParams(ONE, ZERO + 128)
ValueError zero_point  QParams(ONE, ZERO - 128, narrow=True)
ValueError zero_point  QParams(ONE, ZERO - 1, signed=False)
ValueError zero_point  QParams(ONE, np.zeros(2, np.int32))
ValueError bits  QParams(ONE, ZERO, 17)
TypeError  bits  QParams(ONE, ZERO, 8.0)
ValueError group_size  QParams(ONE, ZERO, group_size=0)

TypeError  codes  from_codes(W, 1.0)
TypeError  codes  from_codes([[1, 2]], 1.0)
TypeError  codes  from_codes(None, 1.0)
TypeError  scale  from_codes(B, "a")
ValueError scale  from_codes(B, 0)
ValueError scale  from_codes(B, [1.0, 2.0, 3.0])
ValueError scale  from_codes(B, [1.0, 2.0], axis=1)
ValueError scale  from_codes(B, np.ones((4, 2)))
TypeError  zero_point  from_codes(B, 1.0, 0.5)
ValueError zero_point  from_codes(B, 1.0, 200)
ValueError zero_point  from_codes(B, [1.0] * 3, [1, 2], axis=1)
TypeError  axis  from_codes(B, 1.0, axis="1")
TypeError  axis  from_codes(B, 1.0, axis=0.5)
TypeError  axis  from_codes(B, 1.0, axis=True)
ValueError axis  from_codes(B, 1.0, axis=2)
ValueError bits  from_codes(B, 1.0, bits=17)
TypeError  codes  QArray(B.view(np.uint8), QP)
ValueError scale  QArray(B.T.copy(), QP)
TypeError  qparams  QArray(B, None)
TypeError  q  dequantize(W)
TypeError  x  fake_quantize([[1, 2]], QP)
ValueError x  fake_quantize(NAN, QParams(ONE, ZERO))
ValueError scale  fake_quantize(W.T, QP)
TypeError  qparams  fake_quantize(W, 8)
TypeError  qparams  fake_quantize(W, Q)
ValueError nonfinite  fake_quantize(W, QP, nonfinite="ignore")

TypeError  q  quantization_error(W, W)
TypeError  w  quantization_error(B, Q)
ValueError w  quantization_error(W.T, Q)
ValueError w  quantization_error(W * np.nan, Q)
ValueError w  quantization_error(W[:0], Q[:0])
ValueError axis  quantization_error(W, Q, 2)
TypeError  axis  quantization_error(W, Q, 0.5)

TypeError  acc  requantize(W, 0.5)
TypeError  acc  requantize([1, 2], 0.5)
TypeError  acc  requantize(B, 0.5)
TypeError  multiplier  requantize(ACC, "a")
ValueError multiplier  requantize(ACC, 0.0)
ValueError multiplier  requantize(ACC, -1.0)
ValueError multiplier  requantize(ACC, np.nan)
ValueError multiplier  requantize(ACC, np.inf)
ValueError multiplier  requantize(ACC, 2.0**30)
ValueError multiplier  requantize(ACC, [1.0, 2.0])
ValueError multiplier  requantize(ACC, [1.0, 2.0], axis=1)
TypeError  zero_point  requantize(ACC, 0.5, 1.5)
ValueError zero_point  requantize(ACC, 0.5, 128)
ValueError zero_point  requantize(ACC, 0.5, -1, signed=False)
ValueError bits  requantize(ACC, 0.5, bits=4)
ValueError axis  requantize(ACC, 0.5, axis=2)
ValueError requant  requantize(ACC, 0.5, requant="double")

TypeError  a  matmul_integer(W, B)
TypeError  a  matmul_integer([[1, 2, 3, 4]], B)
ValueError a  matmul_integer(ROWS, B)
TypeError  a  matmul_integer(None, B)
TypeError  a  matmul_integer(MASKED, B)
ValueError a  matmul_integer(RAGGED, B)
ValueError a  matmul_integer(A[0], B)
ValueError a  matmul_integer(A[None], PACKED)
ValueError a  matmul_integer(A[:, :3], B)
ValueError a  matmul_integer(A[:, :3], PACKED)
TypeError  b  matmul_integer(A, W)
TypeError  b  matmul_integer(A, None)
ValueError b  matmul_integer(A, B[0])
ValueError b  matmul_integer(A, PACKED_FILTER)
TypeError  a_zero_point  matmul_integer(A, B, 0.0)
TypeError  a_zero_point  matmul_integer(A, B, "a")
ValueError a_zero_point  matmul_integer(A, B, -1)
ValueError a_zero_point  matmul_integer(A, PACKED, 256)
ValueError a_zero_point  matmul_integer(A, PACKED, [1, 2, 3])
ValueError a_zero_point  matmul_integer(A, B, RAGGED)
TypeError  b_zero_point  matmul_integer(A, B, 0, 0.0)
TypeError  b_zero_point  matmul_integer(A, B, 0, "a")
ValueError b_zero_point  matmul_integer(A, B, 0, 128)
ValueError b_zero_point  matmul_integer(A, B, 0, [1, 2])
ValueError b_zero_point  matmul_integer(A, PACKED, 0, 1)
TypeError  b  pack(W)
TypeError  b  pack(MASKED)
ValueError b  pack(B[0])
ValueError b  pack(ROWS)
ValueError b  pack(quantize(W[None]))
TypeError  zero_point  pack(B, 0.5)
ValueError zero_point  pack(B, 128)
ValueError zero_point  pack(B, [1, 2])

TypeError  codes  apply_table(None, TABLE)
TypeError  codes  apply_table(MASKED, TABLE)
ValueError codes  apply_table(RAGGED, TABLE)
TypeError  table  apply_table(A, None)
ValueError table  apply_table(A, RAGGED)
TypeError  x  softmax(None, 1.0)
TypeError  x  softmax(MASKED, 1.0)
ValueError x  softmax(RAGGED, 1.0)

TypeError  x  linear([[1, 2, 3, 4]], Q)
ValueError x  linear(W, Q)
ValueError x  linear(X[0, 0], Q)
ValueError x  linear(X[:, :3], Q)
ValueError x  linear(X[None, :, :3], Q)
ValueError x  linear(X * np.nan, Q)
ValueError x  linear(X * np.inf, pack(Q))
TypeError  w  linear(X, W)
ValueError w  linear(X, PACKED)
ValueError w  linear(X, ROWS)
ValueError w  linear(X, PACKED_FILTER)
ValueError w  linear(CODES, PACKED_FILTER)
TypeError  bias  linear(X, Q, [1, 2, 3])
TypeError  bias  linear(X, Q, "a")
ValueError bias  linear(X, Q, [1.0, 2.0])
ValueError bias  linear(X, Q, [[1.0, 2.0, 3.0]])
ValueError bias  linear(X, Q, [1.0, 2.0, np.nan])
ValueError bias  linear(X, Q, [1.0, 2.0, -np.inf])
ValueError activation  linear(X, Q, activation="gelu")
ValueError activation  linear(CODES, Q, activation="gelu")
ValueError per  linear(X, Q, per="column")
ValueError per  linear(CODES, Q, per="tensor")
ValueError output_qparams  linear(X, Q, output_qparams=QP)
ValueError requant  linear(X, Q, requant="fixed")
ValueError requant  linear(CODES, Q, requant="exact")
TypeError  output_qparams  linear(CODES, Q, output_qparams=1)
ValueError output_qparams  linear(CODES, Q, output_qparams=QP)
ValueError output_qparams  linear(CODES, Q, output_qparams=choose_qparams(W, 16))
ValueError output_qparams  linear(CODES, Q, output_qparams=choose_qparams(W, grid="nf4"))
ValueError output_qparams  linear(CODES, Q, output_qparams=QParams(np.float32(1e-30), 0), requant="fixed")
ValueError output_qparams  linear(CODES, pack(Q, activation_bits=7), output_qparams=QParams(1e-30, 0), requant="fixed")
ValueError x  linear(CODES, pack(Q, activation_bits=7))
ValueError x  linear(Q, Q)
ValueError x  linear(CODES[:, :3], Q)
ValueError x  linear(quantize(X, 16), Q)
TypeError  bias  linear(CODES, Q, [1, 2, 3])
TypeError  bias  linear(CODES, Q, "a")
ValueError bias  linear(CODES, Q, [1.0, 2.0])
ValueError bias  linear(CODES, Q, np.zeros((3, 1), np.int32))
ValueError bias  linear(CODES, Q, [1.0, 2.0, np.nan])
TypeError  out  linear(CODES, Q, output_qparams=choose_qparams(W), out=np.zeros((3, 3), np.uint8))
ValueError out  linear(CODES, Q, out=np.zeros((3, 4), np.float32))
TypeError  x  A @ Q
ValueError x  W @ Q
ValueError q  X @ ROWS

TypeError  axis  Calibrator(axis="0")
TypeError  axis  Calibrator(axis=0.5)
TypeError  axis  Calibrator(axis=True)
TypeError  bins  Calibrator(bins=256.0)
TypeError  bins  Calibrator(bins=True)
TypeError  bins  Calibrator(bins="8192")
ValueError bins  Calibrator(bins=100)
ValueError bins  Calibrator(bins=64)
ValueError bins  Calibrator(bins=-128)
ValueError bins  Calibrator(bins=2**17)
TypeError  momentum  Calibrator(momentum="a")
ValueError momentum  Calibrator(momentum=0)
ValueError momentum  Calibrator(momentum=1.5)
ValueError momentum  Calibrator(momentum=np.nan)
TypeError  batch  Calibrator().update([1, 2])
ValueError batch  Calibrator().update(NAN)
ValueError batch  Calibrator().update(HUGE)
ValueError batch  SEEN.update(X)
ValueError axis  SEEN.update(W[0])
TypeError  other  SEEN.merge(3)
ValueError method  Calibrator().qparams()
ValueError method  SEEN.qparams("max")
ValueError method  SEEN.qparams("ema")
ValueError bits  SEEN.qparams(bits=17)
ValueError percentile  SEEN.qparams("percentile", percentile=50)
ValueError percentile  SEEN.qparams("percentile", percentile=np.nan)
TypeError  percentile  SEEN.qparams("percentile", percentile="a")
ValueError mode  show_config("json")
TypeError  n  set_num_threads(2.0)
TypeError  n  set_num_threads("2")
TypeError  n  set_num_threads(True)
ValueError n  set_num_threads(0)
ValueError n  set_num_threads(-1)
ValueError n  set_num_threads(1025)
ValueError n  set_num_threads(10**30)
"""


@pytest.mark.parametrize("case", [line for line in CASES.splitlines() if line])
def test_bad_arguments(case):
    error, name, call = case.split(maxsplit=2)
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(call)
    assert type(raised.value).__name__ == error
    assert re.match(rf"{name}: ", str(raised.value)), str(raised.value)


def read_only(array):
    array.flags.writeable = False
    return array


CODES_OUT, FLOAT_OUT, SUM_OUT = np.zeros((4, 3), np.int8), np.zeros((4, 3), np.float32), np.zeros((2, 3), np.int32)
IMAGES, POOL_OUT = np.zeros((2, 4, 6, 5), np.int8), np.zeros((2, 2, 3, 5), np.int8)
OUTS = {
    quantize: (CODES_OUT, (W,)),
    requantize: (CODES_OUT, (ACC, 0.5)),
    fake_quantize: (FLOAT_OUT, (W, QP)),
    dequantize: (FLOAT_OUT, (Q,)),
    matmul_integer: (SUM_OUT, (A, B)),
    linear: (FLOAT_OUT, (W @ X, Q)),
    apply_table: (CODES_OUT, (Q.codes, TABLE)),
    softmax: (CODES_OUT, (Q.codes, 0.1)),
    max_pool2d: (POOL_OUT, (IMAGES, 2)),
    avg_pool2d: (POOL_OUT, (IMAGES, 2)),
}


@pytest.mark.parametrize("function", OUTS)
def test_bad_outs(function):
    good, args = OUTS[function]
    others = [(TypeError, out) for out in (good.astype(np.float64), good.tolist(), "text")]
    others += [(ValueError, out) for out in (good[:-1], good[None], good.T.copy(), read_only(good.copy()))]
    for error, out in others:
        with pytest.raises(error, match=r"^out: "):
            function(*args, out=out)


def test_failures_write_nothing():
    codes, values, sums = np.full((1, 2), 7, np.int8), np.full((1, 3), 7, np.float32), np.full((1, 3), 7, np.int32)
    for name, call in (
        ("w", lambda: quantize(NAN[None], out=codes)),
        ("x", lambda: fake_quantize(np.float32([[1, 2, np.inf]]), QParams(ONE, ZERO), out=values)),
        ("x", lambda: linear(np.float32([[1, 1, 1, np.inf]]), Q, out=values)),
        ("a_zero_point", lambda: matmul_integer(A[:1], B, 300, out=sums)),
        ("multiplier", lambda: requantize(np.ones((1, 2), np.int32), np.nan, out=codes)),
        ("scale", lambda: softmax(codes, np.nan, out=codes)),
        ("x", lambda: max_pool2d(IMAGES, 7, out=codes)),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: "):
            call()
    assert (codes == 7).all() and (values == 7).all() and (sums == 7).all()


def test_masked_values():
    x = np.ma.masked_array([1.0, 99.0], [False, True])
    for call in (quantize, choose_qparams, Calibrator().update):
        with pytest.raises(TypeError, match=r"mask"):
            call(x)
    same_bytes(quantize(np.ma.masked_array([1.0, 2.0])).codes, quantize([1.0, 2.0]).codes)


def test_beyond_float32():
    x = np.array([1e300, 1.0])
    with pytest.raises(ValueError, match=r"^w: "):
        quantize(x)
    assert quantize(x, nonfinite="saturate").codes.tolist() == [127, 127]
    assert np.isfinite(fake_quantize(x, choose_qparams(np.ones(1)), nonfinite="saturate")).all()
    with pytest.raises(ValueError, match=r"^bias: "):
        linear(np.ones((1, 4)), quantize(W), np.full(3, 1e300))


def test_case_m_an_array_that_changes_during_a_call(monkeypatch):
    """What the core found may be gone when the message is made of it."""
    x = np.full((1, 4, 4, 2), np.nan, np.float32)
    filters = ql.quantize(np.ones((3, 3, 2, 4)), axis=3)
    minmax = _core.minmax

    def changed(array, *others):
        result = minmax(array, *others)
        array[...] = 1
        return result

    monkeypatch.setattr(_core, "minmax", changed)
    for name, call in (("w", ql.quantize), ("w", ql.choose_qparams), ("x", lambda x: ql.conv2d(x, filters))):
        x[...] = np.nan
        with pytest.raises(
            RuntimeError, match=rf"^{name}: expected an array that stays as it is, got one that was cha"
        ):
            call(x)
