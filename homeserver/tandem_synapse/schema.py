"""Our own tables inside Synapse's database, by numbered steps that may be repeated."""

from __future__ import annotations

from typing import Any, Protocol

from synapse.module_api.errors import ConfigError

# Stock receipts keep one row per (room, type, user, thread) and drop an older event's receipt, so
# delivery receipts, which are per event, need a table of their own.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE IF NOT EXISTS im_tandem_delivery (
            event_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            room_id TEXT NOT NULL,
            author TEXT NOT NULL,
            ts BIGINT NOT NULL,
            devices TEXT NOT NULL,
            stream_id BIGINT NOT NULL,
            instance_name TEXT NOT NULL,
            UNIQUE (event_id, user_id)
        )""",
        "CREATE INDEX IF NOT EXISTS im_tandem_delivery_author ON im_tandem_delivery (author, stream_id)",
        "CREATE INDEX IF NOT EXISTS im_tandem_delivery_ts ON im_tandem_delivery (ts)",
    ),
    # A receipt that is kept and not released yet has no position (SQLite cannot take NOT NULL back, so the table is
    # made anew). Receipts that are released together share a position.
    (
        "DROP TABLE IF EXISTS im_tandem_delivery_next",
        """CREATE TABLE im_tandem_delivery_next (
            event_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            room_id TEXT NOT NULL,
            author TEXT NOT NULL,
            ts BIGINT NOT NULL,
            devices TEXT NOT NULL,
            release_at BIGINT NOT NULL,
            stream_id BIGINT,
            instance_name TEXT,
            UNIQUE (event_id, user_id)
        )""",
        """INSERT INTO im_tandem_delivery_next
            (event_id, user_id, room_id, author, ts, devices, release_at, stream_id, instance_name)
            SELECT event_id, user_id, room_id, author, ts, devices, ts, stream_id, instance_name
            FROM im_tandem_delivery""",
        "DROP TABLE im_tandem_delivery",
        "ALTER TABLE im_tandem_delivery_next RENAME TO im_tandem_delivery",
        "CREATE INDEX im_tandem_delivery_author ON im_tandem_delivery (author, stream_id)",
        "CREATE INDEX im_tandem_delivery_stream ON im_tandem_delivery (stream_id)",
        "CREATE INDEX im_tandem_delivery_ts ON im_tandem_delivery (ts)",
        "CREATE INDEX im_tandem_delivery_waiting ON im_tandem_delivery (release_at) WHERE stream_id IS NULL",
    ),
    # Receipts on their way to other homeservers and from them; what those servers announce.
    (
        """CREATE TABLE IF NOT EXISTS im_tandem_delivery_out (
            event_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            room_id TEXT NOT NULL,
            author TEXT NOT NULL,
            destination TEXT NOT NULL,
            ts BIGINT NOT NULL,
            devices TEXT NOT NULL,
            due_ms BIGINT NOT NULL,
            sent_ms BIGINT,
            UNIQUE (event_id, user_id)
        )""",
        """CREATE INDEX IF NOT EXISTS im_tandem_delivery_out_due ON im_tandem_delivery_out (destination, due_ms)
            WHERE sent_ms IS NULL""",
        "CREATE INDEX IF NOT EXISTS im_tandem_delivery_out_ts ON im_tandem_delivery_out (ts)",
        """CREATE TABLE IF NOT EXISTS im_tandem_delivery_in (
            origin TEXT NOT NULL,
            digest TEXT NOT NULL,
            content TEXT NOT NULL,
            received_ms BIGINT NOT NULL,
            due_ms BIGINT NOT NULL,
            UNIQUE (origin, digest)
        )""",
        "CREATE INDEX IF NOT EXISTS im_tandem_delivery_in_due ON im_tandem_delivery_in (due_ms)",
        """CREATE TABLE IF NOT EXISTS im_tandem_server (
            server_name TEXT NOT NULL,
            is_announced SMALLINT NOT NULL,
            until_ms BIGINT NOT NULL,
            UNIQUE (server_name)
        )""",
    ),
    (
        # Up to which position of the receipts stream an author's receipts are in the inboxes.
        """CREATE TABLE IF NOT EXISTS im_tandem_durable (
            author TEXT NOT NULL,
            stream_id BIGINT NOT NULL,
            UNIQUE (author)
        )""",
    ),
    # Transactions to application services (MSC3682, MSC4203): up to where a service was given what; to-device events
    # that it is owed, and whose devices have changed, until they are bound to a transaction; what is bound, until the
    # 200; devices that it created.
    (
        """CREATE TABLE IF NOT EXISTS im_tandem_as_positions (
            as_id TEXT NOT NULL,
            stream TEXT NOT NULL,
            position BIGINT NOT NULL,
            scope TEXT NOT NULL,
            UNIQUE (as_id, stream)
        )""",
        """CREATE TABLE IF NOT EXISTS im_tandem_as_to_device (
            as_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            device_id TEXT NOT NULL,
            stream_id BIGINT NOT NULL,
            message TEXT NOT NULL,
            UNIQUE (as_id, user_id, device_id, stream_id)
        )""",
        "CREATE INDEX IF NOT EXISTS im_tandem_as_to_device_order ON im_tandem_as_to_device (as_id, stream_id)",
        """CREATE TABLE IF NOT EXISTS im_tandem_as_device_lists (
            as_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            UNIQUE (as_id, user_id)
        )""",
        """CREATE TABLE IF NOT EXISTS im_tandem_as_transactions (
            as_id TEXT NOT NULL,
            txn_id BIGINT NOT NULL,
            content TEXT NOT NULL,
            inbox TEXT NOT NULL,
            UNIQUE (as_id, txn_id)
        )""",
        """CREATE TABLE IF NOT EXISTS im_tandem_as_devices (
            as_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            device_id TEXT NOT NULL,
            UNIQUE (as_id, user_id, device_id)
        )""",
    ),
)


class Connection(Protocol):
    """A database connection, Synapse's or Python's own; values stand as ``?``."""

    def cursor(self) -> Any: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...


def migrate(conn: Connection) -> int:
    """Run the steps that this database has not seen; returns how many.

    Raises ConfigError when a newer version of the module has been here, and otherwise what the database raises:
    in both cases Synapse does not start.
    """
    cursor = conn.cursor()
    cursor.execute("CREATE TABLE IF NOT EXISTS im_tandem_schema (version INTEGER NOT NULL)")
    done = _version(cursor)
    for number, step in enumerate(STEPS[done:], start=done + 1):
        for statement in step:
            cursor.execute(statement)
        cursor.execute("INSERT INTO im_tandem_schema (version) VALUES (?)", (number,))
    cursor.close()
    conn.commit()
    return len(STEPS) - done


def check(conn: Connection) -> None:
    """Raise ConfigError unless every step was run: what a worker does, which leaves the tables to the main process."""
    cursor = conn.cursor()
    try:
        done = _version(cursor)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            "tandem_synapse: its tables are not in the database. Start the main process first, with the module."
        ) from error
    finally:
        cursor.close()
        conn.rollback()
    if done < len(STEPS):
        raise ConfigError(
            f"tandem_synapse: its tables in the database are of version {done}, and this module needs {len(STEPS)}. "
            "Start the main process first, with this version of the module."
        )


def _version(cursor: Any) -> int:
    cursor.execute("SELECT max(version) FROM im_tandem_schema")
    row = cursor.fetchone()
    done = int(row[0] or 0)
    if done > len(STEPS):
        raise ConfigError(
            f"tandem_synapse: its tables in the database are of version {done}, and this module knows {len(STEPS)}. "
            "Install the newer version of the module again."
        )
    return done
