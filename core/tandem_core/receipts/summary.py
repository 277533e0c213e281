"""Load what is known of our own messages and let ``words`` say it: for the mark, the panel and the command line."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from tandem_core import capabilities
from tandem_core.errors import BadInput
from tandem_core.receipts.gate import MOST_PEOPLE
from tandem_core.receipts.words import DeviceDelivery, Message, PersonDelivery, State, Summary, summarise
from tandem_core.store import audience, members, rooms
from tandem_core.store import deliveries as store
from tandem_core.types import Role, RoomId, UserId

__all__ = ["DeviceDelivery", "PersonDelivery", "State", "Summary", "details", "summaries", "summary"]


def summary(conn: sqlite3.Connection, link: Role, key: str) -> Summary:
    """How far one message of ours got; ``key`` is its event id or transaction id.

    Raises BadInput when it is no message of this account.
    """
    return summaries(conn, link, [key]).get(key) or _not_ours(key)


def details(conn: sqlite3.Connection, link: Role, key: str) -> list[PersonDelivery]:
    """The people one message of ours was for and their devices, in the order of their names.

    Raises BadInput when it is no message of this account.
    """
    sent = audience.sent_messages(conn, [key])
    if key not in sent:
        _not_ours(key)
    message = sent[key]
    return _people(conn, link, [message], _tracking(conn, {message.room_id}))[key]


def summaries(conn: sqlite3.Connection, link: Role, keys: Sequence[str]) -> dict[str, Summary]:
    """How far each of these messages got; keys that are no message of ours are left out."""
    sent = list(audience.sent_messages(conn, keys).values())
    why_not = _tracking(conn, {message.room_id for message in sent})
    people = _people(conn, link, sent, why_not)
    found = {}
    for message in sent:
        counted = people[message.key]
        why = why_not[message.room_id]
        if why is None and sum(person.counted for person in counted) > MOST_PEOPLE:
            why = f"more than {MOST_PEOPLE} people"
        found[message.key] = summarise(Message(message.send_state, why is None, why or ""), counted)
    return found


def _tracking(conn: sqlite3.Connection, room_ids: set[RoomId]) -> dict[RoomId, str | None]:
    """Why delivery is not tracked in a room, or None where it is."""
    # 0 is the time of an answer that was not given to this account: it says nothing.
    server = capabilities.kept(conn) if capabilities.age_ms(conn, 0) else None
    if server is not None and not server.delivery:
        return dict.fromkeys(room_ids, "your server does not offer it")
    public = rooms.RoomKind.PUBLIC
    return {room: "public room" if rooms.kind(conn, room) is public else None for room in room_ids}


def _people(
    conn: sqlite3.Connection,
    link: Role,
    sent: Sequence[audience.SentMessage],
    why_not: dict[RoomId, str | None],
) -> dict[str, list[PersonDelivery]]:
    heard = store.deliveries(conn, [m.event_id for m in sent if m.event_id])
    meant = audience.audiences(conn, link, sent)
    read = audience.reads(conn, link, sent)
    found: dict[str, list[PersonDelivery]] = {}
    for message in sent:
        said: dict[UserId, dict[str, int]] = {}
        for row in heard.get(message.event_id or "", ()):
            said.setdefault(row.user_id, {})[row.device_id] = row.ts
        readers = read.get(message.key, {})
        counted = meant.get(message.key, {})
        names = {
            user: members.display_name(conn, message.room_id, user) for user in {*counted, *said, *readers}
        }
        people = [
            PersonDelivery(
                user_id=user,
                name=names[user],
                devices=_devices(conn, user, counted.get(user, {}), said.get(user, {})),
                delivered_at=min(said[user].values()) if user in said else None,
                read_at=readers.get(user),
                tracked=why_not[message.room_id] is None,
                counted=user in counted,
            )
            for user in names
        ]
        found[message.key] = sorted(people, key=lambda person: (person.name.casefold(), person.user_id))
    return found


def _devices(
    conn: sqlite3.Connection, user: UserId, meant: dict[str, str | None], said: dict[str, int]
) -> tuple[DeviceDelivery, ...]:
    ids = sorted({*meant, *said} - {""})
    return tuple(
        DeviceDelivery(
            device_id=device,
            name=meant.get(device) or audience.device_name(conn, user, device) or device,
            delivered_at=said.get(device),
            counted=device in meant,
        )
        for device in ids
    )


def _not_ours(key: str) -> Summary:
    raise BadInput(f"{key} is no message that this account sent", advice="See tandemctl messages ROOM.")
