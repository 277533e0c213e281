"""Failed delivery: a device that cannot decrypt says so to the author, who may send the key again.

MSC4089 leaves this open. A report answers something that anybody can cause, so its rules are stricter than a
receipt's: a visible row that stays sealed, of a live message, in a direct chat with an accepted and verified contact,
after five minutes in which the key backup and our other devices were asked; one report a Megolm session, three an
hour and six a day for one author; from a device that was there well before the message, and never about a key that
was refused on purpose. What is reported is taken back once the author's own key opens it. Reports travel inside the
encrypted receipt, and no other way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tandem_core import settings, trust
from tandem_core.clock import Chance
from tandem_core.receipts import facts, gate, planning, schedule
from tandem_core.receipts.checks import is_id
from tandem_core.store import crypto as keys
from tandem_core.store import devices, rooms
from tandem_core.store import failed as store
from tandem_core.store.database import Transaction
from tandem_core.store.devices import Device
from tandem_core.store.failed import FailedRow
from tandem_core.store.receipt_plans import Plan
from tandem_core.store.rooms import RoomKind
from tandem_core.store.timeline import StoredEvent
from tandem_core.trust import DeviceTrust, PersonTrust
from tandem_core.types import EventId, Json, Me, Origin, RoomId, UserId

SETTING = "receipts.failed"
GRACE_MS = 5 * 60 * 1000
"""So long the key may still come by itself, from the backup, or from another device of ours."""
HOLD_S = (5.0, 60.0)
"""On top of that, and before a report is taken back: the same for every code."""
SETTLED_MS = 3_600_000
"""So long a device was signed in before the message, or it says nothing: a login must not announce itself."""
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
PER_HOUR, PER_DAY = 3, 6
LOOK_AGAIN_MS = 60_000
KEEP_TOLD_MS = 30 * DAY_MS
MOST_WAITING = 50
"""Sessions of one author that wait to be told; of more nothing is said."""
MOST_N = 1000
MOST_READERS = 10

_ON_PURPOSE = frozenset({"m.blacklisted", "m.unverified", "m.unauthorised"})
_OF_OTHERS = frozenset({"forged", "replay", "unknown_algorithm"})
"""Reasons for which no key of the author would open anything."""


class Code(StrEnum):
    """All that a report says of why."""

    NO_KEY = "no_key"
    WITHHELD = "withheld"
    OTHER = "other"


class Unsaid(StrEnum):
    """Why an author is not told of a failure, beside what a ``gate.Reason`` says."""

    FAILURES_OFF = "failures_off"
    NOT_DIRECT = "not_direct"
    NOT_VERIFIED = "not_verified"
    UNSIGNED_DEVICE = "unsigned_device"
    NEW_DEVICE = "new_device"
    NO_SESSION = "no_session"
    ON_PURPOSE = "refused_on_purpose"
    NO_KEY_HELPS = "no_key_helps"


_CODES = {
    "no_key": Code.NO_KEY,
    "too_early": Code.NO_KEY,
    "withheld:m.no_olm": Code.NO_KEY,
    "bad_key": Code.OTHER,
    "malformed": Code.OTHER,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One report: a Megolm session, its first message that cannot be opened, and of how many; 0: of none any more."""

    session: str
    first: EventId
    n: int
    code: Code

    def json(self) -> Json:
        return {"session": self.session, "first": self.first, "n": self.n, "code": str(self.code)}


@dataclass(frozen=True, slots=True)
class Report:
    """An entry that may be told now, and the row that it settles."""

    row: FailedRow
    entry: Entry


def code_of(word: str | None) -> Code | None:
    """What may be said of an event that stays sealed for this reason; None: nothing.

    Nothing is said of forgeries and replays, which somebody else made, nor of a key that was refused on purpose.
    """
    if word is None:
        return None
    if word in _CODES:
        return _CODES[word]
    if word.startswith("withheld:") and word.removeprefix("withheld:") not in _ON_PURPOSE:
        return Code.WITHHELD
    return None


def note(txn: Transaction, me: Me, event: StoredEvent, word: str, now_ms: int, draw: Chance) -> bool:
    """An event stays sealed: keep that its author may have to be told, unless it opens meanwhile.

    In the transaction that found it so. Returns whether that is new.
    """
    session_id = event.session_id
    if session_id is None or store.is_noted(txn.conn, event.room_id, session_id, event.sender):
        return False
    if unsaid(txn.conn, me, event, word, now_ms) is not None:
        return False
    store.forget_told(txn, now_ms - KEEP_TOLD_MS)
    if store.waiting_count(txn.conn, event.sender) >= MOST_WAITING:
        return False
    due_at = now_ms + GRACE_MS + _hold_ms(draw)
    return store.put_waiting(
        txn, event.room_id, session_id, event.sender, event.event_id, now_ms=now_ms, due_at=due_at
    )


def unsaid(
    conn: sqlite3.Connection, me: Me, event: StoredEvent, word: str, now_ms: int
) -> Unsaid | gate.Reason | None:
    """Why nothing is said of an event that stays sealed for this reason; None: its author may have to be told."""
    if event.kind != "sealed" or event.state_key is not None or not is_id(event.session_id):
        return gate.Reason.NOT_A_MESSAGE
    if event.sender == me.user_id:
        return gate.Reason.OWN_EVENT
    if event.origin not in (Origin.LIVE, Origin.GAP):
        return gate.Reason.NOT_LIVE
    if event.redacted_by is not None:
        return gate.Reason.REDACTED
    if code_of(word) is None:
        return Unsaid.NO_KEY_HELPS if word in _OF_OTHERS else Unsaid.ON_PURPOSE
    reason = _never_here(conn, me, event.room_id, event.sender)
    if reason is None and not _was_here(conn, min(event.sent_at, event.received_at), now_ms):
        return Unsaid.NEW_DEVICE
    return reason


def note_key(txn: Transaction, sender: UserId, room_key: Json, now_ms: int) -> bool:
    """An ``m.room_key`` came from its sender: if they were told that it is missing, that is to be taken back."""
    room_id, session_id = room_key.get("room_id"), room_key.get("session_id")
    if not isinstance(room_id, str) or not isinstance(session_id, str):
        return False
    return store.note_mended(txn, RoomId(room_id), session_id, sender, now_ms)


def due(
    txn: Transaction, me: Me, now_ms: int, draw: Chance, *, is_tried: Callable[[FailedRow], bool]
) -> list[Report]:
    """What may be told now; ``is_tried`` says whether everything else was tried for a session.

    Looks at everything again: what does not hold any more is dropped with its reason, what is not settled is put off.
    """
    ready = []
    told: dict[UserId, int] = {}
    for row in store.due(txn.conn, now_ms):
        if row.state == "sent" and row.due_at == row.mended_at:
            store.put_off(txn, row, now_ms + _hold_ms(draw))  # nobody has drawn its hold yet
            continue
        report = _look_again(txn, me, row, now_ms, is_tried)
        if report is None:
            continue
        free_at = _free_at(txn.conn, row.sender, now_ms)
        if free_at > now_ms:
            store.put_off(txn, row, free_at + _hold_ms(draw))
            continue
        if row.state == "waiting":
            wait_ms = _wait_ms(txn.conn, row.sender, told.get(row.sender, 0), now_ms)
            if wait_ms:
                store.put_off(txn, row, now_ms + wait_ms + _hold_ms(draw))
                continue
            told[row.sender] = told.get(row.sender, 0) + 1
        ready.append(report)
    return ready


def readers(conn: sqlite3.Connection, me: Me, row: FailedRow) -> list[Device]:
    """Whom a report goes to: the author's verified devices with which there is an Olm session.

    All of them, so that each shows the same; the one that wrote the message can send its key.
    """
    verdicts = trust.devices(conn, me, [row.sender])
    return [
        device
        for device in devices.devices_of(conn, [row.sender])
        if verdicts.get((device.user_id, device.device_id)) is DeviceTrust.VERIFIED
        and keys.has_olm_session(conn, device.curve25519)
    ][:MOST_READERS]


def mark_told(txn: Transaction, report: Report, now_ms: int) -> None:
    """The report is on its way for good."""
    entry = report.entry
    if entry.n:
        store.mark_sent(txn, report.row, entry.first, entry.code, entry.n, now_ms)
    else:
        store.mark_taken_back(txn, report.row)


def refusal(conn: sqlite3.Connection, me: Me, row: FailedRow, now_ms: int) -> Unsaid | gate.Reason | None:
    """Why this author is not told of failures (any more); None: they may be."""
    room = facts.room_facts(conn, me, row.room_id)
    sender = facts.sender_facts(conn, me, row.room_id, row.sender)
    reason = gate.still_owed(room, sender, facts.receipt_settings(conn, row.room_id, row.sender))
    if reason is not None:
        return reason
    never = _never_here(conn, me, row.room_id, row.sender)
    if never is not None:
        return never
    if trust.device(conn, me, me.user_id, me.device_id) is DeviceTrust.UNSIGNED:
        return Unsaid.UNSIGNED_DEVICE
    if now_ms - row.decided_at > gate.MOST_AGE_MS:
        return gate.Reason.TOO_OLD
    return None


def _look_again(
    txn: Transaction, me: Me, row: FailedRow, now_ms: int, is_tried: Callable[[FailedRow], bool]
) -> Report | None:
    sealed = [each for each in store.sealed_rows(txn.conn, row) if each.reason not in _OF_OTHERS]
    if row.state == "waiting" and not sealed:
        store.forget(txn, row)
        return None
    if row.state == "sent" and sealed:
        store.note_still_sealed(txn, row)
        return None
    reason = refusal(txn.conn, me, row, now_ms)
    if reason == gate.Reason.UNKNOWN_ROOM and now_ms - row.decided_at < gate.MOST_AGE_MS:
        store.put_off(txn, row, now_ms + LOOK_AGAIN_MS)
        return None
    if reason is None and not readers(txn.conn, me, row):
        reason = Unsaid.NO_SESSION
    if reason is not None:
        store.mark_dropped(txn, row, reason)
        return None
    if row.state == "sent":
        return Report(row, Entry(row.session_id, row.first_event, 0, Code(row.code or Code.OTHER)))
    first = sealed[0]
    room = facts.room_facts(txn.conn, me, row.room_id)
    if room.joined_at is None or first.sent_at < room.joined_at:
        store.mark_dropped(txn, row, gate.Reason.BEFORE_JOIN)
        return None
    if not _was_here(txn.conn, min(first.sent_at, first.received_at), now_ms):
        store.mark_dropped(txn, row, Unsaid.NEW_DEVICE)
        return None
    code = code_of(first.reason)
    if code is None and first.reason is not None:
        store.mark_dropped(txn, row, Unsaid.ON_PURPOSE)
        return None
    if code is None or not is_tried(row):
        store.put_off(txn, row, now_ms + LOOK_AGAIN_MS)
        return None
    return Report(row, Entry(row.session_id, first.event_id, min(len(sealed), MOST_N), code))


def _never_here(conn: sqlite3.Connection, me: Me, room_id: RoomId, sender: UserId) -> Unsaid | None:
    """Why this person is not told of any failure in this room."""
    held = settings.effective(conn, SETTING)
    if not (held.is_sound and held.value is True):
        return Unsaid.FAILURES_OFF
    if rooms.kind(conn, room_id) is not RoomKind.DIRECT:
        return Unsaid.NOT_DIRECT
    return None if trust.person(conn, me, sender) is PersonTrust.VERIFIED else Unsaid.NOT_VERIFIED


def _was_here(conn: sqlite3.Connection, event_at: int, now_ms: int) -> bool:
    """Whether this device is much older than the event, and the event not too old to speak of."""
    since = store.signed_in_at(conn)
    return since is not None and event_at >= since + SETTLED_MS and now_ms - event_at <= gate.MOST_AGE_MS


def _free_at(conn: sqlite3.Connection, sender: UserId, now_ms: int) -> int:
    """When this author may be told anything at all, as far as can be said now: a report is a flush like others."""
    plan = Plan(now_ms, hold_ms=0, slack_ms=0, drawn_at=now_ms, profile=schedule.Profile.CONTACT)
    turn = schedule.turn(plan, planning.standing(conn, sender, now_ms), now_ms)
    return now_ms + LOOK_AGAIN_MS if turn.at is None else turn.at


def _wait_ms(conn: sqlite3.Connection, sender: UserId, also: int, now_ms: int) -> int:
    """How long until this author may be told of one more; 0: now. ``also``: told in this very step."""
    told = store.told_since(conn, sender, now_ms - DAY_MS, now_ms) + [now_ms] * also
    free_at = [
        schedule.room_again(told, most, span) for most, span in ((PER_HOUR, HOUR_MS), (PER_DAY, DAY_MS))
    ]
    return max(*free_at, now_ms) - now_ms


def _hold_ms(draw: Chance) -> int:
    return round(draw.uniform(*HOLD_S) * 1000)
