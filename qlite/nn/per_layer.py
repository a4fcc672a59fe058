"""Schemes of single layers, by names and patterns of names."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from qlite.nn.model import Model
from qlite.nn.scheme import Scheme
from qlite.nn.shown_names import shown_names

#: Names that an error shows.
SHOWN = 5


def own_schemes(model: Model, per_layer: Any, before: Collection[str] = ()) -> dict[str, Scheme]:
    """Return the schemes of the layers that have one of their own, checked.

    A layer's name stands before all patterns; of the patterns (``*``, ``?``, ``[seq]``) that fit, the first counts.
    `before` are the names that layers had before the model was fused, for the error.
    """
    if per_layer is None:
        return {}
    if not isinstance(per_layer, Mapping):
        raise TypeError(f"per_layer: expected a dict of schemes by layer, got {type(per_layer).__name__}")
    schemes: dict[str, Scheme] = {}
    for pattern in sorted(per_layer, key=lambda key: key not in model.names):  # which keeps the order of patterns
        scheme = _scheme(pattern, per_layer[pattern])
        for name in _layers(model, pattern, before):
            schemes.setdefault(name, scheme)
    return {name: schemes[name] for name in model.names if name in schemes}


def _scheme(pattern: Any, scheme: Any) -> Scheme:
    try:
        return Scheme.of_model("float32" if scheme is None else scheme, may_be_float=True)
    except (TypeError, ValueError) as error:
        raise type(error)(f"per_layer[{pattern!r}]: {error}") from None


def _layers(model: Model, pattern: Any, before: Collection[str]) -> list[str]:
    """The names that a pattern means, of which there is at least one."""
    if not isinstance(pattern, str):
        raise TypeError(f"per_layer: expected names of layers, got {pattern!r:.80}")
    names = [pattern] if pattern in model.names else [name for name in model.names if fnmatchcase(name, pattern)]
    if not names:
        within = [name for name in model.names if pattern in name]
        near = within[:SHOWN] or get_close_matches(pattern, model.names, SHOWN, 0.4) or model.names[:SHOWN]
        shown = shown_names(model.names)
        such = ", ".join(repr(shown[name]) for name in sorted(near))
        gone = ", which became part of others when the model was fused" if pattern in before else ""
        raise ValueError(f"per_layer: expected a layer or a pattern of layers, such as {such}, got {pattern!r}{gone}")
    return names
