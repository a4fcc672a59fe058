"""What this qlite was built with, and what serves it on this machine."""

import platform
from typing import Any

import numpy as np

from qlite import _check, _core


def show_config(mode: str = "text") -> dict[str, Any] | None:
    """Show how qlite was built, what this CPU can run and which instruction set serves each kernel.

    Instruction sets are in ascending order; a kernel that the active one lacks is served by one below it. The
    environment variable ``QLITE_ISA``, read when qlite is imported, sets the highest one that may be used.

    Parameters
    ----------
    mode : {"text", "dict"}
        Print the text, or return what it says.

    Returns
    -------
    dict or None
        With ``mode="dict"``: ``qlite``, ``python``, ``numpy`` and ``compiler`` (versions), ``cpu_features``,
        ``isas_built``, ``isas_runnable``, ``isa_active``, ``kernels`` (name -> instruction set) and ``threads``.

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
    >>> config["threads"]
    1
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
        "kernels": core["kernels"],
        "threads": 1,  # this version runs each call on the thread that makes it
    }
    if mode == "dict":
        return config
    print(_text(config))
    return None


def version() -> str:
    """Return the version of the installed distribution."""
    from importlib import metadata  # here: at the top it would double the time of `import qlite`

    try:
        return metadata.version("qlite-quant")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _text(config: dict[str, Any]) -> str:
    versions = f"qlite {config['qlite']}, Python {config['python']}, NumPy {config['numpy']}, {config['compiler']}"
    rows = [
        ("CPU features", " ".join(config["cpu_features"]) or "none that matter here"),
        ("ISAs built", " ".join(config["isas_built"])),
        ("ISAs runnable", " ".join(config["isas_runnable"])),
        ("ISA active", config["isa_active"]),
        ("threads", str(config["threads"])),
    ]
    width = max(map(len, config["kernels"]), default=0)
    kernels = [f"{name:{width}}  {isa}" for name, isa in sorted(config["kernels"].items())]
    rows += zip(["kernels", *[""] * len(kernels)], kernels, strict=False)
    return "\n".join([versions, *(f"  {label:15}{value}" for label, value in rows)])
