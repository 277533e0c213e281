"""An account's store in which messages from others fall due, as sync and judge would have written it."""

from __future__ import annotations

from tandem_core.paths import ProfilePaths
from tandem_core.store import members, reads, rooms, session, settings, timeline, verdicts
from tandem_core.store.codec import dumps
from tandem_core.store.database import Database, Transaction
from tandem_core.types import DeviceId, EventId, Json, Me, Role, RoomId, UserId

ME = Me(UserId("@alice:example.org"), DeviceId("ALICEDEV"))
BOB = UserId("@bob:example.org")
NOW_MS = 1_795_262_400_000


class Account:
    """Rooms and messages by name; what others write falls due."""

    def __init__(self, paths: ProfilePaths) -> None:
        paths.make()
        self.paths = paths
        self.db = Database.open(paths.database)
        self.db.write_now(session.set_session, ME, "http://127.0.0.1:9", "token-of-a-test", NOW_MS)
        self._number = 0

    def close(self) -> None:
        self.db.close()

    def room(self, name: str, *, direct: bool = False, people: dict[UserId, str] | None = None) -> RoomId:
        self._number += 1
        room_id = RoomId(f"!room{self._number}:example.org")

        def write(txn: Transaction) -> None:
            for link in Role:
                fields = {"membership": "join", "name": name, "is_dm": int(direct), "joined_count": 2}
                rooms.set_room(txn, link, room_id, fields)
                for user_id, display_name in (people or {BOB: "Bob"}).items():
                    content = {"membership": "join", "displayname": display_name}
                    members.set_member(txn, link, room_id, user_id, content, NOW_MS)

        self.db.write_now(write)
        return room_id

    def message(
        self, room_id: RoomId, body: str, *, sender: UserId = BOB, due: bool = True, **content: str
    ) -> EventId:
        self._number += 1
        event_id = EventId(f"$event{self._number}")
        event: Json = {
            "event_id": event_id,
            "sender": sender,
            "type": "m.room.message",
            "origin_server_ts": NOW_MS + self._number,
            "content": {"msgtype": "m.text", "body": body, **content},
        }

        def write(txn: Transaction) -> None:
            timeline.append_live(
                txn, Role.NOTIFIER, room_id, [event], limited=False, prev_batch=None, now_ms=NOW_MS
            )
            if due:
                verdicts.notify(txn, event_id, room_id, NOW_MS + self._number)

        self.db.write_now(write)
        return event_id

    def read(self, room_id: RoomId, event_id: EventId) -> None:
        self.db.write_now(reads.put_marker, room_id, ME.user_id, event_id, NOW_MS, is_me=True)

    def redact(self, room_id: RoomId, event_id: EventId) -> None:
        self.db.write_now(timeline.redact, room_id, event_id, "$redaction")

    def choose(self, key: str, value: object, room_id: RoomId | None = None) -> None:
        scope = "room" if room_id else "account"
        self.db.write_now(settings.put, scope, room_id or "", key, dumps(value), NOW_MS)

    def outcome(self, event_id: EventId) -> tuple[str, str | None]:
        """State and reason of the event's notification."""
        row = self.db.read_now(
            lambda conn: conn.execute(
                "SELECT state, reason FROM notification WHERE event_id = ?", (event_id,)
            ).fetchone()
        )
        return row["state"], row["reason"]
