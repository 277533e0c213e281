"""How receipts for authors elsewhere are kept and sent: each once, whatever is down and whenever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from tandem_synapse import federation_wire as wire
from tandem_synapse import tidy
from tandem_synapse.federation_out import MOST_EDUS, Outgoing
from tandem_synapse.federation_store import FederationStore
from tests.homeserver.federation_world import World

HOUR = 3_600_000
GAP = 2_000
FIRST, LAST = 5_000, HOUR
AUTHOR = "@alice:there"


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def begin(world: World) -> Outgoing:
    stands_for: Any = world
    outgoing = Outgoing(
        stands_for, FederationStore(stands_for), gap_ms=GAP, retry_ms=(FIRST, LAST), longest_ms=20_000
    )
    world.taken = outgoing.taken
    return outgoing


def told(world: World) -> Counter[tuple[str, str]]:
    """(event, user) of what the other server was told, and how often."""
    return Counter(
        (each.event_id, each.user_id) for content in world.told for each in wire.receipts(content, "here")
    )


async def keep(outgoing: Outgoing, event: str, device: str | None = None, due: int = 0) -> None:
    await outgoing.keep("!r", event, "@bob:here", AUTHOR, device, due)


def play(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def test_a_receipt_is_sent_at_once_and_never_again(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        await keep(outgoing, "$e")
        await world.settle()
        assert told(world) == {("$e", "@bob:here"): 1}
        await keep(outgoing, "$e")
        await world.pass_time(30 * 24 * HOUR)
        world.restart()
        await begin(world).look()
        await world.pass_time(HOUR)
        assert told(world) == {("$e", "@bob:here"): 1}

    play(story)


def test_what_comes_soon_after_goes_together(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        for number in range(40):
            await keep(outgoing, f"${number}")
            await world.pass_time(100)
        await world.pass_time(GAP)
        assert len(told(world)) == 40
        assert set(told(world).values()) == {1}
        assert len(world.handed) <= 4
        assert all(later[0] - earlier[0] >= GAP for earlier, later in pairwise(world.handed))

    play(story)


def test_a_held_receipt_is_not_sent_before_its_time(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        due = world.now + 9_000
        await keep(outgoing, "$held", due=due)
        await world.pass_time(8_999)
        assert not world.told
        await world.pass_time(1)
        assert told(world) == {("$held", "@bob:here"): 1}
        ((receipt,),) = (wire.receipts(content, "here") for content in world.told)
        assert receipt.ts == due - due % 60_000

    play(story)


def test_a_device_that_is_added_later_is_told_and_the_receipt_with_it(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        await keep(outgoing, "$e", "PHONE")
        await world.settle()
        await keep(outgoing, "$e", "LAPTOP")
        await keep(outgoing, "$e", "LAPTOP")
        await keep(outgoing, "$e")
        await world.pass_time(GAP)
        devices = [set(wire.receipts(content, "here")[0].devices) for content in world.told]
        assert devices == [{"PHONE"}, {"PHONE", "LAPTOP"}]

    play(story)


def test_a_device_that_is_added_while_the_receipt_is_on_its_way_is_not_forgotten(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        await keep(outgoing, "$e", "PHONE")
        while not world.handed:
            await asyncio.sleep(0)
        # Handed over, and not answered yet.
        answer, world.taken = world.taken, None
        await world.settle()
        await keep(outgoing, "$e", "LAPTOP")
        assert answer is not None
        await answer("there", world.told[0])
        world.taken = answer
        await world.pass_time(FIRST)
        assert set(wire.receipts(world.told[-1], "here")[0].devices) == {"PHONE", "LAPTOP"}

    play(story)


def test_a_server_that_is_down_is_asked_ever_more_seldom_and_told_everything_when_it_is_back(
    world: World,
) -> None:
    async def story() -> None:
        outgoing = begin(world)
        assert await outgoing.reaches(AUTHOR, "!r")
        world.there_is_up = False
        world.asked.clear()
        await keep(outgoing, "$first")
        await world.pass_time(HOUR)
        await keep(outgoing, "$second")
        await world.pass_time(3 * 24 * HOUR)
        pauses = [later - earlier for earlier, later in pairwise(world.asked)]
        assert pauses == sorted(pauses)
        assert pauses[0] == 2 * FIRST
        assert pauses[-1] == LAST
        assert len(pauses) < 100
        # Handed over once; afterwards the server was only asked.
        assert len(world.handed) == 1
        world.there_is_up = True
        await world.pass_time(LAST)
        assert told(world).keys() == {("$first", "@bob:here"), ("$second", "@bob:here")}

    play(story)


def test_a_server_that_speaks_again_is_told_at_once(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        assert await outgoing.reaches(AUTHOR, "!r")
        world.there_is_up = False
        await keep(outgoing, "$e")
        await world.pass_time(24 * HOUR)
        world.restart()  # Synapse forgets what it could not send for long
        outgoing = begin(world)
        await outgoing.look()
        await world.pass_time(12 * HOUR)
        world.forget()
        world.there_is_up = True
        outgoing.is_up("there")
        await world.settle()
        assert told(world) == {("$e", "@bob:here"): 1}

    play(story)


def test_what_was_not_taken_before_a_restart_is_sent_after_it(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        assert await outgoing.reaches(AUTHOR, "!r")
        world.there_is_up = False
        await keep(outgoing, "$e")
        await world.settle()
        world.restart()
        world.there_is_up = True
        await begin(world).look()
        await world.settle()
        assert told(world) == {("$e", "@bob:here"): 1}

    play(story)


def test_what_synapse_forgot_is_handed_over_again(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        assert await outgoing.reaches(AUTHOR, "!r")
        world.there_is_up = False
        await keep(outgoing, "$e")
        await world.settle()
        world.forget()
        world.there_is_up = True
        await world.pass_time(FIRST)
        assert told(world) == {("$e", "@bob:here"): 1}

    play(story)


def test_thousands_of_receipts_go_in_bounded_hand_overs(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        assert await outgoing.reaches(AUTHOR, "!r")
        world.there_is_up = False
        for number in range(1_200):
            await keep(outgoing, f"${number}")
        world.there_is_up = True
        await world.pass_time(FIRST)
        await world.pass_time(3 * GAP)
        assert len(told(world)) == 1_200
        at_once = Counter(at for at, _ in world.handed)
        assert max(at_once.values()) <= MOST_EDUS

    play(story)


def test_receipts_with_long_names_are_bounded_by_their_size(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        assert await outgoing.reaches(AUTHOR, "!r")
        world.there_is_up = False
        for number in range(500):
            long = f"{number}".rjust(250, "x")
            await outgoing.keep(f"!{long}", f"${long}", f"@{long[5:]}:here", AUTHOR, "D" * 250, 0)
        world.there_is_up = True
        await world.pass_time(FIRST)
        await world.pass_time(3 * GAP)
        assert len(told(world)) == 500
        assert len(world.handed) > MOST_EDUS
        assert max(Counter(at for at, _ in world.handed).values()) <= MOST_EDUS

    play(story)


def test_receipts_that_come_at_the_same_moment_are_all_sent_within_the_gap(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        await asyncio.gather(*(keep(outgoing, f"${number}") for number in range(20)))
        await world.pass_time(GAP)
        assert len(told(world)) == 20

    play(story)


def test_a_receipt_that_comes_while_there_seems_to_be_nothing_left_is_sent(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        answers = world.answers_after["tandem_outgoing_due"] = asyncio.Event()
        outgoing.poke("there")
        for _ in range(10):
            await asyncio.sleep(0)
        await keep(outgoing, "$e")
        answers.set()
        await world.pass_time(GAP)
        assert told(world) == {("$e", "@bob:here"): 1}

    play(story)


def test_a_server_without_the_module_is_never_sent_anything_and_asked_once_an_hour(world: World) -> None:
    async def story() -> None:
        world.there_has_module = False
        outgoing = begin(world)
        for _ in range(5):
            assert not await outgoing.reaches(AUTHOR, "!r")
        assert len(world.asked) == 1
        await world.pass_time(HOUR)
        world.there_has_module = True
        assert await outgoing.reaches(AUTHOR, "!r")
        for _ in range(23):
            await world.pass_time(HOUR)
            assert await outgoing.reaches(AUTHOR, "!r")
        assert len(world.asked) == 2
        await world.pass_time(HOUR)
        assert await outgoing.reaches(AUTHOR, "!r")
        assert len(world.asked) == 3
        assert not world.handed

    play(story)


def test_those_who_ask_at_once_cause_one_question(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        assert await asyncio.gather(*(outgoing.reaches(AUTHOR, "!r") for _ in range(20))) == [True] * 20
        assert len(world.asked) == 1

    play(story)


def test_no_answer_is_no_support_and_soon_asked_again(world: World) -> None:
    async def story() -> None:
        world.there_is_up = False
        outgoing = begin(world)
        assert not await outgoing.reaches(AUTHOR, "!r")
        world.there_is_up = True
        await world.pass_time(60_000)
        assert await outgoing.reaches(AUTHOR, "!r")

    play(story)


def test_a_server_that_has_left_the_room_is_not_told(world: World) -> None:
    async def story() -> None:
        world.there_is_in_the_room = False
        assert not await begin(world).reaches(AUTHOR, "!r")
        assert not world.asked

    play(story)


def test_a_server_that_takes_the_module_out_is_sent_nothing_until_it_is_back(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        assert await outgoing.reaches(AUTHOR, "!r")
        await world.pass_time(24 * HOUR)
        world.there_has_module = False
        await keep(outgoing, "$e")
        await world.pass_time(5 * HOUR)
        assert not world.handed
        world.there_has_module = True
        await world.pass_time(LAST)
        assert told(world) == {("$e", "@bob:here"): 1}

    play(story)


@pytest.mark.parametrize(
    ("forget", "left"),
    [
        (lambda txn: tidy.forget_event(txn, "!r", "$e", None), {"$other", "$elsewhere"}),
        (lambda txn: tidy.forget_event(txn, "!r", "$e", "there"), {"$other", "$elsewhere"}),
        (lambda txn: tidy.forget_event(txn, "!r", "$e", "third"), {"$e", "$other", "$elsewhere"}),
        (lambda txn: tidy.forget_event(txn, "!x", "$e", None), {"$e", "$other", "$elsewhere"}),
        (lambda txn: tidy.forget_room(txn, "!r"), {"$elsewhere"}),
        (lambda txn: tidy.forget_gone_events(txn, "!r"), {"$e", "$elsewhere"}),
        (lambda txn: tidy.forget_user(txn, "@bob:here"), set()),
        (lambda txn: tidy.forget_user(txn, AUTHOR), set()),
        (lambda txn: tidy.forget_user(txn, "@carol:here"), {"$e", "$other", "$elsewhere"}),
        (lambda txn: tidy.forget_older(txn, 10**15), set()),
        (lambda txn: tidy.forget_older(txn, 0), {"$e", "$other", "$elsewhere"}),
    ],
)
def test_what_is_forgotten_is_not_sent(world: World, forget: Callable[[Any], object], left: set[str]) -> None:
    async def story() -> None:
        outgoing = begin(world)
        due = world.now + 9_000
        for room, event in (("!r", "$e"), ("!r", "$other"), ("!x", "$elsewhere")):
            await outgoing.keep(room, event, "@bob:here", AUTHOR, None, due)
        world.conn.execute("CREATE TABLE events (event_id TEXT)")
        world.conn.execute("INSERT INTO events VALUES ('$e')")
        await world.run("", forget)
        await world.pass_time(9_000)
        assert {event for event, _ in told(world)} == left

    play(story)


def test_a_clock_that_is_set_back_does_not_keep_receipts_back(world: World) -> None:
    async def story() -> None:
        outgoing = begin(world)
        world.now = 10 * 365 * 24 * HOUR
        await keep(outgoing, "$before", due=world.now + 9_000)
        world.now = 1_000_000
        await keep(outgoing, "$after")
        await world.pass_time(LAST)
        assert told(world).keys() == {("$before", "@bob:here"), ("$after", "@bob:here")}

    play(story)


def test_a_note_that_cannot_be_written_costs_one_more_sending_and_nothing_else(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        outgoing = begin(world)
        world.conn.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON im_tandem_delivery_out BEGIN SELECT RAISE(FAIL, 'full'); END"
        )
        await keep(outgoing, "$e")
        await world.settle()
        assert told(world) == {("$e", "@bob:here"): 1}
        world.conn.execute("DROP TRIGGER full")
        await world.pass_time(24 * HOUR)
        assert told(world) == {("$e", "@bob:here"): 2}

    play(story)
    assert "will be sent again" in caplog.text
