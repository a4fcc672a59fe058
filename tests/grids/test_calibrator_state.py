"""The state of a calibrator: where its data may come from, that it merges exactly and in any order, its form as JSON,
and that it answers with every grid."""

import array
import json
import pickle
import re
import threading

import numpy as np
import pytest
from samples import same_bytes

import qlite as ql
from qlite import _core
from qlite.grids.calibrator import BATCH_VALUES
from qlite.grids.formats import GRIDS
from qlite.grids.spec import METHODS

W = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
CODEBOOKS = [name for name, grid in GRIDS.items() if grid.values is not None and grid.group_size is None]
FITTED = [name for name, grid in GRIDS.items() if grid.is_fitted]
BLOCKS = [name for name, grid in GRIDS.items() if grid.group_size is not None]
UNIFORM_BITS = range(1, 17)
# What a codebook from the state may lose against the one from the sample: bins in place of values.
FITTED_DB = 0.01
# Noise of the mse search: it may stop in a valley beside the best one.
SEARCH_DB = 0.05
# Of a mean of values that stand at the middle of their bins, thousands of which reach over the range.
BIN_TOLERANCE = 1e-3


def content(calibrator):
    """The state, but for which batch went to which half."""
    return calibrator._total().to_json(), calibrator.count


def calibrated(*batches, **arguments):
    calibrator = ql.Calibrator(**arguments)
    for batch in batches:
        calibrator.update(batch)
    return calibrator


def sqnr_db(x, p):
    exact = x.astype(np.float64)
    return 10 * np.log10(np.sum(exact**2) / np.sum((exact - ql.fake_quantize(x, p)) ** 2))


# ---- where data comes from --------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_data_of_any_form(rng, tmp_path, axis):
    x = rng.normal(size=(40, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    batches = [x] if axis == 0 else [x[:13], x[13:13], x[13:]]
    forms = {
        "array": x,
        "float64": x.astype(np.float64),
        "fortran": np.asfortranarray(x),
        "memmap": np.load(tmp_path / "x.npy", mmap_mode="r"),
        "list": batches,
        "tuple": tuple(batches),
        "generator": (batch for batch in batches),
        "iterator": iter(batches),
        "callable": lambda: x,
        "callable of a generator": lambda: (batch for batch in batches),
    }
    expected = content(calibrated(x, axis=axis))
    for name, data in forms.items():
        assert content(ql.Calibrator.from_data(data, axis=axis)) == expected, name


@pytest.mark.parametrize("axis", [None, 0, 2])
def test_large_arrays_are_taken_in_pieces(rng, axis):
    x = rng.standard_normal((3, BATCH_VALUES // 4 + 7, 4), np.float32)
    seen = []

    class Watched(ql.Calibrator):
        def update(self, batch):
            seen.append(batch.size)
            return super().update(batch)

    whole = Watched.from_data(x, axis=axis)
    assert sum(seen) == x.size and max(seen) <= BATCH_VALUES
    assert content(whole) == content(calibrated(x, axis=axis))
    assert len(seen) > 1 and whole.stability() >= 0


def test_little_data():
    assert ql.Calibrator.from_data(np.float32(3)).count == 1
    assert ql.Calibrator.from_data(3.0).count == 1
    assert ql.Calibrator.from_data([1.0, 2.0]).count == 2
    assert ql.Calibrator.from_data([np.zeros((0, 3)), np.ones((2, 3))]).count == 6
    with pytest.raises(ValueError, match=r"^method: expected data"):
        ql.Calibrator().update(np.zeros((0, 3))).qparams()


def test_case_m_data_without_values():
    spent = iter([np.ones(3)])
    next(spent)
    for nothing in (np.zeros((0, 3)), [], spent, lambda: [], np.zeros((4, 0), np.float32), [np.zeros((0, 3))] * 2):
        with pytest.raises(ValueError, match=r"^data: expected at least one value to calibrate with, got none$"):
            ql.Calibrator.from_data(nothing)


@pytest.mark.parametrize("data", [3, "file.npy", b"file.npy", None, np.arange(3)[0], lambda: 3])
def test_case_o_data_that_is_one_thing_goes_by_its_name(data):
    with pytest.raises(TypeError, match=r"^data: expected "):
        ql.Calibrator.from_data(data)


@pytest.mark.parametrize("data", [None, 3, "text", [None], ["a"], [1, 2], {"a": 1}, lambda: None, [np.ones(3, int)]])
def test_data_of_no_numbers(data):
    with pytest.raises((TypeError, ValueError), match=r"^(batch|data): expected .*got "):
        ql.Calibrator.from_data(data)


# ---- merging ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 1])
def test_merging_in_any_order(rng, axis):
    x = (rng.standard_t(2, (600, 3)) * 10.0 ** rng.integers(-10, 10, (600, 1))).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = 0
    whole = content(calibrated(x, axis=axis))
    for _ in range(20):
        ends = np.sort(rng.integers(0, 601, rng.integers(1, 9)))
        pieces = [piece for piece in np.split(x, ends)]
        parts = [calibrated(pieces[i], axis=axis) for i in rng.permutation(len(pieces))]
        while len(parts) > 1:  # a random tree
            other = parts.pop(rng.integers(len(parts)))
            parts[rng.integers(len(parts))].merge(other)
        assert content(parts[0]) == whole


def test_two_that_merge_each_other():
    one, other = calibrated(np.float32([1, 2])), calibrated(np.float32([3]))
    threads = [threading.Thread(target=a.merge, args=(b,)) for a, b in ((one, other), (other, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert one.count + other.count in (3 + 4, 3 + 5)  # whoever came first


def test_several_threads(rng):
    x = rng.normal(size=(64, 500)).astype(np.float32)
    shared = ql.Calibrator()
    answers, errors = [], []

    def work(rows):
        try:
            for row in rows:
                shared.update(row)
                answers.append(shared.qparams("percentile"))
                pickle.loads(pickle.dumps(shared))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(x[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(answers) == 64
    assert content(shared) == content(calibrated(x))


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


# ---- stability --------------------------------------------------------------------------------------


def test_stability(rng):
    x = rng.normal(size=(20, 1000)).astype(np.float32)
    c = calibrated(*x)
    (low, high), (low_a, high_a), (low_b, high_b) = (
        [end.item() for end in calibrated(part).qparams("mse").range] for part in (x, x[::2], x[1::2])
    )
    moved = max(abs(low_a - low_b), abs(high_a - high_b)) / (high - low)
    assert c.stability("mse") == pytest.approx(moved, rel=1e-6)
    assert calibrated(*[x[0]] * 4).stability() == 0
    assert calibrated(x[0], 3 * x[0]).stability() == pytest.approx(1 / 3, rel=0.1)
    channels = calibrated(*np.stack([x, np.concatenate([x[:1], 9 * x[1:]])], axis=-1)[:2], axis=1)
    assert channels.stability() > 0.4  # the worst channel's
    for calibrator in (ql.Calibrator(), calibrated(x)):
        with pytest.raises(ValueError, match=r"^method: expected "):
            calibrator.stability()


# ---- JSON -------------------------------------------------------------------------------------------


def small(**arguments):
    x = np.float32([[0, 1.5, -2], [3, 0, 1e-3], [7, -0.25, 0]])
    return calibrated(x, x[:2] * 3, bins=128, **arguments)


@pytest.mark.parametrize("arguments", [{}, {"axis": 1}, {"axis": -1, "momentum": 0.25}])
def test_json_and_pickle_keep_everything(rng, arguments):
    for c in (small(**arguments), ql.Calibrator(**arguments), calibrated(rng.normal(size=(500, 3)), **arguments)):
        for twin in (ql.Calibrator.from_json(c.to_json()), pickle.loads(pickle.dumps(c))):
            assert twin.to_json() == c.to_json() and repr(twin) == repr(c)
            more = rng.normal(size=(50, 3))
            assert twin.update(more).to_json() == pickle.loads(pickle.dumps(c)).update(more).to_json()
            assert twin.stability() == pickle.loads(pickle.dumps(c)).update(more).stability() if c.count else True
            if c.count and not arguments.get("momentum"):
                again = calibrated(more, bins=c._bins, **arguments)
                assert content(twin.merge(c)) == content(again.merge(c).merge(c))
    assert json.loads(small().to_json())["format"] == "qlite calibrator 1"
    assert len(calibrated(np.ones(10**5)).to_json()) < 1000  # empty bins are left out


@pytest.mark.parametrize("arguments", [{}, {"axis": 1, "momentum": 0.25}])
def test_damaged_json(arguments):
    """Cut anywhere it is refused; with another number it is refused, or a state that answers."""
    text = small(**arguments).to_json()
    for length in range(len(text)):
        with pytest.raises(ValueError, match=r"^text: expected what Calibrator.to_json"):
            ql.Calibrator.from_json(text[:length])
    number = re.compile(r"(?<=[\[:,])(-?[\d.]+(e[-+]?\d+)?|null)(?=[,\]}])")
    refused, taken = 0, 0
    for match in number.finditer(text):
        for other in (
            "-1",
            "0",
            "1",
            "2.5",
            "1e30",
            "-1e300",
            "9223372036854775807",
            "1e999",
            "null",
            '"1"',
            "true",
            "[]",
        ):
            changed = text[: match.start()] + other + text[match.end() :]
            try:
                c = ql.Calibrator.from_json(changed)
            except ValueError as error:
                assert str(error).startswith("text: expected what Calibrator.to_json() writes, got ")
                refused += 1
                continue
            taken += 1
            if c.count:
                for method in METHODS:
                    p = c.qparams(method)
                    assert np.all(np.isfinite(p.scale)), changed
            assert isinstance(repr(c), str)
            ql.Calibrator.from_json(c.to_json())
    assert refused > 5 * taken  # such as another axis, or the same number again


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '"text"', "1", '{"format": "qlite calibrator 2"}', "{" * 10**5]
)
def test_json_of_something_else(text):
    for form in (text, text.encode()):
        with pytest.raises(ValueError, match=r"^text: expected what Calibrator.to_json"):
            ql.Calibrator.from_json(form)
    for other in (None, 3, {}):
        with pytest.raises(TypeError, match=r"^text: expected a string, got "):
            ql.Calibrator.from_json(other)


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


# ---- every grid -------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 1])
@pytest.mark.parametrize("method", METHODS)
def test_every_uniform_grid(rng, method, axis):
    x = rng.laplace(0.2, 1, (4000, 3)).astype(np.float32)
    c = calibrated(x[:1000], x[1000:], axis=axis)
    for bits in UNIFORM_BITS if axis is None else (1, 4, 8):
        for symmetric in (True, False):
            for dtype in ("float32", "float16", "e8m0"):
                options = {"symmetric": symmetric, "scale_dtype": dtype}
                p = c.qparams(method, bits, **options)
                assert (p.bits, p.axis, p.scale_dtype) == (bits, axis, dtype)
                assert p == ql.choose_qparams(x, bits, method=method, axis=axis, **options) or bits == 1
                if method == "mse" and 2 <= bits <= 8:  # more codes are finer than the bins
                    assert sqnr_db(x, p) >= sqnr_db(x, c.qparams("minmax", bits, **options)) - SEARCH_DB, (
                        bits,
                        options,
                    )


@pytest.mark.parametrize("axis", [None, 1])
@pytest.mark.parametrize("grid", [*CODEBOOKS, [-1.0, -0.1, 0.0, 0.1, 1.0]], ids=str)
def test_every_codebook(rng, grid, axis):
    x = rng.laplace(0.2, 1, (4000, 3)).astype(np.float32)
    c = calibrated(x[:1000], x[1000:], axis=axis)
    answers = {method: c.qparams(method, grid=grid) for method in METHODS if method != "entropy"}
    for method, p in answers.items():
        assert p.codebook is not None and p.axis == axis and p.grid == (grid if isinstance(grid, str) else "codebook")
        if grid != "sign":
            assert p == ql.choose_qparams(x, grid=grid, method=method, axis=axis)
    assert sqnr_db(x, answers["mse"]) >= sqnr_db(x, answers["minmax"]) - SEARCH_DB
    if grid != "sign":
        with pytest.raises(ValueError, match=r"^method: expected another one than 'entropy'.*got "):
            c.qparams("entropy", grid=grid)


def test_the_sign_is_that_of_the_sample(rng):
    x = rng.laplace(size=10_000).astype(np.float32)
    p = calibrated(x).qparams("mse", 1, symmetric=True)
    np.testing.assert_allclose(p.scale, np.abs(x).mean(), rtol=BIN_TOLERANCE)
    zeros = calibrated(np.zeros(5)).qparams("mse", 1, symmetric=True)
    assert zeros.scale == np.finfo(np.float32).smallest_normal


@pytest.mark.parametrize("sample", ["normal", "laplace"])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_fitted_codebooks_of_the_state(rng, sample, bits):
    x = getattr(rng, sample)(size=60_000).astype(np.float32)
    c = calibrated(*np.split(x, 10))
    p = c.qparams(bits=bits, grid="kmeans")
    best = ql.choose_qparams(x, bits, grid="kmeans")
    assert p.codebook.shape == best.codebook.shape == (1, 2**bits)
    assert sqnr_db(x, p) >= sqnr_db(x, best) - FITTED_DB
    shares = (
        np.bincount(ql.quantize(x, c.qparams(bits=bits, grid="quantile")).codes, minlength=2**bits) * 2**bits / x.size
    )
    assert shares.min() > 0.2 and shares.max() < 2.5


def test_fitted_codebooks_of_channels(rng):
    x = rng.normal(size=(3000, 2)).astype(np.float32) * np.float32([1, 100])
    for grid in FITTED:
        p = calibrated(x, axis=1).qparams(bits=3, grid=grid)
        assert p.codebook.shape == (1, 2, 8)
        for channel in range(2):
            same_bytes(
                p.codebook[0, channel], calibrated(x[:, channel], bins=2048).qparams(bits=3, grid=grid).codebook[0]
            )


@pytest.mark.parametrize("grid", BLOCKS)
def test_block_formats_are_for_arrays(grid):
    with pytest.raises(ValueError, match=rf"^grid: expected one without groups, got '{grid}'"):
        small().qparams(grid=grid)


def pairs(x, y):
    """A loader of (inputs, labels), as PyTorch's and TensorFlow's give them."""
    return ([x[i : i + 2], y[i : i + 2]] for i in range(0, len(x), 2))


def test_case_i_names_of_files_are_no_data():
    for name in ("file.npy", b"file.npy"):
        with pytest.raises(TypeError, match=r"^data: expected arrays, got b?'file\.npy': numpy\.load opens files"):
            ql.Calibrator.from_data(name)


def test_buffers_are_one_batch():
    data = array.array("f", [1, 2, 3])
    for batch in (data, memoryview(data)):
        assert ql.Calibrator.from_data(batch).to_json() == ql.Calibrator().update(np.float32([1, 2, 3])).to_json()


def test_case_j_pairs_and_dicts_need_a_word_from_the_user():
    x, y = np.ones((8, 1), np.float32), np.full((8, 1), 9, np.float32)
    for data in (pairs(x, y), lambda: pairs(x, y), [(x, y)], [{"x": x, "y": y}], [[x, y[:, 0]]]):
        with pytest.raises(TypeError, match=r"^batch: expected an array, got a (list|tuple|dict).*batch\["):
            ql.Calibrator.from_data(data)
    for data in ({"x": x}, lambda: {"x": x}):
        with pytest.raises(TypeError, match=r"^data: expected an array, got a dict: choose one, such as data\['x'\]"):
            ql.Calibrator.from_data(data)
    for batch in ((x, y), [x, x], {"x": x}):
        with pytest.raises(TypeError, match=r"^batch: expected an array"):
            ql.Calibrator().update(batch)
    for data in ((x for x, _ in pairs(x, y)), [x, x[:0]], (x,), [x.tolist()], x.tolist(), [1.0] * 7 + [np.float32(1)]):
        assert repr(ql.Calibrator.from_data(data)).startswith("Calibrator(8 values in [1, 1]")
