"""Behaviour that a fresh-eyes review found missing."""

import json
import os
import pickle
import stat
import threading

import numpy as np
import pytest
import reference
from samples import same_bytes

import qlite as ql
from qlite import _core
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Dequantize, Normalize, Quantize

SCHEMES = ["w8a8", "dynamic", "w8"]
W = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def scaled_model(rng, **options):
    """Features whose ranges are six orders of magnitude apart, brought to one by mean and scale."""
    spread, center = np.float32(10.0) ** np.arange(-3, 3), np.arange(6, dtype=np.float32)
    x = (rng.normal(size=(300, 6)) * spread + center).astype(np.float32)
    layers = [ql.Dense(rng.normal(size=(6, 12)), rng.normal(size=12), "relu"), ql.Dense(rng.normal(size=(12, 4)))]
    return ql.Sequential(layers, mean=center, scale=spread, **options), x


# ---- normalization ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_a_scaler_before_features_of_different_ranges(name, scheme):
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    m = ql.from_sklearn(pipeline)
    assert np.mean(m.predict(x) == pipeline.predict(x)) >= 0.998
    assert np.mean(ql.quantize_model(m, scheme, x).predict(x) == m.predict(x)) >= 0.98


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


# ---- calibrators and threads ------------------------------------------------------------------------


def test_threads_share_a_calibrator():
    c, batch = ql.Calibrator(), np.linspace(-1, 1, 20_000, dtype=np.float32)
    threads = [threading.Thread(target=lambda: [c.update(batch) for _ in range(20)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert c.count == 80 * batch.size


def test_calibrators_that_merge_each_other_do_not_wait_for_ever():
    a, b = (ql.Calibrator().update(np.ones(3)) for _ in range(2))
    threads = [
        threading.Thread(target=lambda p=p: [p[0].merge(p[1]) for _ in range(5)], daemon=True) for p in ((a, b), (b, a))
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20)
        assert not t.is_alive()


def test_a_calibrator_merges_with_itself_and_travels():
    c = ql.Calibrator().update(np.array([1.0, -2.0]))
    again = pickle.loads(pickle.dumps(c)).update(np.array([4.0]))
    assert c.merge(c).count == 4 and again.count == 3
    same_bytes(again.qparams().scale, ql.Calibrator().update(np.array([1.0, -2, 4])).qparams().scale)


def test_an_interrupted_batch_has_been_taken_in(monkeypatch):
    update = _core.histogram_update

    def interrupted(*arguments):
        update(*arguments)
        raise KeyboardInterrupt

    c = ql.Calibrator(momentum=0.5)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_core, "histogram_update", interrupted)
        c.update(W)
    assert c.to_json() == ql.Calibrator(momentum=0.5).update(W).to_json()
    for bad in ([np.nan, 1.0], [1.0, np.inf]):
        with pytest.raises(ValueError, match=r"^batch: "):
            c.update(np.array(bad))
    assert c.to_json() == ql.Calibrator(momentum=0.5).update(W).to_json()


@pytest.mark.parametrize(
    "changes",
    [{"ndim": 10**30}, {"ndim": 65}, {"axis": None}, {"batches": 0}, {"batches": -1}, {"counts": 1.5}, {"min": 1e300}],
    ids=str,
)
def test_states_that_no_values_lead_to(changes):
    content = json.loads(ql.Calibrator(axis=0).update(W).to_json())
    channel = content["halves"][0][0]
    for name, value in changes.items():
        if name == "counts":
            channel[name] = [value] * len(channel[name])
        else:
            (channel if name in channel else content)[name] = value
    with pytest.raises(ValueError, match=r"^text: "):
        ql.Calibrator.from_json(json.dumps(content))


def test_channels_get_fewer_bins():
    assert "8192 bins" in repr(ql.Calibrator()) and "2048 bins" in repr(ql.Calibrator(axis=1))


# ---- grids and arrays -------------------------------------------------------------------------------


def test_parameters_and_codes_do_not_change():
    scale, codes = np.ones(1, np.float32), np.ones((2, 2), np.int8)
    p, q = ql.QParams(scale, 0), ql.QArray.from_codes(codes, 1.0)
    scale[:], codes[:] = 5, 5
    assert p.scale == 1 and (q.codes == 1).all()
    for array in (p.scale, p.zero_point, q.codes, pickle.loads(pickle.dumps(p)).scale):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 2


def test_the_axis_is_that_of_the_scales():
    assert ql.QParams(np.ones((1, 3), np.float32), 0).axis == 1
    assert ql.QParams(np.ones((1, 1), np.float32), 0).axis is None
    for axis, shape in ((0, (1, 3)), (0, (2, 3)), (2, (1, 3))):
        with pytest.raises(ValueError, match=r"^(axis|scale): "):
            ql.QParams(np.ones(shape, np.float32), 0, axis=axis)
    with pytest.raises(TypeError, match=r"^axis: "):
        ql.QParams(np.ones((1, 3), np.float32), 0, axis=1.0)


@pytest.mark.parametrize("low, high", [(1.0, -1.0), (np.nan, 1.0), (0.0, np.inf), (0.0, 1e300)])
def test_ranges_that_are_none(low, high):
    with pytest.raises(ValueError, match=r"^(low|high): "):
        ql.QParams.from_range(low, high, symmetric=False)


INDEX = [
    ([0, 1],),
    (slice(None), [2, 0]),
    (np.array([True, False, True]),),
    (slice(3, 3),),
    (slice(None, None, -1),),
    (..., slice(None, None, -2)),
    (slice(None), [1, 1, 2]),
    (1, slice(None), 2),
    (None, slice(0, 1)),
    ([0, 2], [1, 1]),
]


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@pytest.mark.parametrize("index", INDEX, ids=str)
def test_indexing_is_that_of_the_values(rng, axis, index):
    q = ql.quantize(rng.normal(size=(3, 4, 5)) * np.arange(1, 6), axis=axis)
    same_bytes(q[index].dequantize(), q.dequantize()[index])
    same_bytes(np.asarray(q[index]), q.dequantize()[index])


def test_a_shared_codebook_is_not_indexed(rng):
    q = ql.quantize(rng.normal(size=5), grid=[-1.0, -0.2, 0.1, 0.5, 1.0], axis=0)
    for index in (slice(None, None, -1), [4, 0], slice(0, 0), np.arange(5) > 2):
        same_bytes(np.asarray(q[index]), np.asarray(q)[index])
        same_bytes(q[index].codebook, q.codebook)


@pytest.mark.parametrize("scale_dtype", ["uint8", "fp8_e4m3"])
def test_one_scale_of_two_levels_at_any_rank(rng, scale_dtype):
    w = rng.normal(size=(4, 6))
    p = ql.choose_qparams(w, 4, scale_dtype=scale_dtype)
    q = ql.quantize(w, p)
    for index in (0, (1, 2), None, [[0, 1], [2, 3]]):
        same_bytes(np.asarray(q[index]), np.asarray(q)[index])
        assert q[index].qparams.scale_dtype == scale_dtype
    same_bytes(ql.quantize(w[0], p).codes, q.codes[0])


@pytest.mark.parametrize("options", [{"bits": 4}, {"bits": 3, "group_size": 2}, {"grid": "kmeans"}], ids=str)
@pytest.mark.parametrize("index", [1, -3, (1, 2), (slice(1, 3), 0, -1), (slice(0, 0), 0), (0, slice(None, None, -2))])
def test_rows_are_taken_before_the_rest(rng, options, index):
    q = ql.quantize(rng.normal(size=(3, 4, 5)), axis=0, **options)
    same_bytes(np.asarray(q[index]), np.asarray(q)[index])
    same_bytes(q[index].codes, q.codes[index])
    with pytest.raises(IndexError):
        q[3]


def test_nothing_to_iterate_over():
    with pytest.raises(TypeError):
        list(ql.quantize(np.float32(3)))
    assert [row.shape for row in ql.quantize(W)] == [(5,)] * 6


def test_stored_codes_of_another_rank():
    q = ql.quantize(W, 4, axis=0)
    with pytest.raises(ValueError, match=r"^scale: "):
        ql.QArray.from_stored(q.stored, (), q.qparams)


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 6, "grid": "apot", "codebook": [-1.0, 1.0]},
        {"bits": 5, "grid": "nf4", "codebook": np.arange(16.0)},
        {"bits": 4, "grid": "mxint8"},
        {"bits": 16, "grid": "kmeans", "codebook": [-1.0, 1.0]},
        {"codebook": [3.0, 1.0, 2.0]},
        {"codebook": [1.0, 1.0]},
        {"codebook": [1.0, np.nan]},
        {"codebook": [1.0, 1e300]},
        {"codebook": "abc"},
        {"codebook": [1j, 2.0]},
    ],
    ids=str,
)
def test_grids_that_there_are_not(options):
    options = {"bits": 2, "grid": "codebook"} | options
    name = "codebook" if options["grid"] == "codebook" else "bits"
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: "):
        ql.QParams(1.0, 0, signed=options["grid"] == "mxint8", **options)


def test_scale_codes_are_an_array():
    with pytest.raises(TypeError, match=r"^scale_codes: "):
        ql.QParams(1.0, 0, scale_dtype="uint8", scale_codes=5)


def test_codebooks_as_wide_as_float32():
    book = np.array([-3e38, 0, 3e38], np.float32)
    same_bytes(np.asarray(ql.quantize(book, grid=book, scale=1.0)), book)


@pytest.mark.parametrize("size", [1 << 31, 1 << 62, 10**30])
def test_groups_longer_than_any(size):
    with pytest.raises(ValueError, match=r"^group_size: "):
        ql.quantize(W, group_size=size)
    with pytest.raises(TypeError, match=r"^group_size: "):
        ql.quantize(W, grid="mxfp4", group_size=32.0)


def test_masked_values():
    x = np.ma.masked_array([1.0, 99.0], [False, True])
    for call in (ql.quantize, ql.choose_qparams, ql.Calibrator().update):
        with pytest.raises(TypeError, match=r"mask"):
            call(x)
    same_bytes(ql.quantize(np.ma.masked_array([1.0, 2.0])).codes, ql.quantize([1.0, 2.0]).codes)


def test_products_of_every_rank(rng):
    q, x = ql.quantize(W, axis=1), rng.normal(size=(2, 3, 6)).astype(np.float32)
    flat = x.reshape(6, 6) @ q
    same_bytes(x @ q, flat.reshape(2, 3, 5))
    same_bytes(x[0, 0] @ q, flat[0])
    for bad in (np.float32(1), np.ones(5), np.ones((2, 2, 5))):
        with pytest.raises(ValueError, match=r"^x: "):
            bad @ q


def test_quantized_arrays_in_integer_products():
    q = ql.quantize(W, axis=1, symmetric=False)
    a = np.arange(12, dtype=np.uint8).reshape(2, 6)
    same_bytes(ql.matmul_integer(a, q, 3), ql.matmul_integer(a, q.codes, 3, q.zero_point))
    same_bytes(ql.linear(W.T @ W @ W.T, q), ql.linear(W.T @ W @ W.T, ql.pack(q)))
    with pytest.raises(ValueError, match=r"^b_zero_point: "):
        ql.matmul_integer(a, q, 0, 1)


def test_beyond_float32():
    x = np.array([1e300, 1.0])
    with pytest.raises(ValueError, match=r"^w: "):
        ql.quantize(x)
    assert ql.quantize(x, nonfinite="saturate").codes.tolist() == [127, 127]
    assert np.isfinite(ql.fake_quantize(x, ql.choose_qparams(np.ones(1)), nonfinite="saturate")).all()
    with pytest.raises(ValueError, match=r"^bias: "):
        ql.linear(np.ones((1, 6)), ql.quantize(W), np.full(5, 1e300))
    with pytest.raises(ValueError, match=r"^x: "):
        ql.quantize_model(ql.Sequential([ql.Dense(W)]), "w8")(np.full((1, 6), 1e300))


@pytest.mark.parametrize(
    "name, options",
    [
        ("method", {"scale": 1.0, "method": "mse"}),
        ("percentile", {"scale": 1.0, "percentile": 90}),
        ("zero_point", {"zero_point": 1}),
        ("axis", {"bits": ql.choose_qparams(W), "axis": 1}),
        ("scale", {"bits": ql.choose_qparams(W), "scale": 1.0}),
        ("scale", {"scale": "a"}),
        ("symmetric", {"symmetric": "no"}),
        ("percentile", {"percentile": "99"}),
        ("grid", {"bits": ql.choose_qparams(W), "grid": np.array([0.0, 1.0])}),
        ("method", {"scale": 1.0, "method": np.zeros(2)}),
        ("method", {"grid": "kmeans", "method": "percentile"}),
        ("method", {"grid": "quantile", "method": "entropy"}),
    ],
)
def test_options_that_do_not_apply(name, options):
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: "):
        ql.quantize(W, **options)


def test_cosine_of_zeros():
    zero, one = np.zeros(3), ql.QArray.from_codes(np.ones(3, np.int8), 1.0)
    assert ql.quantization_error(zero, one).cosine == 0
    assert ql.quantization_error(zero, ql.quantize(zero)).cosine == 1


# ---- models -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [["input"], ["output"], ["normalized"], ["a", "a_codes"], ["a_scale", "a"], [3], [""]]
)
def test_names_that_are_taken(names):
    with pytest.raises((TypeError, ValueError), match="name"):
        ql.Sequential([ql.Dense(np.eye(3), name=name) for name in names])


def test_programs_whose_buffers_make_no_sense():
    a, codes, y = (
        Buffer("a", "a", (3,), "float32"),
        Buffer("b", "a", (3,), "uint8", 1.0, 0),
        Buffer("y", "a", (3,), "float32"),
    )
    with pytest.raises(ValueError, match=r"^buffers: .*'b'"):
        Program([a, codes, codes, y], [Quantize((0,), 1), Dequantize((1,), 3)])
    with pytest.raises(ValueError, match=r"^outputs: .*'y'"):
        Program([a, codes, y], [Quantize((0,), 1)])


def test_one_layer_used_twice(rng):
    layer = ql.Dense(rng.normal(size=(5, 5)), activation="relu")
    m, x = ql.Sequential([layer, layer]), rng.normal(size=(50, 5))
    qm = ql.quantize_model(m, data=x)
    assert [b.dtype for b in qm.program.buffers] == ["float32", "uint8", "uint8", "float32"]
    assert ql.compare(m, qm, x).sqnr_db > 25


class Counted(ql.Sequential):
    calls = 0

    def __call__(self, x):
        self.calls += 1
        return super().__call__(x)


def test_evaluating_runs_the_model_once(rng):
    m, x = Counted([ql.Dense(W)]), rng.normal(size=(8, 6))
    figures = m.evaluate(x, np.zeros((8, 1), int), ("accuracy", "recall", "cross_entropy"))
    assert m.calls == 1 and figures == m.evaluate(x, np.zeros(8, int), ("accuracy", "recall", "cross_entropy"))
    for y in (0, None, np.zeros(7), np.zeros((8, 2)), np.zeros((1, 8)), ["a"] * 8):
        with pytest.raises(ValueError, match=r"^y: "):
            m.evaluate(x, y)
    with pytest.raises(ValueError, match=r"^x: "):
        m.evaluate(1.0, [0])
    with pytest.raises(TypeError, match=r"^metrics: "):
        m.evaluate(x, np.zeros(8), 3)
    values = ql.Sequential([ql.Dense(W[:, :1])], task="regression")
    assert values.evaluate(x, values(x)) == {"mse": 0.0} == values.evaluate(x, values.predict(x))


@pytest.mark.parametrize("scheme", ["w8", "dynamic"])
@pytest.mark.parametrize("option", [{"requant": "fixed"}, {"output": "float"}])
def test_conventions_of_what_is_not_there(scheme, option):
    m = ql.Sequential([ql.Dense(W)])
    for call in (
        lambda: ql.quantize_model(m, scheme, **option),
        lambda: ql.quantize_model(m, scheme).retarget("numpy", **option),
    ):
        with pytest.raises(ValueError, match=rf"^{next(iter(option))}: "):
            call()


def test_the_data_is_named():
    with pytest.raises(ValueError, match=r"^data: expected shape"):
        ql.quantize_model(ql.Sequential([ql.Dense(W)]), data=np.ones((3, 5)))


# ---- files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes",
    [["no", "yes!", "?yes"], np.array(["a", "b", "c"], "U9"), np.array([1, 2, 3], np.int16), np.float16([0, 0.1, 0.3])],
    ids=str,
)
def test_labels_keep_their_dtype(tmp_path, classes):
    m = ql.quantize_model(ql.Sequential([ql.Dense(W[:, :3])], classes=np.sort(classes)), "w8")
    m.save(tmp_path / "m")
    same_bytes(ql.load(tmp_path / "m").classes, m.classes)


def test_labels_of_other_dtypes():
    assert ql.Sequential([ql.Dense(np.eye(2))], classes=np.array(["a", "b"], object)).classes.dtype.kind == "U"
    with pytest.raises(TypeError, match=r"^classes: "):
        ql.Sequential([ql.Dense(np.eye(2))], classes=np.array([1 + 0j, 2]))


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_saving_over_a_link_keeps_it_and_the_mode(tmp_path):
    m = ql.quantize_model(ql.Sequential([ql.Dense(W)]), "w8")
    m.save(tmp_path / "file")
    os.chmod(tmp_path / "file", 0o640)
    os.symlink("file", tmp_path / "link")
    m.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o640
    assert ql.load(tmp_path / "link").nbytes == m.nbytes
