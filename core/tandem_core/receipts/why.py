"""Why a message was confirmed to its author, or was not, or not yet: for the info panel and ``tandemctl``."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tandem_core import settings
from tandem_core.errors import BadInput
from tandem_core.receipts import facts, failed, gate, planning
from tandem_core.receipts.failed import Unsaid
from tandem_core.receipts.gate import Owe, Reason, Share
from tandem_core.receipts.schedule import Turn, Wait
from tandem_core.store import confirmations, timeline
from tandem_core.store import failed as failures
from tandem_core.store import receipts as store
from tandem_core.store.events import StoredEvent
from tandem_core.types import EventId, Me, Seal, UserId

_SENTENCES = {
    Reason.NOT_A_MESSAGE: "It is not a message that shows by itself (a reaction, a notice, a change of the room).",
    Reason.AN_EDIT: "It changes another message. Edits are never confirmed.",
    Reason.EMPTY: "It shows nothing that could be read.",
    Reason.OWN_EVENT: "You wrote it yourself. Whom it reached: tandemctl receipts EVENT.",
    Reason.SEALED: "This device cannot decrypt it.",
    Reason.UNPROVEN: "Its key did not come from its author's own device, but from a backup, a file or another device.",
    Reason.PLAIN_IN_ENCRYPTED_ROOM: "It came without encryption into an encrypted room.",
    Reason.REDACTED: "It was deleted.",
    Reason.NOT_LIVE: "It is from the history that you scrolled back to or that was there when you came.",
    Reason.BEFORE_JOIN: "It was sent before you joined, or it is not known when you joined.",
    Reason.TOO_OLD: "It is older than a week.",
    Reason.OPENED_LATE: "It could be decrypted only more than five minutes after it had come.",
    Reason.CLOCK: "It claims to come from the future.",
    Reason.PAUSED: "It came while you had paused confirmations.",
    Reason.NOT_JOINED: "You or its author are not in the room any more, or not for sure.",
    Reason.NOT_ACCEPTED: "You have not accepted this conversation: you did not write here, invite anybody or say yes.",
    Reason.IGNORED: "You ignore its author, or the list of whom you ignore cannot be read.",
    Reason.PERSON_NEVER: "You never confirm to this person.",
    Reason.ROOM_NEVER: "You never confirm in this room.",
    Reason.SWITCHED_OFF: "Confirmations are off for your account.",
    Reason.KIND_OFF: "Confirmations are off for this kind of room.",
    Reason.TOO_MANY_PEOPLE: "The room has too many people.",
    Reason.NOT_ASKED: "Many people are in the room, and its author did not ask for confirmations of it.",
    Reason.PUBLIC_ROOM: "People can come into this room, or read it, without being invited.",
    Reason.UNKNOWN_ROOM: "It is not certain what kind of room this is.",
    Reason.SETTINGS_UNSOUND: "A stored setting cannot be understood, so nothing is confirmed.",
    Reason.TOO_MANY_WAITING: "Too many confirmations were waiting for its author, and this was the oldest.",
    Reason.NO_WAY: "Neither your server nor encryption has a way to tell its author.",
    Reason.OTHER_DEVICE: "Another device of yours has told its author.",
    Reason.DOUBT: "Something about it cannot be made sense of.",
}
_WAITS = {
    Wait.PLANNED: "It goes out at a time that was drawn at random.",
    Wait.SPACING: "Its author was told something a moment ago.",
    Wait.HOUR: "Its author was told enough in the last hour.",
    Wait.DAY: "Its author was told enough in the last day.",
    Wait.IN_ALL: "Enough was confirmed in the last day, to all people together.",
    Wait.AUTHORS: "Many people are told something just now.",
    Wait.PAUSED: "You have paused confirmations.",
    Wait.COME_BACK: "You came back a short while ago, and that is not to be told at once.",
    Wait.AWAY: "The server has not answered for a while.",
    Wait.UNANSWERED: "Its author was told several times while you did not show up. It goes out once you write, or read"
    " with public read receipts, in a room with them.",
    Wait.CLOCK: "The clock was set back. It is planned anew.",
}
_UNSAID: dict[str, str] = {
    Unsaid.FAILURES_OFF: "You do not tell contacts what a device of yours cannot decrypt.",
    Unsaid.NOT_DIRECT: "That is told in direct chats only.",
    Unsaid.NOT_VERIFIED: "That is told only to people whom you have verified.",
    Unsaid.UNSIGNED_DEVICE: "This device is not confirmed by you.",
    Unsaid.NEW_DEVICE: "You signed in with this device only shortly before it, or after it.",
    Unsaid.NO_SESSION: "No verified device of its author can be reached from this one.",
    Unsaid.ON_PURPOSE: "Its author's app keeps the key from this device on purpose.",
    Unsaid.NO_KEY_HELPS: "No key would open it.",
}
_LEFT = "Another device of yours may tell its author; if it does not, this one will."
_NO_SESSION = (
    "The encryption between this device and its author's is to be set up again; the next message does that."
)
_NOTIFIER = "Only the window confirms, as you have chosen, and it goes out once the window is open."


@dataclass(frozen=True, slots=True)
class Why:
    """What was decided about one event, and why, in words.

    ``state``: ``sent``, ``owed`` (it goes out later), ``dropped`` (it was owed), ``refused`` (it never was) or
    ``undecided`` (nothing is kept of it, and what the gate would say now is told). ``reason``: a ``gate.Reason``, the
    ``schedule.Wait`` of what is owed, or the server's error code. Times are in ms; ``at`` is when it went out, ended
    or, if that can be told, goes out.
    """

    event_id: EventId
    state: str
    reason: str | None
    text: str
    at: int | None = None
    sender: UserId | None = None
    share: str | None = None
    transport: str | None = None


def why(conn: sqlite3.Connection, me: Me, event_id: EventId, now_ms: int, *, app_runs: bool = True) -> Why:
    """What became of the confirmation of somebody's message.

    ``app_runs``: whether the window is there to send, where the notifier may not. Raises BadInput for an event that
    this device does not know.
    """
    row = store.owed(conn, event_id)
    if row is None:
        return _computed(conn, me, event_id, now_ms)
    match row.state:
        case "sent":
            device = ", and that it was this device" if row.share == Share.DEVICE else ""
            text = f"Its author was told that it reached you{device}."
            return Why(event_id, "sent", None, text, row.done_at, row.sender, row.share, row.transport)
        case "owed":
            turn = planning.turn(conn, row.sender, now_ms)
            left_until = confirmations.wait_until(conn, event_id) or 0
            words = _LEFT if now_ms < left_until else _waits(conn, row, turn, app_runs)
            text = f"It is not sent yet. {words}"
            return Why(event_id, "owed", turn.why, text, turn.at, row.sender, row.share)
    text = f"It is not confirmed. {sentence(row.reason)}"
    return Why(event_id, row.state, row.reason, text, row.done_at, row.sender)


def sentence(reason: str | None) -> str:
    """A reason in plain words; the server's own codes as they are."""
    try:
        return _SENTENCES[Reason(str(reason))]
    except ValueError:
        return f"Your server refused to pass it on ({reason})."


def _waits(conn: sqlite3.Connection, row: store.OwedRow, turn: Turn, app_runs: bool) -> str:
    if not app_runs and settings.get(conn, "receipts.notifier") is not True:
        return _NOTIFIER
    if row.attempts:
        return _NO_SESSION
    return _WAITS[turn.why]


def _computed(conn: sqlite3.Connection, me: Me, event_id: EventId, now_ms: int) -> Why:
    """What the gate says now of an event of which nothing is kept."""
    event = timeline.get(conn, event_id)
    if event is None:
        raise BadInput(f"{event_id} is not known here", advice="See tandemctl messages ROOM.")
    about = facts.event_facts(conn, event)
    sender = facts.sender_facts(conn, me, event.room_id, event.sender)
    reason: Reason | None
    if sender.is_me:
        reason = Reason.OWN_EVENT
    elif about.redacted:
        reason = Reason.REDACTED
    elif about.seal not in (Seal.PLAIN, Seal.OPENED):
        reason = Reason.SEALED
    else:
        reason = gate.silent(about)
    if reason is None:
        decision = gate.decide(
            about,
            facts.room_facts(conn, me, event.room_id),
            sender,
            facts.receipt_settings(conn, event.room_id, event.sender),
            now_ms,
        )
        if isinstance(decision, Owe):
            text = "Nothing is known of a confirmation: it came before this device kept account of them."
            return Why(event_id, "undecided", None, text, None, event.sender)
        reason = decision.reason
    text = f"It is not confirmed. {sentence(reason)}"
    if reason is Reason.SEALED:
        text = f"{text} {_of_failure(conn, me, event, now_ms)}".strip()
    return Why(event_id, "undecided", reason, text, None, event.sender)


def _of_failure(conn: sqlite3.Connection, me: Me, event: StoredEvent, now_ms: int) -> str:
    """Whether its author is told that this device cannot decrypt it, and why not; nothing while that is not known."""
    row = None
    if event.session_id is not None:
        row = failures.row(conn, event.room_id, event.session_id, event.sender)
    if row is None:
        if event.seal_reason is None:
            return ""
        reason = failed.unsaid(conn, me, event, event.seal_reason, now_ms)
        return "" if reason is None else _not_told(reason)
    match row.state:
        case "waiting":
            return "Its author will be told so, unless its key comes meanwhile."
        case "dropped":
            return _not_told(row.reason)
    return "Its author was told so, and can send its key again."


def _not_told(reason: str | None) -> str:
    return f"Its author is not told so. {_UNSAID.get(reason or '') or sentence(reason)}"
