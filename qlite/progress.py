"""Progress bars, where tqdm is installed."""

import warnings
from collections.abc import Iterable
from typing import Any


def progress(items: Iterable[Any], what: str, unit: str, total: int | None = None) -> Iterable[Any]:
    """Return `items` under a bar that shows on a terminal, after a second, and goes in the end.

    `total` says how many there are, where their length does not.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # that a notebook lacks the widgets of a fancier bar
            from tqdm.auto import tqdm
    except ImportError:
        return items
    return tqdm(items, desc=what, total=total, unit=unit, delay=1, leave=False, disable=None)


def note(shown: Iterable[Any], figures: dict[str, float]) -> None:
    """Write figures behind what `progress` returned, if that is a bar."""
    if hasattr(shown, "set_postfix"):
        shown.set_postfix({name: f"{value:.4g}" for name, value in figures.items() if name != "seconds"}, refresh=False)
