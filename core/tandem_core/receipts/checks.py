"""Whether a value that somebody else sent is an id, or a time, at all."""

from __future__ import annotations

from typing import Any, TypeGuard

MOST_ID = 255
_MOST_TS = 2**53


def is_id(value: Any, sigil: str = "") -> TypeGuard[str]:
    """Whether it can be the id of an event (``$``), a room (``!``) or a person (``@``), or one without a sigil."""
    return isinstance(value, str) and value.startswith(sigil) and len(sigil) < len(value) <= MOST_ID


def is_ts(value: Any) -> TypeGuard[int]:
    """Whether it can be a time in milliseconds since 1970."""
    return type(value) is int and 0 <= value < _MOST_TS
