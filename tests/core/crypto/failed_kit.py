"""Alice writes to Bob in a direct chat of two verified people; Bob's device loses keys, and says so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tandem_core import setting_list, settings
from tandem_core.codec import dumps
from tandem_core.crypto import olm
from tandem_core.crypto.failed_reports import FailedReports
from tandem_core.receipts import encrypted_body, failed, failed_heard
from tandem_core.sending import enqueue
from tandem_core.store import crypto as rows
from tandem_core.store import identities, room_facts, rooms
from tandem_core.store.codec import loads
from tandem_core.store.database import Transaction
from tandem_core.types import EventId, Json
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.receipts_kit import letters
from tests.core.crypto.world import NOW, ROOM, Device, StillClock

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
AFTER_ALL = 6 * MINUTE + 1000
"""Longer than any report waits."""


@dataclass
class Talk:
    """Their direct chat. ``alice`` writes, ``bob`` reads."""

    alice: Device
    bob: Device
    server: KeyServer
    clock: StillClock

    def say(self, body: str) -> EventId:
        """Alice writes and the server has it; returns the event. Bob has heard nothing yet."""
        content = {"msgtype": "m.text", "body": body}
        now_ms = self.clock.now_ms()
        self.server.now_ms = now_ms
        txn_id = self.alice.write(enqueue, ROOM, "m.room.message", content, body=body, now_ms=now_ms)
        asyncio.run(self.alice.sender.step())
        event_id = self.alice.one("SELECT event_id FROM send_queue WHERE txn_id = ?", txn_id)
        assert event_id is not None
        return EventId(event_id)

    def wire(self, event_id: str) -> Json:
        return loads(self.alice.one("SELECT content FROM event WHERE event_id = ?", event_id))  # type: ignore[no-any-return]

    def session(self, event_id: str) -> str:
        return str(self.wire(event_id)["session_id"])

    def see(self, event_id: str, *, to: Device | None = None, content: Json | None = None) -> None:
        """Sync brings the message to Bob, after all that is in his inbox."""
        reader = to or self.bob
        sent_at = self.alice.one("SELECT sent_at FROM event WHERE event_id = ?", event_id)
        reader.receive()
        reader.sees(content or self.wire(event_id), self.alice, event_id=event_id, ts=sent_at)

    def lose_keys(self, reader: Device | None = None) -> None:
        """Bob's device has no Megolm session any more."""
        (reader or self.bob).write(lambda txn: txn.execute("DELETE FROM megolm_inbound") and None)

    def lost(self, body: str = "lost") -> EventId:
        """A message whose key Bob got and lost before it came."""
        event_id = self.say(body)
        self.bob.receive()
        self.lose_keys()
        self.see(event_id)
        assert self.bob.body(event_id) is None
        return event_id

    def rotate(self) -> None:
        """Alice's next message is in another session."""
        self.alice.write(lambda txn: txn.execute("UPDATE megolm_outbound SET retired = 1") and None)

    def wait(self, ms: int) -> None:
        self.clock.time_ms += ms

    def work(self, device: Device | None = None) -> None:
        """One step of the program that reports."""
        asyncio.run(reporter(device or self.bob).step())

    def tell(self) -> None:
        """Time passes until Bob has told everything that he may."""
        self.wait(AFTER_ALL)
        self.work()

    def hear(self) -> None:
        self.alice.receive()

    def other_program(self) -> Device:
        """Bob's other program, which has the same session."""
        made = self.bob.other_program()
        since_yesterday(made)
        return made

    def heard(self, *event_ids: str) -> dict[EventId, list[failed_heard.FailedDevice]]:
        return self.alice.read(failed_heard.heard, list(event_ids))  # type: ignore[no-any-return]

    def owed(self) -> list[tuple[Any, ...]]:
        """What Bob's device keeps of failures (state, code, n, reason)."""
        return self.bob.rows("SELECT state, code, n, reason FROM failed_owed ORDER BY decided_at, session_id")


def reporter(device: Device) -> FailedReports:
    """The worker that tells."""
    return FailedReports(
        device.paths,
        device.db,
        device.me,
        device.role,
        letters(device),
        clock=device.clock,
        chance=device.chance,
    )


def make_talk(alice: Device, bob: Device, server: KeyServer, clock: StillClock) -> Talk:
    """Two people with identities who have verified each other and share a direct chat; both signed in yesterday."""
    for device in (alice, bob):
        asyncio.run(device.cross_signing.keep_up())
    for device, other in ((alice, bob), (bob, alice)):
        device.knows(other)
        verify_person(device, other)
    for device, other in ((alice, bob), (bob, alice)):
        device.knows(other)
        chats(device, other)
    asyncio.run(bob.backups.step())  # looks for a backup: there is none
    return Talk(alice, bob, server, clock)


def verify_person(device: Device, other: Device) -> None:
    master = device.read(identities.identity, other.me.user_id).master
    asyncio.run(device.cross_signing.confirm_person(other.me.user_id, master))


def chats(device: Device, other: Device) -> None:
    """The device has been signed in for a day, and is in a direct chat with somebody, which it accepted."""
    device.is_in(ROOM, other.me.user_id)
    device.write(rooms.set_room, device.role, ROOM, {"is_dm": 1, "joined_count": 2, "invited_count": 0})
    device.write(room_facts.accept, ROOM, "accepted_invite")
    since_yesterday(device)
    for key in ("receipts.answered", failed.SETTING):
        choose(device, key, True)


def since_yesterday(device: Device) -> None:
    """The device has been signed in for a day."""
    device.write(lambda txn: txn.execute("UPDATE session SET signed_in_at = ?", (NOW - DAY,)) and None)


def first_index(device: Device, session_id: str) -> int:
    """From where on a device can open a session."""
    row = device.read(rows.inbound, ROOM, session_id)
    assert row is not None
    return int(row.first_index)


@contextlib.contextmanager
def restored(device: Device) -> Iterator[None]:
    """What a device keeps of people, rooms, settings and failures is afterwards as it was before."""
    tables = (
        "session", "identity", "device", "olm_session", "room", "room_fact", "member", "account_data", "setting",
        "failed_owed",
    )  # fmt: skip
    before = {table: device.rows(f"SELECT * FROM {table}") for table in tables}
    yield

    def put_back(txn: Transaction) -> None:
        for table, rows_ in before.items():
            txn.execute(f"DELETE FROM {table}")
            for row in rows_:
                txn.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)

    device.write(put_back)


def told(talk: Talk) -> list[Json]:
    """The reports that Bob has sent and Alice has not taken yet, opened as her device would."""
    found: list[Json] = []

    def look(txn: Transaction) -> None:
        for event in talk.server.inboxes.get((talk.alice.me.user_id, talk.alice.me.device_id), []):
            if event["type"] == olm.SEALED:
                opened = olm.open_event(txn, talk.alice.state, event["sender"], event["content"], NOW)
                if opened.type == encrypted_body.RECEIPT:
                    assert len(dumps(opened.content)) == encrypted_body.SIZES[0]
                    body = encrypted_body.parse(opened.content)
                    assert body is not None
                    found.extend(body.failed)
        raise LookedOnly

    with pytest.raises(LookedOnly):
        talk.alice.write(look)
    return found


class LookedOnly(Exception):
    """The transaction is rolled back."""


def change(device: Device, sql: str, *values: object) -> None:
    device.write(lambda txn: txn.execute(sql, values) and None)


def choose(device: Device, key: str, value: setting_list.Value, **scope: Any) -> None:
    device.write(settings.set_value, key, value, now_ms=NOW, **scope)
