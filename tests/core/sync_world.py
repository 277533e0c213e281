"""Builders for sync tests: an account's real store, server answers in the wire's shape, and time that tests own."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tandem_core.store import session as sessions
from tandem_core.store import timeline
from tandem_core.store.database import Database
from tandem_core.sync.apply import Applied, apply
from tandem_core.sync.response import read
from tandem_core.types import DeviceId, Json, Me, Role, RoomId, UserId

ME = Me(UserId("@alice:example.org"), DeviceId("ALICE1"))
BOB = UserId("@bob:example.org")
CAROL = UserId("@carol:example.org")
ROOM = RoomId("!room:example.org")
NOW = 1_800_000_000_000
APP, NOTIFIER = Role.APP, Role.NOTIFIER

_numbers = itertools.count(1)


class StillClock:
    """Time stands; sleeping moves it on and is written down."""

    def __init__(self, now_ms: int = NOW) -> None:
        self.time_ms = now_ms
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic_s(self) -> float:
        return self.time_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time_ms += int(seconds * 1000)


@dataclass
class Account:
    """Alice's store."""

    db: Database
    now: int = NOW
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.db.write_now(work, *args, **kwargs)

    def read(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.db.read_now(work, *args, **kwargs)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        def all_rows(conn: sqlite3.Connection) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in conn.execute(sql, values)]

        return self.read(all_rows)  # type: ignore[no-any-return]

    def one(self, sql: str, *values: object) -> Any:
        return self.rows(sql, *values)[0][0]

    def apply(self, answer: Json, link: Role = APP) -> Applied:
        """Apply an answer as the sync loop does."""
        self.now += 1
        applied: Applied = self.write(
            apply, link, ME, read({"pos": "1/s1", **answer}), now_ms=self.now, chance=self.chance
        )
        return applied

    def sync_room(self, link: Role = APP, room_id: str = ROOM, **said: Any) -> Applied:
        """Apply an answer that has news of one room only."""
        return self.apply({"rooms": {room_id: said}}, link)

    def join(self, link: Role = APP, *events: Json, **said: Any) -> None:
        """The room comes for the first time, with its state and these newest events."""
        self.sync_room(
            link,
            **{
                "initial": True,
                "limited": False,
                "num_live": 0,
                "joined_count": 2,
                "invited_count": 0,
                "required_state": [
                    state("m.room.join_rules", {"join_rule": "invite"}),
                    state("m.room.history_visibility", {"history_visibility": "shared"}),
                    member(ME.user_id, "Alice"),
                    member(BOB, "Bob"),
                ],
                "timeline": list(events),
            }
            | said,
        )

    def bodies(self, link: Role = APP, room_id: RoomId = ROOM) -> list[str]:
        """What the window shows of the room, oldest first."""
        rows = self.read(timeline.page, link, room_id, limit=1000)
        return [row.body for row in reversed(rows)]

    def origins(self, link: Role = APP) -> dict[str, str]:
        """How each event got into this connection's order, by body."""
        return dict(
            self.rows(
                "SELECT e.body, t.origin FROM timeline t JOIN event e USING (event_id) WHERE t.conn = ? ORDER BY t.ord",
                link,
            )
        )


def open_account(folder: Path) -> Iterator[Account]:
    """Alice's store in this folder, signed in."""
    db = Database.open(folder / "tandem.db")
    try:
        db.write_now(sessions.set_session, ME, "http://127.0.0.1:9", "secret-token", NOW)
        yield Account(db)
    finally:
        db.close()


def message(
    body: str, sender: str = BOB, *, event_id: str | None = None, ts: int = NOW, **content: Any
) -> Json:
    """A message in clear, as sync brings it (without room_id)."""
    return {
        "event_id": event_id or f"${body}",
        "sender": sender,
        "type": "m.room.message",
        "origin_server_ts": ts,
        "content": {"msgtype": "m.text", "body": body} | content,
    }


def sealed(name: str, sender: str = BOB, *, session_id: str = "session", **content: Any) -> Json:
    """An encrypted message."""
    cipher = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgA", "session_id": session_id}
    return {
        "event_id": f"${name}",
        "sender": sender,
        "type": "m.room.encrypted",
        "origin_server_ts": NOW,
        "content": cipher | content,
    }


def state(kind: str, content: Json, key: str = "", *, sender: str = BOB, event_id: str | None = None) -> Json:
    """A state event."""
    return {
        "event_id": event_id or f"$state{next(_numbers)}",
        "sender": sender,
        "type": kind,
        "state_key": key,
        "origin_server_ts": NOW,
        "content": content,
    }


def member(
    user_id: str, name: str | None = None, membership: str = "join", *, sender: str | None = None
) -> Json:
    """A membership event."""
    content = {"membership": membership} | ({"displayname": name} if name else {})
    return state("m.room.member", content, user_id, sender=sender or user_id)


def edit(
    target: str, body: str, sender: str = BOB, *, event_id: str | None = None, ts: int = NOW + 1
) -> Json:
    """An edit of the message with this event id."""
    return message(
        f"* {body}",
        sender,
        event_id=event_id or f"$edit-{body}",
        ts=ts,
        **{
            "m.new_content": {"msgtype": "m.text", "body": body},
            "m.relates_to": {"rel_type": "m.replace", "event_id": target},
        },
    )


def redaction(target: str, *, event_id: str | None = None, sender: str = BOB) -> Json:
    """A redaction, as room versions before 11 carry it."""
    return {
        "event_id": event_id or f"$redaction-of-{target[1:]}",
        "sender": sender,
        "type": "m.room.redaction",
        "redacts": target,
        "origin_server_ts": NOW,
        "content": {},
    }


def to_device(kind: str, content: Json, sender: str = BOB) -> Json:
    """A to-device event."""
    return {"type": kind, "sender": sender, "content": content}


def olm(ciphertext: str) -> Json:
    """An Olm-encrypted to-device event with its unique ciphertext."""
    return to_device(
        "m.room.encrypted", {"algorithm": "m.olm.v1", "ciphertext": {"k": {"type": 0, "body": ciphertext}}}
    )
