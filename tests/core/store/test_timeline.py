"""The order of events per connection: live, gaps, expanded timelines, pagination; and the borrowed tail."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_core.store import timeline
from tandem_core.types import Json, Role
from tests.core.sync_world import APP, NOTIFIER, NOW, ROOM, Account, edit, message, open_account, sealed


def _live(alice: Account, *bodies: str, link: Role = APP, **said: Any) -> list[str]:
    """A live piece of timeline; returns which bodies may be judged."""
    known = {"limited": False, "prev_batch": "p", "now_ms": NOW} | said
    events = [message(body) for body in bodies]
    judged = alice.write(timeline.append_live, link, ROOM, events, **known)
    return [event.body for event in judged]


def _gap(alice: Account, link: Role = APP) -> timeline.Gap:
    (gap,) = alice.read(timeline.gaps, link)
    assert isinstance(gap, timeline.Gap)
    return gap


def _fill(alice: Account, chunk: list[str], end: str | None, link: Role = APP) -> list[str]:
    gap = _gap(alice, link)
    events = [message(body) for body in chunk]
    judged = alice.write(timeline.fill_gap, link, ROOM, gap.ord, events, end, now_ms=NOW)
    return [event.body for event in judged]


def test_live_events_come_in_order_and_once(alice: Account) -> None:
    alice.join(APP, message("a"))
    assert _live(alice, "b", "c") == ["b", "c"]
    assert _live(alice, "c", "d") == ["d"]
    assert alice.bodies() == ["a", "b", "c", "d"]


def test_history_of_the_first_sync_is_not_judged_but_its_live_end_is(alice: Account) -> None:
    alice.join(APP)
    assert _live(alice, "old", "older", "new", initial=True, num_live=1, limited=True) == ["new"]
    assert alice.origins() == {"old": "back", "older": "back", "new": "live"}


def test_after_a_kept_place_all_new_events_are_live_even_if_the_server_counts_fewer(alice: Account) -> None:
    alice.join(APP, message("a"))
    assert _live(alice, "b", "c", num_live=0) == ["b", "c"]
    assert alice.origins()["b"] == "live"


def test_after_a_lost_place_what_is_newer_than_known_came_through_a_gap(alice: Account) -> None:
    alice.join(APP, message("a"))
    judged = _live(alice, "x", "y", initial=True, num_live=0, limited=True, prev_batch="t1")
    assert judged == ["x", "y"]
    assert alice.origins() == {"a": "back", "x": "gap", "y": "gap"}
    assert _gap(alice).prev_batch == "t1"


def test_a_limited_piece_leaves_a_gap_that_fills_in_order_and_is_judged(alice: Account) -> None:
    alice.join(APP, message("a"))
    _live(alice, "e", "f", limited=True, prev_batch="t1")
    assert _fill(alice, ["d", "c"], "t2") == ["c", "d"]
    assert _gap(alice).prev_batch == "t2"
    assert _fill(alice, ["b", "a"], "t3") == ["b"]
    assert alice.bodies() == ["a", "b", "c", "d", "e", "f"]
    assert alice.read(timeline.gaps, APP) == []
    assert alice.origins()["c"] == "gap"


def test_a_gap_closes_at_the_rooms_start(alice: Account) -> None:
    alice.join(APP, message("a"))
    _live(alice, "c", limited=True, prev_batch="t1")
    _fill(alice, ["b"], None)
    assert alice.read(timeline.gaps, APP) == []


def test_an_empty_page_moves_a_gap_on_and_does_not_close_it(alice: Account) -> None:
    alice.join(APP, message("a"))
    _live(alice, "c", limited=True, prev_batch="t1")
    assert _fill(alice, [], "t2") == []
    assert _gap(alice).prev_batch == "t2"
    assert _fill(alice, ["b", "a"], "t3") == ["b"]
    assert alice.bodies() == ["a", "b", "c"]


def test_filling_a_gap_that_is_gone_does_nothing(alice: Account) -> None:
    alice.join(APP, message("a"))
    _live(alice, "c", limited=True, prev_batch="t1")
    gap = _gap(alice)
    _fill(alice, ["b", "a"], None)
    again = alice.write(timeline.fill_gap, APP, ROOM, gap.ord, [message("z")], None, now_ms=NOW)
    assert again == []
    assert alice.bodies() == ["a", "b", "c"]


def test_a_gap_of_one_connection_is_none_of_the_other(alice: Account) -> None:
    for link in Role:
        alice.join(link, message("a"))
    _live(alice, "c", limited=True, prev_batch="t1")
    assert alice.read(timeline.gaps, NOTIFIER) == []


def test_an_expanded_timeline_puts_older_events_below_without_doubling(alice: Account) -> None:
    alice.join(APP, message("d"), limited=True, prev_batch="t1")
    judged = _live(alice, "b", "c", "d", "e", expanded=True, num_live=1, limited=True, prev_batch="t0")
    assert judged == ["e"]
    assert alice.bodies() == ["b", "c", "d", "e"]
    assert alice.read(timeline.back_token, APP, ROOM) == ("t0", False)
    assert alice.origins() == {"b": "back", "c": "back", "d": "back", "e": "live"}


def test_an_expanded_timeline_fills_the_gap_it_covers(alice: Account) -> None:
    alice.join(APP, message("a"))
    _live(alice, "d", limited=True, prev_batch="t1")
    judged = _live(alice, "a", "b", "c", "d", expanded=True, num_live=0, limited=True, prev_batch="t0")
    assert judged == ["b", "c"]
    assert alice.bodies() == ["a", "b", "c", "d"]
    assert alice.read(timeline.gaps, APP) == []


def test_an_expanded_timeline_moves_the_gap_it_covers_in_part(alice: Account) -> None:
    alice.join(APP, message("a"))
    _live(alice, "d", limited=True, prev_batch="t1")
    _live(alice, "c", "d", expanded=True, num_live=0, limited=True, prev_batch="t2")
    assert _gap(alice).prev_batch == "t2"
    _fill(alice, ["b", "a"], None)
    assert alice.bodies() == ["a", "b", "c", "d"]


def test_scrolling_back_is_never_judged_and_ends_at_the_start(alice: Account) -> None:
    alice.join(APP, message("c"), limited=True, prev_batch="t1")
    fresh = alice.write(
        timeline.prepend_back, APP, ROOM, "t1", [message("b"), message("a")], None, now_ms=NOW
    )
    assert fresh == 2
    assert alice.bodies() == ["a", "b", "c"]
    assert alice.read(timeline.back_token, APP, ROOM) == (None, True)
    assert alice.origins()["b"] == "back"


def test_a_late_answer_to_scrolling_is_dropped(alice: Account) -> None:
    alice.join(APP, message("c"), limited=True, prev_batch="t1")
    alice.write(timeline.prepend_back, APP, ROOM, "t1", [message("b")], "t0", now_ms=NOW)
    assert alice.write(timeline.prepend_back, APP, ROOM, "t1", [message("x")], "t0", now_ms=NOW) == 0
    assert alice.bodies() == ["b", "c"]


def test_an_event_seen_live_by_both_programs_is_judged_by_the_first(alice: Account) -> None:
    for link in Role:
        alice.join(link, message("a"))
    assert _live(alice, "b", link=APP) == ["b"]
    assert _live(alice, "b", link=NOTIFIER) == []


def test_an_event_that_one_program_only_knew_as_history_is_judged_when_the_other_sees_it_live(
    alice: Account,
) -> None:
    alice.join(NOTIFIER)
    alice.join(APP, message("b"))
    assert _live(alice, "b", link=NOTIFIER) == ["b"]


def test_the_window_borrows_what_only_the_notifier_has(alice: Account) -> None:
    for link in Role:
        alice.join(link, message("a"))
    _live(alice, "b", "c", link=NOTIFIER)
    assert alice.bodies(APP) == ["a", "b", "c"]
    _live(alice, "b", link=APP)
    assert alice.bodies(APP) == ["a", "b", "c"]
    _live(alice, "c", "d", link=APP)
    assert alice.bodies(APP) == ["a", "b", "c", "d"]


def test_nothing_is_borrowed_where_the_two_do_not_meet(alice: Account) -> None:
    alice.join(NOTIFIER, message("x"))
    alice.join(APP, message("b"))
    assert alice.bodies(APP) == ["b"]


def test_a_program_that_never_synced_borrows_everything(alice: Account) -> None:
    alice.join(NOTIFIER, message("a"), message("b"))
    assert alice.bodies(APP) == ["a", "b"]


def test_numbers_of_rows_fall_from_newest_to_oldest_and_name_their_rows(alice: Account) -> None:
    for link in Role:
        alice.join(link, message("a"))
    _live(alice, "b", link=NOTIFIER)
    _queue(alice, "t1", "on its way")
    numbers = list(alice.read(timeline.order, APP, ROOM))
    assert numbers == sorted(numbers, reverse=True)
    rows = alice.read(timeline.rows_by_keys, APP, ROOM, numbers)
    assert [row.body for row in rows] == ["on its way", "b", "a"]
    assert [row.ord for row in rows] == numbers
    older = alice.read(timeline.page, APP, ROOM, before=numbers[0], limit=1)
    assert [row.body for row in older] == ["b"]


def test_a_send_keeps_its_key_from_echo_to_event(alice: Account) -> None:
    alice.join(APP, message("a"))
    _queue(alice, "t1", "hello")
    (echo, _) = alice.read(timeline.page, APP, ROOM)
    assert (echo.key, echo.send_state, echo.is_own) == ("t1", "queued", True)
    event = message("hello", "@alice:example.org") | {"unsigned": {"transaction_id": "t1"}}
    alice.write(timeline.append_live, APP, ROOM, [event], limited=False, prev_batch="p", now_ms=NOW)
    (row, _) = alice.read(timeline.page, APP, ROOM)
    assert (row.key, row.event_id, row.send_state) == ("t1", "$hello", "sent")
    assert alice.one("SELECT state FROM send_queue") == "sent"


def test_a_send_that_the_server_answered_shows_once_until_its_event_comes(alice: Account) -> None:
    alice.join(APP, message("a"))
    _queue(alice, "t1", "hello")
    alice.write(lambda txn: txn.execute("UPDATE send_queue SET state = 'sent', event_id = '$hello'"))
    assert alice.bodies() == ["a", "hello"]
    event = message("hello", "@alice:example.org")
    alice.write(
        timeline.append_live, NOTIFIER, ROOM, [message("a"), event], limited=False, prev_batch="p", now_ms=NOW
    )
    assert alice.bodies(APP) == ["a", "hello"]
    alice.write(timeline.append_live, APP, ROOM, [event], limited=False, prev_batch="p", now_ms=NOW)
    (row, _) = alice.read(timeline.page, APP, ROOM)
    assert alice.bodies(APP) == ["a", "hello"]
    assert row.key == "t1"


def test_an_edit_in_the_send_queue_is_no_row(alice: Account) -> None:
    alice.join(APP, message("a"))
    _queue(alice, "t1", "x", edit("$a", "x")["content"])
    assert alice.bodies() == ["a"]


def _queue(alice: Account, txn_id: str, body: str, content: Json | None = None) -> None:
    from tandem_core.codec import dumps

    alice.write(
        lambda txn: txn.execute(
            "INSERT INTO send_queue (txn_id, room_id, type, content, body, state, made_at)"
            " VALUES (?, ?, 'm.room.message', ?, ?, 'queued', ?)",
            (txn_id, ROOM, dumps(content or {"msgtype": "m.text", "body": body}), body, NOW),
        )
    )


def test_a_malformed_event_is_skipped_and_the_others_are_kept(alice: Account, caplog: Any) -> None:
    alice.join(APP)
    odd = [{"event_id": "$x"}, message("b") | {"content": []}, message("c") | {"origin_server_ts": "late"}]
    alice.write(timeline.append_live, APP, ROOM, odd, limited=False, prev_batch=None, now_ms=NOW)
    assert alice.bodies() == ["c"]
    assert "is skipped" in caplog.text


def test_an_event_of_another_room_is_not_shown_here(alice: Account) -> None:
    alice.join(APP, message("a"))
    alice.sync_room(APP, "!other:x", timeline=[message("a"), message("b")])
    assert alice.bodies() == ["a"]
    assert alice.read(timeline.get, "$a").room_id == ROOM


def test_a_hole_without_room_left_keeps_order_and_gives_up(alice: Account) -> None:
    alice.join(APP, message("a"))
    _live(alice, "z", limited=True, prev_batch="t1")
    gap = _gap(alice)
    alice.write(lambda txn: txn.execute("UPDATE timeline SET ord = ? WHERE event_id = '$a'", (gap.ord - 3,)))
    alice.write(timeline.fill_gap, APP, ROOM, gap.ord, [message(body) for body in "yxwv"], "t2", now_ms=NOW)
    assert alice.bodies() == ["a", "x", "y", "z"]


def test_sealed_events_wait_and_open_in_place(alice: Account) -> None:
    alice.join(APP)
    alice.sync_room(timeline=[sealed("s1"), message("plain")])
    waiting = alice.read(timeline.sealed, ROOM, "session")
    assert [event.event_id for event in waiting] == ["$s1"]
    opened = alice.write(timeline.set_opened, "$s1", "m.room.message", message("secret")["content"], NOW + 5)
    assert (opened.kind, opened.body, opened.seal, opened.origin) == ("text", "secret", "opened", "live")
    assert alice.bodies() == ["secret", "plain"]
    assert alice.read(timeline.sealed) == []


_steps = st.lists(
    st.tuples(st.sampled_from(["live", "limited", "expanded", "fill", "back", "lost"]), st.integers(1, 4)),
    max_size=14,
)


@settings(max_examples=40)
@given(_steps, st.integers(0, 2**32))
def test_whatever_the_server_does_order_is_kept_and_nothing_is_doubled_or_lost(
    steps: list[tuple[str, int]], seed: int
) -> None:
    """A model server: one true history; every piece it sends is a window on it."""
    with tempfile.TemporaryDirectory() as folder:
        for alice in open_account(Path(folder)):
            _Model(alice, random.Random(seed)).run(steps)


class _Model:
    """The true history of a room, and the pieces a server would send of it."""

    def __init__(self, alice: Account, chance: random.Random) -> None:
        self.alice = alice
        self.chance = chance
        self.history = [f"m{number}" for number in range(6)]
        alice.join(APP, message("m5"), limited=True, prev_batch="5")

    def run(self, steps: list[tuple[str, int]]) -> None:
        act: dict[str, Callable[[int], None]] = {
            "live": self.live,
            "limited": self.limited,
            "expanded": self.expanded,
            "fill": self.fill,
            "back": self.back,
            "lost": self.lost,
        }
        for name, size in steps:
            act[name](size)
            self.check_order()
        while self.alice.read(timeline.gaps, APP):
            self.fill(3)
        while not self.alice.read(timeline.back_token, APP, ROOM)[1]:
            self.back(3)
        assert self.alice.bodies() == self.history

    def check_order(self) -> None:
        shown = self.alice.bodies()
        places = [self.history.index(body) for body in shown]
        assert places == sorted(set(places)), shown
        assert shown[-1] == self.history[-1]

    def say(self, count: int) -> None:
        start = len(self.history)
        self.history += [f"m{start + number}" for number in range(count)]

    def window(self, first: int, **said: Any) -> None:
        first = max(0, first)
        events = [message(body) for body in self.history[first:]]
        self.alice.sync_room(timeline=events, limited=first > 0, prev_batch=str(first), **said)

    def live(self, size: int) -> None:
        self.say(size)
        events = [message(body) for body in self.history[-size:]]
        self.alice.sync_room(timeline=events, limited=False, prev_batch="x", num_live=size)

    def limited(self, size: int) -> None:
        self.say(size + self.chance.randint(1, 5))
        self.window(len(self.history) - size, num_live=size)

    def expanded(self, size: int) -> None:
        fresh = self.chance.randint(0, 2)
        self.say(fresh)
        self.window(len(self.history) - size - 4, unstable_expanded_timeline=True, num_live=fresh)

    def lost(self, size: int) -> None:
        self.say(self.chance.randint(0, 3))
        self.window(len(self.history) - size, initial=True, num_live=0)

    def messages(self, token: str, size: int) -> tuple[list[Json], str | None]:
        end = int(token)
        start = max(0, end - size)
        return [message(body) for body in reversed(self.history[start:end])], str(start) if start else None

    def fill(self, size: int) -> None:
        for gap in self.alice.read(timeline.gaps, APP)[:1]:
            chunk, end = self.messages(gap.prev_batch, size)
            self.alice.write(timeline.fill_gap, APP, ROOM, gap.ord, chunk, end, now_ms=NOW)

    def back(self, size: int) -> None:
        token, is_done = self.alice.read(timeline.back_token, APP, ROOM)
        if not is_done:
            chunk, end = self.messages(token or str(len(self.history)), size)
            self.alice.write(timeline.prepend_back, APP, ROOM, token, chunk, end, now_ms=NOW)
