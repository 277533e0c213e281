"""A hosted account's feed: the beginnings are asked for once, nothing is taken before, and trouble only delays."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pytest

from tandem_appservice import feed as feeds
from tandem_appservice.feed import TransactionFeed
from tandem_appservice.queue import Queue
from tandem_core.errors import Expected, Offline, RateLimited, ServerRefused, SignedOut
from tandem_core.store import account_data, devices, members, rooms
from tandem_core.types import Json
from tests.appservice.world import Service, of_room, sight
from tests.core.sync_world import BOB, ME, NOTIFIER, ROOM, Account, StillClock, member, message, state
from tests.support.aio import in_loop

OTHER = "!other:example.org"


@dataclass
class Homeserver:
    """Answers what a feed asks for; ``trouble`` maps a part of a path to what the next such request meets."""

    joined: list[str] = field(default_factory=list)
    settings: dict[str, Json] = field(default_factory=dict)
    states: dict[str, tuple[Json, ...]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    trouble: list[tuple[str, Exception]] = field(default_factory=list)
    meanwhile: Any = None

    def _ask(self, path: str) -> list[str]:
        parts = [unquote(part) for part in path.split("/")[4:]]
        self.asked.append("/".join(parts))
        for number, (part, error) in enumerate(self.trouble):
            if part in path:
                del self.trouble[number]
                raise error
        return parts

    async def request(self, method: str, path: str, body: Any = None, **_: Any) -> Json:
        match self._ask(path):
            case ["joined_rooms"]:
                return {"joined_rooms": self.joined}
            case ["keys", "upload"]:
                assert body == {}
                return {"one_time_key_counts": {"signed_curve25519": 11}}
            case ["pushrules", ""]:
                if self.meanwhile is not None:
                    meanwhile, self.meanwhile = self.meanwhile, None
                    await asyncio.to_thread(meanwhile)
                return {"global": {}}
            case ["user", user, "account_data", kind]:
                assert user == ME.user_id
                if kind in self.settings:
                    return self.settings[kind]
                raise ServerRefused(404, "M_NOT_FOUND", "")
        raise AssertionError(path)

    async def request_list(self, path: str, **_: Any) -> list[Any]:
        room_id = self._ask(path)[1]
        if room_id not in self.states:
            raise ServerRefused(403, "M_FORBIDDEN", "")
        return list(self.states[room_id])


@dataclass
class Rig:
    """The feed of Alice, who is hosted and not prepared."""

    alice: Account
    queue: Queue
    server: Homeserver = field(default_factory=Homeserver)
    told: list[Expected | None] = field(default_factory=list)
    clock: StillClock = field(default_factory=StillClock)

    def __post_init__(self) -> None:
        self.service = Service(self.alice, self.queue)
        self.server.joined = [ROOM]
        self.server.states[ROOM] = sight().state

    def feed(self) -> TransactionFeed:
        http: Any = self.server
        return TransactionFeed(
            self.queue,
            self.alice.db,
            http,
            ME,
            clock=self.clock,
            chance=random.Random(1),
            on_state=self.told.append,
            gate=asyncio.Semaphore(1),
        )

    def events(self) -> list[str]:
        rows = self.alice.rows("SELECT event_id FROM timeline WHERE conn = 'notifier' ORDER BY ord")
        return [row[0] for row in rows]


@pytest.fixture
def rig(alice: Account, queue: Queue) -> Rig:
    from tandem_appservice.queue import Account as Hosted

    queue.add(Hosted(ME.user_id, ME.device_id, "alice"), alice.now)
    return Rig(alice, queue)


@in_loop
async def test_rooms_settings_and_key_counts_are_known_before_the_first_piece_is_taken(rig: Rig) -> None:
    rig.server.settings = {"m.direct": {BOB: [ROOM]}, "im.tandem.delivery_settings": {"enabled": False}}
    rig.service.send(of_room(message("early")))
    await rig.feed().step()
    assert rig.told == [None]
    row = rig.alice.read(rooms.room, NOTIFIER, ROOM)
    assert (row.membership, row.is_dm, row.joined_count) == ("join", True, 2)
    assert rig.alice.read(account_data.get, "im.tandem.delivery_settings") == {"enabled": False}
    assert rig.alice.read(devices.key_count) == devices.KeyCount(11, 1)
    assert rig.events() == ["$early"]
    assert rig.queue.accounts()[0].is_prepared


@pytest.mark.parametrize("part", ["account_data", "pushrules", "keys", "joined_rooms", "state"])
@pytest.mark.parametrize("error", [Offline("x"), RateLimited(3.0)])
def test_nothing_is_taken_while_the_beginnings_cannot_be_had(rig: Rig, part: str, error: Exception) -> None:
    async def go() -> None:
        rig.server.trouble = [(part, error)]
        rig.service.send(of_room(message("early")))
        feed = rig.feed()
        with pytest.raises(type(error)):
            await feed.step()
        assert rig.events() == []
        assert not rig.queue.accounts()[0].is_prepared
        await feed.step()
        assert rig.events() == ["$early"]

    in_loop(go)()


@in_loop
async def test_a_room_that_is_joined_later_is_asked_for_and_one_that_is_not_told_does_not_hold_up(
    rig: Rig,
) -> None:
    feed = rig.feed()
    await feed.step()
    rig.server.states[OTHER] = sight(room_id=OTHER).state
    rig.service.send(
        of_room(member(ME.user_id), OTHER),
        of_room(message("there"), OTHER),
        of_room(member(ME.user_id), "!gone:example.org"),
        of_room(message("last"), "!gone:example.org"),
    )
    await feed.step()
    assert rig.alice.read(members.agreed_members, OTHER) == {ME.user_id, BOB}
    assert {"$there", "$last"} <= set(rig.events())
    assert rig.queue.depth(ME.user_id) == 0


@in_loop
async def test_pieces_wait_for_a_room_that_cannot_be_asked_for_now(rig: Rig) -> None:
    feed = rig.feed()
    await feed.step()
    rig.server.states[OTHER] = sight(room_id=OTHER).state
    rig.service.send(of_room(member(ME.user_id), OTHER), of_room(message("there"), OTHER))
    rig.server.trouble = [("state", Offline("x"))]
    with pytest.raises(Offline):
        await feed.step()
    assert rig.events() == []
    await feed.step()
    assert rig.events()[-1] == "$there"


@in_loop
async def test_a_setting_that_comes_while_the_old_one_is_asked_for_wins(rig: Rig) -> None:
    off = {ME.user_id: {"events": [{"type": "im.tandem.delivery_settings", "content": {"enabled": False}}]}}
    feed = rig.feed()
    await feed.step()

    def switch_off() -> None:
        rig.service.send(account_data=off)
        rig.service.take()
        rig.server.settings["im.tandem.delivery_settings"] = {"enabled": False}

    rig.server.settings["im.tandem.delivery_settings"] = {"enabled": True}
    rig.server.meanwhile = switch_off
    rig.clock.time_ms += int(feeds.SETTINGS_TOLD_S * 1000)
    await feed.step()
    assert rig.alice.read(account_data.get, "im.tandem.delivery_settings") == {"enabled": False}


@in_loop
async def test_account_data_is_asked_for_again_sooner_where_the_server_does_not_send_it(rig: Rig) -> None:
    feed = rig.feed()
    await feed.step()
    rig.server.settings["im.tandem.delivery_settings"] = {"enabled": False}
    await feed.step()
    assert rig.alice.read(account_data.get, "im.tandem.delivery_settings") is None
    rig.clock.time_ms += int(feeds.SETTINGS_S * 1000)
    await feed.step()
    assert rig.alice.read(account_data.get, "im.tandem.delivery_settings") == {"enabled": False}
    rig.service.send(account_data={})
    del rig.server.asked[:]
    rig.clock.time_ms += int(feeds.SETTINGS_S * 1000)
    await feed.step()
    assert rig.server.asked == []


@in_loop
async def test_a_room_that_was_left_while_nobody_told_us_is_left(rig: Rig) -> None:
    await rig.feed().step()
    rig.server.joined = []
    await rig.feed().step()
    assert rig.alice.read(rooms.room, NOTIFIER, ROOM).membership == "leave"


@in_loop
async def test_known_rooms_are_not_asked_for_again_at_the_next_start(rig: Rig) -> None:
    await rig.feed().step()
    del rig.server.asked[:]
    await rig.feed().step()
    assert not any(asked.endswith("/state") for asked in rig.server.asked)


@in_loop
async def test_what_was_taken_by_one_who_died_before_saying_so_is_done_at_the_next_start(rig: Rig) -> None:
    await rig.feed().step()
    rig.service.send(of_room(message("a")))
    await asyncio.to_thread(rig.service.take, done=False)
    assert rig.queue.depth(ME.user_id) == 1
    await rig.feed().step()
    assert rig.queue.depth(ME.user_id) == 0
    assert rig.events().count("$a") == 1


@in_loop
async def test_a_queue_that_is_an_older_copy_is_believed_and_nothing_is_doubled(rig: Rig) -> None:
    from tandem_appservice.take import set_place

    await rig.feed().step()
    rig.service.send(of_room(message("a")))
    await rig.feed().step()
    rig.alice.write(set_place, rig.queue.epoch, 500)
    rig.service.send(of_room(message("b")))
    await rig.feed().step()
    assert rig.events() == ["$a", "$b"]


@in_loop
async def test_it_goes_on_after_trouble_says_so_and_ends_with_the_session(rig: Rig) -> None:
    rig.server.trouble = [("joined_rooms", Offline("away")), ("keys", RateLimited(7.0))]
    feed = rig.feed()
    running = asyncio.ensure_future(feed.run())
    async with asyncio.timeout(30):
        while None not in rig.told:
            await asyncio.sleep(0.01)
    assert isinstance(rig.told[0], Offline)
    assert 7.0 in rig.clock.slept
    rig.service.send(of_room(member(ME.user_id), OTHER), of_room(message("a"), OTHER))
    rig.server.trouble = [("state", SignedOut(soft=False))]
    feed.woken.set()
    with pytest.raises(SignedOut):
        await asyncio.wait_for(running, 30)


@in_loop
async def test_a_server_that_refuses_everything_for_now_is_asked_ever_more_slowly(rig: Rig) -> None:
    rig.server.trouble = [("joined_rooms", RateLimited(1.0)) for _ in range(8)]
    running = asyncio.ensure_future(rig.feed().run())
    async with asyncio.timeout(30):
        while None not in rig.told:
            await asyncio.sleep(0.01)
    running.cancel()
    assert min(rig.clock.slept) == 1
    assert max(rig.clock.slept) > 8


@in_loop
async def test_state_events_of_strange_shapes_do_not_hold_up_a_room(rig: Rig) -> None:
    odd: list[Any] = [
        7,
        {"type": "m.room.name"},
        state("m.room.name", {"name": 7}),
        state("m.room.topic", {}),
    ]
    rig.server.states[ROOM] = (*odd, *sight().state)
    await rig.feed().step()
    assert rig.alice.read(members.agreed_members, ROOM) == {ME.user_id, BOB}
