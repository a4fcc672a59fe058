"""The grids that a model was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from qlite.grids.qparams import QParams


@dataclass(frozen=True)
class ModelGrids:
    """Scales and zero points that came out of training, with which a model becomes integers without data.

    Attributes
    ----------
    scheme : str
    per_layer : dict of str
        Layers that have another scheme, by name.
    weights : dict of QParams
        Of every layer whose weights become codes, by name.
    activations : dict of QParams
        Of every activation that becomes codes, by the name of its buffer.
    """

    scheme: str
    per_layer: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, QParams] = field(default_factory=dict)
    activations: Mapping[str, QParams] = field(default_factory=dict)
