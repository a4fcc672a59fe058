"""Names of classes of scikit-learn."""

from typing import Any


def kind_of(model: Any) -> str:
    """The name of a class of scikit-learn, or with its module that of another one."""
    cls = type(model)
    return cls.__name__ if cls.__module__.partition(".")[0] == "sklearn" else f"{cls.__module__}.{cls.__name__}"
