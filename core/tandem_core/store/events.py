"""Events, shared by id between the two connections: kept once, opened once, edited and redacted in place."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tandem_core.rows import RowFacts, make_row, new_content
from tandem_core.store import members, rooms
from tandem_core.store.codec import dumps, loads, mend
from tandem_core.store.database import Transaction
from tandem_core.types import EventId, Json, Origin, RoomId, Seal, Topic, UserId

_COLUMNS = (
    "event_id, room_id, sender, type, state_key, sent_at, received_at, content, seal, session_id, seal_reason,"
    " opened_at, opened_type, opened_content, txn_id, redacted_by, relation, relates_to, kind, body, html, verdict"
)
_MOST_TIME = 2**53
_BEST_ORIGIN = (Origin.LIVE, Origin.GAP, Origin.BACK)


class MalformedEvent(ValueError):
    """The server sent something that is no room event."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it is kept; ``origin`` is the best either connection knows."""

    event_id: EventId
    room_id: RoomId
    sender: UserId
    type: str
    state_key: str | None
    sent_at: int
    received_at: int
    content: Json
    seal: Seal
    session_id: str | None
    seal_reason: str | None
    opened_at: int | None
    opened_type: str | None
    opened_content: Json | None
    kind: str
    body: str
    html: str | None
    origin: Origin
    txn_id: str | None
    redacted_by: str | None
    relates_to: EventId | None
    relation: str | None
    verdict: int

    @property
    def clear_type(self) -> str:
        """The type as its author meant it: the opened one of an encrypted event."""
        return self.opened_type or self.type

    @property
    def clear_content(self) -> Json:
        """The content as its author meant it; the wire's while the event is still sealed."""
        return self.content if self.opened_content is None else self.opened_content


def put_event(txn: Transaction, raw: Json, room_id: RoomId, *, now_ms: int) -> StoredEvent:
    """Keep an event as the server sent it; a known one is not changed, but may be redacted, or dated if it is ours.

    Applies what it does to others (edits, redactions) and what others do to it, whatever comes first.
    Raises MalformedEvent before anything is written.
    """
    new = _checked(txn.conn, raw, room_id, now_ms)
    known = txn.one("SELECT redacted_by, txn_id, sent_at FROM event WHERE event_id = ?", (new.event_id,))
    if known is not None:
        if new.redacted_by and known["redacted_by"] is None:
            redact(txn, room_id, new.event_id, new.redacted_by)
        if new.txn_id and known["txn_id"] is None:
            txn.execute("UPDATE event SET txn_id = ? WHERE event_id = ?", (new.txn_id, new.event_id))
        if new.sent_at != known["sent_at"]:
            _correct_time(txn, new)
        _settle_own_send(txn, new, now_ms)
        return _known(txn.conn, new.event_id)
    txn.execute(
        f"INSERT INTO event ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL,"
        " ?, ?, ?, ?, ?, ?, ?, 0)",
        (
            new.event_id,
            room_id,
            new.sender,
            new.type,
            new.state_key,
            new.sent_at,
            now_ms,
            dumps(new.content),
            new.seal,
            new.session_id,
            new.txn_id,
            new.redacted_by,
            new.relation,
            new.relates_to,
            new.kind,
            new.body,
            new.html,
        ),
    )
    _settle_own_send(txn, new, now_ms)
    _apply_relations(txn, new)
    rooms.refresh_at_commit(txn, room_id)
    txn.changed(Topic.TIMELINE, room_id)
    return _known(txn.conn, new.event_id)


def get(conn: sqlite3.Connection, event_id: str) -> StoredEvent | None:
    """The event with this id, or None."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM event WHERE event_id = ?", (event_id,)).fetchone()
    return _stored(conn, row) if row else None


def sealed(
    conn: sqlite3.Connection,
    room_id: RoomId | None = None,
    session_id: str | None = None,
    limit: int = 100,
) -> list[StoredEvent]:
    """Events that wait for their key, newest first."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM event WHERE seal = 'sealed' AND (?1 IS NULL OR room_id = ?1)"
        " AND (?2 IS NULL OR session_id = ?2) ORDER BY sent_at DESC LIMIT ?3",
        (room_id, session_id, limit),
    ).fetchall()
    return [_stored(conn, row) for row in rows]


def set_opened(
    txn: Transaction, event_id: str, opened_type: str, opened_content: Json, now_ms: int
) -> StoredEvent:
    """Keep what an encrypted event says, make its row, and apply what it does to others.

    A redacted event stays redacted. Raises KeyError for an event that is not kept.
    """
    event = _known(txn.conn, event_id)
    if event.redacted_by is not None:
        return event
    facts = make_row(opened_type, opened_content, event.state_key, sender=event.sender)
    if facts.relation == "redaction":
        facts = RowFacts("none", "", None, shown=False)  # only the server's own redactions redact
    # Matrix: the relation of an encrypted event is what its cleartext part says.
    relation = event.relation or facts.relation
    relates_to = event.relates_to or facts.relates_to
    if relation == "m.replace":
        facts = RowFacts("none", "", None, shown=False)
    txn.execute(
        "UPDATE event SET seal = ?, seal_reason = NULL, opened_at = ?, opened_type = ?, opened_content = ?,"
        " relation = ?, relates_to = ?, kind = ?, body = ?, html = ? WHERE event_id = ?",
        (
            Seal.OPENED,
            now_ms,
            mend(opened_type),
            dumps(opened_content),
            relation,
            relates_to,
            facts.kind,
            facts.body,
            facts.html,
            event_id,
        ),
    )
    opened = _known(txn.conn, event_id)
    _show(txn, event_id, facts.shown)
    _apply_relations(txn, opened)
    rooms.refresh_at_commit(txn, event.room_id)
    txn.changed(Topic.TIMELINE, event.room_id)
    return _known(txn.conn, event_id)


def set_sealed_reason(txn: Transaction, event_id: str, reason: str, final: bool) -> None:
    """Say why an event is still sealed or, finally, refused; its row stays, so nothing is lost silently."""
    event = _known(txn.conn, event_id)
    if event.seal is Seal.OPENED or event.redacted_by is not None:
        return
    txn.execute(
        "UPDATE event SET seal = ?, seal_reason = ? WHERE event_id = ?",
        (Seal.REFUSED if final else Seal.SEALED, reason, event_id),
    )
    txn.changed(Topic.TIMELINE, event.room_id)


def set_verdict(txn: Transaction, event_id: str, verdict: int) -> None:
    """Keep what the push rules say: 0 nothing, 1 notify, 2 highlight."""
    row = txn.one("SELECT room_id FROM event WHERE event_id = ?", (event_id,))
    if row is not None:
        txn.execute("UPDATE event SET verdict = ? WHERE event_id = ?", (verdict, event_id))
        rooms.refresh_at_commit(txn, row["room_id"])


def redact(txn: Transaction, room_id: RoomId, event_id: str, redacted_by: str) -> None:
    """Take away what an event said, also what was opened of it; a message leaves an empty row."""
    row = txn.one("SELECT room_id, kind, redacted_by, relates_to FROM event WHERE event_id = ?", (event_id,))
    if row is None or row["room_id"] != room_id or row["redacted_by"] is not None:
        return
    kind = "none" if row["kind"] in ("none", "state") else "redacted"
    txn.execute(
        "UPDATE event SET content = '{}', opened_content = NULL, body = '', html = NULL, redacted_by = ?,"
        " kind = ?, verdict = 0, seal = CASE seal WHEN 'sealed' THEN 'plain' ELSE seal END"
        " WHERE event_id = ?",
        (redacted_by, kind, event_id),
    )
    txn.execute(
        "UPDATE send_queue SET content = '{}', wire_content = NULL, body = '', html = NULL"
        " WHERE event_id = ? AND state = 'sent'",
        (event_id,),
    )
    # What edited it must not keep its words alive.
    txn.execute(
        "UPDATE event SET content = '{}', opened_content = NULL, redacted_by = ?"
        " WHERE relates_to = ? AND relation = 'm.replace' AND redacted_by IS NULL",
        (redacted_by, event_id),
    )
    _show(txn, event_id, kind != "none")
    if row["relates_to"] is not None:
        _apply_edits(txn, row["relates_to"])
    rooms.refresh_at_commit(txn, room_id)
    txn.changed(Topic.TIMELINE, room_id)


def is_shown(kind: str) -> bool:
    """Whether an event of this kind makes a row of its own."""
    return kind != "none"


def _checked(conn: sqlite3.Connection, raw: Json, room_id: RoomId, now_ms: int) -> StoredEvent:
    event_id, sender, kind = raw.get("event_id"), raw.get("sender"), raw.get("type")
    content, state_key = raw.get("content"), raw.get("state_key")
    if not (isinstance(event_id, str) and isinstance(sender, str) and isinstance(kind, str)):
        raise MalformedEvent("event_id, sender or type is missing")
    if not isinstance(content, dict) or not (state_key is None or isinstance(state_key, str)):
        raise MalformedEvent("content or state_key has a wrong type")
    unsigned = raw.get("unsigned")
    unsigned = unsigned if isinstance(unsigned, dict) else {}
    because, prev = unsigned.get("redacted_because"), unsigned.get("prev_content")
    redacted_by = _text(because.get("event_id")) if isinstance(because, dict) else None
    redacts = raw.get("redacts")
    facts = make_row(
        kind,
        content,
        state_key,
        sender=sender,
        prev_content=prev if isinstance(prev, dict) else None,
        redacts=redacts if isinstance(redacts, str) else None,
        name_of=lambda user_id: members.display_name(conn, room_id, UserId(user_id)),
    )
    if redacted_by is not None:
        shown = state_key is None and kind in ("m.room.message", "m.room.encrypted", "m.sticker")
        facts = RowFacts("redacted" if shown else "none", "", None, shown, None, None)
    is_sealed = kind == "m.room.encrypted" and state_key is None and redacted_by is None
    if is_sealed and facts.relation == "m.replace":
        facts = RowFacts("none", "", None, False, facts.relation, facts.relates_to)
    session_id = content.get("session_id")
    return StoredEvent(
        event_id=EventId(event_id),
        room_id=room_id,
        sender=UserId(sender),
        type=kind,
        state_key=state_key,
        sent_at=_time(raw.get("origin_server_ts"), now_ms),
        received_at=now_ms,
        content={} if redacted_by else content,
        seal=Seal.SEALED if is_sealed else Seal.PLAIN,
        session_id=session_id if is_sealed and isinstance(session_id, str) else None,
        seal_reason=None,
        opened_at=None,
        opened_type=None,
        opened_content=None,
        kind=facts.kind,
        body=facts.body,
        html=facts.html,
        origin=Origin.BACK,
        txn_id=_text(unsigned.get("transaction_id")),
        redacted_by=redacted_by,
        relates_to=EventId(facts.relates_to) if facts.relates_to else None,
        relation=facts.relation,
        verdict=0,
    )


def _correct_time(txn: Transaction, new: StoredEvent) -> None:
    """What we sent has our own clock's time until the server's copy comes; after a crash, hours may lie between."""
    if txn.one("SELECT 1 FROM send_queue WHERE event_id = ?", (new.event_id,)) is None:
        return
    for table in ("event", "megolm_replay"):
        txn.execute(f"UPDATE {table} SET sent_at = ? WHERE event_id = ?", (new.sent_at, new.event_id))
    rooms.refresh_at_commit(txn, new.room_id)
    txn.changed(Topic.TIMELINE, new.room_id)


def _settle_own_send(txn: Transaction, event: StoredEvent, now_ms: int) -> None:
    """The server has our message: its echo may come before the answer to the request that sent it."""
    if event.txn_id is not None:
        txn.execute(
            "UPDATE send_queue SET event_id = ?, state = 'sent', error = NULL, sent_at = COALESCE(sent_at, ?)"
            " WHERE txn_id = ? AND event_id IS NULL",
            (event.event_id, now_ms, event.txn_id),
        )
        return
    txn.execute(
        "UPDATE event SET txn_id = (SELECT txn_id FROM send_queue WHERE event_id = ?1)"
        " WHERE event_id = ?1 AND txn_id IS NULL",
        (event.event_id,),
    )


def _apply_relations(txn: Transaction, event: StoredEvent) -> None:
    if event.relates_to is not None:
        if event.relation == "redaction" and event.type == "m.room.redaction":
            redact(txn, event.room_id, event.relates_to, event.event_id)
        elif event.relation == "m.replace":
            _apply_edits(txn, event.relates_to)
    redaction = txn.one(
        "SELECT event_id FROM event WHERE relates_to = ? AND relation = 'redaction'"
        " AND type = 'm.room.redaction' AND room_id = ? LIMIT 1",
        (event.event_id, event.room_id),
    )
    if redaction is not None:
        redact(txn, event.room_id, event.event_id, redaction["event_id"])
    else:
        _apply_edits(txn, event.event_id)


def _apply_edits(txn: Transaction, event_id: str) -> None:
    """Make the row of an event from its own words and the newest valid edit by the same person."""
    row = txn.one(f"SELECT {_COLUMNS}, edited_by FROM event WHERE event_id = ?", (event_id,))
    if row is None or row["redacted_by"] is not None or row["state_key"] is not None:
        return
    edits = txn.all(
        "SELECT event_id, type, content, seal, opened_type, opened_content FROM event WHERE relates_to = ?"
        " AND relation = 'm.replace' AND sender = ? AND room_id = ? AND redacted_by IS NULL"
        " ORDER BY sent_at DESC, event_id DESC",
        (event_id, row["sender"], row["room_id"]),
    )
    if not edits and row["edited_by"] is None:
        return
    target = _stored(txn.conn, row)
    if target.relation == "m.replace" or target.seal in (Seal.SEALED, Seal.REFUSED):
        return
    facts = make_row(target.clear_type, target.clear_content, None, sender=target.sender)
    edited_by: str | None = None
    for edit in edits:
        said = _edit_content(edit, target)
        if said is None:
            continue
        words = make_row(target.clear_type, said, None, sender=target.sender)
        if words.shown:
            facts, edited_by = words, edit["event_id"]
            break
    txn.execute(
        "UPDATE event SET kind = ?, body = ?, html = ?, edited_by = ? WHERE event_id = ?",
        (facts.kind, facts.body, facts.html, edited_by, event_id),
    )
    _show(txn, event_id, facts.shown)
    rooms.refresh_at_commit(txn, target.room_id)
    txn.changed(Topic.TIMELINE, target.room_id)


def _edit_content(edit: sqlite3.Row, target: StoredEvent) -> Json | None:
    # An edit in clear of an encrypted message would let the server put words into a mouth.
    if (target.seal is Seal.OPENED) != (edit["seal"] == Seal.OPENED):
        return None
    if (edit["opened_type"] or edit["type"]) != target.clear_type:
        return None
    content = loads(edit["opened_content"] or edit["content"])
    return new_content(content)


def _show(txn: Transaction, event_id: str, shown: bool) -> None:
    txn.execute(
        "UPDATE timeline SET shown = ? WHERE conn IN ('app', 'notifier') AND event_id = ? AND shown != ?",
        (int(shown), event_id, int(shown)),
    )


def _known(conn: sqlite3.Connection, event_id: str) -> StoredEvent:
    event = get(conn, event_id)
    if event is None:
        raise KeyError(event_id)
    return event


def _stored(conn: sqlite3.Connection, row: sqlite3.Row) -> StoredEvent:
    origins = conn.execute(
        "SELECT origin FROM timeline WHERE conn IN ('app', 'notifier') AND event_id = ?", (row["event_id"],)
    ).fetchall()
    opened = row["opened_content"]
    return StoredEvent(
        event_id=row["event_id"],
        room_id=row["room_id"],
        sender=row["sender"],
        type=row["type"],
        state_key=row["state_key"],
        sent_at=row["sent_at"],
        received_at=row["received_at"],
        content=loads(row["content"]),
        seal=Seal(row["seal"]),
        session_id=row["session_id"],
        seal_reason=row["seal_reason"],
        opened_at=row["opened_at"],
        opened_type=row["opened_type"],
        opened_content=None if opened is None else loads(opened),
        kind=row["kind"],
        body=row["body"],
        html=row["html"],
        origin=_best_origin(origin["origin"] for origin in origins),
        txn_id=row["txn_id"],
        redacted_by=row["redacted_by"],
        relates_to=row["relates_to"],
        relation=row["relation"],
        verdict=row["verdict"],
    )


def _best_origin(origins: Iterable[str]) -> Origin:
    known = set(origins)
    return next((origin for origin in _BEST_ORIGIN if origin in known), Origin.BACK)


def _time(value: Any, now_ms: int) -> int:
    return value if type(value) is int and 0 <= value <= _MOST_TIME else now_ms


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
