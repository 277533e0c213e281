"""What passes through the fault proxy: a request, an answer, and the line that the log keeps of both."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

Json = dict[str, Any]

SYNC = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"

_OPEN_SEGMENTS = {
    "context": 1,
    "devices": 1,
    "event": 1,
    "join": 1,
    "profile": 1,
    "receipt": 2,
    "redact": 2,
    "rooms": 1,
    "send": 2,
    "sendToDevice": 2,
    "state": 2,
    "typing": 1,
    "user": 1,
}
"""How many of the segments after such a word are somebody's own (ids, types, transactions)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the client sent it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    data: bytes

    @property
    def body(self) -> Json:
        """Its JSON object; empty where there is none."""
        return _object(self.data)

    @property
    def conn_id(self) -> str | None:
        """Which sliding-sync connection asks; None for any other request."""
        said = self.body.get("conn_id") if self.path == SYNC else None
        return said if isinstance(said, str) else None

    @property
    def to_device(self) -> Json:
        """The to-device block of a sync request; empty where there is none."""
        block = _below(self.body, "extensions", "to_device") if self.path == SYNC else None
        return block if isinstance(block, dict) else {}

    def with_since(self, since: Any) -> Self:
        """The same request with another to-device token."""
        body = self.body
        body["extensions"]["to_device"]["since"] = since
        return replace(self, data=json.dumps(body).encode())


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; ``cut`` breaks the connection after so many bytes of it."""

    status: int
    data: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None

    @property
    def body(self) -> Json:
        """Its JSON object; empty where there is none."""
        return _object(self.data)

    @property
    def next_batch(self) -> str | None:
        """The to-device token that a reader finds in it."""
        said = _below(self.body, "extensions", "to_device", "next_batch")
        return said if isinstance(said, str) and self.cut is None and self.status == 200 else None

    @property
    def brought(self) -> int:
        """How many to-device events a reader finds in it."""
        events = _below(self.body, "extensions", "to_device", "events")
        return len(events) if isinstance(events, list) and self.next_batch is not None else 0

    def edited(self, change: Callable[[Json], Any]) -> Self:
        """The same answer after ``change`` worked on its object in place."""
        body = self.body
        change(body)
        return replace(self, data=json.dumps(body).encode())


Forward = Callable[[Asked], Awaitable[Answer]]
Action = Callable[[Asked, Forward], Awaitable[Answer | None]]
"""Makes the answer to a request, perhaps by forwarding it; None breaks the connection."""


@dataclass(slots=True)
class Seen:
    """One request in the log: no body, no token of the account, no id of anybody."""

    at: float
    conn_id: str | None
    method: str
    path: str
    since: Any
    limit: Any
    reads: bool = False
    """Whether it asks for to-device events."""
    fault: str | None = None
    status: int = 0
    """What the client was told; 0: nothing, or not all of it."""
    next_batch: str | None = None
    """The to-device token that the client was given."""
    brought: int = 0
    """How many to-device events the client was given."""
    answered_at: float | None = None


def template(path: str) -> str:
    """The path without what is anybody's own: ``/rooms/{}/send/{}/{}``."""
    parts, skip = [], 0
    for part in path.split("/"):
        parts.append("{}" if skip else part)
        skip = skip - 1 if skip else _OPEN_SEGMENTS.get(part, 0)
    return "/".join(parts)


def _object(data: bytes) -> Json:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _below(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
