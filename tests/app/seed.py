"""Build an account's store for window tests: people, rooms, messages, as the two programs would have written them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tandem_core.paths import ProfilePaths
from tandem_core.store import account_data, inbox, members, reads, rooms, session, timeline
from tandem_core.store.codec import dumps
from tandem_core.store.database import Database, Transaction
from tandem_core.store.shared_settings import DELIVERY_SETTINGS
from tandem_core.types import DeviceId, EventId, Json, Me, Role, RoomId, Topic, UserId

__all__ = ["ME", "NOON_MS", "Seed", "inbox"]

ME = UserId("@alice:example.org")
NOON_MS = 1_795_262_400_000
"""The tests' now: a Saturday, 21 November 2026, 12:00 UTC."""
MINUTE_MS = 60_000
_ENCRYPTION = {"algorithm": "m.megolm.v1.aes-sha2"}


class Seed:
    """One account's store. Times go forward by a minute a message unless told."""

    def __init__(self, paths: ProfilePaths, *, now_ms: int = NOON_MS) -> None:
        paths.make()
        self.paths = paths
        self.now_ms = now_ms
        self.db = Database.open(paths.database)
        self._number = 0

    def close(self) -> None:
        self.db.close()

    def sign_in(self) -> None:
        me = Me(ME, DeviceId("ALICEDEV"))
        self.db.write_now(session.set_session, me, "http://127.0.0.1:9", "token-of-a-test", self.now_ms)
        self.answer()

    def answer(self, *, enabled: bool = True, **more: Any) -> None:
        """Another device has answered whether deliveries are confirmed; ``more`` of the account data as it is."""
        content = {"enabled": enabled, "durable": True, **more}
        self.db.write_now(account_data.put, DELIVERY_SETTINGS, content)

    def room(
        self,
        name: str,
        *,
        people: dict[str, str] | None = None,
        direct: bool = False,
        encrypted: bool = True,
        topic: str | None = None,
        membership: str = "join",
        inviter: str | None = None,
    ) -> RoomId:
        """A room with these people (user id to display name) beside me."""
        self._number += 1
        room_id = RoomId(f"!room{self._number}:example.org")
        others = people or {"@bob:example.org": "Bob"}
        everybody = {ME: "Alice", **others}
        heroes = [{"user_id": user, "name": shown, "avatar": None} for user, shown in others.items()]

        def write(txn: Transaction) -> None:
            for link in Role:
                fields: dict[str, Any] = {
                    "name": name,
                    "topic": topic,
                    "membership": membership,
                    "is_dm": int(direct),
                    "heroes": dumps(heroes[:5]),
                    "join_rule": "invite",
                    "history_visibility": "shared",
                    "joined_count": len(everybody),
                    "members_complete": 1,
                    "inviter": inviter,
                    "last_at": self.now_ms - 120 * MINUTE_MS,
                }
                rooms.set_room(txn, link, room_id, fields)
                if encrypted:
                    rooms.note_encryption(txn, room_id, _ENCRYPTION)
                for user, shown in everybody.items():
                    content = {"membership": "join", "displayname": shown}
                    members.set_member(txn, link, room_id, UserId(user), content, self.now_ms)

        self.db.write_now(write)
        return room_id

    def say(self, room_id: RoomId, *messages: Json, link: Role = Role.APP) -> list[EventId]:
        """Live events (see ``message``), oldest first, as a sync brings them."""

        def write(txn: Transaction) -> None:
            timeline.append_live(
                txn, link, room_id, messages, limited=False, prev_batch=None, now_ms=self.now_ms
            )

        self.db.write_now(write)
        return [EventId(message["event_id"]) for message in messages]

    def message(
        self,
        text: str,
        sender: str = "@bob:example.org",
        *,
        at: int | None = None,
        type: str = "m.room.message",
        content: Json | None = None,
        html: str | None = None,
        msgtype: str = "m.text",
        txn_id: str | None = None,
        state_key: str | None = None,
    ) -> Json:
        """A raw room event in clear; ``at`` is in minutes before now (default: after the one before)."""
        self._number += 1
        body: Json = {"msgtype": msgtype, "body": text}
        if html is not None:
            body |= {"format": "org.matrix.custom.html", "formatted_body": html}
        event: Json = {
            "event_id": f"$event{self._number}",
            "sender": sender,
            "type": type,
            "content": body if content is None else content,
            "origin_server_ts": self.now_ms - (60 if at is None else at) * MINUTE_MS + self._number * 1000,
        }
        if state_key is not None:
            event["state_key"] = state_key
        if txn_id is not None:
            event["unsigned"] = {"transaction_id": txn_id}
        return event

    def sealed(
        self, sender: str = "@bob:example.org", *, at: int | None = None, session_id: str = "s1"
    ) -> Json:
        """An encrypted event whose key is not there."""
        content = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "abc", "session_id": session_id}
        return self.message("", sender, at=at, type="m.room.encrypted", content=content)

    def open_sealed(self, event_id: EventId, text: str) -> None:
        """The key came: the event is opened."""
        content = {"msgtype": "m.text", "body": text}
        self.db.write_now(timeline.set_opened, event_id, "m.room.message", content, self.now_ms)

    def redact(self, room_id: RoomId, event_id: EventId) -> None:
        self.db.write_now(timeline.redact, room_id, event_id, "$redaction")

    def read_up_to(self, room_id: RoomId, event_id: EventId, user: str = ME, at: int | None = None) -> None:
        """A person's read marker."""

        def write(txn: Transaction) -> None:
            reads.put_marker(
                txn, room_id, UserId(user), event_id, self.now_ms if at is None else at, is_me=user == ME
            )

        self.db.write_now(write)

    def pending(
        self, room_id: RoomId, text: str, *, state: str = "queued", error: str | None = None, txn_id: str = ""
    ) -> str:
        """A message of ours on its way out."""
        self._number += 1
        txn_id = txn_id or f"m{self._number}"

        def write(txn: Transaction) -> None:
            txn.execute(
                "INSERT INTO send_queue (txn_id, room_id, type, content, body, state, error, made_at)"
                " VALUES (?, ?, 'm.room.message', ?, ?, ?, ?, ?)",
                (
                    txn_id,
                    room_id,
                    dumps({"msgtype": "m.text", "body": text}),
                    text,
                    state,
                    error,
                    self.now_ms,
                ),
            )
            txn.changed(Topic.OUTBOX, room_id)
            txn.changed(Topic.TIMELINE, room_id)

        self.db.write_now(write)
        return txn_id

    def sent(
        self,
        room_id: RoomId,
        text: str,
        *,
        people: dict[str, list[str]] | None = None,
        at: int | None = None,
        delivered: Iterable[tuple[str, str]] = (),
    ) -> EventId:
        """A message of ours that the server has, meant for these people and devices, confirmed by some."""
        txn_id = self.pending(room_id, text, state="sent")
        event = self.message(text, ME, txn_id=txn_id, at=at)
        event_id = EventId(event["event_id"])

        def write(txn: Transaction) -> None:
            txn.execute(
                "UPDATE send_queue SET event_id = ?, sent_at = ? WHERE txn_id = ?",
                (event_id, event["origin_server_ts"], txn_id),
            )
            for user, devices in (people or {"@bob:example.org": ["Phone"]}).items():
                for device in ("", *devices):
                    txn.execute(
                        "INSERT INTO audience (txn_id, user_id, device_id, device_name) VALUES (?, ?, ?, ?)",
                        (txn_id, user, device.upper(), device or None),
                    )
            for user, device in delivered:
                txn.execute(
                    "INSERT INTO delivery (event_id, user_id, device_id, outcome, ts, heard_at, via)"
                    " VALUES (?, ?, ?, 'delivered', ?, ?, 'server')",
                    (event_id, user, device.upper(), event["origin_server_ts"] + 1000, self.now_ms),
                )

        self.db.write_now(write)
        self.say(room_id, event)
        return event_id

    def deliver(self, event_id: EventId, user: str, *devices: str) -> None:
        """A receipt of a person (device '') and their devices is heard."""

        def write(txn: Transaction) -> None:
            for device in devices:
                txn.execute(
                    "INSERT INTO delivery (event_id, user_id, device_id, outcome, ts, heard_at, via)"
                    " VALUES (?, ?, ?, 'delivered', ?, ?, 'server')",
                    (event_id, user, device.upper(), self.now_ms, self.now_ms),
                )
            txn.changed(Topic.DELIVERY)

        self.db.write_now(write)

    def confirmed(self, room_id: RoomId, sender: str, done: Mapping[str, int]) -> None:
        """Messages of somebody that we have confirmed, and when each."""

        def write(txn: Transaction) -> None:
            for event_id, done_at in done.items():
                txn.execute(
                    "INSERT INTO receipt_owed (event_id, room_id, sender, opened_by, decided_at, due_at, share, state,"
                    " transport, done_at) VALUES (?, ?, ?, 'app', 1, 1, 'user', 'sent', 'server', ?)",
                    (event_id, room_id, sender, done_at),
                )

        self.db.write_now(write)

    def cannot_read(
        self, room_id: RoomId, event_id: EventId, user: str, device: str, *, at: int | None = None
    ) -> None:
        """A device said that it has no key for a message of ours (by default long enough ago to be believed)."""

        def write(txn: Transaction) -> None:
            txn.execute(
                "UPDATE event SET type = 'm.room.encrypted', opened_type = type, opened_content = content,"
                " seal = 'opened', session_id = ? WHERE event_id = ?",
                (f"session of {event_id}", event_id),
            )
            txn.execute(
                "INSERT OR IGNORE INTO megolm_replay (session_id, message_index, event_id, sent_at)"
                " VALUES (?, 0, ?, 0)",
                (f"session of {event_id}", event_id),
            )
            txn.execute(
                "INSERT INTO receipt_failed (session_id, user_id, device_id, room_id, first_event, first_index, n,"
                " code, heard_at) VALUES (?, ?, ?, ?, ?, 0, 1, 'no_key', ?)",
                (
                    f"session of {event_id}",
                    user,
                    device.upper(),
                    room_id,
                    event_id,
                    self.now_ms - 20 * MINUTE_MS if at is None else at,
                ),
            )
            txn.changed(Topic.DELIVERY, room_id)

        self.db.write_now(write)

    def many_rooms(self, count: int) -> None:
        """Rooms with one message each, written as plain rows: for sizes, not for meaning."""
        conn = self._raw()
        first = self._number
        self._number += count
        people = ("Bob", "Carol", "Dave")
        words = ("let us ship it on Friday", "can you review the patch?", "lunch at noon", "agreed")
        with conn:
            for number in range(first + 1, first + count + 1):
                room_id, event_id = f"!many{number}:example.org", f"$many{number}"
                at = self.now_ms - (200 + number * 37) * MINUTE_MS
                name = people[number % 3]
                user = f"@{name.lower()}:example.org"
                conn.execute(
                    "INSERT INTO event (event_id, room_id, sender, type, sent_at, received_at, content, seal,"
                    " kind, body)"
                    " VALUES (?, ?, ?, 'm.room.message', ?, ?, '{}', 'plain', 'text', ?)",
                    (event_id, room_id, user, at, at, words[number % 4]),
                )
                for link in ("app", "notifier"):
                    conn.execute(
                        "INSERT INTO room (conn, room_id, membership, name, is_dm, joined_count, last_event_id,"
                        " last_at, unread) VALUES (?, ?, 'join', ?, 0, 3, ?, ?, ?)",
                        (link, room_id, f"Workshop {number:04}", event_id, at, number % 7 == 0),
                    )
                    conn.execute(
                        "INSERT INTO timeline (conn, room_id, ord, event_id, origin, shown)"
                        " VALUES (?, ?, ?, ?, 'live', 1)",
                        (link, room_id, 1 << 50, event_id),
                    )
                    conn.execute(
                        "INSERT INTO member (conn, room_id, user_id, membership, display_name)"
                        " VALUES (?, ?, ?, 'join', ?)",
                        (link, room_id, user, name),
                    )
        conn.close()

    def many_messages(self, room_id: RoomId, count: int) -> None:
        """Older messages below whatever is there, written as plain rows."""
        conn = self._raw()
        start = 1 << 49
        people = ("@bob:example.org", "@carol:example.org", ME)
        with conn:
            conn.executemany(
                "INSERT INTO event (event_id, room_id, sender, type, sent_at, received_at, content, seal,"
                " kind, body)"
                " VALUES (?, ?, ?, 'm.room.message', ?, ?, '{}', 'plain', 'text', ?)",
                (
                    (
                        f"$bulk{number}:{room_id}",
                        room_id,
                        people[(number // 3) % 3],
                        self.now_ms - (600 + (count - number) * 2) * MINUTE_MS,
                        self.now_ms,
                        f"message number {number}, some words long",
                    )
                    for number in range(count)
                ),
            )
            for link in ("app", "notifier"):
                conn.executemany(
                    "INSERT INTO timeline (conn, room_id, ord, event_id, origin, shown)"
                    " VALUES (?, ?, ?, ?, 'live', 1)",
                    ((link, room_id, start + number, f"$bulk{number}:{room_id}") for number in range(count)),
                )
        conn.close()

    def _raw(self) -> sqlite3.Connection:
        return sqlite3.connect(Path(self.paths.database), timeout=30)
