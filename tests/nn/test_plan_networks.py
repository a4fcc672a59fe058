"""Plans of networks with convolutions and branches: the memory that they run in, and the same bits however the samples
are cut into blocks and the steps into work for threads."""

import numpy as np
import pytest
import reference
from networks import zoo
from networks.qlite_model import qlite_model
from samples import same_bytes

import qlite as ql

SMALL = (zoo.small_cnn, zoo.ds_cnn, zoo.resnet_8, zoo.mobilenet_v1_025)
MOBILE = tuple(make for make in zoo.MOBILE if make is not zoo.transformer)  # which runs in floats between its products
#: What a call may take next to the most that lives at one time, and the bytes beside it for windows and row sums.
SLACK, BESIDE = 1.15, 2**20


def quantized(make):
    """An int8 network, and its input's shape."""
    network = make()
    data = np.random.default_rng(0).normal(size=(2, *network.input_shape)).astype(np.float32)
    return ql.quantize_model(qlite_model(network), data=data), network.input_shape


@pytest.fixture
def threads_as_before():
    yield
    ql.set_num_threads(None)


@pytest.mark.parametrize("make", SMALL, ids=lambda make: make.__name__)
def test_any_number_of_threads_and_samples_gives_the_same_bits(isa, rng, threads_as_before, make):
    model, shape = quantized(make)
    ql.set_num_threads(1)
    count = 2 * model.plan.rows + 3
    x = rng.normal(size=(count, *shape)).astype(np.float32)
    expected = np.concatenate([model(x[i : i + 1]) for i in range(count)])
    (output,) = model.program.outputs
    same_bytes(model.intermediates(x)[model.program.buffers[output].name], expected)
    for threads in (1, 2, 3, 16):
        ql.set_num_threads(threads)
        for samples in (1, 2, 5, model.plan.rows, model.plan.rows + 1, count):
            same_bytes(model(x[:samples]), expected[:samples])


def most_alive(program, samples):
    """The most bytes that buffers in no caller's memory take at one step, each with a place of its own."""
    ends = {*program.inputs, *program.outputs}
    begin = {step.output: now for now, step in enumerate(program.steps)}
    end = begin | {i: now for now, step in enumerate(program.steps) for i in step.inputs}

    def nbytes(i):
        b = program.buffers[i]
        return samples * int(np.prod(b.shape)) * np.dtype(b.dtype).itemsize

    inside = [i for i in begin if i not in ends]
    return max(sum(nbytes(i) for i in inside if begin[i] <= now <= end[i]) for now in range(len(program.steps)))


@pytest.mark.parametrize("target", ["numpy", "tflite", "tflm"])
@pytest.mark.parametrize("make", MOBILE, ids=lambda make: make.__name__)
def test_every_value_of_a_network_is_the_references(rng, make, target):
    """Of all the operators that phones run, by the rules of each runtime."""
    network = make()
    model = ql.quantize_model(qlite_model(network), data=network.images(2), target=target)
    values = reference.evaluate(model.program, network.images(1, seed=1))
    got = model.intermediates(network.images(1, seed=1))
    for buffer, expected in zip(model.program.buffers, values, strict=True):
        same_bytes(got[buffer.name], expected)


@pytest.mark.parametrize("make", zoo.NETWORKS + MOBILE, ids=lambda make: make.__name__)
def test_memory(make):
    model, _ = quantized(make)
    plan = model.plan
    assert plan.workspace_nbytes <= SLACK * most_alive(model.program, plan.rows) + BESIDE


def test_times(rng):
    """Most of a network's time goes into its convolutions, and a reshaping costs none."""
    model, shape = quantized(zoo.small_cnn)
    x = rng.normal(size=(50, *shape)).astype(np.float32)
    y, seconds = model.plan.timed(x)
    same_bytes(y, model(x))
    by_kind = {}
    for step, took in zip(model.program.steps, seconds, strict=True):
        by_kind[step.kind] = by_kind.get(step.kind, 0) + took
    assert by_kind["conv"] > sum(by_kind.values()) / 2
    assert by_kind["reshape"] < sum(by_kind.values()) / 50
