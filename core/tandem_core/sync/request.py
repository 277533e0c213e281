"""Make the body of a sliding-sync request (MSC4186, today's unstable dialect): pure."""

from __future__ import annotations

from collections.abc import Collection

from tandem_core.types import Json, Role, RoomId

SYNC_PATH = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
LIST = "all"
TO_DEVICE_LIMIT = 100
"""1..100 only: 0 would acknowledge everything unseen, -1 is unlimited (research: MSC4538 names this bug)."""
FIRST_ROOMS = 20
ALL_ROOMS = 100_000
OPEN_ROOM_EVENTS = 50
_LIST_EVENTS = {Role.APP: 1, Role.NOTIFIER: 5}
_CHUNKS = (100, 300)
_CHUNK = 300

_STATE_TYPES = (
    "m.room.create",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.encryption",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.power_levels",
    "io.element.functional_members",
)
_REQUIRED_STATE = [
    *([kind, ""] for kind in _STATE_TYPES),
    ["m.bridge", "*"],
    ["uk.half-shot.bridge", "*"],
    ["m.room.member", "$LAZY"],
    ["m.room.member", "$ME"],
]


def body(
    role: Role, *, rooms: int, since: str | None, asks: bool = True, watched: Collection[RoomId] = ()
) -> Json:
    """The request for the ``rooms`` newest rooms and the watched ones; all is said each time, since servers
    differ in what they remember. ``since`` acknowledges to-device events for the whole device: only a committed
    one may come here. Unless it ``asks`` there is no word of them at all.
    """
    to_device: Json = {"enabled": True, "limit": TO_DEVICE_LIMIT} if asks else {"enabled": False}
    if asks and since is not None:
        to_device["since"] = since
    return {
        "conn_id": role.value,
        "lists": {
            LIST: {
                "ranges": [[0, rooms - 1]],
                "required_state": _REQUIRED_STATE,
                "timeline_limit": _LIST_EVENTS[role],
            }
        },
        "room_subscriptions": {
            room_id: {"required_state": _REQUIRED_STATE, "timeline_limit": OPEN_ROOM_EVENTS}
            for room_id in sorted(watched)
        },
        "extensions": {
            "to_device": to_device,
            "e2ee": {"enabled": True},
            "account_data": {"enabled": True},
            "receipts": {"enabled": True},
            "typing": {"enabled": True},
        },
    }


def query(pos: str | None, timeout_ms: int) -> dict[str, str]:
    """The query of a request; without ``pos`` the server answers at once."""
    return {"timeout": str(timeout_ms)} if pos is None else {"pos": pos, "timeout": str(timeout_ms)}


def next_window(rooms: int, count: int) -> int:
    """How many rooms to ask for next, having asked for ``rooms`` of ``count``: small first, then in
    chunks that stay cheap to apply, and once all are there a window that nothing outgrows."""
    if rooms >= count:
        return ALL_ROOMS
    return next((step for step in _CHUNKS if step > rooms), rooms + _CHUNK)
