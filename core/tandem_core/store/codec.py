"""JSON as it is kept and hashed: the store's name for ``tandem_core.codec``, which the wire uses as well."""

from __future__ import annotations

from tandem_core.codec import canonical, digest, dumps, loads, mend, parse

__all__ = ["canonical", "digest", "dumps", "loads", "mend", "parse"]
