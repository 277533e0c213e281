"""JSON as it is kept and hashed."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def dumps(value: Any) -> str:
    """Compact text, keys sorted."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def loads(text: str) -> Any:
    return json.loads(text)


def canonical(value: Any) -> bytes:
    """Matrix canonical JSON (spec, appendices, "Canonical JSON"): what is signed and hashed."""
    return dumps(value).encode("utf-8")


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()
