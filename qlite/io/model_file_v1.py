"""Model files of version 1, as descriptions of version 2."""

from typing import Any

TASKS = {"softmax": "multiclass", "sigmoid": "binary", "identity": "regression"}


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """Return the description in the words of version 2.

    Version 1 had buffers of one axis, steps of one input, a flag for relu and one for the rule of requantization, and
    called the task "output", by the function that follows the raw outputs.
    """
    try:
        program = content["program"]
        new = {name: value for name, value in content.items() if name != "output"}
        return new | {
            "version": 2,
            "task": TASKS[content["output"]],
            "program": {
                **{name: value for name, value in program.items() if name not in ("input", "output")},
                "inputs": [program["input"]],
                "outputs": [program["output"]],
                "buffers": [_buffer(b) for b in program["buffers"]],
                "steps": [_step(s) for s in program["steps"]],
            },
        }
    except (KeyError, TypeError, AttributeError):
        raise ValueError("the description of version 1 is not whole") from None


def _buffer(old: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in old.items() if name != "width"} | {"shape": [old["width"]]}


def _step(old: dict[str, Any]) -> dict[str, Any]:
    new = {name: value for name, value in old.items() if name not in ("input", "relu", "fixed")}
    new["inputs"] = [old["input"]]
    if "relu" in old and _flag(old["relu"]):
        new["activation"] = "relu"
    if "fixed" in old:
        new["requant"] = "fixed" if _flag(old["fixed"]) else "float"
    return new


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return value
