"""The sync loop: what it sends as place and token, how it starts over, grows, watches and waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tandem_core.errors import Expected, Offline, RateLimited, ServerRefused, SignedOut
from tandem_core.store import devices, inbox, members, rooms, session
from tandem_core.sync import request
from tandem_core.sync.loop import SyncLoop
from tandem_core.sync.place import keep_rule, standing
from tandem_core.sync.readers import Rule
from tandem_core.types import Json, RoomId
from tests.core.sync_world import APP, BOB, ME, NOTIFIER, NOW, ROOM, Account, StillClock, message, olm
from tests.support.aio import in_loop

Answer = Json | Exception | Callable[[Json], Any]


class Server:
    """Answers in order; remembers every request. When the answers are used up it hangs, as a long poll does."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Json, dict[str, str]]] = []
        self.others: list[str] = []
        self.hanging = asyncio.Event()

    async def request(self, method: str, path: str, body: Json | None = None, **options: Any) -> Json:
        if body is None:
            self.others.append(path)
            return {"joined_rooms": []}
        self.asked.append((body, options.get("query") or {}))
        if not self.answers:
            self.hanging.set()
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            made: Json = answer(body)
            return made
        return answer

    def sinces(self) -> list[str | None]:
        return [body["extensions"]["to_device"].get("since") for body, _ in self.asked]

    def places(self) -> list[str | None]:
        return [query.get("pos") for _, query in self.asked]

    def windows(self) -> list[int]:
        return [body["lists"]["all"]["ranges"][0][1] + 1 for body, _ in self.asked]


def answer(pos: str, *events: Json, next_batch: str | None = None, count: int = 1, **rest: Any) -> Json:
    said: Json = {"pos": pos, "lists": {"all": {"count": count}}, **rest}
    if next_batch is not None:
        said["extensions"] = {"to_device": {"events": list(events), "next_batch": next_batch}}
    return said


def _loop(alice: Account, server: Server, clock: StillClock | None = None, **options: Any) -> SyncLoop:
    http: Any = server
    return SyncLoop(alice.db, http, ME, APP, clock=clock or StillClock(), chance=alice.chance, **options)


async def _run(loop: SyncLoop, server: Server) -> None:
    """Run until the server's answers are used up."""
    running = asyncio.ensure_future(loop.run())
    hanging = asyncio.ensure_future(server.hanging.wait())
    done, _ = await asyncio.wait({running, hanging}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    assert done, "the loop neither ended nor came to its long poll"
    for task in (running, hanging):
        if not task.done():
            task.cancel()
    results = await asyncio.gather(running, hanging, return_exceptions=True)
    if isinstance(results[0], Exception):
        raise results[0]


@in_loop
async def test_only_a_committed_token_is_acknowledged(alice: Account) -> None:
    server = Server(answer("1", olm("a"), next_batch="5"), answer("2"), answer("3", olm("b"), next_batch="6"))
    await _run(_loop(alice, server), server)
    assert server.sinces() == [None, "5", "5", "6"]
    assert server.places() == [None, "1", "2", "3"]


@in_loop
async def test_a_place_that_expired_is_given_up_and_the_token_is_not(alice: Account) -> None:
    alice.write(session.set_pos, APP, "0/old", NOW)
    alice.apply({"pos": "0/old", "extensions": {"to_device": {"events": [], "next_batch": "5"}}})
    outdated_before_asking: list[bool] = []

    def look(_: Json) -> Json:
        outdated_before_asking.append(BOB in alice.read(devices.outdated, NOW))
        return answer("9")

    alice.write(devices.track, [BOB])
    (wanted,) = alice.read(devices.outdated, NOW).values()
    alice.write(devices.put_list, BOB, [], wanted, NOW)
    assert alice.read(devices.outdated, NOW) == {}
    alice.join(APP, pos="0/old")
    alice.write(rooms.set_room, APP, ROOM, {"members_complete": 1})
    server = Server(ServerRefused(400, "M_UNKNOWN_POS", ""), look)
    await _run(_loop(alice, server), server)
    assert server.places()[1:] == [None, "9"]
    assert outdated_before_asking == [True], "device lists are outdated durably before the new start"
    assert alice.read(session.token, APP) == "5"
    assert not alice.read(members.is_complete, APP, ROOM)


@in_loop
async def test_a_malformed_place_is_given_up_just_so(alice: Account) -> None:
    alice.write(session.set_pos, APP, "garbage", NOW)
    server = Server(ServerRefused(400, "M_UNKNOWN", "Invalid stream token"), answer("2"))
    await _run(_loop(alice, server), server)
    assert server.places() == ["garbage", None, "2"]


@in_loop
async def test_a_token_the_server_cannot_read_is_dropped_and_the_place_stays(alice: Account) -> None:
    alice.apply({"pos": "3", "extensions": {"to_device": {"events": [], "next_batch": "-oops"}}})
    server = Server(
        answer("4"),
        ServerRefused(400, "M_INVALID_PARAM", "since"),
        answer("5", olm("a"), next_batch="7"),
        answer("6"),
    )
    await _run(_loop(alice, server), server)
    assert server.sinces() == [None, "-oops", None, "7", "7"]
    assert server.places() == ["3", "4", "4", "5", "6"]


@in_loop
async def test_the_first_request_of_a_run_acknowledges_nothing_so_that_a_lost_future_is_noticed(
    alice: Account,
) -> None:
    alice.apply({"pos": "3", "extensions": {"to_device": {"events": [], "next_batch": "900"}}})
    server = Server(answer("4", olm("a"), next_batch="7"), answer("5", olm("a"), next_batch="7"), answer("6"))
    await _run(_loop(alice, server), server)
    assert server.sinces() == [None, None, "7", "7"], "a server restored from a backup is followed back"
    assert server.places() == ["3", None, "5", "6"], "its places are of another time, too"
    assert alice.read(inbox.depth) == 1


@in_loop
async def test_a_server_that_was_set_back_makes_both_programs_forget_their_tokens(alice: Account) -> None:
    alice.write(session.set_token, NOTIFIER, "901")
    alice.apply({"pos": "3", "extensions": {"to_device": {"events": [], "next_batch": "900"}}})
    await _run(_loop(alice, server := Server(answer("4", olm("a"), next_batch="7"))), server)
    assert alice.read(session.token, NOTIFIER) is None


@in_loop
async def test_a_place_from_the_servers_future_is_given_up(alice: Account) -> None:
    alice.apply({"pos": "4/s90_1_0", "extensions": {"to_device": {"events": [], "next_batch": "5"}}})
    server = Server(answer("4/s80_9_0", next_batch="5"), answer("5/s80_9_0"), answer("6/s80_9_0"))
    await _run(_loop(alice, server), server)
    assert server.places() == ["4/s90_1_0", None, "5/s80_9_0", "6/s80_9_0"]


@in_loop
async def test_after_a_break_the_token_is_left_out_for_once_since_the_server_may_have_been_restored(
    alice: Account,
) -> None:
    clock = StillClock()
    server = Server(
        answer("1", olm("a"), next_batch="900"),
        Offline("restarting"),
        answer("2", olm("b"), next_batch="40"),
        answer("3", olm("b"), next_batch="40"),
        answer("4"),
    )
    await _run(_loop(alice, server, clock), server)
    assert server.sinces() == [None, "900", None, None, "40", "40"]
    assert alice.read(inbox.depth) == 2


@in_loop
async def test_a_full_page_that_ends_before_our_token_is_a_backlog_and_no_restored_server(
    alice: Account,
) -> None:
    page = [olm(str(number)) for number in range(100)]
    alice.apply({"pos": "3", "extensions": {"to_device": {"events": page, "next_batch": "900"}}})
    server = Server(answer("4", *page, next_batch="850"), answer("5", next_batch="900"))
    await _run(_loop(alice, server), server)
    assert server.sinces() == [None, "850", "850"]
    assert server.places() == ["3", "4", "5"]


@in_loop
async def test_a_token_of_another_kind_of_server_is_never_compared(alice: Account) -> None:
    alice.apply({"pos": "3", "extensions": {"to_device": {"events": [], "next_batch": "s9_z"}}})
    server = Server(answer("4", olm("a"), next_batch="s1_a"), answer("5"))
    await _run(_loop(alice, server), server)
    assert server.sinces() == [None, "s1_a", "s1_a"]


@pytest.mark.parametrize(
    ("errcode", "status"), [("M_UNKNOWN_POS", 400), ("M_INVALID_PARAM", 400), ("M_UNKNOWN", 400)]
)
def test_a_server_that_refuses_each_place_or_token_it_gave_is_asked_ever_more_slowly(
    alice: Account, errcode: str, status: int
) -> None:
    clock = StillClock()
    turns = 8
    answers: list[Answer] = []
    for number in range(turns):
        answers += [answer(str(number), next_batch=str(number + 1)), ServerRefused(status, errcode, "")]
    server = Server(*answers)
    asyncio.run(_run(_loop(alice, server, clock), server))
    assert len(clock.slept) == turns - 1, "the first time costs nothing"
    assert clock.slept[-1] > 4 > clock.slept[0]


@in_loop
async def test_a_server_that_refuses_everything_for_now_is_asked_ever_more_slowly(alice: Account) -> None:
    clock = StillClock()
    server = Server(*[RateLimited(1)] * 8, answer("1"))
    await _run(_loop(alice, server, clock), server)
    assert min(clock.slept) == 1
    assert clock.slept[-1] > 8


@in_loop
async def test_a_first_start_marks_device_lists_outdated_too(alice: Account) -> None:
    alice.write(devices.track, [BOB])
    (wanted,) = alice.read(devices.outdated, NOW).values()
    alice.write(devices.put_list, BOB, [], wanted, NOW)
    server = Server()
    await _run(_loop(alice, server), server)
    assert BOB in alice.read(devices.outdated, NOW)


@in_loop
async def test_the_window_grows_from_a_screenful_to_everything_without_waiting(alice: Account) -> None:
    server = Server(*(answer(str(number), count=700) for number in range(1, 7)))
    await _run(_loop(alice, server), server)
    assert server.windows() == [20, 100, 300, 600, 900, request.ALL_ROOMS, request.ALL_ROOMS]
    timeouts = [query["timeout"] for _, query in server.asked]
    assert timeouts == ["0"] * 5 + ["30000"] * 2


@in_loop
async def test_a_later_start_takes_all_changes_at_once_after_the_first_screenful(alice: Account) -> None:
    first = Server(answer("1"))
    await _run(_loop(alice, first), first)
    second = Server(answer("2", count=700), answer("3", count=700))
    await _run(_loop(alice, second), second)
    assert second.windows() == [20, request.ALL_ROOMS, request.ALL_ROOMS]


@in_loop
async def test_an_answer_without_a_count_makes_no_hot_loop(alice: Account) -> None:
    server = Server({"pos": "1"}, {"pos": "2"})
    await _run(_loop(alice, server), server)
    assert server.windows() == [20, request.ALL_ROOMS, request.ALL_ROOMS]


@in_loop
async def test_opening_a_room_asks_again_at_once_from_the_same_place(alice: Account) -> None:
    server = Server(answer("1"))
    loop = _loop(alice, server)
    running = asyncio.ensure_future(loop.run())
    await asyncio.wait_for(server.hanging.wait(), 30)
    server.hanging.clear()
    loop.watch_room(RoomId("!open:x"))
    await asyncio.wait_for(server.hanging.wait(), 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert list(server.asked[-1][0]["room_subscriptions"]) == ["!open:x"]
    assert server.places() == [None, "1", "1"]


@in_loop
async def test_failures_are_told_waited_out_and_forgotten(alice: Account) -> None:
    told: list[Expected | None] = []
    clock = StillClock()
    server = Server(Offline("a"), Offline("b"), {"no": "pos"}, RateLimited(17), answer("1"))
    await _run(_loop(alice, server, clock, on_state=told.append), server)
    assert [trouble is None for trouble in told] == [False, False, False, True]
    assert 17 in clock.slept
    assert len(clock.slept) == 4


@in_loop
async def test_a_full_disk_moves_no_token_and_the_same_answer_comes_again(
    alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tandem_core.sync import loop as module

    whole, full = module.apply, [True]

    def apply(*args: Any, **kwargs: Any) -> Any:
        made = whole(*args, **kwargs)
        if full.pop() if full else False:
            raise OSError(28, "no space left")
        return made

    monkeypatch.setattr(module, "apply", apply)
    told: list[Expected | None] = []
    server = Server(answer("1", olm("a"), next_batch="5"), answer("1", olm("a"), next_batch="5"))
    await _run(_loop(alice, server, on_state=told.append), server)
    assert told[0] is not None
    assert told[0].title == "The disk is full"
    assert server.places() == [None, None, "1"]
    assert server.sinces() == [None, None, "5"]


@in_loop
async def test_a_refused_request_that_is_not_about_place_or_token_is_retried_with_pauses(
    alice: Account,
) -> None:
    clock = StillClock()
    server = Server(ServerRefused(400, "M_BAD_JSON", ""), ServerRefused(403, "M_FORBIDDEN", ""), answer("1"))
    await _run(_loop(alice, server, clock), server)
    assert len(clock.slept) == 2
    assert server.places() == [None, None, None, "1"]


@in_loop
async def test_signed_out_ends_the_loop(alice: Account) -> None:
    server = Server(SignedOut(soft=True))
    with pytest.raises(SignedOut):
        await _run(_loop(alice, server), server)


@in_loop
async def test_rooms_left_while_the_place_was_lost_are_noticed(alice: Account) -> None:
    alice.sync_room(room_id="!gone:x", initial=True, name="Gone")
    alice.sync_room(room_id="!stays:x", initial=True, name="Stays")
    alice.write(session.set_pos, APP, None, None)
    stays = {"!stays:x": {"initial": True, "timeline": [message("a")]}}
    server = Server(answer("1", rooms=stays), answer("2"))
    await _run(_loop(alice, server), server)
    assert [room.room_id for room in alice.read(rooms.room_list, APP)] == ["!stays:x"]
    assert server.others == ["/_matrix/client/v3/joined_rooms"]


class OurTurn:
    """A turn that the test gives and takes."""

    def __init__(self, is_ours: bool) -> None:
        self.is_ours = is_ours
        self.is_overdue = False
        self.may_end = False
        self.ends = 0
        self._listeners: list[Callable[[], None]] = []

    def end(self) -> None:
        self.is_ours = False
        self.ends += 1

    def on_taken(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def take(self) -> None:
        self.is_ours = True
        for listener in self._listeners:
            listener()


def _asks(server: Server) -> list[bool]:
    return [body["extensions"]["to_device"]["enabled"] for body, _ in server.asked]


def _knows(alice: Account, rule: Rule) -> None:
    alice.write(keep_rule, rule, NOW)


@in_loop
async def test_out_of_turn_the_token_is_told_once_and_then_only_rooms_are_asked_for(alice: Account) -> None:
    _knows(alice, Rule.SINCE)
    server = Server(answer("1", next_batch="5"), answer("2", next_batch="6"), answer("3"))
    await _run(_loop(alice, server, turn=OurTurn(False)), server)
    assert server.sinces() == [None, "5", None, None]
    assert _asks(server) == [True, True, False, False]
    assert alice.read(session.connection, APP).since == "5", "what the server was told is what is kept"


@in_loop
async def test_the_turn_ends_the_poll_without_events_and_goes_on_with_the_newer_token(alice: Account) -> None:
    _knows(alice, Rule.SINCE)
    alice.join(APP, pos="1")
    alice.write(session.set_token, APP, "5")
    alice.write(session.set_token, NOTIFIER, "8")
    turn = OurTurn(False)
    server = Server(answer("2"), answer("3"), answer("4"))
    loop = _loop(alice, server, turn=turn)
    running = asyncio.ensure_future(loop.run())
    await asyncio.wait_for(server.hanging.wait(), 30)
    assert _asks(server)[-1] is False
    server.hanging.clear()
    turn.take()
    await asyncio.wait_for(server.hanging.wait(), 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert server.sinces()[-1] == "8"
    assert alice.read(session.connection, APP).since == "8"


@in_loop
async def test_a_turn_ends_with_an_answer_that_leaves_nothing_to_acknowledge(alice: Account) -> None:
    _knows(alice, Rule.SINCE)
    turn = OurTurn(True)
    turn.may_end = True
    server = Server(
        answer("1", next_batch="5"),
        answer("2", olm("a"), next_batch="6"),
        answer("3", next_batch="7"),
        answer("4"),
    )
    await _run(_loop(alice, server, turn=turn), server)
    assert server.sinces() == [None, "5", "6", None, None]
    assert _asks(server) == [True, True, True, False, False]
    assert turn.ends == 1


@in_loop
async def test_where_the_place_acknowledges_one_reads_and_its_heir_starts_over(alice: Account) -> None:
    _knows(alice, Rule.POS)
    alice.join(APP, pos="1")
    alice.write(session.set_pos, APP, "1", NOW, covered=False)
    turn = OurTurn(False)
    turn.may_end = turn.is_overdue = True
    server = Server(answer("2"))
    loop = _loop(alice, server, turn=turn)
    running = asyncio.ensure_future(loop.run())
    await asyncio.wait_for(server.hanging.wait(), 30)
    assert set(_asks(server)) == {False}
    server.hanging.clear()
    asked = len(server.asked)
    server.answers += [answer("9", olm("a"), next_batch="4")]
    turn.take()
    await asyncio.wait_for(server.hanging.wait(), 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert _asks(server)[asked:] == [True, True]
    assert server.places()[asked:] == [None, "9"]


@in_loop
async def test_the_servers_rule_is_learned_from_the_first_events_and_kept(alice: Account) -> None:
    page = (olm("a"), olm("b"))
    server = Server(
        answer("1", next_batch="5"),
        answer("2", *page, next_batch="6"),
        answer("3", *page, next_batch="6"),
        answer("4", *page, next_batch="6"),
    )
    await _run(_loop(alice, server, turn=OurTurn(True)), server)
    assert server.sinces() == [None, "5", "5", None, "6"]
    assert alice.read(standing, APP).rule is Rule.SINCE
    assert alice.read(inbox.depth) == 2
