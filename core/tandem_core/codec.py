"""JSON as it is kept and hashed, and the one way in for JSON that others wrote."""

from __future__ import annotations

import json
from typing import Any


def dumps(value: Any) -> str:
    """Compact text, keys sorted."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def loads(text: str) -> Any:
    """Read back what ``dumps`` wrote."""
    return json.loads(text)


def parse(data: bytes | str) -> Any:
    """Read foreign JSON; raises ValueError for anything that cannot be kept.

    ``NaN`` and ``Infinity`` are no JSON, and half a surrogate pair (legal as an escape) cannot be
    stored or hashed: it becomes U+FFFD.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(text, parse_constant=_refuse_constant)
        return _mended(value) if "\\u" in text else value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def mend(text: str) -> str:
    """The text with halves of surrogate pairs replaced, so that it can be stored."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def canonical(value: Any) -> bytes:
    """Matrix canonical JSON (spec, appendices, "Canonical JSON"): what is signed and hashed."""
    return dumps(value).encode("utf-8")


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    import hashlib  # loads OpenSSL, which the window's first frame need not wait for

    return hashlib.sha256(canonical(value)).hexdigest()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _mended(value: Any) -> Any:
    match value:
        case str():
            return mend(value)
        case list():
            return [_mended(item) for item in value]
        case dict():
            return {mend(key): _mended(item) for key, item in value.items()}
    return value
