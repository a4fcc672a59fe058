"""JSON objects whose names occur once and whose numbers are finite."""

import json
import math
from typing import Any


def parse(text: str | bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in a text; ValueError, which names `what` was parsed, for anything else."""
    try:
        content = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError:
        raise ValueError(f"{what} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{what} is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{what} is not a JSON object")
    return content


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"a name occurs twice in {sorted(keys)[:8]}")
    return dict(pairs)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"expected finite numbers, got {text:.40}")
    return number


def _no_constant(name: str) -> None:
    raise ValueError(f"expected finite numbers, got {name}")
