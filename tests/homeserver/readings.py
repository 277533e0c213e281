"""Where a client can read a room, one event of it, and what search and notifications say of it."""

from __future__ import annotations

from urllib.parse import quote

from tandem_demo.raw import CLIENT, Json

SEARCH: Json = {"search_categories": {"room_events": {"search_term": "found", "event_context": {}}}}
"""Finds what says "found"."""


def messages(room_id: str) -> str:
    return f"{CLIENT}/rooms/{quote(room_id)}/messages?dir=b&limit=50"


def readings(room_id: str, event_id: str) -> list[tuple[str, str, Json | None]]:
    """Method, path and body of each request, other than sync, that reads something of the room."""
    room, event = quote(room_id), quote(event_id)
    return [
        ("POST", f"{CLIENT}/search", SEARCH),
        ("GET", f"{CLIENT}/rooms/{room}/context/{event}?limit=10", None),
        ("GET", messages(room_id), None),
        ("GET", f"{CLIENT}/rooms/{room}/event/{event}", None),
        ("GET", f"{CLIENT}/rooms/{room}/state", None),
        ("GET", f"{CLIENT}/rooms/{room}/members", None),
        ("GET", f"{CLIENT}/rooms/{room}/initialSync", None),
        ("GET", f"/_matrix/client/v1/rooms/{room}/relations/{event}", None),
        ("GET", f"{CLIENT}/notifications", None),
    ]
