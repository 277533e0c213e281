"""``tandemctl status``: what both programs do, and what waits."""

from __future__ import annotations

import argparse
import sqlite3

from tandem_core.command_line import DONE
from tandem_core.ctl import world
from tandem_core.ctl.output import local_time, show, show_json, table
from tandem_core.paths import ProfilePaths
from tandem_core.store import inspect, session
from tandem_core.types import Json, Role


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    with world.opened(paths) as here:
        running = here.running()
        value = here.db.read_now(_value, here.session, running)
    if options.json:
        show_json(value)
    else:
        show(_lines(value))
    return DONE


def _value(conn: sqlite3.Connection, signed_in: session.Session, running: list[Role]) -> Json:
    waits = inspect.waiting(conn)
    return {
        "user_id": signed_in.me.user_id,
        "device_id": signed_in.me.device_id,
        "homeserver": signed_in.homeserver,
        "programs": {str(role): _program(conn, role, role in running) for role in Role},
        "inbox": waits.inbox,
        "outbox": {"messages": waits.messages, "to_device": waits.to_device},
        "failed_messages": waits.failed_messages,
        "sealed_messages": waits.sealed_messages,
        "owed_receipts": waits.owed_receipts,
        "due_notifications": waits.due_notifications,
    }


def _program(conn: sqlite3.Connection, role: Role, is_running: bool) -> Json:
    said = session.program(conn, role)
    place = session.connection(conn, role)
    return {
        "running": is_running,
        "pid": said.pid if said and is_running else None,
        # What a program that was killed last said of itself is not true any more.
        "state": str(said.state) if said and is_running else "stopped",
        "detail": said.detail if said and is_running else "",
        "pos": place.pos is not None,
        "since": place.since,
        "synced_at": place.synced_at,
    }


def _lines(value: Json) -> list[str]:
    programs = [
        (
            role,
            said["state"] + (f": {said['detail']}" if said["detail"] else ""),
            f"pid {said['pid']}" if said["pid"] else "-",
            f"last sync {local_time(said['synced_at'])}",
            f"to-device token {said['since'] or '-'}",
        )
        for role, said in value["programs"].items()
    ]
    waiting = [
        (str(value["inbox"]), "to-device events to be processed"),
        (str(value["outbox"]["messages"]), "messages to be sent"),
        (str(value["outbox"]["to_device"]), "to-device messages to be sent"),
        (str(value["failed_messages"]), "messages not sent"),
        (str(value["sealed_messages"]), "messages that cannot be decrypted yet"),
        (str(value["owed_receipts"]), "delivery receipts to be sent"),
    ]
    who = f"{value['user_id']}, device {value['device_id']}, on {value['homeserver']}"
    return [who, *table(programs), *table(waiting)]
