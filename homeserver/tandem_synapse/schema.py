"""Our own tables inside Synapse's database, by numbered steps that may be repeated."""

from __future__ import annotations

from typing import Any

from synapse.server import HomeServer

from tandem_synapse import seams

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
)


def migrate(hs: HomeServer) -> None:
    """Run the steps that this database has not seen; raises what the database raises, and Synapse does not start."""
    conn = seams.connect(hs)
    try:
        cursor = conn.cursor()
        cursor.execute("CREATE TABLE IF NOT EXISTS im_tandem_schema (version INTEGER NOT NULL)")
        cursor.execute("SELECT max(version) FROM im_tandem_schema")
        row: Any = cursor.fetchone()
        done = int(row[0] or 0) if row else 0
        if done > len(STEPS):
            raise RuntimeError(
                f"tandem_synapse: the tables are of version {done}, this module knows {len(STEPS)}"
            )
        for number, step in enumerate(STEPS[done:], start=done + 1):
            for statement in step:
                cursor.execute(statement)
            cursor.execute("INSERT INTO im_tandem_schema (version) VALUES (%d)" % number)  # noqa: UP031
        cursor.close()
        conn.commit()
    finally:
        conn.close()
