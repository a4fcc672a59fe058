from dataclasses import dataclass, field
from qlite.grids.qparams import QParams


@dataclass(frozen=True)
class ModelGrids:
    scheme: str
    per_layer: dict[str, str]
    weights: dict[str, QParams]
    activations: dict[str, QParams]
