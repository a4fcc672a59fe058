"""The mean and scale that a model takes its input by, before and after it is quantized."""

import numpy as np
import pytest
import reference
from samples import same_bytes

import qlite as ql
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Normalize

SCHEMES = ["w8a8", "dynamic", "w8"]
W = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def scaled_model(rng, **options):
    """Features whose ranges are six orders of magnitude apart, brought to one by mean and scale."""
    spread, center = np.float32(10.0) ** np.arange(-3, 3), np.arange(6, dtype=np.float32)
    x = (rng.normal(size=(300, 6)) * spread + center).astype(np.float32)
    layers = [ql.Dense(rng.normal(size=(6, 12)), rng.normal(size=12), "relu"), ql.Dense(rng.normal(size=(12, 4)))]
    return ql.Sequential(layers, mean=center, scale=spread, **options), x


@pytest.mark.parametrize("scheme", SCHEMES)
def test_normalized_programs_are_the_references(isa, rng, scheme):
    m, x = scaled_model(rng)
    qm = ql.quantize_model(m, scheme, x)
    expected = reference.evaluate(qm.program, x)
    for got, value in zip(qm.intermediates(x).values(), expected, strict=True):
        if got.dtype != np.float32 or scheme == "w8a8":
            same_bytes(got, value)
    same_bytes(qm.intermediates(x)["normalized"], (x - m.mean) / m.scale)
    assert ql.compare(m, qm, x).sqnr_db > 30


def test_normalized_models_are_saved_and_retargeted(rng, tmp_path):
    m, x = scaled_model(rng)
    qm = ql.quantize_model(m, data=x)
    qm.save(tmp_path / "m")
    same_bytes(ql.load(tmp_path / "m")(x), qm(x))
    for target in ("tflite", "tflm", "tensorrt"):
        assert np.mean(qm.retarget(target).predict(x) == m.predict(x)) > 0.9


def test_nothing_to_normalize_is_no_step():
    m = ql.Sequential([ql.Dense(W)], mean=np.zeros(6), scale=np.ones(6))
    assert m.mean is None and list(m.intermediates(np.ones((1, 6)))) == ["input", "dense_1"]
    assert [step.kind for step in ql.quantize_model(m, "w8").program.steps] == ["gemm_f32"]


@pytest.mark.parametrize("changes", [{"mean": np.ones(5)}, {"mean": np.full(6, np.nan)}, {"scale": np.zeros(6)}])
def test_bad_normalization(changes):
    with pytest.raises(ValueError, match=rf"^{next(iter(changes))}: "):
        ql.Sequential([ql.Dense(W)], **changes)
    buffers = [Buffer("input", "input", (6,), "float32"), Buffer("normalized", "input", (6,), "float32")]
    fields = {"mean": np.zeros(6), "scale": np.ones(6)} | changes
    with pytest.raises(ValueError, match="step 0"):
        Program(buffers, [Normalize((0,), 1, **{k: v.astype(np.float32) for k, v in fields.items()})])


@pytest.mark.parametrize("n", [1, 2, 3, 5, 31, 32, 33, 63, 64, 65, 100, 130])
def test_rows_of_any_length(isa, rng, n):
    """Short ones go several together, of which the last may be fewer."""
    mean, scale = rng.normal(size=n).astype(np.float32), rng.uniform(0.5, 2, n).astype(np.float32)
    for rows in (1, 2, 7, 65):
        buffers = [Buffer(name, name, (rows, n), "float32") for name in "xy"]
        x = rng.normal(size=(3, rows, n)).astype(np.float32)
        same_bytes(Plan(Program(buffers, [Normalize((0,), 1, mean, scale)])).run(x), (x - mean) / scale)
