"""What a new login is asked, once: pure, from the store alone, so that the window and tandemctl ask the same."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import Enum

from tandem_core import trust
from tandem_core.crypto import secrets
from tandem_core.crypto.recovery_state import CROSS_SIGNING, RecoveryState, Standing, state
from tandem_core.store import devices, gossip, identities
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.store.session import SessionState
from tandem_core.trust import DeviceTrust, PersonTrust
from tandem_core.types import Me, Role, Topic

_LATER = "recovery.later"


class Question(Enum):
    """What there is to decide, if anything."""

    NOTHING = "nothing"
    VERIFY_OR_RECOVER = "verify_or_recover"
    """This device is not the account's yet: verify it with another one, use the recovery key, or reset."""
    SET_UP_RECOVERY = "set_up_recovery"
    """All is well, but nothing would open the account's messages if this device were lost."""
    RESET = "reset"
    """No other device could verify this one, and there is no recovery: only a new identity goes on."""


@dataclass(frozen=True, slots=True)
class Ways:
    """How this device may become one of the account's."""

    can_verify: bool
    """Another device of ours is signed by our identity."""
    can_recover: bool
    """The master key lies in the secret storage."""


def question(conn: sqlite3.Connection) -> Question:
    """What the person at this machine should be asked now; NOTHING once it was put off (``later``)."""
    asked = due(conn)
    session = sessions.session(conn)
    if session is None or asked.value in _put_off(conn, session.me):
        return Question.NOTHING
    return asked


def due(conn: sqlite3.Connection) -> Question:
    """The same, whether it was put off or not."""
    session = sessions.session(conn)
    if session is None or session.state is not SessionState.SIGNED_IN:
        return Question.NOTHING
    me = session.me
    has_synced = any(sessions.connection(conn, role).synced_at is not None for role in Role)
    if not has_synced or not devices.is_current(conn, me.user_id):
        return Question.NOTHING  # who we are is not known yet
    if identities.identity(conn, me.user_id) is None:
        return Question.NOTHING  # the first device gives the account one
    now = state(conn)
    found = _ways(conn, me, now)
    if trust.person(conn, me, me.user_id) is not PersonTrust.VERIFIED:
        return Question.VERIFY_OR_RECOVER if found.can_verify or found.can_recover else Question.RESET
    if not all(secrets.has(conn, name) for name in CROSS_SIGNING):
        # It is verified already; what it lacks is asked for, too, but may be nowhere else.
        if any(request.times < 2 for request in gossip.requests(conn)):
            return Question.NOTHING  # an answer may come any moment
        return Question.VERIFY_OR_RECOVER if found.can_recover else Question.NOTHING
    return Question.SET_UP_RECOVERY if now.standing is Standing.NOT_SET_UP else Question.NOTHING


def ways(conn: sqlite3.Connection, me: Me) -> Ways:
    """Which answers to VERIFY_OR_RECOVER are open."""
    return _ways(conn, me, state(conn))


def later(txn: Transaction, asked: Question, me: Me) -> None:
    """The person would rather not now: this device does not ask this again by itself."""
    put_off = _put_off(txn.conn, me)
    if asked.value not in put_off:
        sessions.set_fact(txn, _LATER, {"device_id": me.device_id, "questions": [*put_off, asked.value]})
        txn.changed(Topic.KEYS)


def _ways(conn: sqlite3.Connection, me: Me, now: RecoveryState) -> Ways:
    signed = (DeviceTrust.SIGNED_BY_OWNER, DeviceTrust.VERIFIED)
    others = trust.devices(conn, me, [me.user_id])
    return Ways(
        any(verdict in signed for (_, device_id), verdict in others.items() if device_id != me.device_id),
        now.key_id is not None and not now.problem and secrets.MASTER not in now.missing_there,
    )


def _put_off(conn: sqlite3.Connection, me: Me) -> list[str]:
    said = sessions.fact(conn, _LATER)
    return list(said["questions"]) if said is not None and said["device_id"] == me.device_id else []
