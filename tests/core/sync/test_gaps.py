"""Filling holes over the wire: page by page, patient when offline, done with what cannot be filled."""

from __future__ import annotations

from typing import Any

import pytest

from tandem_core.errors import Offline, ServerRefused
from tandem_core.store import timeline
from tandem_core.sync import gaps
from tandem_core.sync.gaps import GapFiller
from tandem_core.sync.history import History
from tandem_core.types import Json
from tests.core.sync_world import APP, ME, ROOM, Account, StillClock, message
from tests.support.aio import in_loop


class Pages:
    """Answers ``/messages`` from a list; remembers where it was asked from."""

    def __init__(self, *answers: Json | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def request(self, method: str, path: str, body: Any = None, *, query: dict[str, str]) -> Json:
        assert path.endswith("/messages")
        self.asked.append(query.get("from", ""))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _page(*bodies: str, end: str | None = None) -> Json:
    return {"chunk": [message(body) for body in bodies]} | ({"end": end} if end else {})


def _filler(alice: Account, pages: Pages) -> GapFiller:
    http: Any = pages
    return GapFiller(alice.db, http, ME, APP, clock=StillClock(), chance=alice.chance)


@pytest.fixture
def holed(alice: Account) -> Account:
    """A room with ``a``, a hole, and ``z``."""
    alice.join(APP, message("a"))
    alice.sync_room(timeline=[message("z")], limited=True, prev_batch="t1")
    return alice


@in_loop
async def test_a_hole_is_filled_until_it_meets_what_is_known(
    holed: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []
    monkeypatch.setattr(
        "tandem_core.judge.judge", lambda txn, me, role, event, **_: judged.append(event.body)
    )
    pages = Pages(_page("y", "x", end="t2"), _page("w", "a", end="t3"))
    await _filler(holed, pages).step()
    assert pages.asked == ["t1", "t2"]
    assert holed.bodies() == ["a", "w", "x", "y", "z"]
    assert judged == ["x", "y", "w"]
    assert holed.read(timeline.gaps, APP) == []


@in_loop
async def test_being_offline_leaves_the_hole_for_later(holed: Account) -> None:
    pages = Pages(_page("y", end="t2"), Offline("cannot connect"))
    with pytest.raises(Offline):
        await _filler(holed, pages).step()
    (gap,) = holed.read(timeline.gaps, APP)
    assert gap.prev_batch == "t2"
    await _filler(holed, Pages(_page("x", "a"))).step()
    assert holed.bodies() == ["a", "x", "y", "z"]


@in_loop
async def test_a_hole_the_server_refuses_to_fill_is_closed(holed: Account) -> None:
    await _filler(holed, Pages(ServerRefused(403, "M_FORBIDDEN", ""))).step()
    assert holed.read(timeline.gaps, APP) == []
    assert holed.bodies() == ["a", "z"]


@in_loop
async def test_a_server_that_never_ends_is_left_after_many_pages(holed: Account) -> None:
    endless = [_page(end=f"p{number}") for number in range(gaps.MOST_PAGES + 5)]
    pages = Pages(*endless)
    filler = _filler(holed, pages)
    await filler.step()
    await filler.step()
    assert len(pages.asked) == gaps.MOST_PAGES


@in_loop
async def test_an_end_that_does_not_move_ends_the_hole(holed: Account) -> None:
    pages = Pages(_page(end="t1"))
    await _filler(holed, pages).step()
    assert holed.read(timeline.gaps, APP) == []


@in_loop
async def test_an_answer_of_another_shape_is_survived(holed: Account) -> None:
    pages = Pages({"chunk": "odd", "end": 5})
    await _filler(holed, pages).step()
    assert holed.bodies() == ["a", "z"]


@in_loop
async def test_scrolling_up_fills_a_hole_that_was_left_before_it_goes_further_back(holed: Account) -> None:
    http: Any = Pages(_page("y", "a"))
    history = History(holed.db, http, ME, APP, clock=StillClock(), chance=holed.chance)
    assert await history.back(ROOM)
    assert holed.bodies() == ["a", "y", "z"]
    assert not await history.back(ROOM), "the room's start was known already"
