"""The name that public classes go by."""

from typing import TypeVar

C = TypeVar("C", bound=type)


def public(cls: C) -> C:
    """Let a class go by the name that users import, such as ``qlite.QArray``.

    Pickles name classes in this way, and so outlive a move of the file that a class is written in.
    """
    cls.__module__ = "qlite"
    return cls
