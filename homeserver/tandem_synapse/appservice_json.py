"""What people wrote, made fit to be sent on: a value that no transaction can hold must not stop all that come after."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

DEEPEST = 100
"""Levels of lists and objects. Python's encoder gives up at some hundreds, and how many depends on who calls it."""


def parsed(text: str) -> Json | None:
    """The object of this JSON; None where it is nested too deeply to be sent."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return _parse(text)
    try:
        value = _parse(text)
    except RecursionError:
        return None
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return value
    return None


def written(value: Any) -> str:
    """The JSON of a value; half a surrogate pair, which UTF-8 cannot hold, becomes a question mark."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode("utf-8")


def _parse(text: str) -> Json:
    value: Json = json.loads(text)
    return value
