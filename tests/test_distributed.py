"""Calibration and quantization over dask: the same bits as on one machine, also when a worker is killed."""

import itertools
import json
import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from models import extra
from shards import contents, two_shards, write_checkpoint

import qlite as ql

dask, distributed = extra("dask"), extra("distributed")
da, bag = extra("dask.array"), extra("dask.bag")


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread each; one that dies is replaced."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options, silence_logs=logging.CRITICAL) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    cluster.wait_for_workers(2)
    with distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def deadly(client, tmp_path):
    """The client of workers of which one is killed, once, at its third task of qlite's own; checks that it was."""
    marker = str(tmp_path / "killed")

    class Killer(distributed.WorkerPlugin):
        idempotent = True
        begun = 0

        def transition(self, key, start, finish, **_):
            self.begun += finish == "executing" and ("_of_batches" in str(key) or "_carry_out" in str(key))
            if self.begun == 3:
                try:
                    os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return
                os.kill(os.getpid(), signal.SIGKILL)

    before = set(client.scheduler_info()["workers"])
    client.register_plugin(Killer(), name="killer")
    yield client
    assert os.path.exists(marker)
    client.wait_for_workers(2)
    assert set(client.scheduler_info()["workers"]) != before
    client.unregister_worker_plugin("killer")


@pytest.fixture
def here():
    """Tasks run one after the other in this process."""
    with dask.config.set(scheduler="synchronous"):
        yield


def in_one_pass(x, chunks, axis):
    """A calibrator that takes in the blocks in order, each with all of the axis that is kept."""
    chunks = tuple(x.shape[i] if i == axis else n for i, n in enumerate(chunks))
    calibrator = ql.Calibrator(axis)
    firsts = (range(0, n, step) for n, step in zip(x.shape, chunks, strict=True))
    for first in itertools.product(*firsts):
        calibrator.update(x[tuple(slice(i, i + step) for i, step in zip(first, chunks, strict=True))])
    return calibrator


SHAPES = [((100, 70), (30, 20)), ((100, 70), (100, 70)), ((9,), (2,)), ((4, 5, 6), (1, 2, 3)), ((50, 3), (5, 1))]


@pytest.mark.parametrize("shape, chunks", SHAPES, ids=str)
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_the_state_is_that_of_one_pass(here, rng, shape, chunks, axis):
    x = rng.normal(size=shape).astype(np.float32)
    spread = ql.distributed.calibrate(da.from_array(x, chunks=chunks), axis)
    kept = None if axis is None else axis % x.ndim
    state, expected = (json.loads(c.to_json()) for c in (spread, in_one_pass(x, chunks, kept)))
    assert state["axis"] == axis
    assert {**state, "axis": kept} == expected
    for method in ("minmax", "percentile", "mse"):
        assert spread.qparams(method) == ql.Calibrator.from_data(x, kept).qparams(method)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 65])
def test_batches_keep_their_halves_whatever_the_tree(here, rng, count):
    batches = [rng.normal(size=rng.integers(0, 4)) for _ in range(count)]
    expected = ql.Calibrator()
    for batch in batches:
        expected.update(batch)
    for data in ([dask.delayed(b) for b in batches], bag.from_sequence(batches, npartitions=3)):
        assert ql.distributed.calibrate(data).to_json() == expected.to_json()
    if count > 8:
        assert ql.distributed.calibrate(map(dask.delayed, batches)).stability() == expected.stability()


def test_bins_and_blocks_without_values(here, rng):
    x = rng.normal(size=(6, 3)).astype(np.float32)
    spread = da.from_array(x, chunks=((0, 2, 0, 4), (0, 2, 1)))
    for axis in (None, 0, 1):
        c = ql.distributed.calibrate(spread, axis, bins=256)
        assert c.qparams() == ql.Calibrator(axis, 256).update(x).qparams()
    assert repr(ql.distributed.calibrate(da.zeros((0, 3)), axis=1)) == "Calibrator(nothing seen, 2048 bins)"


GRIDS = [
    {},
    {"axis": 0},
    {"axis": 1, "symmetric": False},
    {"bits": 4, "axis": 0, "group_size": 8},
    {"bits": 5, "axis": 1, "group_size": 32, "symmetric": False},
    {"bits": 12, "group_size": 7, "group_axis": 0},
    {"axis": 0, "group_size": 16, "scale_dtype": "uint8"},
    {"grid": "nf4", "axis": 0, "group_size": 16},
    {"grid": "mxfp4", "axis": 0},
    {"grid": "kmeans", "bits": 3, "axis": 1},
    {"grid": "kmeans", "bits": 2},
]


@pytest.mark.parametrize("options", GRIDS, ids=str)
@pytest.mark.parametrize("chunks", [(30, 20), (100, 70), (1, 70), (33, (1, 2, 67))], ids=str)
def test_codes_are_those_of_one_machine(here, rng, options, chunks):
    x = rng.normal(size=(100, 70)).astype(np.float32)
    q = ql.quantize(x, **options)
    codes = ql.distributed.quantize(da.from_array(x, chunks=chunks), q.qparams)
    assert (codes.shape, codes.dtype) == (x.shape, q.codes.dtype)
    found = codes.compute()
    np.testing.assert_array_equal(found, q.codes)
    assert ql.QArray(found, q.qparams) == q
    last = codes[-1:, -3:].compute()
    np.testing.assert_array_equal(last, q.codes[-1:, -3:])


def test_one_grid_for_data_of_any_rank(here, rng):
    x = rng.normal(size=(4, 5, 6))
    qparams = ql.QParams(np.float32([0.1]), np.int32([0]))
    codes = ql.distributed.quantize(da.from_array(x, chunks=2), qparams).compute()
    np.testing.assert_array_equal(codes, ql.quantize(x, qparams).codes)


def test_values_that_are_not_finite(here):
    x = np.array([[1.0, np.nan], [np.inf, 0.0]])
    spread, qparams = da.from_array(x, chunks=1), ql.QParams(np.float32([0.1]), np.int32([0]))
    with pytest.raises(ValueError, match="batch: expected finite values"):
        ql.distributed.calibrate(spread)
    with pytest.raises(ValueError, match="w: expected finite values"):
        ql.distributed.quantize(spread, qparams).compute()
    codes = ql.distributed.quantize(spread, qparams, nonfinite="saturate").compute()
    np.testing.assert_array_equal(codes, ql.quantize(x, qparams, nonfinite="saturate").codes)


def test_arguments_that_are_wrong(here, rng):
    x, p = da.ones((4, 6), chunks=2), ql.QParams(np.float32([0.1]), np.int32([0]))
    for data in (3, "data", np.ones(3)):
        with pytest.raises(TypeError, match="data: expected a dask array, a bag, or delayed batches"):
            ql.distributed.calibrate(data)
    with pytest.raises(TypeError, match="data: expected a real floating dtype, got int64"):
        ql.distributed.calibrate(da.ones(3, dtype=int))
    with pytest.raises(ValueError, match="data: expected at least one batch, got none"):
        ql.distributed.calibrate([])
    with pytest.raises(ValueError, match="axis: expected -2 to 1"):
        ql.distributed.calibrate(x, axis=2)
    with pytest.raises(ValueError, match="bins: expected a power of two"):
        ql.distributed.calibrate(x, bins=3)
    with pytest.raises(TypeError, match=r"client: expected a distributed\.Client"):
        ql.distributed.calibrate(x, client="tcp://...")
    with pytest.raises(TypeError, match="x: expected a dask array, got ndarray"):
        ql.distributed.quantize(np.ones(3), p)
    with pytest.raises(TypeError, match="x: expected a real floating dtype, got int64"):
        ql.distributed.quantize(da.ones(3, dtype=int), p)
    with pytest.raises(TypeError, match="qparams: expected QParams, got int"):
        ql.distributed.quantize(x, 8)
    with pytest.raises(ValueError, match="nonfinite: expected one of"):
        ql.distributed.quantize(x, p, nonfinite="ignore")
    for shape in ((1, 5), (6,), (3, 1)):
        with pytest.raises(ValueError, match=r"qparams: expected scales that fit shape \(4, 6\), got"):
            ql.distributed.quantize(x, ql.QParams(np.ones(shape, np.float32), np.int32(0)))


def test_dask_that_is_missing_is_named(tmp_path):
    program = (
        "import sys, numpy as np, qlite as ql\n"
        "for name in ('dask', 'distributed'): sys.modules[name] = None\n"
        "p = ql.choose_qparams(np.ones(3))\n"
        "calls = (lambda: ql.distributed.calibrate([]), lambda: ql.distributed.quantize(1, p),\n"
        "         lambda: ql.quantize_checkpoint('src', 'dst', client=1))\n"
        "for call in calls:\n"
        "    try:\n        call()\n"
        "    except ImportError as error:\n        assert \"pip install 'qlite-quant[dask]'\" in str(error), error\n"
        "    else:\n        sys.exit('no error')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_calibrating_on_a_cluster(client, rng):
    x = rng.normal(size=(60, 40)).astype(np.float32)
    for axis in (None, 1):
        spread = ql.distributed.calibrate(da.from_array(x, chunks=(20, 20)), axis, client=client)
        assert spread.to_json() == in_one_pass(x, (20, 20), axis).to_json()
    with pytest.raises(ValueError, match="batch: expected finite values"):
        ql.distributed.calibrate(da.full((4, 4), np.nan, chunks=2), client=client)


def test_two_passes_while_a_worker_is_killed(deadly, rng):
    x = rng.normal(size=(60, 40)).astype(np.float32)
    blocks = deadly.persist(da.from_array(x, chunks=(10, 20)))
    distributed.wait(blocks)  # some are lost with the worker
    qparams = ql.distributed.calibrate(blocks, axis=0, client=deadly).qparams(symmetric=True)
    assert qparams == ql.choose_qparams(x, axis=0)
    codes = deadly.compute(ql.distributed.quantize(blocks, qparams)).result()
    assert ql.QArray(codes, qparams) == ql.quantize(x, axis=0)


def test_a_checkpoint_while_a_worker_is_killed(deadly, tmp_path, rng):
    shards = two_shards(rng)
    shards["model-00001-of-00002.safetensors"] |= {f"more.{i}": rng.normal(size=(64, 64)) for i in range(20)}
    src = write_checkpoint(tmp_path / "src", shards)
    spread = ql.quantize_checkpoint(src, tmp_path / "spread", client=deadly)
    alone = ql.quantize_checkpoint(src, tmp_path / "alone")
    assert contents(tmp_path / "spread") == contents(tmp_path / "alone")
    assert (spread.sqnr_db, spread.bytes_after) == (alone.sqnr_db, alone.bytes_after)


def test_a_checkpoint_on_a_cluster_is_restartable_and_says_what_is_wrong(client, tmp_path, rng):
    shards = two_shards(rng)
    shards["model-00001-of-00002.safetensors"]["embed.weight"][0, 0] = np.nan
    src = write_checkpoint(tmp_path / "src", shards)
    with pytest.raises(
        ValueError, match=r"tensor 'embed\.weight' in model-00001-of-00002\.safetensors: expected finite"
    ):
        ql.quantize_checkpoint(src, tmp_path / "dst", client=client)
    shards["model-00001-of-00002.safetensors"]["embed.weight"][0, 0] = 0
    write_checkpoint(src, {name: shards[name] for name in list(shards)[:1]})
    assert ql.quantize_checkpoint(src, tmp_path / "dst", client=client).skipped == 4
    assert ql.load(tmp_path / "dst")["embed.weight"] == ql.quantize(
        shards["model-00001-of-00002.safetensors"]["embed.weight"], axis=0
    )
