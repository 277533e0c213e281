"""What a person does with rooms: each function is one request, and what the store can know at once.

All raise as ``Http.request``: Offline, RateLimited, ServerRefused, SignedOut.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tandem_core import settings
from tandem_core.clock import Clock, SystemClock
from tandem_core.errors import NotSignedIn, ServerRefused
from tandem_core.http import Http, path
from tandem_core.receipts import planning
from tandem_core.store import members, reads, rooms, timeline
from tandem_core.store import session as sessions
from tandem_core.store.database import Database, Transaction
from tandem_core.types import EventId, Json, Role, RoomId, Topic, UserId

log = logging.getLogger("tandem.sync.rooms")

ALGORITHM = "m.megolm.v1.aes-sha2"
TYPING_MS = 25_000
_DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody the server's directory found."""

    user_id: UserId
    name: str | None
    avatar_url: str | None


async def create(
    http: Http,
    db: Database,
    *,
    invite: Sequence[UserId] = (),
    name: str | None = None,
    topic: str | None = None,
    encrypted: bool = True,
    public: bool = False,
    direct: bool | None = None,
) -> RoomId:
    """Make a room. ``direct`` None: a direct chat if it has one guest and no name."""
    if direct is None:
        direct = len(invite) == 1 and not name and not public
    body: Json = {
        "preset": "public_chat" if public else "trusted_private_chat" if direct else "private_chat",
        "visibility": "public" if public else "private",
        "invite": list(invite),
        "is_direct": direct,
    }
    if name:
        body["name"] = name
    if topic:
        body["topic"] = topic
    encryption = {"algorithm": ALGORITHM}
    if encrypted:
        body["initial_state"] = [{"type": "m.room.encryption", "state_key": "", "content": encryption}]
    # Not repeated after an unknown outcome: a second room would be worse than an error.
    answer = await http.request("POST", path("createRoom"), body, timeout_s=_DEADLINE_S)
    room_id = _room_id(answer)
    await db.write(_note_created, room_id, encryption if encrypted else None, bool(invite))
    if direct and invite:
        await _mark_direct(http, db, room_id, invite[0])
    return room_id


async def join(http: Http, db: Database, target: str, *, via: Sequence[str] = ()) -> RoomId:
    """Join a room by id or alias; where we are invited, that accepts the invitation."""
    if await db.read(_is_invited, target):
        await accept(http, db, RoomId(target))
        return RoomId(target)
    query = {"via": via[0], "server_name": via[0]} if via else None
    answer = await http.retry("POST", path("join", target), {}, query=query, deadline_s=_DEADLINE_S)
    return _room_id(answer)


async def accept(http: Http, db: Database, room_id: RoomId) -> None:
    """Accept an invitation; receipts may be considered from now on."""
    inviter = await db.read(_direct_inviter, room_id)
    await http.retry("POST", path("rooms", room_id, "join"), {}, deadline_s=_DEADLINE_S)
    await db.write(_note_accepted, room_id)
    if inviter is not None:
        await _mark_direct(http, db, room_id, inviter)


async def decline(http: Http, db: Database, room_id: RoomId) -> None:
    """Decline an invitation."""
    await leave(http, db, room_id)


async def leave(http: Http, db: Database, room_id: RoomId) -> None:
    """Leave a room; it disappears from the list at once."""
    await http.retry("POST", path("rooms", room_id, "leave"), {}, deadline_s=_DEADLINE_S)
    await db.write(_note_left, room_id)


async def invite(http: Http, db: Database, room_id: RoomId, user_id: UserId) -> None:
    """Invite somebody; receipts may be considered from now on."""
    before = await db.read(_membership_of, room_id, user_id)
    await http.retry("POST", path("rooms", room_id, "invite"), {"user_id": user_id}, deadline_s=_DEADLINE_S)
    await db.write(_note_invited, room_id, user_id, before)


async def typing(
    http: Http, db: Database, room_id: RoomId, is_typing: bool, *, clock: Clock | None = None
) -> None:
    """Say that we type, if the settings allow it, which shows that we are there; that we stopped is always said."""
    session = await _signed_in(db)
    if is_typing and not await db.read(settings.get, "typing.send"):
        return
    body: Json = {"typing": True, "timeout": TYPING_MS} if is_typing else {"typing": False}
    await http.request("PUT", path("rooms", room_id, "typing", session.me.user_id), body)
    if is_typing:
        now_ms = (clock or SystemClock()).now_ms()
        await db.write(planning.attend, room_id, now_ms, now_ms)


async def redact(http: Http, db: Database, room_id: RoomId, event_id: EventId, reason: str = "") -> None:
    """Take back a message; it disappears here as soon as the server agrees."""
    body: Json = {"reason": reason} if reason else {}
    transaction = f"t{secrets.token_hex(12)}"
    answer = await http.retry(
        "PUT", path("rooms", room_id, "redact", event_id, transaction), body, deadline_s=_DEADLINE_S
    )
    by = answer.get("event_id")
    await db.write(timeline.redact, room_id, event_id, by if isinstance(by, str) else transaction)


async def search_users(http: Http, term: str, *, limit: int = 20) -> list[Person]:
    """People the server's directory knows by a part of their name."""
    answer = await http.request(
        "POST", path("user_directory", "search"), {"search_term": term, "limit": limit}
    )
    results: Any = answer.get("results")
    return [
        Person(UserId(person["user_id"]), _text(person.get("display_name")), _text(person.get("avatar_url")))
        for person in (results if isinstance(results, list) else ())
        if isinstance(person, dict) and isinstance(person.get("user_id"), str)
    ]


def mark_read(txn: Transaction, link: Role, room_id: RoomId, event_id: EventId | None, now_ms: int) -> bool:
    """Note that we have read up to this event (None: all of the room), here at once and, owed, at the server.

    Returns whether anything moved.
    """
    session = sessions.session(txn.conn)
    event_id = event_id or _newest(txn, link, room_id)
    if session is None or event_id is None:
        return False
    mode = str(settings.get(txn.conn, "reads.mode"))
    moved = reads.put_marker(
        txn, room_id, session.me.user_id, event_id, now_ms, is_private=mode != "public", is_me=True
    )
    if moved:
        reads.owe(txn, room_id, event_id, mode, now_ms)
    return moved


async def mark_room_read(
    db: Database, link: Role, room_id: RoomId, event_id: EventId | None = None, *, clock: Clock | None = None
) -> None:
    """``mark_read`` in a transaction of its own."""
    await db.write(mark_read, link, room_id, event_id, (clock or SystemClock()).now_ms())


def _newest(txn: Transaction, link: Role, room_id: RoomId) -> EventId | None:
    """The newest event of either connection, if they meet; else of ours."""
    page = timeline.page(txn.conn, link, room_id, limit=20)
    shown = next((row.event_id for row in page if row.event_id is not None), None)
    return EventId(shown) if shown else timeline.newest_event(txn.conn, link, room_id)


def _note_created(txn: Transaction, room_id: RoomId, encryption: Json | None, has_guests: bool) -> None:
    if encryption is not None:
        rooms.note_encryption(txn, room_id, encryption)
    if has_guests:
        rooms.accept(txn, room_id, "invited_them")


def _membership_of(conn: sqlite3.Connection, room_id: RoomId, user_id: UserId) -> dict[Role, str | None]:
    """What each connection that knows the room holds somebody for."""
    return {
        link: next((m.membership for m in members.members(conn, link, room_id) if m.user_id == user_id), None)
        for link in Role
        if rooms.room(conn, link, room_id) is not None
    }


def _note_invited(txn: Transaction, room_id: RoomId, user_id: UserId, before: dict[Role, str | None]) -> None:
    """The server has agreed, so the next message's key is theirs to have; sync may say so later.

    A connection that was told anything of them meanwhile knows better.
    """
    rooms.accept(txn, room_id, "invited_them")
    now = _membership_of(txn.conn, room_id, user_id)
    for link, membership in before.items():
        if link in now and now[link] == membership:
            members.set_member(txn, link, room_id, user_id, {"membership": "invite"}, 0)


def _note_accepted(txn: Transaction, room_id: RoomId) -> None:
    rooms.accept(txn, room_id, "accepted_invite")
    txn.changed(Topic.ROOMS, room_id)


def _note_left(txn: Transaction, room_id: RoomId) -> None:
    txn.execute("UPDATE room SET membership = 'leave' WHERE room_id = ?", (room_id,))
    txn.changed(Topic.ROOMS, room_id)


def _is_invited(conn: sqlite3.Connection, room_id: str) -> bool:
    row = conn.execute(
        "SELECT 1 FROM room WHERE room_id = ? AND membership = 'invite'", (room_id,)
    ).fetchone()
    return row is not None


def _direct_inviter(conn: sqlite3.Connection, room_id: RoomId) -> UserId | None:
    row = conn.execute(
        "SELECT inviter FROM room WHERE room_id = ? AND membership = 'invite' AND is_dm = 1"
        " AND inviter IS NOT NULL LIMIT 1",
        (room_id,),
    ).fetchone()
    return UserId(row["inviter"]) if row else None


async def _mark_direct(http: Http, db: Database, room_id: RoomId, user_id: UserId) -> None:
    """Add the room to ``m.direct``, so that all of our clients know it as a direct chat.

    The room works without it, so a failure is only logged.
    """
    session = await _signed_in(db)
    where = path("user", session.me.user_id, "account_data", "m.direct")
    try:
        try:
            known = await http.retry("GET", where)
        except ServerRefused as refused:
            if refused.status != 404:
                raise
            known = {}
        listed = known.get(user_id)
        mine = [room for room in listed if isinstance(room, str)] if isinstance(listed, list) else []
        if room_id not in mine:
            await http.retry("PUT", where, {**known, user_id: [*mine, room_id]})
    except ServerRefused as refused:
        log.warning("%s could not be marked as a direct chat: %s", room_id, refused.errcode)


async def _signed_in(db: Database) -> sessions.Session:
    session = await db.read(sessions.session)
    if session is None:
        raise NotSignedIn()
    return session


def _room_id(answer: Json) -> RoomId:
    room_id = answer.get("room_id")
    if not isinstance(room_id, str):
        raise ServerRefused(200, "M_UNKNOWN", "the answer names no room")
    return RoomId(room_id)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
