"""Locks that a fork waits for, so that the child finds them free and what they guard whole.

A child has the memory of its parent, but of its threads only the one that forked: a lock that another one held stays
shut for ever, beside a state that is half changed.
"""

import os
from threading import RLock
from typing import Any
from weakref import WeakSet

_registry = RLock()
_locks: WeakSet[Any] = WeakSet()
_held: list[Any] = []


def new_lock() -> Any:
    """Return a lock that its thread may take again: a signal handler may fork while it is held."""
    lock = RLock()
    with _registry:
        _locks.add(lock)
    return lock


def in_order(*locks: Any) -> list[Any]:
    """Return different locks in the order in which all take several: no two threads wait for each other then."""
    return sorted(set(locks), key=id)


def _take_all() -> None:
    _registry.acquire()
    _held[:] = in_order(*_locks)
    for lock in _held:
        lock.acquire()


def _free_all() -> None:
    while _held:
        _held.pop().release()
    _registry.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_free_all, after_in_child=_free_all)
