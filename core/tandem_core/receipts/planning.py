"""Keep the schedule in the store: plans are drawn in the transaction that needs them, for both programs."""

from __future__ import annotations

import sqlite3

from tandem_core import capabilities, settings
from tandem_core.clock import Chance
from tandem_core.receipts import pause, schedule
from tandem_core.receipts.gate import Share
from tandem_core.receipts.schedule import Profile, Standing, Turn, Wait
from tandem_core.store import devices, rooms
from tandem_core.store import receipt_plans as plans
from tandem_core.store import receipts as store
from tandem_core.store.database import Transaction
from tandem_core.store.rooms import RoomKind
from tandem_core.types import EventId, Me, Role, RoomId, UserId


def may_send(conn: sqlite3.Connection, role: Role) -> bool:
    """Whether this program tells authors anything: the window does, the notifier where it is to."""
    return role is Role.APP or settings.get(conn, "receipts.notifier") is True


def owe(
    txn: Transaction,
    me: Me,
    event_id: EventId,
    room_id: RoomId,
    sender: UserId,
    share: Share,
    *,
    opened_by: Role,
    now_ms: int,
    chance: Chance,
) -> bool:
    """Keep that a receipt is owed, and plan when its author is told if that is not planned yet.

    Returns False if the event was decided before.
    """
    if not store.is_open(txn.conn, event_id):
        return False
    plan = plans.plan(txn.conn, sender)
    first = store.oldest_waiting(txn.conn, sender, untried_first=True)
    if plan is None or first is None or first.attempts:
        plan = schedule.draw(profile(txn.conn, me, room_id, sender, share, now_ms), now_ms, chance)
        plans.put_plan(txn, sender, plan)
    return store.owe(
        txn,
        event_id,
        room_id,
        sender,
        opened_by=opened_by,
        now_ms=now_ms,
        due_at=plan.flush_at,
        share=share,
    )


def plan_rest(txn: Transaction, me: Me, sender: UserId, now_ms: int, chance: Chance) -> None:
    """Plan the next flush for what still waits for this author; with nothing left there is no plan."""
    first = store.oldest_waiting(txn.conn, sender, untried_first=True)
    if first is None:
        plans.drop_plan(txn, sender)
        return
    how = profile(txn.conn, me, first.room_id, sender, Share(first.share), now_ms)
    if first.attempts:  # nothing of it goes out until there is a session: no hurry
        how = Profile.SLOWER
    plans.put_plan(txn, sender, schedule.draw(how, now_ms, chance))


def profile(
    conn: sqlite3.Connection, me: Me, room_id: RoomId, sender: UserId, share: Share, now_ms: int
) -> Profile:
    """How fast this author is told of something in this room."""
    match settings.get(conn, "receipts.timing"):
        case "quick":
            return Profile.QUICK
        case "slower":
            return Profile.SLOWER
    # The server does not hold what names a device.
    if share is Share.USER and _is_merged(conn, me):
        return Profile.MERGED
    if _is_active(conn, room_id, sender, now_ms):
        return Profile.ACTIVE
    return Profile.CONTACT if rooms.kind(conn, room_id) is RoomKind.DIRECT else Profile.OTHERS


def turn(conn: sqlite3.Connection, sender: UserId, now_ms: int) -> Turn:
    """When this author is told next; without a plan it is time to make one."""
    plan = plans.plan(conn, sender)
    if plan is None:
        return Turn(now_ms, Wait.PLANNED)
    return schedule.turn(plan, standing(conn, sender, now_ms), now_ms)


def standing(conn: sqlite3.Connection, sender: UserId, now_ms: int) -> Standing:
    """What was flushed and seen lately, as far as it concerns this author."""
    return Standing(
        flushes=plans.flushes(conn, sender),
        in_all=plans.flush_times(conn, now_ms - schedule.DAY_MS),
        other_authors=plans.other_authors(conn, sender, now_ms - schedule.SPACING_MS),
        attended=plans.attendance_with(conn, sender),
        come_back=plans.come_back(conn),
        answered_at=plans.answered_at(conn),
        paused_until=pause.paused_until(conn, now_ms) or 0,
        is_quick=settings.get(conn, "receipts.timing") == "quick",
    )


def note_flush(txn: Transaction, sender: UserId, now_ms: int) -> None:
    """Count a flush that is made now."""
    attended = schedule.is_attended(plans.attendance_with(txn.conn, sender), now_ms)
    plans.note_flush(txn, sender, now_ms, attended=attended, forget_before_ms=now_ms - schedule.DAY_MS)


def note_answer(txn: Transaction, now_ms: int, chance: Chance) -> None:
    """Hold everything back for a while if the account was away; call this before a sync's answer is noted."""
    hold = schedule.draw_come_back(plans.answered_at(txn.conn), now_ms, chance)
    if hold is not None:
        plans.set_come_back(txn, hold)


def attend(txn: Transaction, room_id: RoomId, at: int, now_ms: int) -> None:
    """The owner showed up in a room at that time: others could see them type, write, or read in public."""
    plans.attend(txn, room_id, min(at, now_ms), pause_ms=schedule.ACTIVE_MS)


def is_ahead(conn: sqlite3.Connection, sender: UserId, now_ms: int) -> bool:
    """Whether something owed to this author was decided by a clock that has gone back since."""
    newest = store.newest_decided_at(conn, sender)
    return newest is not None and newest > now_ms + schedule.CLOCK_SLACK_MS


def mend(txn: Transaction, now_ms: int) -> None:
    """Go on after the clock was set back."""
    plans.mend_times(txn, now_ms, schedule.CLOCK_SLACK_MS)


def _is_active(conn: sqlite3.Connection, room_id: RoomId, sender: UserId, now_ms: int) -> bool:
    """Whether everybody here can see that the owner is active, and they have not been told too often already."""
    seen = plans.attendance(conn, room_id)
    if seen is None or not 0 <= now_ms - seen.at < schedule.ACTIVE_MS:
        return False
    if settings.get(conn, "typing.send") is not True and settings.get(conn, "reads.mode") != "public":
        return False
    told = [flush for flush in plans.flushes(conn, sender) if flush.at >= seen.since]
    return len(told) < schedule.MOST_ACTIVE


def _is_merged(conn: sqlite3.Connection, me: Me) -> bool:
    server = capabilities.kept(conn)
    if server is None or not server.delivery_devices:
        return False
    return any(device.device_id != me.device_id for device in devices.devices_of(conn, [me.user_id]))
