"""Rows of verifications: what was said, in order, and how each one stands.

Whichever program hears something keeps it here, in the transaction that made it readable; only the window
(``tandem_core.verification``) answers. What comes again is known by its digest.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tandem_core.store.codec import canonical, digest, dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.store.events import StoredEvent
from tandem_core.types import DeviceId, Json, Me, Origin, RoomId, Topic, UserId

log = logging.getLogger("tandem.verification")

PREFIX = "m.key.verification."
REQUEST = "m.key.verification.request"
_KINDS = frozenset(PREFIX + kind for kind in ("ready", "start", "accept", "key", "mac", "done", "cancel"))
OPEN_MS = 600_000
"""A request is open for so long (spec, ``m.key.verification.request``)."""
_FUTURE_MS = 300_000
_KEPT_MS = 86_400_000
"""So long after a request its events are known again; by then it is far too old to be believed anew."""
MOST_OPEN = 20
MOST_WAITING = 500
_MOST_BYTES = 16_384
_MOST_ID = 512


@dataclass(frozen=True, slots=True)
class Standing:
    """A verification as the store has it; all else about it lives in the window's memory only."""

    room_id: RoomId | None
    flow: str
    peer: UserId
    device_id: DeviceId | None
    we_asked: bool
    asked_at: int
    asked: tuple[DeviceId, ...]
    methods: tuple[str, ...]
    phase: str
    code: str | None
    reason: str
    is_theirs: bool
    pending: Json | None


@dataclass(frozen=True, slots=True)
class Said:
    """Something that was said in a verification and waits for the window."""

    seq: int
    room_id: RoomId | None
    flow: str
    sender: UserId
    kind: str
    content: Json


def is_request(kind: str, content: Json) -> bool:
    """Whether a room event with this clear type and content asks for a verification."""
    return kind == "m.room.message" and content.get("msgtype") == REQUEST


def keep_to_device(
    txn: Transaction,
    me: Me,
    sender: UserId,
    kind: str,
    content: Json,
    device_id: DeviceId | None,
    now_ms: int,
) -> str | None:
    """Keep a to-device event of a verification; returns why not, or None. Idempotent.

    Between own devices only: people verify each other in rooms. ``device_id``: who wrote it, where Olm says so.
    """
    if sender != me.user_id:
        return "a verification of somebody else outside a room"
    flow, claimed = content.get("transaction_id"), content.get("from_device")
    if claimed is not None and claimed in (me.device_id, ""):
        return "a verification with ourselves"
    if device_id is not None and claimed is not None and claimed != device_id:
        return "a verification under another device's name"
    if not isinstance(flow, str) or not _is_id(flow) or not _fits(content):
        return "malformed verification"
    if kind == REQUEST:
        return _keep_request(txn, None, flow, sender, content, content.get("timestamp"), now_ms)
    if kind not in _KINDS:
        return "unknown kind of verification event"
    mark = digest([flow, sender, kind, content])
    return _keep(txn, mark, None, flow, sender, kind, content, now_ms)


def keep_room_event(txn: Transaction, me: Me, event: StoredEvent, now_ms: int) -> None:
    """Keep a readable room event, if it belongs to a verification and is not this device's own. Idempotent.

    What was there when a room first came counts as long as a request may be answered: somebody may ask at once whom
    we have just joined.
    """
    kind, content = event.clear_type, event.clear_content
    if event.state_key is not None or event.redacted_by is not None:
        return
    if event.origin not in (Origin.LIVE, Origin.GAP) and event.sent_at < now_ms - OPEN_MS:
        return
    why: str | None = None
    if is_request(kind, content):
        if event.sender != me.user_id and content.get("to") == me.user_id:
            why = _keep_request(
                txn, event.room_id, event.event_id, event.sender, content, event.sent_at, now_ms
            )
    elif kind in _KINDS:
        if event.sender == me.user_id and event.txn_id is not None:
            return
        if event.relation == "m.reference" and event.relates_to is not None and _fits(content):
            # Of an encrypted event the relation may stand outside alone; it belongs to what was said all the same.
            relation = {"rel_type": "m.reference", "event_id": event.relates_to}
            whole = content if "m.relates_to" in content else {**content, "m.relates_to": relation}
            why = _keep(
                txn, event.event_id, event.room_id, event.relates_to, event.sender, kind, whole, now_ms
            )
        else:
            why = "malformed verification"
    if why is not None:
        log.info("%s is not used: %s", event.event_id, why)


def put(txn: Transaction, row: Standing, now_ms: int) -> None:
    """Keep how a verification stands."""
    txn.execute(
        "INSERT INTO verification (room_id, flow, peer, device_id, we_asked, asked_at, asked, methods, phase, code,"
        " reason, is_theirs, pending, told) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (room_id, flow) DO UPDATE SET device_id = excluded.device_id, asked = excluded.asked,"
        " methods = excluded.methods, phase = excluded.phase, code = excluded.code, reason = excluded.reason,"
        " is_theirs = excluded.is_theirs, pending = excluded.pending, told = 1",
        (
            row.room_id or "",
            row.flow,
            row.peer,
            row.device_id,
            row.we_asked,
            row.asked_at,
            dumps(list(row.asked)),
            dumps(list(row.methods)),
            row.phase,
            row.code,
            row.reason,
            row.is_theirs,
            None if row.pending is None else dumps(row.pending),
            1,
        ),
    )
    txn.changed(Topic.VERIFICATION)
    forget_old(txn, now_ms)


def rename(txn: Transaction, room_id: RoomId, flow: str, event_id: str) -> None:
    """Our request in a room was sent: from now on it goes by its event."""
    txn.execute("UPDATE verification SET flow = ? WHERE room_id = ? AND flow = ?", (event_id, room_id, flow))
    txn.changed(Topic.VERIFICATION)


def settled(txn: Transaction, room_id: RoomId | None, flow: str, why_not: str) -> None:
    """What was verified is signed, or (``why_not``) cannot be."""
    txn.execute(
        "UPDATE verification SET pending = NULL, reason = ? WHERE room_id = ? AND flow = ?",
        (why_not, room_id or "", flow),
    )
    txn.changed(Topic.VERIFICATION)


def get(conn: sqlite3.Connection, room_id: RoomId | None, flow: str) -> Standing | None:
    row = conn.execute(f"{_SELECT} WHERE room_id = ? AND flow = ?", (room_id or "", flow)).fetchone()
    return None if row is None else _standing(row)


def all_standing(conn: sqlite3.Connection) -> list[Standing]:
    """Every verification that is still known, the newest first."""
    return [_standing(row) for row in conn.execute(f"{_SELECT} ORDER BY asked_at DESC, flow")]


def untold(conn: sqlite3.Connection, now_ms: int) -> list[Standing]:
    """Requests that wait for this person and that nobody has told them of, the oldest first."""
    rows = conn.execute(
        f"{_SELECT} WHERE phase = 'asked' AND we_asked = 0 AND told = 0 AND asked_at BETWEEN ? AND ?"
        " ORDER BY asked_at, flow",
        (now_ms - OPEN_MS, now_ms + _FUTURE_MS),
    )
    return [_standing(row) for row in rows]


def note_told(txn: Transaction, room_id: RoomId | None, flow: str) -> bool:
    """The person is told of this request, or need not be; False if somebody was quicker."""
    return bool(
        txn.execute(
            "UPDATE verification SET told = 1 WHERE room_id = ? AND flow = ? AND told = 0",
            (room_id or "", flow),
        ).rowcount
    )


def waiting(conn: sqlite3.Connection, limit: int = 50) -> list[Said]:
    """What was said and not yet processed, oldest first."""
    rows = conn.execute(
        "SELECT seq, room_id, flow, sender, type, content FROM verification_event WHERE done = 0 ORDER BY seq LIMIT ?",
        (limit,),
    )
    return [
        Said(row[0], RoomId(row[1]) or None, row[2], UserId(row[3]), row[4], loads(row[5])) for row in rows
    ]


def mark_done(txn: Transaction, seq: int) -> None:
    """It had its effect; its digest stays as a guard against repetition."""
    txn.execute("UPDATE verification_event SET done = 1, content = NULL WHERE seq = ?", (seq,))


def forget_old(txn: Transaction, now_ms: int) -> None:
    """Drop what is long over."""
    before = now_ms - _KEPT_MS
    txn.execute("DELETE FROM verification WHERE asked_at < ? AND pending IS NULL", (before,))
    txn.execute("DELETE FROM verification_event WHERE received_at < ?", (before,))


def _keep_request(
    txn: Transaction,
    room_id: RoomId | None,
    flow: str,
    sender: UserId,
    content: Json,
    asked_at: Any,
    now_ms: int,
) -> str | None:
    device_id, methods = content.get("from_device"), content.get("methods")
    if not isinstance(methods, list) or len(methods) > 32 or type(asked_at) is not int:
        return "malformed verification request"
    if not _is_id(device_id) or not _fits(content):
        return "malformed verification request"
    if not now_ms - OPEN_MS <= asked_at <= now_ms + _FUTURE_MS:
        return "a verification request of another time"
    count = txn.one(
        "SELECT count(*) AS n FROM verification WHERE phase = 'asked' AND we_asked = 0 AND asked_at >= ?",
        (now_ms - OPEN_MS,),
    )
    if count is not None and count["n"] >= MOST_OPEN:
        return "too many verification requests"
    words = [word for word in methods if isinstance(word, str) and len(word) <= _MOST_ID]
    fresh = txn.execute(
        "INSERT OR IGNORE INTO verification (room_id, flow, peer, device_id, we_asked, asked_at, asked, methods,"
        " phase) VALUES (?, ?, ?, ?, 0, ?, '[]', ?, 'asked')",
        (room_id or "", flow, sender, device_id, asked_at, dumps(words)),
    ).rowcount
    if fresh:
        forget_old(txn, now_ms)
        txn.changed(Topic.VERIFICATION)
    return None


def _keep(
    txn: Transaction,
    mark: str,
    room_id: RoomId | None,
    flow: str,
    sender: UserId,
    kind: str,
    content: Json,
    now_ms: int,
) -> str | None:
    count = txn.one("SELECT count(*) AS n FROM verification_event WHERE done = 0")
    if count is not None and count["n"] >= MOST_WAITING:
        return "too many verification events"
    fresh = txn.execute(
        "INSERT OR IGNORE INTO verification_event (digest, room_id, flow, sender, type, content, received_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (mark, room_id or "", flow, sender, kind, dumps(content), now_ms),
    ).rowcount
    if fresh:
        _take_back(txn, room_id, flow, sender, kind, content)
        txn.changed(Topic.VERIFICATION)
    return None


def _take_back(
    txn: Transaction, room_id: RoomId | None, flow: str, sender: UserId, kind: str, content: Json
) -> None:
    """A request that nobody here has touched is over: taken back, or answered on another device of ours.

    So that the notifier, without a window, tells of none that is over.
    """
    row = get(txn.conn, room_id, flow)
    if row is None or row.phase != "asked" or row.we_asked:
        return
    me = txn.one("SELECT user_id FROM session")
    is_ours = me is not None and sender == me["user_id"]
    if kind == PREFIX + "cancel" and (sender == row.peer or is_ours):
        code = content.get("code")
        said = code[:_MOST_ID] if isinstance(code, str) else "m.user"
    elif kind == PREFIX + "ready" and is_ours and room_id is not None:
        said = "m.accepted"
    else:
        return
    txn.execute(
        "UPDATE verification SET phase = 'cancelled', code = ?, is_theirs = 1 WHERE room_id = ? AND flow = ?",
        (said, room_id or "", flow),
    )


_SELECT = (
    "SELECT room_id, flow, peer, device_id, we_asked, asked_at, asked, methods, phase, code, reason, is_theirs,"
    " pending FROM verification"
)


def _standing(row: Sequence[Any]) -> Standing:
    return Standing(
        RoomId(row[0]) or None,
        row[1],
        UserId(row[2]),
        None if row[3] is None else DeviceId(row[3]),
        bool(row[4]),
        row[5],
        tuple(DeviceId(device) for device in loads(row[6])),
        tuple(loads(row[7])),
        row[8],
        row[9],
        row[10],
        bool(row[11]),
        None if row[12] is None else loads(row[12]),
    )


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MOST_ID


def _fits(content: Json) -> bool:
    return len(canonical(content)) <= _MOST_BYTES
