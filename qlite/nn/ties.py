"""Which values of a model share a grid."""

from qlite.nn.model import Model


def values_of(model: Model) -> list[str]:
    """The names of all values that may become codes: the floats that the first layers read, every layer's result."""
    inputs = [name for name, dtype in model.dtypes.items() if dtype == "float32"]
    return [*(inputs if model.mean is None else ["normalized"]), *model.names]


def ties(model: Model) -> dict[str, str]:
    """Return, for each value, the first of those that have its grid.

    Layers that move values or take the greatest leave them on their grid, and what is joined has one. Results whose
    grid is known, as of a sigmoid or a constant, keep it, and become codes on another one where they are joined.
    """
    first = {name: name for name in values_of(model)}

    def find(name: str) -> str:
        while first[name] != name:
            name = first[name]
        return name

    known = {name for name, layer in zip(model.names, model.layers, strict=True) if layer.known_grid()}
    for name, layer, read in zip(model.names, model.layers, model.sources, strict=True):
        for source in read if layer.keeps_grid else ():
            if not (len(read) > 1 and source in known):
                first[find(name)] = find(source)
    return {name: find(name) for name in first}
