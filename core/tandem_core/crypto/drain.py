"""Process the inbox in order, and open what it makes readable: each batch one transaction (laws 2 and 3)."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator

from tandem_core import judge
from tandem_core.clock import Chance
from tandem_core.crypto import gossip, key_requests, megolm, olm, published
from tandem_core.crypto.state import CryptoState
from tandem_core.receipts import encrypted_inbound, failed, inbound
from tandem_core.store import crypto as rows
from tandem_core.store import devices, events, inbox, verification
from tandem_core.store.database import Transaction
from tandem_core.types import Role, Topic

log = logging.getLogger("tandem.crypto.drain")

BATCH = 15
UNWEDGE_EVERY_MS = 3_600_000


def drain(txn: Transaction, state: CryptoState, now_ms: int) -> int:
    """Process the next inbox events strictly by ``seq``; returns how many.

    One that cannot be used is marked with its reason and never holds up the next.
    """
    batch = inbox.waiting(txn.conn, BATCH)
    for row in batch:
        error = _survived(txn, state, row, now_ms)
        if error is None:
            inbox.mark_done(txn, row.seq)
        else:
            log.warning("to-device event %d of %s cannot be used: %s", row.seq, row.sender, error)
            inbox.mark_unusable(txn, row.seq, error)
    if batch:
        txn.changed(Topic.STATUS)
    return len(batch)


def open_sealed(txn: Transaction, state: CryptoState, role: Role, now_ms: int, chance: Chance) -> int:
    """Open sealed room events whose turn it is, oldest first, and judge them; returns how many were tried."""
    due = rows.to_try(txn.conn, BATCH)
    for event_id in due:
        try:
            with state.piece(txn):
                _open(txn, state, role, event_id, now_ms, chance)
        except (sqlite3.Error, MemoryError):
            raise  # the disk or the machine, not the event
        except Exception:
            log.exception("%s could not be opened", event_id)
            events.set_sealed_reason(txn, event_id, megolm.Reason.MALFORMED.word, final=False)
    return len(due)


def _open(
    txn: Transaction, state: CryptoState, role: Role, event_id: str, now_ms: int, chance: Chance
) -> None:
    event = events.get(txn.conn, event_id)
    if event is None:
        return
    opened = megolm.open_room_event(txn, state, event)
    if isinstance(opened, megolm.Sealed):
        if opened.final:
            log.warning("%s cannot be opened: %s", event_id, opened.word)
        events.set_sealed_reason(txn, event_id, opened.word, opened.final)
        with _apart(txn, state, f"{event_id} stays sealed, and what follows from that"):
            failed.note(txn, state.me, event, opened.word, now_ms, chance)
        return
    clear = events.set_opened(txn, event_id, opened.type, opened.content, now_ms)
    with _apart(txn, state, f"{event_id} is open, and the judgement of it"):
        judge.judge(txn, state.me, role, clear, now_ms=now_ms, chance=chance)


@contextlib.contextmanager
def _apart(txn: Transaction, state: CryptoState, what: str) -> Iterator[None]:
    """A consequence that may fail without undoing what it follows from."""
    try:
        with state.piece(txn):
            yield
    except (sqlite3.Error, MemoryError):
        raise
    except Exception:
        log.exception("%s failed", what)


def _survived(txn: Transaction, state: CryptoState, row: inbox.InboxRow, now_ms: int) -> str | None:
    """``_process``, with whatever an event may break kept from the others."""
    try:
        with state.piece(txn):
            return _process(txn, state, row, now_ms)
    except (sqlite3.Error, MemoryError):
        raise  # the disk or the machine, not the event
    except Exception as error:
        log.exception("to-device event %d of %s broke its step", row.seq, row.sender)
        return f"unexpected: {type(error).__name__}"


def _process(txn: Transaction, state: CryptoState, row: inbox.InboxRow, now_ms: int) -> str | None:
    """The effect of one to-device event; returns why it has none, or None."""
    if row.type == inbox.SEALED_TYPE:
        try:
            opened = olm.open_event(txn, state, row.sender, row.content, now_ms)
        except olm.CannotOpen as error:
            if error.is_wedged:
                _note_wedged(txn, row, now_ms)
            return str(error)
        if not opened.is_known:
            devices.track(txn, [opened.sender])
            devices.mark_outdated(txn, [opened.sender])
            if opened.shown is not None:
                published.put_shown(txn, opened.sender, opened.shown, now_ms)
        match opened.type:
            case "m.room_key":
                refused = megolm.keep_room_key(txn, state, opened, now_ms)
                if refused is None:
                    failed.note_key(txn, opened.sender, opened.content, now_ms)
                return refused
            case key_requests.FORWARDED:
                return key_requests.take_forwarded(txn, state, opened, now_ms)
            case gossip.SEND:
                return gossip.take_secret(txn, state, opened, now_ms)
            case kind if kind in encrypted_inbound.KINDS:
                encrypted_inbound.take(
                    txn, state.me, opened.sender, opened.sender_key, kind, opened.content, now_ms
                )
                return None  # nobody learns what came of it
            case kind if kind.startswith(verification.PREFIX):
                device = devices.device_with_key(txn.conn, opened.sender, opened.sender_key)
                writer = None if device is None else device.device_id
                return verification.keep_to_device(
                    txn, state.me, opened.sender, kind, opened.content, writer, now_ms
                )
            case _:
                return None  # m.dummy did its work by being opened; other kinds are not ours yet
    if row.type == key_requests.REQUEST:
        return key_requests.take_request(txn, state.me, row.sender, row.content, now_ms)
    if row.type == gossip.REQUEST:
        return gossip.take_request(txn, state.me, row.sender, row.content, now_ms)
    if row.type == "m.room_key.withheld":
        return megolm.keep_withheld(txn, row.sender, row.content)
    if row.type == inbound.DURABLE:
        return inbound.take_durable(txn, state.me, row.sender, row.content, now_ms)
    if row.type.startswith(verification.PREFIX):
        return verification.keep_to_device(txn, state.me, row.sender, row.type, row.content, None, now_ms)
    return None


def _note_wedged(txn: Transaction, row: inbox.InboxRow, now_ms: int) -> None:
    sender_key = row.content.get("sender_key")
    if not isinstance(sender_key, str):
        return
    device = devices.device_with_key(txn.conn, row.sender, sender_key)
    if device is None:
        # Nobody we know: no session is opened towards strangers, but their list is worth a look.
        devices.track(txn, [row.sender])
        return
    rows.note_wedged(txn, sender_key, device.user_id, device.device_id, now_ms, UNWEDGE_EVERY_MS)
