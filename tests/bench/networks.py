"""Whole networks of 8-bit integers, float32 in and out, next to the peers' integers and floats.

Weights are random, and fixed. All contenders compute the same network: floats have to agree before they are timed.
"""

from functools import cache, partial

from ..networks import zoo
from .report import Bench
from .tasks import Goal, Task, best_of
from .works_networks import DYNAMIC, FLOATS, INT8, QLITE, TOLERANCE, TORCH, Case

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
# The same of networks for one sample at a time, with their scheme and the peers' integers of it
MOBILE = (
    (zoo.face_detector, 1.1, 1.5, "w8a8", INT8),
    (zoo.iris_landmarks, 1.2, 1.5, "w8a8", INT8),
    (zoo.segmenter, 1.5, 1.5, "w8a8", INT8),
    (zoo.u_net, 1.1, 2.0, "w8a8", INT8),
    (zoo.transformer, 1.2, 1.5, "dynamic", DYNAMIC),
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
    for make, *least in NETWORKS:
        network = make()
        yield from (_task(network, batch, *least) for batch in BATCHES)
    for make, *least in MOBILE:
        yield _task(make(), 1, *least)


def _task(network, batch, to_integers, least, scheme="w8a8", integers=INT8):
    return Task(
        f"{network.name}, batch {batch}",
        cache(partial(Case, network, batch, scheme)),
        batch * network.operations,
        QLITE,
        integers,
        ALL_FLOATS,
        target=to_integers,
        goals=(
            Goal("to floats", to_floats, least=least),
            Goal("of minima", minimum(integers)),
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
