"""What this qlite was built with, and what serves it on this machine."""

import platform
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from qlite import _check, _core


def show_config(mode: str = "text") -> dict[str, Any] | None:
    """Show how qlite was built, what this CPU can run and which instruction set serves each kernel.

    Instruction sets are in ascending order; a kernel that the active one lacks is served by one below it. The
    environment variable ``QLITE_ISA``, read when qlite is imported, sets the highest one that may be used: one of those
    that this CPU can run, else the import fails with an ImportError that lists them.

    Tiles (Intel's AMX, used by ``amxint8``) need the system's permission, which is for the whole process: afterwards
    signal stacks have to be larger. So it is asked by the first product that would use them; where it is refused, the
    next lower instruction set serves, with the same results. ``QLITE_ISA=amxint8`` asks at the import, which fails
    where they are refused; ``QLITE_ISA=avx512vbmi`` does without them.

    Parameters
    ----------
    mode : {"text", "dict"}
        Print the text, or return what it says.

    Returns
    -------
    dict or None
        With ``mode="dict"``: ``qlite``, ``python``, ``numpy`` and ``compiler`` (versions), ``cpu_features``,
        ``isas_built``, ``isas_runnable``, ``isa_active``, ``tiles`` ("absent: ...", "not asked yet", "granted" or
        "refused: ...", with the reason), ``kernels`` (name -> instruction set), ``threads``
        (`get_num_threads`) and ``openmp``, the OpenMP runtime whose limit counts (None: built without).

    Raises
    ------
    ValueError
        `mode` is neither of the two.

    Examples
    --------
    >>> import qlite as ql
    >>> config = ql.show_config("dict")
    >>> config["isa_active"] in config["isas_runnable"]
    True
    >>> config["threads"] == ql.get_num_threads()
    True
    """
    _check.choice("mode", mode, ("text", "dict"))
    core = _core.info()
    config = {
        "qlite": version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "compiler": core["compiler"],
        "cpu_features": core["cpu_features"],
        "isas_built": core["isas_built"],
        "isas_runnable": core["isas_runnable"],
        "isa_active": core["isa"],
        "tiles": core["tiles"],
        "kernels": core["kernels"],
        "threads": _core.num_threads(),
        "openmp": core["openmp"],
    }
    if mode == "dict":
        return config
    print(_text(config))
    return None


def set_num_threads(n: int | None) -> None:
    """Set how many threads one call of qlite may run on, in the whole process.

    Results are the same, to the bit, for any number. Only what takes at least 50 microseconds is parted at all, among
    one thread for every 25 microseconds of it. Of several Python threads that call at once, one has helpers and the
    others run on their own. A forked child keeps the setting and starts helpers of its own.

    Where OpenMP's own limit (``OMP_NUM_THREADS``, threadpoolctl) is lower than the number of CPUs, it counts as well:
    `get_num_threads` returns the lower one. So ``with threadpoolctl.threadpool_limits(1):`` limits for a while.

    Parameters
    ----------
    n : int or None
        From 1 to 1024; more than there are CPUs helps nobody, but is done. None: as in the beginning, as many as there
        are CPUs that the calling thread may use.

    Raises
    ------
    TypeError
        `n` is not an integer.
    ValueError
        `n` is less than 1 or more than 1024.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.set_num_threads(1)
    >>> ql.get_num_threads()
    1
    >>> ql.set_num_threads(None)
    """
    _core.set_num_threads(None if n is None else _check.integer("n", n))


def get_num_threads() -> int:
    """Return on how many threads a call of qlite may run: see `set_num_threads`.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> import qlite as ql
    >>> 1 <= ql.get_num_threads() <= 1024
    True
    """
    return _core.num_threads()


@contextmanager
def on_threads(n: int) -> Iterator[None]:
    """Set the number of threads for a while."""
    before = _core.set_num_threads(n)
    try:
        yield
    finally:
        _core.set_num_threads(before)


def version() -> str:
    """Return the version of the installed distribution."""
    from importlib import metadata  # here: at the top it would double the time of `import qlite`

    try:
        return metadata.version("qlite-quant")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _openmp(runtime: str | None) -> str:
    return f"OpenMP's limit, of {runtime}, counts" if runtime else "built without OpenMP, whose limit does not count"


def _text(config: dict[str, Any]) -> str:
    versions = f"qlite {config['qlite']}, Python {config['python']}, NumPy {config['numpy']}, {config['compiler']}"
    rows = [
        ("CPU features", " ".join(config["cpu_features"]) or "none that matter here"),
        ("ISAs built", " ".join(config["isas_built"])),
        ("ISAs runnable", " ".join(config["isas_runnable"])),
        ("ISA active", config["isa_active"]),
        ("tiles (AMX)", config["tiles"]),
        ("threads", f"{config['threads']} ({_openmp(config['openmp'])})"),
    ]
    served: dict[str, list[str]] = {}
    for name, isa in sorted(config["kernels"].items()):
        served.setdefault(isa, []).append(name)
    texts = [f"{isa}: {' '.join(served[isa])}" for isa in reversed(config["isas_built"]) if isa in served]
    lines = [line for text in texts for line in textwrap.wrap(text, 100, subsequent_indent="  ")]
    rows += zip(["kernels", *[""] * len(lines)], lines, strict=False)
    return "\n".join([versions, *(f"  {label:15}{value}" for label, value in rows)])
