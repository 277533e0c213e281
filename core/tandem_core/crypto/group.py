"""Megolm, outgoing: one session a room, rotated when it must be, shared with who may read, then used.

``encrypt`` is one transaction: the ratchet's step, the keys that go out, and the ciphertext are kept together
(law 6), so that a crash can repeat bytes but never an index.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from vodozemac import GroupSession, InboundGroupSession

from tandem_core.clock import elapsed_ms
from tandem_core.crypto import olm, sending_rules
from tandem_core.crypto.sending_rules import Readers
from tandem_core.crypto.state import MEGOLM, CryptoState
from tandem_core.receipts import marker
from tandem_core.store import crypto as rows
from tandem_core.store import devices, outbox
from tandem_core.store.codec import dumps
from tandem_core.store.database import Transaction
from tandem_core.store.devices import Device
from tandem_core.types import DeviceId, Json, RoomId, UserId

ROTATE_MESSAGES = 100
ROTATE_MS = 604_800_000
RECIPIENTS_PER_REQUEST = 100


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a room's session is replaced (spec, ``m.room.encryption``)."""

    messages: int
    age_ms: int

    @classmethod
    def of(cls, encryption: Json) -> Rotation:
        """From the room's own words, kept within reason: never slower than ten thousand messages, or a month."""
        messages, age_ms = encryption.get("rotation_period_msgs"), encryption.get("rotation_period_ms")
        return cls(
            min(max(messages, 1), 10_000) if type(messages) is int else ROTATE_MESSAGES,
            min(max(age_ms, 3_600_000), 2_592_000_000) if type(age_ms) is int else ROTATE_MS,
        )


def readers(txn: Transaction, state: CryptoState, users: Collection[UserId]) -> list[Device]:
    """The devices of all who read what we write: of these people, and our own others."""
    people = {*users, state.me.user_id}
    me = state.me
    return [
        device
        for device in devices.devices_of(txn.conn, people)
        if (device.user_id, device.device_id) != (me.user_id, me.device_id)
    ]


def encrypt(
    txn: Transaction,
    state: CryptoState,
    queued: outbox.Queued,
    users: Collection[UserId],
    encryption: Json,
    now_ms: int,
) -> None:
    """Encrypt a queued message for these people: rotate and share as needed, store the ciphertext and its audience."""
    found = sending_rules.divide(txn.conn, state.me, queued.room_id, readers(txn, state, users))
    to = found.entitled
    session, made_at, messages = _session(txn, state, queued.room_id, to, Rotation.of(encryption), now_ms)
    _share(txn, state, queued.room_id, session, found, now_ms)
    content = marker.put_in(txn, state.me, queued)
    payload = {"type": queued.type, "content": content, "room_id": queued.room_id}
    ciphertext = session.encrypt(dumps(payload).encode()).to_base64()
    rows.put_outbound(
        txn, queued.room_id, session.session_id, session.pickle(state.pickle_key), made_at, messages + 1
    )
    wire: Json = {
        "algorithm": MEGOLM,
        "ciphertext": ciphertext,
        "session_id": session.session_id,
        "sender_key": state.account(txn).curve25519_key.to_base64(),
        "device_id": state.me.device_id,
    }
    if "m.relates_to" in queued.content:
        wire["m.relates_to"] = queued.content["m.relates_to"]  # relations stay readable for the server
    outbox.put_wire(txn, queued.txn_id, queued.room_id, "m.room.encrypted", wire)
    outcomes = rows.shares(txn.conn, session.session_id)
    outbox.put_audience(
        txn,
        queued.txn_id,
        [user for user in users if user != state.me.user_id],
        [
            (device.user_id, device.device_id, device.display_name)
            for device in to
            if device.user_id != state.me.user_id and outcomes.get(_who(device)) == "shared"
        ],
    )


def _session(
    txn: Transaction, state: CryptoState, room_id: RoomId, to: list[Device], rotation: Rotation, now_ms: int
) -> tuple[GroupSession, int, int]:
    """The room's session with its age and count; a new one if it is worn out, or who has it may have it no more."""
    row = rows.outbound(txn.conn, room_id)
    if row is not None and not row.is_retired:
        is_worn = row.messages >= rotation.messages or elapsed_ms(row.made_at, now_ms) >= rotation.age_ms
        present = {_who(device) for device in to}
        has_left = any(
            outcome in ("shared", "again") and who not in present
            for who, outcome in rows.shares(txn.conn, row.session_id).items()
        )
        if not is_worn and not has_left:
            return GroupSession.from_pickle(row.pickle, state.pickle_key), row.made_at, row.messages
    session = GroupSession()
    own = InboundGroupSession(session.session_key)
    account = state.account(txn)
    inbound = rows.InboundRow(
        own.pickle(state.pickle_key),
        state.me.user_id,
        account.curve25519_key.to_base64(),
        account.ed25519_key.to_base64(),
        own.first_known_index,
        "own",
    )
    rows.put_inbound(txn, room_id, session.session_id, inbound, now_ms)
    rows.put_first(txn, session.session_id, room_id, session.pickle(state.pickle_key), now_ms)
    return session, now_ms, 0


def _share(
    txn: Transaction,
    state: CryptoState,
    room_id: RoomId,
    session: GroupSession,
    found: Readers,
    now_ms: int,
) -> None:
    """Queue the session's key for every device that may have it and has not got it, batched.

    The others are told once why not.
    """
    done = rows.shares(txn.conn, session.session_id)
    key = {
        "algorithm": MEGOLM,
        "room_id": room_id,
        "session_id": session.session_id,
        "session_key": session.session_key.to_base64(),
    }
    encrypted: list[tuple[Device, Json]] = []
    withheld: list[tuple[Device, Json]] = []
    for device in found.entitled:
        outcome = done.get(_who(device))
        if outcome == "shared":
            continue
        message = olm.encrypt(txn, state, device, "m.room_key", key, now_ms)
        if message is not None:
            encrypted.append((device, message))
        elif outcome != "no_olm":
            withheld.append((device, _withheld(txn, state, "m.no_olm")))
        _keep_share(txn, session, device, "no_olm" if message is None else "shared")
    for device, code in found.withheld:
        if done.get(_who(device)) != f"withheld:{code}":
            notice = _withheld(txn, state, code) | {"room_id": room_id, "session_id": session.session_id}
            withheld.append((device, notice))
            _keep_share(txn, session, device, f"withheld:{code}")
    _queue(txn, "m.room.encrypted", encrypted, now_ms)
    _queue(txn, "m.room_key.withheld", withheld, now_ms)


def _queue(txn: Transaction, kind: str, messages: list[tuple[Device, Json]], now_ms: int) -> None:
    for start in range(0, len(messages), RECIPIENTS_PER_REQUEST):
        request: dict[str, dict[str, Json]] = {}
        for device, content in messages[start : start + RECIPIENTS_PER_REQUEST]:
            request.setdefault(device.user_id, {})[device.device_id] = content
        outbox.put_to_device(txn, kind, request, now_ms)


def _who(device: Device) -> tuple[UserId, DeviceId, str]:
    return device.user_id, device.device_id, device.curve25519


def _keep_share(txn: Transaction, session: GroupSession, device: Device, outcome: str) -> None:
    rows.put_share(
        txn,
        session.session_id,
        device.user_id,
        device.device_id,
        device.curve25519,
        session.message_index,
        outcome,
    )


def _withheld(txn: Transaction, state: CryptoState, code: str) -> Json:
    """``m.room_key.withheld``, without the session: ``m.no_olm`` concerns none."""
    return {
        "algorithm": MEGOLM,
        "code": code,
        "sender_key": state.account(txn).curve25519_key.to_base64(),
        "reason": sending_rules.REASONS[code],
    }
