"""What the service does and what waits, read from its own store and those of its accounts."""

from __future__ import annotations

import sqlite3
from typing import Any

from tandem_appservice.queue import Account, Queue
from tandem_appservice.registration import Registration
from tandem_appservice.sight import LINK
from tandem_core.errors import Expected
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.role import is_running
from tandem_core.store import inspect, session
from tandem_core.store.database import Database
from tandem_core.types import Json, Role

_COUNTS = (
    "transactions",
    "repeated",
    "changed_repeats",
    "out_of_order",
    "malformed",
    "ignored_users",
    "ignored_devices",
    "ignored_events",
)


def status(paths: ProfilePaths, registration: Registration, queue: Queue) -> Json:
    """Everything that ``status --json`` prints; see docs/HOMESERVER.md for the names."""
    counts = queue.fact("counts") or {}
    lossless = queue.fact("lossless")
    return {
        "running": is_running(paths, Role.NOTIFIER),
        "id": registration.id,
        "homeserver": registration.homeserver,
        "url": registration.url,
        "reached": queue.fact("reached"),
        "to_device": "unknown" if lossless is None else "lossless" if lossless else "stock",
        "account_data": queue.fact("account_data") is True,
        "last_transaction": queue.fact("last"),
        "counts": {name: int(counts.get(name, 0)) for name in _COUNTS},
        "accounts": [_account(account, queue) for account in queue.accounts()],
    }


def lines(value: Json) -> list[str]:
    """The same for people."""
    last = value["last_transaction"]
    said = {
        "lossless": "to-device events are repeated until they are taken (lossless)",
        "stock": "this homeserver may lose to-device events (no im.tandem.lossless_to_device)",
        "unknown": "no transaction has come yet",
    }
    made = [
        f"{'It runs' if value['running'] else 'It does not run'}; {value['homeserver']} sends to {value['url']}",
        f"{value['counts']['transactions']} transactions, the last one {last['txn_id'] if last else '-'}",
        said[value["to_device"]],
    ]
    if value["reached"] and not value["reached"]["ok"]:
        made.append(value["reached"]["detail"])
    for account in value["accounts"]:
        waits = f"{account['waiting']} pieces and {account['inbox']} to-device events wait"
        state = account["state"] if account["hosted"] else f"released, {account['state']}"
        made.append(f"{account['user_id']} ({account['profile']}): {state}; {waits}")
        if account["detail"]:
            made[-1] += f" ({account['detail']})"
    return made


def _account(account: Account, queue: Queue) -> Json:
    found: Json = {
        "user_id": account.user_id,
        "device_id": account.device_id,
        "profile": account.profile,
        "hosted": account.is_hosted,
        "waiting": queue.depth(account.user_id),
        "state": "stopped",
        "detail": "",
        "inbox": 0,
        "outbox": 0,
        "sealed_messages": 0,
        "owed_receipts": 0,
        "due_notifications": 0,
    }
    paths = profile_paths(account.profile)
    try:
        db = Database.open(paths.database)
    except Expected as trouble:
        return found | {"state": "unusable", "detail": trouble.title}
    try:
        return found | db.read_now(_rows, is_running(paths, LINK))
    finally:
        db.close()


def _rows(conn: sqlite3.Connection, runs: bool) -> dict[str, Any]:
    waits = inspect.waiting(conn)
    said = session.program(conn, LINK)
    is_signed_out = said is not None and said.state is session.ProgramState.SIGNED_OUT
    return {
        # What a program that was killed last said of itself is not true any more.
        "state": str(said.state) if said and (runs or is_signed_out) else "stopped",
        "detail": said.detail if said and (runs or is_signed_out) else "",
        "inbox": waits.inbox,
        "outbox": waits.messages + waits.to_device,
        "sealed_messages": waits.sealed_messages,
        "owed_receipts": waits.owed_receipts,
        "due_notifications": waits.due_notifications,
    }
