"""Megolm, incoming: keep room keys, open room events, and refuse forgeries and replays."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from vodozemac import InboundGroupSession, MegolmMessage, SessionKey

from tandem_core.crypto.olm import Opened
from tandem_core.crypto.state import MEGOLM, CryptoState
from tandem_core.store import crypto as rows
from tandem_core.store import devices
from tandem_core.store.codec import parse
from tandem_core.store.database import Transaction
from tandem_core.store.events import StoredEvent
from tandem_core.types import Json, RoomId, UserId

UNPROVEN = frozenset({"import", "backup", "forward"})
"""Sources of sessions whose sender is hearsay."""


class Reason(Enum):
    """Why an event stays sealed; ``final`` ones never open."""

    NO_KEY = ("no_key", False)
    TOO_EARLY = ("too_early", False)
    BAD_KEY = ("bad_key", False)
    UNKNOWN_ALGORITHM = ("unknown_algorithm", True)
    MALFORMED = ("malformed", True)
    FORGED = ("forged", True)
    REPLAY = ("replay", True)

    @property
    def word(self) -> str:
        return self.value[0]

    @property
    def final(self) -> bool:
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Sealed:
    """It could not be opened."""

    word: str
    final: bool


@dataclass(frozen=True, slots=True)
class Clear:
    """What the event says."""

    type: str
    content: Json


def keep_room_key(txn: Transaction, state: CryptoState, opened: Opened, now_ms: int) -> str | None:
    """Keep an ``m.room_key``; returns why not, or None.

    A session id is a signing key, so nobody else can make a session of that id; but only who brought it first
    is its sender. What a key file, a backup or another device of ours brought has no sender we could believe:
    the sender's own word replaces it.
    """
    content = opened.content
    room_id, session_id, key = content.get("room_id"), content.get("session_id"), content.get("session_key")
    if content.get("algorithm") != MEGOLM or not (isinstance(room_id, str) and isinstance(session_id, str)):
        return "malformed room key"
    try:
        session = InboundGroupSession(SessionKey(key))  # type: ignore[arg-type]  # a wrong type raises TypeError
    except (ValueError, TypeError):
        return "malformed room key"
    if session.session_id != session_id:
        return "a room key under a wrong id"
    best = session
    known = rows.inbound(txn.conn, RoomId(room_id), session_id)
    if known is not None:
        is_imported = known.source in UNPROVEN
        if not is_imported and (known.sender, known.sender_key) != (opened.sender, opened.sender_key):
            return "a room key of another device"
        ours = InboundGroupSession.from_pickle(known.pickle, state.pickle_key)
        found = better(ours, session)
        if found is None and not is_imported:
            return "a room key that does not fit the one we have"
        if found is ours and not is_imported:
            return None
        best = found or session
    row = rows.InboundRow(
        best.pickle(state.pickle_key),
        opened.sender,
        opened.sender_key,
        opened.sender_ed25519,
        best.first_known_index,
        "olm",
    )
    rows.put_inbound(txn, RoomId(room_id), session_id, row, now_ms)
    return None


def keep_copy(
    txn: Transaction,
    pickle_key: bytes,
    room_id: RoomId,
    session: InboundGroupSession,
    sender_key: str,
    claimed_ed25519: str | None,
    source: str,
    now_ms: int,
) -> bool:
    """Keep a session that did not come from its sender; returns whether it was new or reached further back.

    It never takes the place of another ratchet; one that we have from its sender keeps that sender.
    """
    known = rows.inbound(txn.conn, room_id, session.session_id)
    if known is None:
        # Whose device it is may be known; else any sender's messages open.
        sender = devices.owner_of(txn.conn, sender_key) or UserId("")
    else:
        ours = InboundGroupSession.from_pickle(known.pickle, pickle_key)
        if better(ours, session) is not session:
            return False
        sender, sender_key, claimed_ed25519 = known.sender, known.sender_key, known.claimed_ed25519
        source = known.source
    row = rows.InboundRow(
        session.pickle(pickle_key), sender, sender_key, claimed_ed25519, session.first_known_index, source
    )
    rows.put_inbound(txn, room_id, session.session_id, row, now_ms)
    return True


def better(ours: InboundGroupSession, other: InboundGroupSession) -> InboundGroupSession | None:
    """Of two copies of one ratchet the one that reaches further back (``ours`` if both reach as far).

    None if they are not one ratchet: the later one must be what the earlier one becomes.
    """
    early, late = (ours, other) if ours.first_known_index <= other.first_known_index else (other, ours)
    at = late.first_known_index
    grown, is_now = early.export_at(at), late.export_at(at)
    if grown is None or is_now is None or grown.to_base64() != is_now.to_base64():
        return None
    return early


def keep_withheld(txn: Transaction, sender: Any, content: Json) -> str | None:
    """Keep an ``m.room_key.withheld``; returns why not, or None. Idempotent."""
    room_id, session_id, code = content.get("room_id"), content.get("session_id"), content.get("code")
    if not isinstance(code, str) or content.get("algorithm") != MEGOLM:
        return "malformed withheld notice"
    if not (isinstance(room_id, str) and isinstance(session_id, str)):
        return None  # m.no_olm concerns no session
    if rows.inbound(txn.conn, RoomId(room_id), session_id) is None:
        reason = content.get("reason")
        rows.put_withheld(
            txn,
            RoomId(room_id),
            session_id,
            sender,
            code[:64],
            reason[:200] if isinstance(reason, str) else None,
        )
    return None


def open_room_event(txn: Transaction, state: CryptoState, event: StoredEvent) -> Clear | Sealed:
    """Open a sealed event of a room's timeline, if its key is here and all of it fits together."""
    content = event.content
    ciphertext = content.get("ciphertext")
    if content.get("algorithm") != MEGOLM:
        return _sealed(Reason.UNKNOWN_ALGORITHM)
    if not isinstance(ciphertext, str) or event.session_id is None:
        return _sealed(Reason.MALFORMED)
    row = rows.inbound(txn.conn, event.room_id, event.session_id)
    if row is None:
        code = rows.withheld_code(txn.conn, event.room_id, event.session_id, event.sender)
        return Sealed(f"withheld:{code}", False) if code else _sealed(Reason.NO_KEY)
    is_unproven = row.source in UNPROVEN  # its sender's own word may still come, and say otherwise
    if row.sender and row.sender != event.sender:
        return _sealed(Reason.BAD_KEY if is_unproven else Reason.FORGED)
    try:
        message = MegolmMessage.from_base64(ciphertext)
    except ValueError:
        return _sealed(Reason.MALFORMED)
    if message.message_index() < row.first_index:
        return _sealed(Reason.TOO_EARLY)
    try:
        decrypted = InboundGroupSession.from_pickle(row.pickle, state.pickle_key).decrypt(message)
    except ValueError:
        return _sealed(Reason.BAD_KEY if is_unproven else Reason.MALFORMED)
    if rows.is_replay(txn, event.session_id, decrypted.message_index, event.event_id, event.sent_at):
        return _sealed(Reason.REPLAY)
    return _clear(decrypted.plaintext, event.room_id)


def note_own(txn: Transaction, wire: Json, event_id: str, sent_at: int) -> None:
    """Our own message is open without being decrypted; its place in the ratchet is taken all the same."""
    index = MegolmMessage.from_base64(wire["ciphertext"]).message_index()
    rows.is_replay(txn, wire["session_id"], index, event_id, sent_at)


def _clear(plaintext: bytes, room_id: RoomId) -> Clear | Sealed:
    try:
        payload: Any = parse(plaintext)
        kind, content, said_room = payload["type"], payload["content"], payload["room_id"]
    except (ValueError, KeyError, TypeError):
        return _sealed(Reason.MALFORMED)
    if said_room != room_id:
        return _sealed(Reason.FORGED)
    if not isinstance(kind, str) or not isinstance(content, dict):
        return _sealed(Reason.MALFORMED)
    return Clear(kind, content)


def _sealed(reason: Reason) -> Sealed:
    return Sealed(reason.word, reason.final)
