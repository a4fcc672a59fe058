"""How tables show long names: a file of TensorFlow calls a layer by all operations that became part of it."""

from collections import Counter
from collections.abc import Iterable

#: Characters of the longest name that is shown as it is.
LONGEST = 48
#: Characters of a longer one that are shown of its start, the first of which that tell it from all others; the rest are
#: of its end.
STARTS = (30, 20, 10, 40)


def shown_names(names: Iterable[str]) -> dict[str, str]:
    """Return for each name what a table shows: itself, or of a long one a pattern that fits no other of these names,
    ``"first/operation;*"`` or both its ends around a ``*``. Keys of `per_layer` may be such patterns.
    """
    names = list(dict.fromkeys(names))
    patterns = [_patterns(name) for name in names]
    counts = Counter(pattern for own in patterns for pattern in own)
    shown = {}
    for name, own in zip(names, patterns, strict=True):
        may_be_shorter = len(name) > LONGEST and not any(c in name for c in "*?[")
        fits = (pattern for pattern in own if may_be_shorter and counts[pattern] == 1 and len(pattern) <= LONGEST)
        shown[name] = next(fits, name)
    return shown


def _patterns(name: str) -> list[str]:
    """The patterns for a name, long or short: of two names with the same pattern each fits the other."""
    first = [f"{name.split(';')[0]};*"] if ";" in name else []
    ends = [f"{name[:start]}*{name[start - LONGEST + 1 :]}" for start in STARTS if len(name) >= LONGEST - 1]
    return first + ends
