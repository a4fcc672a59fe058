"""Placement by lifetimes: nothing overlaps, and it takes little more than what is needed at the worst moment.

csrc/core/program/placement.c is built into a library of its own.
"""

import ctypes
import itertools
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SOURCE = "csrc/core/program/placement.c"
COMPILER = (sysconfig.get_config_var("CC") or "cc").split()

pytestmark = pytest.mark.skipif(
    not shutil.which(COMPILER[0]) or not (ROOT / SOURCE).exists(), reason="needs a compiler and the sources"
)


class Resident(ctypes.Structure):
    """As in placement.h."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("id", "size", "begin", "end", "offset", "trial")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Places (size, begin, end) each, checks it, and returns the bytes and the least that there could be."""
    path = tmp_path_factory.mktemp("placement") / "placement.so"
    command = [*COMPILER, "-std=c11", "-O1", "-shared", "-fPIC", f"-I{ROOT / 'csrc'}", ROOT / SOURCE, "-o", path]
    subprocess.run(command, check=True)
    ql_place = ctypes.CDLL(path).ql_place
    ql_place.restype, ql_place.argtypes = ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_size_t)

    def placed(residents):
        array = (Resident * len(residents))(*[(i, *r, 0, 0) for i, r in enumerate(residents)])
        total = ql_place(array, len(residents))
        assert sorted((r.id, r.size, r.begin, r.end) for r in array) == [(i, *r) for i, r in enumerate(residents)]
        last = max((r.end for r in array), default=-1)
        most = 0
        for now in range(last + 1):
            alive = sorted((r.offset, r.offset + r.size) for r in array if r.begin <= now <= r.end)
            for (_, end), (begin, _) in itertools.pairwise(alive):
                assert end <= begin
            most = max(most, sum(end - begin for begin, end in alive))
        assert total == max((r.offset + r.size for r in array), default=0)
        return total, most

    return placed


class Network:
    """What the steps of a network need: outputs until their last reader, scratch during the step."""

    def __init__(self, scratch=0):
        self.scratch, self.sizes, self.last_read = scratch, [], []

    def add(self, size, *inputs):
        now = len(self.sizes)
        for i in inputs:
            self.last_read[i] = now
        self.sizes.append(size)
        self.last_read.append(now)
        return now

    def residents(self):
        outputs = [(size, i, end) for i, (size, end) in enumerate(zip(self.sizes, self.last_read, strict=True))]
        return outputs + [(self.scratch, i, i) for i in range(len(self.sizes)) if self.scratch]


def mobilenet_v2(net, side):
    x, channels = net.add(side * side * 3), 32
    side //= 2
    x = net.add(side * side * channels, x)
    for factor, width, count, first_stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for stride in (first_stride, *(1,) * (count - 1)):
            y, inner, after = x, channels * factor, -(-side // stride)
            if factor > 1:
                y = net.add(side * side * inner, y)
            y = net.add(after * after * width, net.add(after * after * inner, y))
            if stride == 1 and channels == width:
                y = net.add(after * after * width, x, y)
            x, side, channels = y, after, width
    net.add(1000, net.add(1280, net.add(side * side * 1280, x)))


def resnet(net, blocks, factor):
    x = net.add(56 * 56 * 64, net.add(112 * 112 * 64, net.add(224 * 224 * 3)))
    side, channels = 56, 64
    for width, count in zip((64, 128, 256, 512), blocks, strict=True):
        for i in range(count):
            after = side // 2 if i == 0 and width > 64 else side
            skip = x
            if (after, channels) != (side, width * factor):
                skip = net.add(after * after * width * factor, x)
            y = net.add(side * side * width, x) if factor > 1 else x
            y = net.add(after * after * width * factor, net.add(after * after * width, y))
            x, side, channels = net.add(after * after * width * factor, skip, y), after, width * factor
    net.add(1000, x)


def densenet(net):
    x, side, channels = net.add(56 * 56 * 64), 56, 64
    for count in (6, 12, 24, 16):
        for _ in range(count):
            y = net.add(side * side * 32, net.add(side * side * 128, x))
            channels += 32
            x = net.add(side * side * channels, x, y)
        channels //= 2
        x = net.add((side // 2) ** 2 * channels, net.add(side * side * channels, x))
        side //= 2


def unet(net):
    x, side, channels, skips = net.add(256 * 256 * 3), 256, 32, []
    for _ in range(4):
        x = net.add(side * side * channels, net.add(side * side * channels, x))
        skips.append((x, side, channels))
        side, channels = side // 2, channels * 2
        x = net.add(side * side * channels, x)
    for skip, side, channels in reversed(skips):
        size = side * side * channels
        x = net.add(size, net.add(size, net.add(3 * size, net.add(2 * size, x), skip)))


NETWORKS = {
    "MobileNetV2 at 224": lambda net: mobilenet_v2(net, 224),
    "MobileNetV2 at 96": lambda net: mobilenet_v2(net, 96),
    "ResNet-18": lambda net: resnet(net, (2, 2, 2, 2), 1),
    "ResNet-50": lambda net: resnet(net, (3, 4, 6, 3), 4),
    "DenseNet-121": densenet,
    "U-Net": unet,
}


@pytest.mark.parametrize("scratch", [0, 50_000, 400_000])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_take_the_least(place, name, scratch):
    net = Network(scratch)
    NETWORKS[name](net)
    total, least = place(net.residents())
    assert total == least


def random_network(rng):
    net = Network(int(rng.integers(0, 20_000)))
    reach, spread = rng.uniform(0.2, 0.9), rng.choice([0.5, 1, 2])
    net.add(4096)
    for now in range(1, int(rng.integers(2, 120))):
        inputs = np.maximum(0, now - rng.geometric(reach, int(rng.integers(1, 4))))
        net.add(64 * int(1 + 160 * np.exp(spread * rng.normal())), *map(int, inputs))
    return net


#: More than the least: of all random graphs in the mean, and of the worst of them.
MEAN_EXCESS, WORST_EXCESS = 0.01, 0.15


def test_random_graphs(place):
    rng = np.random.default_rng(0)
    excess = [total / least - 1 for total, least in (place(random_network(rng).residents()) for _ in range(300))]
    assert np.mean(excess) <= MEAN_EXCESS
    assert max(excess) <= WORST_EXCESS


def test_few_residents(place):
    assert place([]) == (0, 0)
    assert place([(64, 0, 0)]) == (64, 64)
    assert place([(64, 0, 1), (128, 2, 3)]) == (128, 128)
    assert place([(64, 0, 2), (128, 2, 3)]) == (192, 192)


def test_what_lies_on_top_is_placed_again(place):
    """The largest first take 7: of the two that are needed at time 3, the small one finds its place on top."""
    assert place([(1, 2, 3), (3, 1, 2), (3, 5, 5), (3, 3, 5)]) == (6, 6)
