"""The rows behind transactions to application services: positions, copies that wait, and what is bound.

Each function runs inside a database transaction of its caller.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from tandem_synapse import appservice_json

Json = dict[str, Any]

ACCOUNT, PUSH_RULES, TO_DEVICE = "account_data", "push_rules", "to_device"
TRANSACTION = "transaction"
"""The position of this name is the last transaction id that a service was given."""


class Cursor(Protocol):
    """A database cursor, Synapse's or Python's own; values stand as ``?``."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> Any: ...


def positions(txn: Cursor, as_id: str, scope: str) -> dict[str, int]:
    """Up to where the service has been given each stream; nothing where it asked for something else then."""
    txn.execute("SELECT stream, position, scope FROM im_tandem_as_positions WHERE as_id = ?", (as_id,))
    return {
        str(stream): int(position)
        for stream, position, then in txn.fetchall()
        if then == scope or stream == TRANSACTION
    }


def move(txn: Cursor, as_id: str, scope: str, reached: Mapping[str, int]) -> None:
    """Write positions down."""
    for stream, position in reached.items():
        txn.execute(
            "INSERT INTO im_tandem_as_positions (as_id, stream, position, scope) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (as_id, stream) DO UPDATE SET position = excluded.position, scope = excluded.scope",
            (as_id, stream, position, scope),
        )


def copy_inbox(txn: Cursor, as_id: str, user_id: str, low: int, high: int) -> None:
    """Copy a person's to-device events with ``low < position <= high``."""
    txn.execute(
        "INSERT INTO im_tandem_as_to_device (as_id, user_id, device_id, stream_id, message)"
        " SELECT ?, user_id, device_id, stream_id, message_json FROM device_inbox"
        " WHERE user_id = ? AND stream_id > ? AND stream_id <= ?"
        " ON CONFLICT (as_id, user_id, device_id, stream_id) DO NOTHING",
        (as_id, user_id, low, high),
    )


def waiting(txn: Cursor, as_id: str, most: int) -> list[tuple[int, str, str, str]]:
    """The oldest copies: position, user, device, JSON."""
    txn.execute(
        "SELECT stream_id, user_id, device_id, message FROM im_tandem_as_to_device WHERE as_id = ?"
        " ORDER BY stream_id, user_id, device_id LIMIT ?",
        (as_id, most),
    )
    return [(int(row[0]), str(row[1]), str(row[2]), str(row[3])) for row in txn.fetchall()]


def note_devices(txn: Cursor, as_id: str, users: Iterable[str]) -> None:
    """Remember that the service is to be told of these people's devices."""
    for user_id in users:
        txn.execute(
            "INSERT INTO im_tandem_as_device_lists (as_id, user_id) VALUES (?, ?)"
            " ON CONFLICT (as_id, user_id) DO NOTHING",
            (as_id, user_id),
        )


def noted_devices(txn: Cursor, as_id: str, most: int) -> list[str]:
    """Of whose devices the service is to be told."""
    txn.execute(
        "SELECT user_id FROM im_tandem_as_device_lists WHERE as_id = ? ORDER BY user_id LIMIT ?",
        (as_id, most),
    )
    return [str(user_id) for (user_id,) in txn.fetchall()]


def bind(
    txn: Cursor,
    as_id: str,
    txn_id: int,
    content: Json,
    inbox: Sequence[tuple[str, str, int]],
    changed: Iterable[str] = (),
) -> None:
    """Make this content part of the transaction for good; what is in it waits no longer."""
    txn.execute(
        "INSERT INTO im_tandem_as_transactions (as_id, txn_id, content, inbox) VALUES (?, ?, ?, ?)",
        (as_id, txn_id, appservice_json.written(content), json.dumps(inbox)),
    )
    for user_id, device_id, stream_id in inbox:
        txn.execute(
            "DELETE FROM im_tandem_as_to_device"
            " WHERE as_id = ? AND user_id = ? AND device_id = ? AND stream_id = ?",
            (as_id, user_id, device_id, stream_id),
        )
    for user_id in changed:
        txn.execute("DELETE FROM im_tandem_as_device_lists WHERE as_id = ? AND user_id = ?", (as_id, user_id))


def bound(txn: Cursor, as_id: str, txn_id: int) -> tuple[Json, list[list[Any]]] | None:
    """What is part of this transaction: its content, and the inbox's rows in it."""
    txn.execute(
        "SELECT content, inbox FROM im_tandem_as_transactions WHERE as_id = ? AND txn_id = ?", (as_id, txn_id)
    )
    row = txn.fetchone()
    return None if row is None else (json.loads(row[0]), json.loads(row[1]))


def unbind(txn: Cursor, as_id: str, txn_id: int) -> None:
    """The transaction got its 200."""
    txn.execute("DELETE FROM im_tandem_as_transactions WHERE as_id = ? AND txn_id = ?", (as_id, txn_id))


def has_unsent(txn: Cursor, as_id: str) -> bool:
    """Whether Synapse keeps a transaction of this service that has not got its 200."""
    txn.execute("SELECT 1 FROM application_services_txns WHERE as_id = ? LIMIT 1", (as_id,))
    return txn.fetchone() is not None


def made(txn: Cursor, as_id: str, user_id: str, device_id: str) -> None:
    """Remember that the service created this device."""
    txn.execute(
        "INSERT INTO im_tandem_as_devices (as_id, user_id, device_id) VALUES (?, ?, ?)"
        " ON CONFLICT (as_id, user_id, device_id) DO NOTHING",
        (as_id, user_id, device_id),
    )


def was_made_by(txn: Cursor, as_id: str, user_id: str, device_id: str) -> bool:
    txn.execute(
        "SELECT 1 FROM im_tandem_as_devices WHERE as_id = ? AND user_id = ? AND device_id = ?",
        (as_id, user_id, device_id),
    )
    return txn.fetchone() is not None


def owners_of(txn: Cursor, device_id: str) -> set[str]:
    """Who has a device of this name."""
    txn.execute("SELECT user_id FROM devices WHERE device_id = ?", (device_id,))
    return {str(user_id) for (user_id,) in txn.fetchall()}


def forget_others(txn: Cursor, wishing: Mapping[str, Collection[str]]) -> None:
    """Services that no longer ask for a stream start afresh when they ask again; what is bound stays until its 200."""
    txn.execute("SELECT as_id, stream FROM im_tandem_as_positions WHERE stream <> ?", (TRANSACTION,))
    for as_id, stream in txn.fetchall():
        if stream not in wishing.get(as_id, ()):
            txn.execute("DELETE FROM im_tandem_as_positions WHERE as_id = ? AND stream = ?", (as_id, stream))
    for table in ("im_tandem_as_to_device", "im_tandem_as_device_lists"):
        txn.execute(f"SELECT DISTINCT as_id FROM {table}")  # noqa: S608 names only
        for (as_id,) in txn.fetchall():
            if TO_DEVICE not in wishing.get(as_id, ()):
                txn.execute(f"DELETE FROM {table} WHERE as_id = ?", (as_id,))  # noqa: S608


def with_bound(txn: Cursor) -> set[str]:
    """The services with transactions that carry something of ours."""
    txn.execute("SELECT DISTINCT as_id FROM im_tandem_as_transactions")
    return {str(as_id) for (as_id,) in txn.fetchall()}


def last_transaction(txn: Cursor) -> int:
    """The highest transaction id that a service of ours was given."""
    txn.execute("SELECT max(position) FROM im_tandem_as_positions WHERE stream = ?", (TRANSACTION,))
    row = txn.fetchone()
    return int(row[0] or 0)
