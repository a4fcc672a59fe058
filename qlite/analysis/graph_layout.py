"""Where the boxes of a graph stand: in ranks from the top down, and in lanes.

A node's rank is the length of the longest path to it. The longest path of all is a straight line, the spine. What is
beside it stands in lanes, which are straight lines too: a branch node by node, and what passes ranks on its way to a
reader further down. Lines thus bend between ranks only, where no box is in their way. Shorter lanes are nearer to the
spine, so that nested connections are drawn nested.

Why not order the places of each rank by what they are joined with (Sugiyama, Tagawa and Toda 1981): it has fewer
crossings in graphs of any kind, but bends the chains and residual connections that networks are made of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: A place in a rank: the node that stands there, or (source, rank) where its value passes.
Place = str | tuple[str, int]
#: The lane of the longest path.
SPINE = 0


@dataclass
class Lane:
    """Places of ranks that follow one another, one above the other."""

    places: dict[int, Place] = field(default_factory=dict)  # by rank
    is_left: bool = False
    distance: int = 0  # from the spine in the order of nodes


@dataclass(frozen=True)
class Layout:
    """Ranks and lanes of nodes, the spine the first lane, and the places that a line from node to node goes through."""

    ranks: dict[Place, int]
    lanes: list[Lane]
    routes: dict[tuple[str, str], list[Place]]

    def columns(self, widths: Sequence[float], gap: float) -> list[float]:
        """Return the centre of each lane, of lanes of these widths."""
        centres = [0.0] * len(self.lanes)
        ends: dict[tuple[bool, int], float] = {}  # of what is taken on a side of the spine, by rank
        inner_first = sorted(range(1, len(self.lanes)), key=lambda i: self._order(self.lanes[i]))
        for i in inner_first:
            lane = self.lanes[i]
            taken = max(ends.get((lane.is_left, rank), widths[SPINE] / 2) for rank in lane.places)
            centre = taken + gap + widths[i] / 2
            centres[i] = -centre if lane.is_left else centre
            ends |= {(lane.is_left, rank): centre + widths[i] / 2 for rank in lane.places}
        return centres

    @staticmethod
    def _order(lane: Lane) -> tuple[int, int, int]:
        return len(lane.places), lane.distance, min(lane.places)


def layout(sources: Mapping[str, Sequence[str]]) -> Layout:
    """Lay out nodes, given by what each reads, in an order in which each reads what came before."""
    ranks = _ranks(sources)
    lanes, lane_of, continued = _lanes_of_nodes(sources, ranks)
    last: dict[str, int] = {}  # the rank of a value's last reader
    for node, read in sources.items():
        for source in read:
            last[source] = max(last.get(source, 0), ranks[node])
    for source, end in last.items():
        passed: dict[int, Place] = {rank: (source, rank) for rank in range(ranks[source] + 1, end)}
        if passed and (lane_of[source] == SPINE or end > continued.get(source, end)):
            lanes.append(Lane(passed))
        else:
            lanes[lane_of[source]].places |= passed
    order = {node: i for i, node in enumerate(sources)}
    spine = lanes[SPINE].places
    for lane in lanes[1:]:
        nodes = [(rank, place) for rank, place in lane.places.items() if isinstance(place, str)]
        if nodes:
            rank, first = min(nodes)
            before = order[str(spine[rank])] - order[first]
            lane.is_left, lane.distance = before > 0, abs(before)
    routes: dict[tuple[str, str], list[Place]] = {
        (source, node): [source, *((source, rank) for rank in range(ranks[source] + 1, ranks[node])), node]
        for node, read in sources.items()
        for source in read
    }
    return Layout({place: rank for lane in lanes for rank, place in lane.places.items()}, lanes, routes)


def _ranks(sources: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The longest path to each node; inputs stand right above their first reader."""
    ranks: dict[str, int] = {}
    for node, read in sources.items():
        ranks[node] = 1 + max((ranks[source] for source in read), default=-1)
    for node in [node for node, read in sources.items() if not read]:
        ranks[node] = min((ranks[reader] for reader, read in sources.items() if node in read), default=1) - 1
    return ranks


def _lanes_of_nodes(
    sources: Mapping[str, Sequence[str]], ranks: Mapping[str, int]
) -> tuple[list[Lane], dict[str, int], dict[str, int]]:
    """Lanes, the lane of each node, and the rank of the node that continues a node's lane."""
    node = max(sources, key=lambda node: ranks[node])
    spine = {node: SPINE}
    while above := [source for source in sources[node] if ranks[source] == ranks[node] - 1]:
        node = next((source for source in above if sources[source]), above[0])  # an input has no longest path above it
        spine[node] = SPINE
    lanes = [Lane({ranks[node]: node for node in reversed(spine)})]
    lane_of, continued = dict(spine), dict[str, int]()
    for node, read in sources.items():
        if node in spine:
            continue
        before = next((source for source in read if source not in spine and source not in continued), None)
        if before is None:
            lane_of[node] = len(lanes)
            lanes.append(Lane())
        else:
            lane_of[node], continued[before] = lane_of[before], ranks[node]
        lanes[lane_of[node]].places[ranks[node]] = node
    return lanes, lane_of, continued
