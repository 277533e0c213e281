"""Who asks for to-device events: against servers of every known rule, nothing is deleted that nobody kept."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_core.store.session import Connection
from tandem_core.sync.readers import Poll, Question, Rule, newest, plan
from tandem_core.types import Json
from tests.core.sync_world import olm

BOTH = ("app", "notifier")
KNOWN = [Rule.SINCE, Rule.SINCE_OR_POS, Rule.POS]
STEPS = (
    "event",
    "app",
    "notifier",
    "app lost",
    "notifier lost",
    "app ends",
    "swap",
    "app unknown",
    "other rooms",
)


@dataclass
class Server:
    """To-device events by number, and what a request deletes. ``pos`` and tokens are numbers of events."""

    rule: Rule
    count: int = 0
    kept: set[int] = field(default_factory=set)
    accepted: set[int] = field(default_factory=set)

    def accept(self) -> None:
        self.count += 1
        self.kept.add(self.count)
        self.accepted.add(self.count)

    def answer(self, pos: str | None, poll: Poll) -> tuple[list[int], int]:
        place = int(pos or 0)
        if not poll.asks:
            return [], self.count
        match self.rule:
            case Rule.SINCE:
                covers = int(poll.since or 0)
            case Rule.SINCE_OR_POS:
                covers = place if poll.since is None else int(poll.since)
            case _:
                covers = place
        self.kept = {event for event in self.kept if event > covers}
        return sorted(self.kept), self.count


@dataclass
class Device:
    """Two connections over one inbox, as the loop drives them."""

    server: Server
    believes: Rule
    inbox: set[int] = field(default_factory=set)
    places: dict[str, Connection] = field(
        default_factory=lambda: {link: Connection(None, None, None) for link in BOTH}
    )
    said: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(BOTH))
    reader: str = "app"

    def poll(self, link: str, *, is_lost: bool = False, is_probe: bool = False) -> Poll:
        place = self.places[link]
        poll = plan(place, self.believes, reads=self.reader == link, said=self.said[link], is_probe=is_probe)
        if poll is None:
            place, poll = replace(place, pos=None, covered=False), Poll()
        events, upto = self.server.answer(place.pos, poll)
        if is_lost:
            self.places[link] = place
            return poll
        self.inbox |= set(events)
        moves = poll.asks and (bool(events) or poll.since is None)
        since = str(upto) if moves else place.since
        self.places[link] = Connection(str(upto), since, 1, poll.asks)
        if poll.since is not None:
            self.said[link] = poll.since
        return poll

    def take_turn(self, link: str) -> None:
        self.reader = link
        if self.believes.both_may_read:
            own, other = (self.places[name] for name in (link, *(set(BOTH) - {link})))
            self.places[link] = replace(own, since=newest(own.since, other.since))


def _play(device: Device, steps: list[tuple[str, bool]]) -> None:
    server = device.server
    for step, is_probe in steps:
        match step:
            case "event":
                server.accept()
            case "other rooms":
                server.count += 1
            case "swap":
                device.take_turn("notifier" if device.reader == "app" else "app")
            case "app ends":
                device.said["app"] = None
                device.take_turn("notifier")
            case "app unknown":
                device.places["app"] = replace(device.places["app"], pos=None, covered=False)
            case _:
                link, _, lost = step.partition(" ")
                device.poll(link, is_lost=bool(lost), is_probe=is_probe)
        assert server.kept | device.inbox >= server.accepted


many_steps = st.lists(st.tuples(st.sampled_from(STEPS), st.booleans()), max_size=40)


@settings(max_examples=400)
@given(rule=st.sampled_from(KNOWN), is_known=st.booleans(), steps=many_steps)
def test_nothing_is_deleted_that_is_not_in_the_inbox(
    rule: Rule, is_known: bool, steps: list[tuple[str, bool]]
) -> None:
    device = Device(Server(rule), rule if is_known else Rule.UNKNOWN)
    _play(device, steps)
    device.take_turn(device.reader)
    for _ in range(2):
        for link in (device.reader, *BOTH):
            device.poll(link)
    assert device.inbox >= device.server.accepted, "in the end all that was sent has come"


@pytest.mark.parametrize("rule", [Rule.POS, Rule.SINCE_OR_POS])
def test_a_server_that_goes_by_place_would_lose_what_is_asked_for_as_of_msc4538(rule: Rule) -> None:
    """The control: what is wrong with taking turns there, in the fewest steps."""
    device = Device(Server(rule), Rule.SINCE)
    _play(device, [(step, False) for step in ("app", "notifier", "notifier", "event", "notifier", "swap")])
    with pytest.raises(AssertionError):
        _play(device, [("event", False), ("notifier", True)])


def test_with_turns_only_the_one_whose_turn_it_is_waits_for_events() -> None:
    device = Device(Server(Rule.SINCE), Rule.SINCE)
    for link in BOTH * 3:
        device.poll(link)
    assert device.poll("app") == Poll(since="0")
    assert device.poll("notifier") == Poll(asks=False)


def test_a_new_turn_goes_on_with_the_newer_token_and_nothing_comes_twice() -> None:
    device = Device(Server(Rule.SINCE), Rule.SINCE)
    for link in BOTH * 2:
        device.poll(link)
    _play(device, [("event", False), ("app", False), ("app", False), ("swap", False)])
    assert device.places["notifier"].since == "1"
    assert device.server.answer(device.places["notifier"].pos, device.poll("notifier"))[0] == []


@pytest.mark.parametrize("rule", [Rule.POS, Rule.UNKNOWN])
def test_where_only_one_may_read_the_next_one_starts_over_to_take_its_place(rule: Rule) -> None:
    device = Device(Server(Rule.POS), rule)
    for link in ("app", "notifier", "notifier", "notifier"):
        device.poll(link)
    assert device.poll("notifier") == Poll(asks=False)
    device.take_turn("notifier")
    assert plan(device.places["notifier"], rule, reads=True, said=None, is_probe=False) is None


def test_tokens_that_are_no_numbers_have_no_order() -> None:
    assert newest("9", "10") == "10"
    assert newest("s9", "s10") == "s9"
    assert newest(None, "s10") == "s10"


def _ask(server: Server, events: dict[int, Json]) -> Rule | None:
    """Lead the question through one round, as the reader does."""
    question = Question()
    learned = None
    for _ in range(2):
        server.accept()
        held = str(server.count - 1)
        numbers, upto = server.answer(held, Poll(since=held))
        question.begin(held, [events[number] for number in numbers])
        while question.is_under_way:
            numbers, upto = server.answer(str(upto), Poll(since=question.since))
            learned = question.hear([events[number] for number in numbers])
        if learned is not None:
            return learned
        server.answer(str(upto), Poll(since=str(upto)))
    return None


@pytest.mark.parametrize("rule", KNOWN)
def test_the_rule_is_learned_from_what_comes_again(rule: Rule) -> None:
    events = {number: olm(str(number)) for number in range(1, 10)}
    assert _ask(Server(rule), events) is rule


def test_events_that_are_not_unique_and_requests_without_a_token_teach_nothing() -> None:
    question = Question()
    question.begin("1", [{"type": "m.room_key_request", "sender": "@b:x", "content": {}}])
    question.begin(None, [olm("a")])
    question.begin("1", [])
    assert not question.is_under_way
