"""How close to the optimum a grid comes that is chosen from the streaming state alone.

A sample of a Gaussian and one of a Laplacian pass through a `Calibrator` in batches. Its answers (least squared error
on a symmetric narrow and on an asymmetric full grid; the k-means codebook) are held against the best that the same
sample allows on the same grid, found by brute force: see `optimum.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

import qlite as ql

from . import optimum, peers

PROMISE_DB = 0.01
SEARCH_DB = 0.0005  # by which the brute force may itself miss the optimum; more says that it is at fault
SIZE, BATCHES, SEED = 1_000_000, 10, 1
BITS = range(2, 9)


@dataclass(frozen=True)
class Distribution:
    """Of variance 1: how to draw it, where the cube root of its density has its quantiles, and what theory says.

    In dB for 2 to 8 bits. `max_uniform`: the best 2^bits levels at equal distances (Max, 1960); `narrow`, `full`: the
    best grids of codes that hold 0; `lloyd_max`: the best codebook (Lloyd, 1957; Max, 1960). The cube root is how dense
    the best levels are when there are many (Panter and Dite, 1951).
    """

    name: str
    draw: Callable[[np.random.Generator], np.ndarray]
    companded: Callable[[np.ndarray], np.ndarray]
    max_uniform: tuple[float, ...]
    narrow: tuple[float, ...]
    full: tuple[float, ...]
    lloyd_max: tuple[float, ...]


def gaussian_companded(quantiles):
    return np.sqrt(3) * np.array([NormalDist().inv_cdf(quantile) for quantile in quantiles])


def laplacian_companded(quantiles):
    return np.sqrt(4.5) * np.where(quantiles < 0.5, np.log(2 * quantiles), -np.log(2 - 2 * quantiles))


DISTRIBUTIONS = (
    Distribution(
        "Gaussian",
        lambda rng: rng.standard_normal(SIZE),
        gaussian_companded,
        max_uniform=(9.250, 14.267, 19.377, 24.565, 29.829, 35.167, 40.571),
        narrow=(7.208, 13.292, 18.898, 24.326, 29.709, 35.106, 40.540),
        full=(8.256, 13.911, 19.258, 24.527, 29.818, 35.163, 40.570),
        lloyd_max=(9.300, 14.616, 20.222, 26.012, 31.910, 37.865, 43.853),
    ),
    Distribution(
        "Laplacian",
        lambda rng: rng.laplace(0, np.sqrt(0.5), SIZE),
        laplacian_companded,
        max_uniform=(7.071, 11.442, 15.960, 20.598, 25.356, 30.229, 35.208),
        narrow=(5.780, 10.805, 15.623, 20.417, 25.259, 30.178, 35.181),
        full=(6.840, 11.427, 15.976, 20.609, 25.361, 30.231, 35.209),
        lloyd_max=(7.540, 12.638, 18.133, 23.870, 29.743, 35.688, 41.671),
    ),
)


def verify(checks):
    """Print and check everything."""
    for distribution in DISTRIBUTIONS:
        x = distribution.draw(np.random.default_rng(SEED)).astype(np.float32)
        batches = np.array_split(x, BATCHES)
        state = ql.Calibrator()
        for batch in batches:
            state.update(batch)
        _verify_promises(checks, distribution, x, state)
        _print_peers(distribution, x, batches, state)


def _verify_promises(checks, distribution, x, state):
    print(
        f"\n{distribution.name}, {SIZE:,} values in {BATCHES} batches: dB of signal over error, from the state alone\n"
        f"{'bits  grid':25}{'theory':>9}{'optimum':>9}{'qlite':>9}{'short of it':>13}   the optimum is from"
    )
    sample = optimum.Sample(x)
    program = optimum.DynamicProgram(sample, 2 ** max(BITS))
    for name, theory, grid, search in (
        ("symmetric narrow", distribution.narrow, symmetric_narrow, narrow_optimum),
        ("asymmetric full", distribution.full, asymmetric_full, full_optimum),
        ("k-means codebook", distribution.lloyd_max, kmeans_codebook, codebook_optimum),
    ):
        for bits, in_theory in zip(BITS, theory, strict=True):
            best, source = search(sample, bits, program, distribution)
            ours, best = sqnr_db(x, ql.dequantize(ql.quantize(x, grid(state, bits)))), sample.db(best)
            text = f"{bits:4}  {name:19}{in_theory:9.3f}{best:9.4f}{ours:9.4f}{best - ours:13.4f}   {source:28}"
            checks.line(text, -SEARCH_DB <= best - ours <= PROMISE_DB)


def symmetric_narrow(state, bits):
    return state.qparams("mse", bits, symmetric=True)


def asymmetric_full(state, bits):
    return state.qparams("mse", bits, symmetric=False)


def kmeans_codebook(state, bits):
    return state.qparams(bits=bits, grid="kmeans")


def narrow_optimum(sample, bits, *_):
    qmax = 2 ** (bits - 1) - 1
    return optimum.uniform(sample, -qmax, qmax, [0]), "a search over scales"


def full_optimum(sample, bits, *_):
    codes = 2**bits
    return optimum.uniform(sample, 0, codes - 1, np.arange(codes)), "one over scales, zero points"


def codebook_optimum(sample, bits, program, distribution):
    quantiles = (np.arange(2**bits) + 0.5) / 2**bits
    starts = {
        "Lloyd from dynamic program": program.levels(2**bits),
        "Lloyd from theory": distribution.companded(quantiles),
        "Lloyd from quantiles": np.quantile(sample.values, quantiles),
    }
    return optimum.codebook(sample, starts)


def _print_peers(distribution, x, batches, state):
    contenders = peers.all_of_them()
    print(
        f"\n{distribution.name}: the same beside theory and the calibrators of others, in dB\n"
        f"{'':16}{'bits':>4}" + "".join(f"{bits:9}" for bits in BITS)
    )
    theory = {"Lloyd-Max": distribution.lloyd_max, "Max uniform": distribution.max_uniform}
    ours = {"qlite k-means": kmeans_codebook, "qlite mse": asymmetric_full, "  symmetric": symmetric_narrow}
    for name, row in theory.items():
        print(_peer_line(name, row))
    for name, grid in ours.items():
        print(_peer_line(name, [sqnr_db(x, ql.fake_quantize(x, grid(state, bits))) for bits in BITS]))
    for name, grid in contenders.items():
        print(_peer_line(name, [sqnr_db(x, on_grid(x, *grid(batches, bits))) for bits in BITS]))
    for note in peers.NOTES:
        print(note)


def _peer_line(name, row):
    return f"{name:20}" + "".join(f"{db:9.3f}" for db in row)


def sqnr_db(x, approximate):
    x = x.astype(np.float64)
    return 10 * np.log10(np.square(x).sum() / np.square(x - approximate).sum())


def on_grid(x, scale, zero_point, qmin, qmax):
    """The values nearest to x on a uniform grid, in plain NumPy."""
    codes = np.clip(np.rint(x / np.float32(scale)) + zero_point, qmin, qmax)
    return (codes - zero_point) * np.float64(scale)
