"""The best that a sample allows, by brute force: nothing here is shared with qlite.

Every error is exact for the sample: once it is sorted, the values that go to one of ascending levels are a stretch
between two thresholds, whose squared error follows from prefix sums.

Codebooks are within 0.0001 dB of the best one: a second dynamic program over every single value around the thresholds
that were found gained no more, for 256 levels of 10^6 Gaussian values. Lloyd's algorithm alone is up to 0.08 dB short,
wherever it starts: it stops at the first gap between values that no threshold crosses.
"""

import numpy as np

SCALES = 128  # of a search's first round, each 3 % over the one before
FINALISTS = 12  # pairs of a scale and a zero point that a first round hands on
ROUND = 65  # scales around each of them in a later round, over two steps of the round before
ROUNDS = 3
EDGES = 65_536  # between which a dynamic program looks for thresholds: 256 for each of 256 levels
MOST_STEPS = 200_000  # of Lloyd's algorithm, which needs some thousands for 256 levels


class Sample:
    """A sample, sorted, with its prefix sums in float64."""

    def __init__(self, values):
        self.values = np.sort(values.astype(np.float64), axis=None)
        self.power = np.square(self.values).sum()
        self._sums = np.concatenate([[0.0], np.cumsum(self.values)])

    def __len__(self):
        return len(self.values)

    def ranks(self, levels):
        """How many values lie below each threshold halfway between neighbouring levels, with 0 and all at the ends."""
        between = (levels[..., 1:] + levels[..., :-1]) / 2
        ranks = np.empty((*levels.shape[:-1], levels.shape[-1] + 1), np.intp)
        ranks[..., 0], ranks[..., -1] = 0, len(self)
        ranks[..., 1:-1] = np.searchsorted(self.values, between)
        return ranks

    def moments(self, ranks):
        """Count and sum of the values of each stretch."""
        return np.diff(ranks).astype(np.float64), np.diff(self._sums[ranks])

    def error(self, levels):
        """The squared error when each value goes to the nearest of ascending levels (..., entries)."""
        counts, sums = self.moments(self.ranks(levels))
        return self.power + (levels * (levels * counts - 2 * sums)).sum(axis=-1)

    def db(self, error):
        """A squared error as a signal-to-noise ratio in dB."""
        return 10 * np.log10(self.power / error)


def uniform(sample, qmin, qmax, zero_points):
    """The least squared error on scale * (code - zero_point), over all scales and the given zero points."""
    codes = np.arange(qmin, qmax + 1)
    steps = codes - np.asarray(zero_points)[:, None]
    largest = 2 * np.ptp(sample.values) / (qmax - qmin)
    scales = largest * 1.03 ** -np.arange(SCALES)
    pairs = np.stack(np.meshgrid(scales, np.arange(len(steps)), indexing="ij"), axis=-1).reshape(-1, 2)
    width = 1.03
    for _ in range(ROUNDS):
        errors = np.concatenate([_errors(sample, part, steps) for part in np.array_split(pairs, len(pairs) // 256 + 1)])
        best = pairs[np.argsort(errors)[:FINALISTS]]
        around = width ** np.linspace(-1, 1, ROUND)
        pairs = np.stack([best[:, :1] * around, np.broadcast_to(best[:, 1:], (len(best), ROUND))], -1).reshape(-1, 2)
        width **= 4 / ROUND
    return errors.min()


def _errors(sample, pairs, steps):
    return sample.error(pairs[:, :1] * steps[pairs[:, 1].astype(np.intp)])


def codebook(sample, starts):
    """The least squared error of a codebook that Lloyd's algorithm comes to from any of `starts`, and from which."""
    errors = {name: sample.error(lloyd(sample, levels)) for name, levels in starts.items()}
    best = min(errors, key=errors.get)
    return errors[best], best


def lloyd(sample, levels):
    """Levels to the means of what goes to them, until no value changes sides."""
    before = None
    for _ in range(MOST_STEPS):
        ranks = sample.ranks(levels)
        if before is not None and np.array_equal(ranks, before):
            return levels
        counts, sums = sample.moments(ranks)
        levels = np.where(counts > 0, sums / np.maximum(counts, 1), levels)
        before = ranks
    raise RuntimeError(f"Lloyd's algorithm still moves after {MOST_STEPS} steps")


class DynamicProgram:
    """For every number of levels up to `most` the best thresholds among EDGES, whose density is that of the optimum.

    That is the cube root of the sample's own density (Panter and Dite, 1951). Best thresholds move up with the end of
    what they part, so that those of the middle bound those of both halves (divide and conquer).
    """

    def __init__(self, sample, most):
        counts, places = np.histogram(sample.values, EDGES)
        density = np.concatenate([[0.0], np.cumsum(np.cbrt(counts))])
        edges = np.interp(np.linspace(0, density[-1], EDGES + 1), density, places)
        self._sample = sample
        ranks = np.searchsorted(sample.values, edges)
        self._ranks = np.unique(np.concatenate([[0], ranks, [len(sample)]]))
        self._sums = sample._sums[self._ranks]
        ends = np.arange(len(self._ranks))
        errors, self._cuts = self._gain(0, ends), []
        for _ in range(1, most):
            errors, cut = self._layer(errors)
            self._cuts.append(cut)

    def levels(self, entries):
        """The means of the stretches that the best thresholds leave."""
        cuts = [len(self._ranks) - 1]
        for cut in reversed(self._cuts[: entries - 1]):
            cuts.append(cut[cuts[-1]])
        ranks = self._ranks[[0, *reversed(cuts)]]
        counts, sums = self._sample.moments(ranks)
        return sums / counts

    def _gain(self, begin, end):
        """What a stretch adds to the error beyond its sum of squares, which all parts of the sample have in common."""
        counts = self._ranks[end] - self._ranks[begin]
        return -np.square(self._sums[end] - self._sums[begin]) / np.maximum(counts, 1)

    def _layer(self, errors):
        """The errors with one level more, for each end, and where its last stretch begins."""
        ends_number = len(errors)
        best, cut = np.zeros(ends_number), np.zeros(ends_number, np.intp)
        bounds = np.zeros(ends_number + 2, np.intp)  # of end i at i + 1, between those of nothing and of anything
        bounds[-1] = ends_number - 1
        step = 1 << ends_number.bit_length() - 1
        while step:
            places = np.arange(step, ends_number + 1, 2 * step)
            ends = places - 1
            low = bounds[places - step]
            high = np.minimum(bounds[np.minimum(places + step, ends_number + 1)], ends)
            lengths = high - low + 1
            first = np.cumsum(lengths) - lengths
            begins = np.arange(lengths.sum()) - np.repeat(first - low, lengths)
            values = errors[begins] + self._gain(begins, np.repeat(ends, lengths))
            best[ends] = np.minimum.reduceat(values, first)
            hits = np.flatnonzero(values == np.repeat(best[ends], lengths))
            cut[ends] = bounds[places] = begins[hits[np.searchsorted(hits, first)]]
            step //= 2
        return best, cut
