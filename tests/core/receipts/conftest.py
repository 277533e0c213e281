"""An account's real store with one room in it, and short words to fill it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tandem_core import settings
from tandem_core.receipts import marker, proof
from tandem_core.store import crypto, members, rooms, timeline
from tandem_core.store import session as sessions
from tandem_core.store.crypto import InboundRow
from tandem_core.store.database import Database, Transaction
from tandem_core.types import DeviceId, EventId, Me, Role, RoomId, UserId
from tests.core.receipts import sharing

if TYPE_CHECKING:
    from tests.core.receipts.outbox_kit import Rig

ME = Me(UserId("@alice:example.org"), DeviceId("ALICE1"))
BOB = UserId("@bob:example.org")
CAROL = UserId("@carol:example.org")
ROOM = RoomId("!room:example.org")
NOW = 1_800_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE


@dataclass
class Account:
    """Alice's store; ``now`` is the time that everything gets."""

    db: Database
    now: int = NOW
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.db.write_now(work, *args, **kwargs)

    def read(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.db.read_now(work, *args, **kwargs)

    def run(self, sql: str, *values: object) -> None:
        self.write(lambda txn: txn.execute(sql, values))

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.read(lambda conn: [tuple(row) for row in conn.execute(sql, values)])  # type: ignore[no-any-return]

    def room(self, link: Role = Role.APP, *, people: tuple[str, ...] = (BOB,), **facts: Any) -> None:
        """A room that we joined an hour ago and accepted; encrypted and direct unless ``facts`` say otherwise."""
        known = {
            "membership": "join",
            "join_rule": "invite",
            "history_visibility": "shared",
            "is_dm": 1,
            "joined_count": len(people) + 1,
            "invited_count": 0,
        } | facts
        encrypted = known.pop("encrypted", True)
        accepted = known.pop("accepted", True)

        def fill(txn: Transaction) -> None:
            rooms.set_room(txn, link, ROOM, known)
            if encrypted:
                rooms.note_encryption(txn, ROOM, {"algorithm": "m.megolm.v1.aes-sha2"})
            if accepted:
                rooms.accept(txn, ROOM, "sent")
            for user in (ME.user_id, *people):
                members.set_member(
                    txn,
                    link,
                    ROOM,
                    UserId(user),
                    {"membership": "join", "displayname": user[1:4].title()},
                    self.now - HOUR,
                )

        self.write(fill)

    def message(
        self,
        sender: str,
        body: str = "hello",
        *,
        link: Role = Role.APP,
        sealed: bool = True,
        key_from: str = "olm",
        **content: Any,
    ) -> timeline.StoredEvent:
        """A live message; sealed and then opened, with a key from its sender, unless told otherwise."""
        event_id = f"$event{next(self._numbers)}"
        clear = {"msgtype": "m.text", "body": body} | content
        session = f"session of {sender}"
        wire = (
            {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": session}
            if sealed
            else clear
        )
        raw = {
            "event_id": event_id,
            "sender": sender,
            "type": "m.room.encrypted" if sealed else "m.room.message",
            "content": wire,
            "origin_server_ts": self.now,
        }

        def put(txn: Transaction) -> timeline.StoredEvent:
            timeline.append_live(
                txn,
                link,
                ROOM,
                [raw],
                limited=False,
                prev_batch=None,
                initial=False,
                num_live=1,
                now_ms=self.now,
            )
            if sealed:
                key = InboundRow("pickle", UserId(sender), "curve", None, 0, key_from)
                crypto.put_inbound(txn, ROOM, session, key, self.now)
                return timeline.set_opened(txn, EventId(event_id), "m.room.message", clear, self.now)
            event = timeline.get(txn.conn, EventId(event_id))
            assert event is not None
            return event

        return self.write(put)  # type: ignore[no-any-return]

    def sent(
        self,
        txn_id: str = "t1",
        *,
        event_id: str | None = "$mine",
        state: str = "sent",
        audience: dict[str, dict[str, str | None]] | None = None,
    ) -> None:
        """A message of ours in the queue, with the people and devices it was for."""
        self.run(
            "INSERT INTO send_queue (txn_id, room_id, type, content, state, event_id, made_at, sent_at)"
            " VALUES (?, ?, 'm.room.message', '{}', ?, ?, ?, ?)",
            txn_id,
            ROOM,
            state,
            event_id,
            self.now,
            self.now,
        )
        for user, devices in ({BOB: {}} if audience is None else audience).items():
            for device, name in {"": None, **devices}.items():
                self.run("INSERT INTO audience VALUES (?, ?, ?, ?)", txn_id, user, device, name)


ASKING: dict[str, Any] = {
    marker.KEY: {"v": 1, "want": ["delivered"], "to": ["DEVICE"], "tok": proof.encode(bytes(16))}
}
"""What a message that asks for its confirmation has in its content."""


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """Alice is signed in, and has answered that she confirms deliveries as recommended; nothing else is known."""
    db = Database.open(tmp_path / "tandem.db")
    db.write_now(sessions.set_session, ME, "http://127.0.0.1:1", "token", NOW)
    db.write_now(settings.set_value, "receipts.answered", True, now_ms=NOW)
    yield Account(db)
    db.close()


@pytest.fixture
def rig(account: Account, tmp_path: Path) -> Rig:
    """Alice's outbox, with a server that takes everything; she is in a direct chat with Bob."""
    from tests.core.receipts.outbox_kit import Rig, Server  # which builds on what stands here

    account.room()
    return Rig(account, tmp_path, Server())


@pytest.fixture
def server() -> sharing.Server:
    """The account data that several devices of Alice share."""
    return sharing.Server()


@pytest.fixture
def make(server: sharing.Server, tmp_path: Path) -> Iterator[sharing.Make]:
    """Another device of the account; all clocks agree."""
    made: list[sharing.Device] = []
    clock = sharing.Clock()

    def one(name: str = "laptop", *, word: str | None = "secret") -> sharing.Device:
        made.append(sharing.Device(tmp_path / name, server, clock, word=word))
        return made[-1]

    yield one
    for device in made:
        device.close()
