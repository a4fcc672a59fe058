"""Convolutions of one image, uint8 codes by int8 weights into uint8 codes.

Every contender has its channels where it wants them, last or first, weights prepared, and bias and requantization in
the same call. Where the stride is 2 LiteRT, whose own padding would be another, gets an image that is padded already.
"""

from . import limits, works_conv
from .limits import ISA
from .report import Bench
from .tasks import Goal, Task, times_as_long
from .works_conv import OURS, PEERS, TOLERANCE, Layer

# label: the layer; the share of the peak, 10^9 operations a second, and the ratio to the best peer to be reached
LAYERS = {
    "3x3, 56x56x64 -> 64": (Layer(56, 64, 64), 0.88, None, 1.05),
    "3x3 depthwise, 112x112x32": (Layer(112, 32, 32, groups=32), None, 200, 3.5),
    "1x1, 56x56x64 -> 128": (Layer(56, 64, 128, window=1), None, None, None),
    "3x3 stride 2, 224x224x3 -> 32": (Layer(224, 3, 32, stride=2), None, None, None),
}
# The ratios on tiles, for those that use them and those that do not
RATIOS_BESIDE_TILES = {"3x3, 56x56x64 -> 64": 1.2, "3x3 depthwise, 112x112x32": 1.5, "1x1, 56x56x64 -> 128": 1.2}


def speed(operations):
    """Of the kernel, without the time of a call."""
    return lambda times: operations / (times["qlite"].min - times["a call"].min) / 1e3


def tasks():
    for label, (layer, share, giga, ratio) in LAYERS.items():
        if ISA == "amxint8":
            share, giga, ratio = None, None, RATIOS_BESIDE_TILES.get(label)
        yield Task(
            label,
            lambda layer=layer: layer,
            layer.operations,
            OURS,
            PEERS,
            target=ratio,
            limit=limits.peak(layer.operations, lambda: works_conv.qlite(Layer(1, 1, 1, window=1)), share),
            goals=(Goal("GOPS", speed(layer.operations), least=giga),) if giga else (),
            tolerance=TOLERANCE,
        )


def unpacked_tasks():
    """Filters that come with the call: what laying them out costs."""
    layer = Layer(14, 256, 256)
    yield Task(
        "3x3, 14x14x256 -> 256, unpacked",
        lambda: layer,
        layer.operations,
        works_conv.INTEGER,
        works_conv.INTEGER_PEERS,
        works_conv.INTEGER_OTHERS,
        goals=(times_as_long("qlite", "packed", 1.5),),
    )


BENCH = Bench(
    title="Convolutions, u8 x s8 -> u8",
    unit="GOPS = 10^9 multiplications and additions a second",
    tasks=(task for some in (tasks, unpacked_tasks) for task in some()),
    notes=("Of the peak: without the time of a call on one pixel of one channel.",),
)
