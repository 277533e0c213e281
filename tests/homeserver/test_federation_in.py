"""What becomes of receipts that another homeserver sends: kept first, then looked at, and only the good ones taken."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from tandem_synapse import federation_in
from tandem_synapse.federation_in import Incoming
from tandem_synapse.federation_store import FederationStore
from tandem_synapse.federation_wire import Json, SentReceipt
from tests.homeserver.federation_world import World

MINUTE = 60_000


class Rooms(World):
    """``$ours`` is Alice's in ``!r``, ``$theirs`` another server's; Bob of ``there`` was joined when each was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.is_allowed = True
        self.is_part = False
        self.members = {"@bob:there"}
        self.taken_here: list[tuple[SentReceipt, str]] = []
        self.is_full = False

    async def is_server_allowed(self, _server: str, _room_id: str) -> bool:
        return self.is_allowed

    async def is_partly_known(self, _room_id: str) -> bool:
        return self.is_part

    async def room_and_sender(self, event_id: str) -> tuple[str, str] | None:
        return {"$ours": ("!r", "@alice:here"), "$theirs": ("!r", "@carol:elsewhere")}.get(event_id)

    def is_local(self, user_id: str) -> bool:
        return user_id.endswith(":here")

    async def was_joined(self, user_id: str, _event_id: str) -> bool:
        return user_id in self.members

    async def take(self, receipt: SentReceipt, author: str) -> None:
        if self.is_full:
            raise sqlite3.OperationalError("disk full")
        self.taken_here.append((receipt, author))

    def waiting_rows(self) -> int:
        return int(self.conn.execute("SELECT count(*) FROM im_tandem_delivery_in").fetchone()[0])


@pytest.fixture
def rooms() -> Iterator[Rooms]:
    rooms = Rooms()
    yield rooms
    rooms.close()


def begin(rooms: Rooms) -> Incoming:
    stands_for: Any = rooms
    return Incoming(stands_for, FederationStore(stands_for), rooms.take)


def edu(event: str = "$ours", room: str = "!r", user: str = "@bob:there") -> Json:
    return {"version": 1, "rooms": {room: {event: {user: {"ts": MINUTE, "devices": {"PHONE": MINUTE}}}}}}


GOOD = (SentReceipt("!r", "$ours", "@bob:there", MINUTE, {"PHONE": MINUTE}), "@alice:here")


async def receive(rooms: Rooms, incoming: Incoming, content: Any, origin: str = "there") -> None:
    await incoming.receive(origin, content)
    await rooms.settle()


def test_a_good_receipt_is_taken_for_its_author_and_the_edu_is_done(rooms: Rooms) -> None:
    asyncio.run(receive(rooms, begin(rooms), edu()))
    assert rooms.taken_here == [GOOD]
    assert rooms.waiting_rows() == 0


@pytest.mark.parametrize(
    ("content", "origin"),
    [
        (edu(user="@alice:here"), "there"),
        (edu(user="@bob:there"), "elsewhere"),
        (edu(user="@stranger:there"), "there"),
        (edu(event="$theirs"), "there"),
        (edu(event="$unknown"), "there"),
        (edu(room="!other"), "there"),
        ({"version": 2, "rooms": {}}, "there"),
        ([], "there"),
    ],
)
def test_what_a_server_may_not_say_is_dropped_without_a_word(
    rooms: Rooms, content: Any, origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(receive(rooms, begin(rooms), content, origin))
    assert not rooms.taken_here
    assert rooms.waiting_rows() == 0
    assert not caplog.records


@pytest.mark.parametrize("change", [{"there_is_in_the_room": False}, {"is_allowed": False}])
def test_a_server_that_is_not_in_the_room_or_is_banned_from_it_is_not_heard(
    rooms: Rooms, change: dict[str, bool]
) -> None:
    vars(rooms).update(change)
    asyncio.run(receive(rooms, begin(rooms), edu()))
    assert not rooms.taken_here
    assert rooms.waiting_rows() == 0


def test_a_bad_receipt_takes_nothing_from_the_good_one_beside_it(rooms: Rooms) -> None:
    content = edu()
    content["rooms"]["!r"] |= edu(event="$theirs")["rooms"]["!r"]
    content["rooms"]["!r"]["$ours"] |= {"@mallory:elsewhere": {"ts": 1}, "@carol:there": "nonsense"}
    asyncio.run(receive(rooms, begin(rooms), content))
    assert rooms.taken_here == [GOOD]


def test_when_an_edu_cannot_be_kept_synapse_is_told_so_that_the_other_server_repeats_it(rooms: Rooms) -> None:
    rooms.conn.execute("ALTER TABLE im_tandem_delivery_in RENAME TO gone")
    with pytest.raises(sqlite3.OperationalError):
        asyncio.run(receive(rooms, begin(rooms), edu()))
    rooms.conn.execute("ALTER TABLE gone RENAME TO im_tandem_delivery_in")
    asyncio.run(receive(rooms, begin(rooms), edu()))
    assert rooms.taken_here == [GOOD]


def test_a_receipt_that_cannot_be_written_stays_until_it_can(
    rooms: Rooms, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        rooms.is_full = True
        await receive(rooms, begin(rooms), edu())
        assert rooms.waiting_rows() == 1
        rooms.is_full = False
        # The process is another one by now.
        again = begin(rooms)
        await again.look()
        await rooms.settle()
        assert not rooms.taken_here  # not yet
        rooms.now += MINUTE
        await again.look()
        await rooms.settle()
        assert rooms.taken_here == [GOOD]
        assert rooms.waiting_rows() == 0

    asyncio.run(story())
    assert "could not be kept" in caplog.text


def test_a_room_whose_members_are_still_fetched_is_waited_for(rooms: Rooms) -> None:
    async def story() -> None:
        rooms.is_part = True
        incoming = begin(rooms)
        await receive(rooms, incoming, edu())
        assert rooms.waiting_rows() == 1
        rooms.is_part = False
        rooms.now += MINUTE
        await incoming.look()
        await rooms.settle()
        assert rooms.taken_here == [GOOD]

    asyncio.run(story())


def test_the_same_edu_again_while_it_waits_is_one(rooms: Rooms) -> None:
    async def story() -> None:
        rooms.is_part = True
        for _ in range(3):
            await receive(rooms, begin(rooms), edu())

    asyncio.run(story())
    assert rooms.waiting_rows() == 1


def test_a_server_that_sends_too_much_is_cut_off_and_others_are_not(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(federation_in, "MOST_WAITING", 3)

    async def story() -> None:
        rooms.is_part = True
        incoming = begin(rooms)
        for number in range(5):
            await receive(rooms, incoming, edu(event=f"${number}"))
        await receive(rooms, incoming, edu(user="@dan:other"), "other")

    asyncio.run(story())
    assert rooms.waiting_rows() == 4
    assert caplog.text.count("too many wait already") == 2


def test_support_is_announced() -> None:
    rooms = Rooms()
    assert asyncio.run(begin(rooms).announce({})) == {"versions": [1]}
    rooms.close()
