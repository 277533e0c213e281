"""Other people's devices: whose lists we track, which are out of date, and what the server says of our own keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tandem_core.store import portions
from tandem_core.store.codec import dumps
from tandem_core.store.database import Transaction
from tandem_core.types import DeviceId, Topic, UserId

_LONGEST_PAUSE_MS = 600_000
"""A try that is put off for longer was put off by a clock that has gone back since: it is due."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device whose keys were checked against its own signature."""

    user_id: UserId
    device_id: DeviceId
    curve25519: str
    ed25519: str
    display_name: str | None


@dataclass(frozen=True, slots=True)
class KeyCount:
    """What the server last said of our own keys."""

    one_time: int
    fallback_unused: int


def track(txn: Transaction, users: Iterable[UserId]) -> None:
    """Keep these people's device lists from now on; new ones are out of date at first."""
    before = txn.conn.total_changes
    txn.executemany("INSERT OR IGNORE INTO device_list (user_id) VALUES (?)", [(user,) for user in users])
    if txn.conn.total_changes != before:
        txn.changed(Topic.DEVICES)


def mark_outdated(txn: Transaction, users: Iterable[UserId]) -> None:
    """The server says that these people's devices changed; only tracked ones matter."""
    before = txn.conn.total_changes
    txn.executemany(
        "UPDATE device_list SET wanted = wanted + 1 WHERE user_id = ?", [(user,) for user in users]
    )
    if txn.conn.total_changes != before:
        txn.changed(Topic.DEVICES)


def mark_all_outdated(txn: Transaction) -> None:
    """Words of change may have been missed (a sync restarted without ``pos``): every list is asked for again."""
    txn.execute("UPDATE device_list SET wanted = wanted + 1")
    txn.changed(Topic.DEVICES)


def forget_users(txn: Transaction, users: Iterable[UserId]) -> None:
    """We share no encrypted room with these people any more, so the server tells us no changes of theirs."""
    txn.executemany("DELETE FROM device_list WHERE user_id = ?", [(user,) for user in users])
    txn.changed(Topic.DEVICES)


def note_key_counts(
    txn: Transaction, one_time: Mapping[str, int], fallback_types: Collection[str] | None, now_ms: int
) -> None:
    """Keep what the server says of our one-time and fallback keys. An algorithm that is not named counts as none."""
    count = one_time.get("signed_curve25519", 0)
    unused = 1 if fallback_types is None or "signed_curve25519" in fallback_types else 0
    known = key_count(txn.conn)
    txn.execute(
        "INSERT OR REPLACE INTO key_count (id, one_time, fallback_unused, heard_at) VALUES (1, ?, ?, ?)",
        (count, unused, now_ms),
    )
    if known != KeyCount(count, unused):
        txn.changed(Topic.DEVICES)


def key_count(conn: sqlite3.Connection) -> KeyCount | None:
    """None while the server has said nothing."""
    row = conn.execute("SELECT one_time, fallback_unused FROM key_count").fetchone()
    return None if row is None else KeyCount(row["one_time"] or 0, row["fallback_unused"] or 0)


def outdated(
    conn: sqlite3.Connection, now_ms: int, only: Collection[UserId] | None = None
) -> dict[UserId, int]:
    """Whose lists are to be asked for, with the ``wanted`` that an answer would satisfy."""
    rows = conn.execute(
        "SELECT user_id, wanted FROM device_list WHERE wanted > fetched AND next_try_at NOT BETWEEN ? AND ?"
        " ORDER BY user_id",
        (now_ms + 1, now_ms + _LONGEST_PAUSE_MS),
    )
    return {UserId(row["user_id"]): row["wanted"] for row in rows if only is None or row["user_id"] in only}


def wanted(conn: sqlite3.Connection, user_id: UserId) -> int:
    """The ``wanted`` that an answer to a question of now satisfies; 0 for a list that is not tracked."""
    row = conn.execute("SELECT wanted FROM device_list WHERE user_id = ?", (user_id,)).fetchone()
    return 0 if row is None else int(row["wanted"])


def is_current(conn: sqlite3.Connection, user_id: UserId) -> bool:
    """Whether this person's list was ever fetched (it may be out of date since)."""
    row = conn.execute("SELECT fetched FROM device_list WHERE user_id = ?", (user_id,)).fetchone()
    return row is not None and row["fetched"] > 0


def put_list(
    txn: Transaction, user_id: UserId, devices: Iterable[tuple[Device, list[str]]], wanted: int, now_ms: int
) -> list[DeviceId]:
    """Keep a person's whole device list (each with its algorithms), answered to ``wanted``.

    Returns the devices whose keys differ from those we know: they are kept as they were, since a device's
    identity never changes; whoever shows other keys under an old name is not that device. A name that was
    deleted is free for a new device.
    """
    changed: list[DeviceId] = []
    present: set[str] = set()
    for device, algorithms in devices:
        present.add(device.device_id)
        known = txn.one(
            "SELECT curve25519, ed25519 FROM device WHERE user_id = ? AND device_id = ? AND deleted = 0",
            (user_id, device.device_id),
        )
        if known is not None and (known["curve25519"], known["ed25519"]) != (
            device.curve25519,
            device.ed25519,
        ):
            changed.append(device.device_id)
            continue
        txn.execute(
            "INSERT INTO device (user_id, device_id, curve25519, ed25519, display_name, algorithms, first_seen)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (user_id, device_id) DO UPDATE"
            " SET signed_by = CASE WHEN (device.curve25519, device.ed25519)"
            " = (excluded.curve25519, excluded.ed25519) THEN device.signed_by END,"
            " curve25519 = excluded.curve25519, ed25519 = excluded.ed25519, deleted = 0,"
            " display_name = excluded.display_name, algorithms = excluded.algorithms",
            (
                user_id,
                device.device_id,
                device.curve25519,
                device.ed25519,
                device.display_name,
                dumps(algorithms),
                now_ms,
            ),
        )
    for row in txn.all("SELECT device_id FROM device WHERE user_id = ? AND deleted = 0", (user_id,)):
        if row["device_id"] not in present:
            txn.execute(
                "UPDATE device SET deleted = 1 WHERE user_id = ? AND device_id = ?",
                (user_id, row["device_id"]),
            )
    txn.execute(
        "UPDATE device_list SET fetched = max(fetched, ?), next_try_at = 0 WHERE user_id = ?",
        (wanted, user_id),
    )
    txn.changed(Topic.DEVICES)
    return changed


def rename(txn: Transaction, user_id: UserId, device_id: DeviceId, name: str) -> None:
    """A device has another name from now on; its list says the same when it is next asked for."""
    txn.execute(
        "UPDATE device SET display_name = ? WHERE user_id = ? AND device_id = ?", (name, user_id, device_id)
    )
    txn.changed(Topic.DEVICES)


def note_signed_out(txn: Transaction, user_id: UserId, device_ids: Iterable[DeviceId]) -> None:
    """These devices are gone from the account: they get no more keys. The list is asked for again all the same."""
    txn.executemany(
        "UPDATE device SET deleted = 1 WHERE user_id = ? AND device_id = ?",
        [(user_id, device_id) for device_id in device_ids],
    )
    mark_outdated(txn, [user_id])
    txn.changed(Topic.DEVICES)


def put_shown(txn: Transaction, device: Device, algorithms: list[str], now_ms: int) -> bool:
    """Remember a device that is not in its owner's list and showed its keys itself (MSC4147); False if it is known.

    It is none to write to; what it sent can be told from what nobody knows.
    """
    return bool(
        txn.execute(
            "INSERT OR IGNORE INTO device (user_id, device_id, curve25519, ed25519, display_name, algorithms,"
            " first_seen, deleted) VALUES (?, ?, ?, ?, NULL, ?, ?, 1)",
            (
                device.user_id,
                device.device_id,
                device.curve25519,
                device.ed25519,
                dumps(algorithms),
                now_ms,
            ),
        ).rowcount
    )


def note_failed(txn: Transaction, users: Iterable[UserId], next_try_at: int) -> None:
    """These lists could not be had; they stay out of date and are asked for again at ``next_try_at`` (ms)."""
    txn.executemany(
        "UPDATE device_list SET next_try_at = ? WHERE user_id = ?", [(next_try_at, user) for user in users]
    )


def devices_of(conn: sqlite3.Connection, users: Iterable[UserId]) -> list[Device]:
    """The living devices of these people, in order of person and device."""
    rows = portions.rows(
        conn,
        "SELECT user_id, device_id, curve25519, ed25519, display_name FROM device"
        " WHERE deleted = 0 AND user_id IN ({0}) ORDER BY user_id, device_id",
        sorted(users),
    )
    return [Device(*row) for row in rows]


def device(conn: sqlite3.Connection, user_id: UserId, device_id: DeviceId) -> Device | None:
    """One of the person's living devices."""
    return next((one for one in devices_of(conn, [user_id]) if one.device_id == device_id), None)


def device_with_key(conn: sqlite3.Connection, user_id: UserId, curve25519: str) -> Device | None:
    """The person's device with this identity key, deleted ones too: what it said before still holds."""
    row = conn.execute(
        "SELECT user_id, device_id, curve25519, ed25519, display_name FROM device WHERE curve25519 = ? AND user_id = ?",
        (curve25519, user_id),
    ).fetchone()
    return None if row is None else Device(*row)


def first_seen(conn: sqlite3.Connection, user_id: UserId, device_id: DeviceId) -> int | None:
    """When this device first came to our knowledge (ms)."""
    row = conn.execute(
        "SELECT first_seen FROM device WHERE user_id = ? AND device_id = ?", (user_id, device_id)
    ).fetchone()
    return None if row is None else int(row["first_seen"])


def ids_ever(conn: sqlite3.Connection, user_id: UserId) -> set[str]:
    """All devices of a person that we ever knew, those that are gone too."""
    return {str(row[0]) for row in conn.execute("SELECT device_id FROM device WHERE user_id = ?", (user_id,))}


def owner_of(conn: sqlite3.Connection, curve25519: str) -> UserId | None:
    """Whose device has this identity key, if there is exactly one such person."""
    rows = conn.execute("SELECT DISTINCT user_id FROM device WHERE curve25519 = ?", (curve25519,)).fetchall()
    return UserId(rows[0]["user_id"]) if len(rows) == 1 else None


def device_name(conn: sqlite3.Connection, user_id: UserId, device_id: DeviceId) -> str:
    """What the device is called; its id where it has no name."""
    row = conn.execute(
        "SELECT display_name FROM device WHERE user_id = ? AND device_id = ?", (user_id, device_id)
    ).fetchone()
    return str(row["display_name"]) if row is not None and row["display_name"] else str(device_id)
