"""How the account's encryption stands, in words: this device, recovery, the key backup."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass
from typing import Any

from tandem_core.crypto import backup, own_identity, recovery_state
from tandem_core.crypto.backup import Status
from tandem_core.crypto.recovery_state import RecoveryState
from tandem_core.crypto.recovery_state import Standing as Recovery
from tandem_core.store import identities
from tandem_core.store.backup import Standing as Trust
from tandem_core.trust import DeviceTrust, PersonTrust, device, person
from tandem_core.types import Me


@dataclass(frozen=True, slots=True)
class Card:
    """``state`` says which buttons belong to it; ``tone``: good, warning, danger or plain."""

    state: str
    tone: str
    title: str
    words: str
    done: int = 0
    total: int = 0
    """How far a restore is, in keys; 0 of 0 while there is none, or while nobody knows how many there are."""


def cards(conn: sqlite3.Connection, me: Me) -> dict[str, dict[str, Any]]:
    """The three cards, as maps for QML, by name: device, recovery, backup."""
    recovery = recovery_state.state(conn)
    made = {
        "device": device_card(conn, me, recovery),
        "recovery": recovery_card(recovery),
        "backup": backup_card(backup.status(conn)),
    }
    return {name: asdict(card) for name, card in made.items()}


def device_card(conn: sqlite3.Connection, me: Me, recovery: RecoveryState) -> Card:
    """Whether this device is one that others believe."""
    if identities.identity(conn, me.user_id) is None:
        if own_identity.is_asked(conn, me):
            return Card(
                "asked",
                "warning",
                "Your account has no identity yet",
                "With it, others can tell your devices from an intruder's. Your homeserver wants to see first that"
                " it is you.",
            )
        return Card("starting", "plain", "Your account's identity is being set up", "This takes a moment.")
    is_confirmed = person(conn, me, me.user_id) is PersonTrust.VERIFIED
    if is_confirmed and device(conn, me, me.user_id, me.device_id) is DeviceTrust.VERIFIED:
        return Card(
            "verified",
            "good",
            "This device is verified",
            "Your other devices trust it, and so does everybody who has verified you.",
        )
    ways = "Verify it with another of your devices"
    if recovery.standing is not Recovery.NOT_SET_UP:
        ways += ", or enter your recovery key"
    return Card(
        "unverified",
        "warning",
        "This device is not verified",
        f"People may not send it the keys of their messages, and your earlier messages stay closed. {ways}.",
    )


def recovery_card(state: RecoveryState) -> Card:
    """Whether the account survives the loss of all devices."""
    match state.standing:
        case Recovery.NOT_SET_UP if state.problem:
            return Card(
                "damaged",
                "danger",
                "Recovery cannot be used",
                f"What your homeserver keeps for it: {state.problem}.",
            )
        case Recovery.NOT_SET_UP:
            return Card(
                "none",
                "warning",
                "Recovery is not set up",
                "A recovery key opens your messages again when all your devices are lost, and verifies new ones.",
            )
        case Recovery.LOCKED:
            either = "recovery key or passphrase" if state.has_passphrase else "recovery key"
            return Card(
                "locked",
                "warning",
                "This device lacks some of your keys",
                f"Your {either} brings them, and with them your earlier messages.",
            )
        case Recovery.INCOMPLETE:
            lacking = recovery_state.names_of(state.missing_there)
            return Card(
                "incomplete",
                "warning",
                "Recovery is out of date",
                f"It would not bring back: {lacking}. Enter your recovery key to complete it, or make a new one.",
            )
        case Recovery.COMPLETE:
            return Card(
                "complete",
                "good",
                "Recovery is set up",
                "Your recovery key brings back your keys and messages.",
            )


def backup_card(status: Status) -> Card:
    """Whether the keys of messages lie on the server, sealed, for other devices of the account."""
    match status.standing:
        case None:
            return Card("unknown", "plain", "Looking for a key backup", "Tandem asks your homeserver.")
        case Trust.NONE:
            return Card(
                "none",
                "warning",
                "The keys of your messages are not backed up",
                "Another device could not read your earlier messages. Your server cannot open the backup.",
            )
        case Trust.UNTRUSTED:
            return Card(
                "untrusted",
                "danger",
                "There is a key backup that this device cannot trust",
                "Nothing is added to it: none of your verified devices has signed it. Your recovery key may open it.",
            )
    return _trusted(status)


def _trusted(status: Status) -> Card:
    going = status.restore
    if going is not None and going.state == "running":
        counted = f"{going.seen:,} of {going.total:,} keys" if going.total else f"{going.seen:,} keys"
        return Card(
            "restoring",
            "plain",
            "Restoring the keys of your messages",
            f"{counted} so far.",
            going.seen,
            going.total,
        )
    words = f"{_keys(status.on_server)} on your homeserver, sealed."
    if status.waiting:
        words += f" {_keys(status.waiting)} on the way."
    if not status.has_key:
        return Card(
            "closed", "good", "The keys of your messages are backed up",
            words + " To restore from it, this device needs your recovery key.",
        )  # fmt: skip
    return Card("open", "good", "The keys of your messages are backed up", words)


def _keys(count: int) -> str:
    return "1 key is" if count == 1 else f"{count:,} keys are"
