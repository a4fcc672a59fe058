"""Whole networks of 8-bit integers, float32 in and out, next to the peers' integers and floats.

Weights are random. All contenders compute the same network: floats have to agree before they are timed.
"""

from functools import cache, partial

from ..networks import zoo
from .report import Bench
from .tasks import Goal, Task, best_of
from .works_networks import FLOATS, INT8, QLITE, TOLERANCE, TORCH, Case

BATCHES = (1, 8)
# The network; the ratios to the best peer's integers, and to the best floats, that are to be reached
NETWORKS = (
    (zoo.mobilenet_v2, 1.15, 2.5),
    (zoo.mobilenet_v1_025, 1.3, 3.0),
    (zoo.resnet_8, 1.3, 3.0),
    (zoo.ds_cnn, 1.3, 2.0),
    (zoo.resnet_18, 1.0, 2.5),
    (zoo.small_cnn, 1.3, 3.0),
)
ALL_FLOATS = (*FLOATS, TORCH)


def to_floats(times):
    return best_of(ALL_FLOATS, QLITE, times)[0]


def minimum(peers):
    """The ratio of minima: what a machine that others use too still shows."""

    def ratio(times):
        minima = [times[peer.name].min for peer in peers if peer.name in times]
        return min(minima) / times[QLITE.name].min if minima else None

    return ratio


def tasks():
    for make, to_integers, least in NETWORKS:
        network = make()
        for batch in BATCHES:
            yield Task(
                f"{network.name}, batch {batch}",
                cache(partial(Case, network, batch)),
                batch * network.operations,
                QLITE,
                INT8,
                ALL_FLOATS,
                target=to_integers,
                goals=(
                    Goal("to floats", to_floats, least=least),
                    Goal("of minima", minimum(INT8)),
                    Goal("of floats' minima", minimum(ALL_FLOATS)),
                ),
                tolerance=TOLERANCE,
            )


BENCH = Bench(
    title="Networks of 8-bit integers",
    unit="GOPS = 10^9 multiplications and additions a second",
    tasks=tasks(),
    notes=("Ratios and those to floats are of medians.",),
)
