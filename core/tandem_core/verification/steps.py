"""The transactions of verifications: a step of the machine, its row and what it sends, all or nothing (law 6)."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace

from tandem_core import sending
from tandem_core.store import crypto as crypto_rows
from tandem_core.store import devices, identities, members, outbox, rooms
from tandem_core.store import verification as rows
from tandem_core.store.database import Transaction
from tandem_core.store.verification import Said, Standing
from tandem_core.types import DeviceId, Json, Me, Role, RoomId, UserId
from tandem_core.verification import machine, messages
from tandem_core.verification.flow import (
    REQUEST_MS,
    Event,
    Flow,
    Heard,
    Mine,
    NotNow,
    Phase,
    Send,
    Step,
    Theirs,
    Verified,
    World,
)
from tandem_core.verification.messages import Code, Kind, Place
from tandem_core.verification.sas import Half, Party

log = logging.getLogger("tandem.verification")


@dataclass(frozen=True, slots=True)
class Fresh:
    """What each step draws from time and chance."""

    now_ms: int
    new_half: Callable[[], Half]
    secret: bytes


def world(conn: sqlite3.Connection, me: Me, peer: UserId, device_id: DeviceId | None, fresh: Fresh) -> World:
    """What our store knows of both sides. Raises NotNow while this device has no keys of its own."""
    own = crypto_rows.identity(conn)
    if own is None:
        raise NotNow("this device has no keys yet", advice="Try again in a moment.")
    ours, other = identities.identity(conn, me.user_id), identities.identity(conn, peer)
    mine = Mine(
        Party(me.user_id, me.device_id),
        str(own["ed25519"]),
        None if ours is None else ours.master,
        ours is not None and ours.verified_master == ours.master,
    )
    theirs = Theirs(key_of(conn, peer, device_id), None if other is None else other.master)
    return World(fresh.now_ms, mine, theirs, fresh.new_half, fresh.secret)


def key_of(conn: sqlite3.Connection, user_id: UserId, device_id: DeviceId | None) -> str | None:
    """The signing key of a living device, as we have it."""
    return next(
        (device.ed25519 for device in devices.devices_of(conn, [user_id]) if device.device_id == device_id),
        None,
    )


def ask(txn: Transaction, me: Me, flow: Flow) -> None:
    """Send a request to our own other devices."""
    content = flow.place.wrap(messages.asks(me.device_id, flow.asked_at))
    _put(txn, me, Step(flow, (Send(Kind.REQUEST, content, flow.asked),)), flow.asked_at)


def ask_in_room(txn: Transaction, me: Me, room_id: RoomId, peer: UserId, now_ms: int) -> Flow:
    """Queue a request in a room; it goes by its transaction id until it is sent."""
    content = messages.asks_in_room(me.user_id, me.device_id, peer)
    txn_id = sending.enqueue(
        txn, room_id, "m.room.message", content, body="Asks to verify each other", now_ms=now_ms
    )
    flow = Flow(Place(txn_id, room_id), peer, None, True, now_ms, now_ms)
    _put(txn, me, Step(flow), now_ms)
    return flow


def act(txn: Transaction, me: Me, flow: Flow, event: Event, fresh: Fresh) -> Step:
    """One step of a verification that a person takes, or time."""
    step = machine.step(flow, event, world(txn.conn, me, flow.peer, flow.device, fresh))
    if step.flow is not flow:
        _put(txn, me, step, fresh.now_ms)
    return step


def hear(txn: Transaction, me: Me, flow: Flow, said: Said, fresh: Fresh) -> Step:
    """One step that the other side causes."""
    message = messages.read(Kind(said.kind), said.content)
    device = message.device if isinstance(message, messages.Ready) and flow.device is None else flow.device
    seen = world(txn.conn, me, flow.peer, device, fresh)
    step = machine.step(flow, Heard(said.sender, message), seen)
    if step.flow is not flow:
        _put(txn, me, step, fresh.now_ms)
    rows.mark_done(txn, said.seq)
    return step


def pass_by(txn: Transaction, me: Me, said: Said, now_ms: int) -> None:
    """Something about a verification that does not go on here. Who begins one that nobody knows is told so."""
    rows.mark_done(txn, said.seq)
    is_start = said.kind == Kind.START and said.room_id is None
    if not is_start or rows.get(txn.conn, None, said.flow) is not None:
        return
    message = messages.read(Kind.START, said.content)
    device = getattr(message, "device", None)
    if device is not None and key_of(txn.conn, said.sender, device) is not None:
        content = Place(said.flow).wrap(messages.cancels(Code.UNKNOWN_TRANSACTION))
        outbox.put_to_device(txn, Kind.CANCEL, {said.sender: {device: content}}, now_ms)


def give_up_left_over(txn: Transaction, me: Me, now_ms: int) -> None:
    """What an earlier run of the window had begun cannot go on: its secrets died with it. The others are told."""
    for row in rows.all_standing(txn.conn):
        if Phase(row.phase).is_over or (row.phase == Phase.ASKED and not row.we_asked):
            continue
        code = Code.TIMEOUT if now_ms - row.asked_at >= REQUEST_MS else Code.USER
        content = Place(row.flow, row.room_id).wrap(messages.cancels(code))
        targets = (row.device_id,) if row.device_id is not None else row.asked
        flow = replace(flow_of(row), phase=Phase.CANCELLED, code=code, reason="Tandem was closed meanwhile.")
        _put(txn, me, Step(flow, (Send(Kind.CANCEL, content, targets),)), now_ms)


def time_out_untouched(txn: Transaction, me: Me, now_ms: int) -> None:
    """Requests that nobody here has answered in time are over; nothing is sent for that."""
    for row in rows.all_standing(txn.conn):
        if is_overdue(row, now_ms):
            _put(txn, me, Step(replace(flow_of(row), phase=Phase.CANCELLED, code=Code.TIMEOUT)), now_ms)


def name_sent(txn: Transaction, me: Me, now_ms: int) -> dict[Place, Place | str]:
    """Requests in rooms that were sent meanwhile get the name of their event, or (text) the reason why they failed."""
    found: dict[Place, Place | str] = {}
    for row in rows.all_standing(txn.conn):
        if row.room_id is None or not is_unsent(row):
            continue
        sent = txn.one("SELECT state, error, event_id FROM send_queue WHERE txn_id = ?", (row.flow,))
        old = Place(row.flow, row.room_id)
        if sent is not None and sent["event_id"] is not None:
            new = found[old] = Place(sent["event_id"], row.room_id)
            rows.rename(txn, row.room_id, row.flow, new.flow)
            if row.phase == Phase.CANCELLED and not row.is_theirs:
                # It was called off while it was on its way.
                content = new.wrap(messages.cancels(Code.USER))
                sending.enqueue(txn, row.room_id, Kind.CANCEL, content, body="", now_ms=now_ms)
        elif (sent is None or sent["state"] == "failed") and not Phase(row.phase).is_over:
            why = found[old] = "" if sent is None else str(sent["error"] or "")
            ended = replace(flow_of(row), phase=Phase.CANCELLED, code=Code.USER, reason=why)
            _put(txn, me, Step(ended), now_ms)
    return found


def is_unsent(row: Standing) -> bool:
    """Whether this is a request of ours in a room that has no event yet."""
    return row.room_id is not None and not row.flow.startswith("$")


def is_overdue(row: Standing, now_ms: int) -> bool:
    """Whether this is a request that nobody here has answered in time."""
    return row.phase == Phase.ASKED and not row.we_asked and now_ms - row.asked_at >= REQUEST_MS


def flow_of(row: Standing) -> Flow:
    """A verification as far as the store has it."""
    return Flow(
        Place(row.flow, row.room_id),
        row.peer,
        row.device_id,
        row.we_asked,
        row.asked_at,
        row.asked_at,
        asked=row.asked,
        phase=Phase(row.phase),
        methods=frozenset(row.methods),
        code=row.code,
        reason=row.reason,
        is_theirs=row.is_theirs,
    )


def direct_room(conn: sqlite3.Connection, role: Role, peer: UserId) -> RoomId | None:
    """The direct chat with this person: an encrypted one first, then the newest."""
    found = [
        room
        for room in rooms.room_list(conn, role)
        if room.is_dm and room.membership == "join" and _is_with(conn, role, room, peer)
    ]
    best = max(found, key=lambda room: (room.encrypted, room.last_at or 0), default=None)
    return None if best is None else best.room_id


def _is_with(conn: sqlite3.Connection, role: Role, room: rooms.RoomRow, peer: UserId) -> bool:
    """Whether the person is in the room, or invited; where members are not known, the server's word of it is enough."""
    known = {member.user_id: member.membership for member in members.members(conn, role, room.room_id)}
    return known.get(peer, "join" if room.peer == peer else "leave") in ("join", "invite")


def _put(txn: Transaction, me: Me, step: Step, now_ms: int) -> None:
    """Keep where a verification stands and queue what it says, together."""
    flow = step.flow
    standing = Standing(
        flow.place.room_id,
        flow.place.flow,
        flow.peer,
        flow.device,
        flow.we_asked,
        flow.asked_at,
        flow.asked,
        tuple(sorted(flow.methods)),
        flow.phase,
        flow.code,
        flow.reason,
        flow.is_theirs,
        None if step.verified is None else _pending(step.verified),
    )
    rows.put(txn, standing, now_ms)
    room_id = flow.place.room_id
    for send in step.sends:
        if room_id is None:
            if send.devices:
                to: Json = {flow.peer: dict.fromkeys(send.devices, send.content)}
                outbox.put_to_device(txn, send.kind, to, now_ms)
        elif is_unsent(standing):
            sending.discard(txn, flow.place.flow)
        else:
            sending.enqueue(txn, room_id, send.kind, send.content, body="", now_ms=now_ms)


def _pending(verified: Verified) -> dict[str, str | None]:
    return {
        "user": verified.user,
        "device": verified.device,
        "ed25519": verified.ed25519,
        "master": verified.master,
    }
