"""The lines at the top of the info panel: how a message of ours went out, or what became of confirming another's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tandem_app.models.words import moment
from tandem_core.receipts.words import quantity
from tandem_core.store import audience, events, members, rooms
from tandem_core.types import EventId, RoomId

if TYPE_CHECKING:
    import sqlite3

    from tandem_core.receipts.why import Why
    from tandem_core.receipts.words import Summary
    from tandem_core.store.audience import SentMessage

_LEFT_OUT = {
    "m.unverified": "not confirmed by its owner, or not verified",
    "m.blacklisted": "blocked",
    "m.no_olm": "it gave no keys to reach it with",
}
_MOST_LEFT_OUT = 5


def of_ours(conn: sqlite3.Connection, sent: SentMessage, said: Summary, now_ms: int) -> list[str]:
    """When it was sent, how it is protected and for whom, and which devices were left out."""
    verb = "Sent" if sent.send_state == "sent" else "Written"
    return [
        f"{verb} {moment(sent.sent_at, now_ms)}",
        _seal_line(conn, sent, said.people_total, said.devices_total),
        *_left_out_lines(conn, sent),
    ]


def of_theirs(conn: sqlite3.Connection, event_id: EventId, told: Why, now_ms: int) -> tuple[str, list[str]]:
    """Whether we confirmed a message of somebody else, in a sentence; and since when, from whom, and why (not)."""
    event = events.get(conn, event_id)
    author = "" if event is None else members.display_name(conn, event.room_id, event.sender)
    lines = [] if event is None else [f"From {author} · {moment(event.sent_at, now_ms)}"]
    match told.state:
        case "sent":
            summary = (
                "You confirmed this message" if told.at is None else f"Confirmed {moment(told.at, now_ms)}"
            )
        case "owed":
            summary = "Your confirmation waits"
        case _:
            summary = "Not confirmed"
    lines.append(told.text.removeprefix("It is not confirmed. "))
    return summary, lines


def _seal_line(conn: sqlite3.Connection, sent: SentMessage, people: int, devices: int) -> str:
    whom = quantity(people, "person", "people")
    if not _is_encrypted(conn, sent):
        return f"Not encrypted · for {whom}"
    if not devices:
        return f"Encrypted · for {whom}"
    return f"Encrypted · key sent to {quantity(devices, 'device')} of {whom}"


def _left_out_lines(conn: sqlite3.Connection, sent: SentMessage) -> list[str]:
    """Which devices cannot read it, and why; the first few by name."""
    found = audience.left_out(conn, sent.event_id) if sent.event_id else []
    lines = [
        f"Left out: {members.display_name(conn, sent.room_id, device.user_id)}'s {device.device_name}"
        f" ({_LEFT_OUT.get(device.code, 'not entitled')})"
        for device in found[:_MOST_LEFT_OUT]
    ]
    more = len(found) - _MOST_LEFT_OUT
    return [*lines, f"and {quantity(more, 'more device')}"] if more > 0 else lines


def _is_encrypted(conn: sqlite3.Connection, sent: SentMessage) -> bool:
    """As it went to the server; before it did, as it will."""
    if sent.is_encrypted is not None:
        return sent.is_encrypted
    return rooms.encryption(conn, RoomId(sent.room_id)) is not None
