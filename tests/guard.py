"""Arrays that touch pages which may not be touched: one byte too far ends the process."""

import ctypes
import mmap

import numpy as np

PROT_NONE = 0
SIDES = ("before", "after")


def protect(address, length):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(length), PROT_NONE) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")


class Slot:
    """Memory for one array at a time, between two protected pages."""

    def __init__(self, nbytes):
        page = mmap.PAGESIZE
        self.size = -(-max(nbytes, 1) // page) * page
        self._memory = mmap.mmap(-1, self.size + 2 * page)
        start = np.frombuffer(self._memory, np.uint8).ctypes.data
        protect(start, page)
        protect(start + page + self.size, page)

    def empty(self, shape, dtype, side):
        """An array whose start ("before") or end ("after") touches a protected page."""
        array = np.ndarray(shape, dtype, self._memory, mmap.PAGESIZE)
        if side == "before":
            return array
        return np.ndarray(shape, dtype, self._memory, mmap.PAGESIZE + self.size - array.nbytes)

    def copy(self, array, side):
        view = self.empty(array.shape, array.dtype, side)
        view[...] = array
        return view

    @property
    def bytes(self):
        """What may be touched."""
        return self.empty(self.size, np.uint8, "before")


class Guard:
    """Copies arrays to where `side` of them ("before" or "after") touches a protected page."""

    def __init__(self, side):
        self.side = side

    def __call__(self, array):
        array = np.ascontiguousarray(array)
        return Slot(array.nbytes).copy(array, self.side)
