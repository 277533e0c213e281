"""``tandemctl receipts``: whom a message of ours reached, per person and device; and what we confirmed to others."""

from __future__ import annotations

import argparse
from typing import assert_never

from tandem_core.clock import SystemClock
from tandem_core.command_line import DONE
from tandem_core.ctl import receipt_choices, world
from tandem_core.ctl.output import local_time, show, show_json, table
from tandem_core.ctl.send_key import send_again
from tandem_core.errors import BadInput
from tandem_core.paths import ProfilePaths
from tandem_core.receipts.summary import PersonDelivery, Summary, details, own_devices, summary
from tandem_core.receipts.why import why
from tandem_core.receipts.words import DeviceDelivery, PersonState
from tandem_core.store import deliveries as store
from tandem_core.types import EventId, Json, Role, UserId


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    import asyncio

    if options.log:
        options.event = "log"
    if options.event in receipt_choices.VERBS:
        return receipt_choices.run(paths, options)
    if not options.event:
        raise BadInput("receipts needs an EVENT, or --log", advice="See tandemctl receipts --help.")
    if options.word is not None:
        raise BadInput(f"{options.word!r} is one word too many", advice="tandemctl receipts EVENT")
    if options.why:
        return _tell_why(paths, options)
    with world.opened(paths) as here:
        asyncio.run(world.refresh(here, options.timeout))
        if options.send_key_again:
            send_again(here, options.event, *options.send_key_again)
        link = here.link
        now_ms = SystemClock().now_ms()
        whole = here.db.read_now(summary, link, options.event, now_ms)
        people = here.db.read_now(details, link, options.event, now_ms)
        own = here.db.read_now(own_devices, options.event)
        me = here.session.me.user_id
        via = {
            (row.user_id, row.device_id): row.via
            for rows in here.db.read_now(store.deliveries, [options.event]).values()
            for row in rows
        }
    if options.json:
        show_json(
            _value(options.event, whole, people, via) | {"own_devices": [_own_value(one) for one in own]}
        )
    else:
        lines = [line for person in people for line in _lines(person, via)]
        lines += [
            (f"your {one.name}", "delivered", local_time(one.delivered_at), via.get((me, one.device_id), "-"))
            for one in own
            if one.delivered_at is not None
        ]
        show([whole.text, *table(lines)])
    return DONE


def _value(
    event: str, whole: Summary, people: list[PersonDelivery], via: dict[tuple[UserId, str], str]
) -> Json:
    return {
        "event_id": event,
        "state": str(whole.state),
        "text": whole.text,
        "people_total": whole.people_total,
        "people_delivered": whole.people_delivered,
        "people_read": whole.people_read,
        "people_troubled": whole.people_troubled,
        "devices_total": whole.devices_total,
        "devices_delivered": whole.devices_delivered,
        "people": [
            {
                "user_id": person.user_id,
                "name": person.name,
                "state": str(person.state),
                "tracked": person.tracked,
                "counted": person.counted,
                "delivered_at": person.delivered_at,
                "read_at": person.read_at,
                "transport": via.get((person.user_id, "")),
                "devices": [
                    {
                        "device_id": device.device_id,
                        "name": device.name,
                        "counted": device.counted,
                        "delivered_at": device.delivered_at,
                        "failed_at": device.failed_at,
                        "transport": via.get((person.user_id, device.device_id)),
                    }
                    for device in person.devices
                ],
            }
            for person in people
        ],
    }


def _own_value(device: DeviceDelivery) -> Json:
    return {"device_id": device.device_id, "name": device.name, "delivered_at": device.delivered_at}


def _lines(person: PersonDelivery, via: dict[tuple[UserId, str], str]) -> list[tuple[str, str, str, str]]:
    outcome, at = _outcome(person)
    lines = [
        (f"{person.name} ({person.user_id})", outcome, local_time(at), via.get((person.user_id, ""), "-"))
    ]
    for device in person.devices:
        heard, since = _heard(device)
        name = device.name if device.name == device.device_id else f"{device.name} ({device.device_id})"
        note = "" if device.counted else ", not counted"
        transport = via.get((person.user_id, device.device_id), "-")
        lines.append((f"  {name}", heard + note, local_time(since), transport))
    return lines


def _outcome(person: PersonDelivery) -> tuple[str, int | None]:
    state = person.state
    match state:
        case PersonState.READ:
            return "read", person.read_at
        case PersonState.DELIVERED:
            return "delivered", person.delivered_at
        case PersonState.TROUBLE:
            return "delivered, not to every device" if person.delivered_at else "cannot decrypt", None
        case PersonState.PENDING:
            return "no confirmation", None
        case PersonState.UNTRACKED:
            return "not tracked", None
    assert_never(state)


def _heard(device: DeviceDelivery) -> tuple[str, int | None]:
    if device.failed_at is not None:
        return "cannot decrypt", device.failed_at
    return ("no confirmation" if device.delivered_at is None else "delivered"), device.delivered_at


def _tell_why(paths: ProfilePaths, options: argparse.Namespace) -> int:
    """Why one message of somebody else's was confirmed, or was not, or not yet."""
    with world.opened(paths) as here:
        app_runs = Role.APP in here.running()
        now_ms = SystemClock().now_ms()
        found = here.db.read_now(why, here.session.me, EventId(options.event), now_ms, app_runs=app_runs)
    if options.json:
        show_json(
            {
                "event_id": found.event_id,
                "state": found.state,
                "reason": found.reason,
                "text": found.text,
                "at": found.at,
                "sender": found.sender,
                "share": found.share,
                "transport": found.transport,
            }
        )
    else:
        at = {"sent": "Sent", "owed": "Goes out", "dropped": "Ended"}.get(found.state)
        show([found.text, *([f"{at} {local_time(found.at)}."] if at and found.at is not None else [])])
    return DONE
