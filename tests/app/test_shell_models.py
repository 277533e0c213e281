"""The models under any order of events: what they count, name and tell their views stays true."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QModelIndex
from PySide6.QtGui import QGuiApplication

from tandem_app.models import words
from tandem_app.models.listdiff import Insert, Move, Remove, Step, steps
from tandem_app.models.timeline import MOST_ROWS, PAGE, TimelineModel
from tandem_core.store.view import PENDING, Row
from tests.app.seed import NOON_MS

QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.lists(st.integers(0, 30), unique=True), st.lists(st.integers(0, 30), unique=True))
def test_the_steps_turn_any_list_into_any_other(old: list[int], new: list[int]) -> None:
    assert _walk(old, new, steps(old, new)) == new


def test_one_row_that_rises_is_one_move() -> None:
    assert steps(["a", "b", "c"], ["c", "a", "b"]) == [Move(2, 0)]


class Book:
    """A room in memory that gives pages as the store does."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.number = 0

    def page(self, room_id: str, before: int | None, limit: int) -> list[Row]:
        numbers = sorted((n for n in self.rows if before is None or n < before), reverse=True)
        return [self.rows[n] for n in numbers[:limit]]

    def marks(self, room_id: str, keys: list[str]) -> dict[str, Any]:
        return {}

    def order(self) -> array[int]:
        return array("q", sorted(self.rows, reverse=True))

    def add(self, number: int, **changes: Any) -> None:
        self.number += 1
        row = Row(
            key=f"${self.number}", ord=number, event_id=f"${self.number}", txn_id=None, sender="@bob:example.org",
            sender_name="Bob", sender_avatar=None, sent_at=NOON_MS, kind="text", body="words", html=None,
            seal="plain", seal_reason=None, is_own=False, send_state="", error=None, edited=False, redacted=False,
        )  # fmt: skip
        self.rows[number] = replace(row, **changes)


class View:
    """A list that follows a model's signals only, as a Qt view does."""

    def __init__(self, model: TimelineModel) -> None:
        self.model = model
        self.keys: list[str] = []
        self.again()
        model.modelReset.connect(self.again)
        model.rowsInserted.connect(self.insert)
        model.rowsRemoved.connect(self.remove)
        model.rowsMoved.connect(self.move)

    def again(self) -> None:
        self.keys = ["?"] * self.model.rowCount()

    def insert(self, parent: QModelIndex, first: int, last: int) -> None:
        self.keys[first:first] = ["?"] * (last - first + 1)

    def remove(self, parent: QModelIndex, first: int, last: int) -> None:
        del self.keys[first : last + 1]

    def move(self, parent: QModelIndex, start: int, end: int, to_parent: QModelIndex, to: int) -> None:
        self.keys.insert(to, self.keys.pop(start))


_ACTS = st.lists(
    st.tuples(
        st.sampled_from(["new", "back", "gap", "edit", "redact", "echo", "arrive", "count"]),
        st.integers(0, 400),
    ),
    min_size=1,
    max_size=25,
)


@QUICK
@given(start=st.integers(0, 2 * PAGE + 30), acts=_ACTS)
def test_after_any_events_the_model_shows_exactly_what_the_store_has(
    qapp: QGuiApplication, start: int, acts: Sequence[tuple[str, int]]
) -> None:
    book = Book()
    for number in range(start):
        book.add(1_000_000 + number * 1000)
    model = TimelineModel(book, lambda: NOON_MS)
    model.open("!room", None)
    view = View(model)
    for act, where in acts:
        _do(book, act, where)
        if act == "count":
            model.set_order("!room", book.order())
        else:
            model.refresh()
        assert model.rowCount() == len(view.keys)
        assert model.rows_in_memory <= MOST_ROWS
    model.refresh()
    model.set_order("!room", book.order())
    assert model.keys() == [book.rows[number].key for number in book.order()]
    assert len(set(model.keys())) == model.rowCount() == len(view.keys)
    assert [model.data(model.index(place), role_of(b"text")) for place in range(model.rowCount())] == [
        _text(book.rows[number]) for number in book.order()
    ]


def test_an_echo_that_becomes_an_event_keeps_its_row(qapp: QGuiApplication) -> None:
    book = Book()
    book.add(1000)
    book.add(PENDING + 1, key="m1", event_id=None, is_own=True, send_state="sending")
    model = TimelineModel(book, lambda: NOON_MS)
    model.open("!room", None)
    told: list[str] = []
    for signal in (model.rowsInserted, model.rowsRemoved, model.rowsMoved, model.modelReset):
        signal.connect(lambda *_: told.append("moved"))
    model.dataChanged.connect(lambda *_: told.append("changed"))
    echo = book.rows.pop(PENDING + 1)
    book.rows[2000] = replace(echo, ord=2000, event_id="$new", send_state="sent")
    model.refresh()
    assert set(told) == {"changed"}
    assert model.newest_event() == "$new"


def test_a_new_message_names_only_the_rows_around_it(qapp: QGuiApplication) -> None:
    book = Book()
    for number in range(50):
        book.add(1000 + number)
    model = TimelineModel(book, lambda: NOON_MS)
    model.open("!room", None)
    ranges: list[tuple[int, int]] = []
    model.dataChanged.connect(lambda first, last, roles: ranges.append((first.row(), last.row())))
    book.add(5000)
    model.refresh()
    assert ranges
    assert all(last <= 2 for _, last in ranges)


@pytest.mark.parametrize(
    ("hours_ago", "expected"), [(1, "11:00"), (14, "Yesterday"), (3 * 24, "Wednesday"), (40 * 24, "12 Oct")]
)
def test_the_room_list_tells_time_shortly(
    hours_ago: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    assert words.list_time(NOON_MS - hours_ago * 3_600_000, NOON_MS) == expected


@given(st.text())
def test_styled_words_never_let_markup_through(body: str) -> None:
    import re

    tags = re.findall(r"<[^>]*>", words.styled(body, None))
    assert all(tag == "<br>" or tag == "</a>" or tag.startswith('<a href="') for tag in tags)


def test_links_in_plain_words_are_live_and_their_ends_are_not() -> None:
    said = words.styled("see https://example.org/a?b=1&c=2, please", None)
    assert said == (
        'see <a href="https://example.org/a?b=1&amp;c=2">https://example.org/a?b=1&amp;c=2</a>, please'
    )


def role_of(name: bytes) -> int:
    from tandem_app.models.row_words import NAMES

    return next(int(role) for role, known in NAMES.items() if known == name)


def _text(row: Row) -> str:
    return "Message deleted" if row.redacted else row.body


def _do(book: Book, act: str, where: int) -> None:
    numbers = sorted(book.rows)
    settled = [n for n in numbers if n < PENDING]
    match act:
        case "new":
            book.add((settled[-1] if settled else 1_000_000) + 1000)
        case "back":
            for step in range(1, where % 40 + 2):
                book.add((settled[0] if settled else 1_000_000) - step)
        case "gap" if settled:
            number = settled[where % len(settled)] + 1 + where % 7
            if number not in book.rows:
                book.add(number)
        case "edit" if numbers:
            number = numbers[where % len(numbers)]
            book.rows[number] = replace(book.rows[number], body=f"edited {where}", edited=True)
        case "redact" if numbers:
            number = numbers[where % len(numbers)]
            book.rows[number] = replace(book.rows[number], redacted=True)
        case "echo":
            book.number += 1
            book.add(
                PENDING + book.number, key=f"m{book.number}", event_id=None, is_own=True, send_state="queued"
            )
        case "arrive":
            waiting = [n for n in numbers if n >= PENDING]
            if waiting:
                row = book.rows.pop(waiting[where % len(waiting)])
                number = (settled[-1] if settled else 1_000_000) + 1000
                book.rows[number] = replace(row, ord=number, event_id=f"$of{row.key}", send_state="sent")


def _walk(old: list[int], new: list[int], way: list[Step]) -> list[int]:
    now = list(old)
    for step in way:
        match step:
            case Remove(first, last):
                del now[first : last + 1]
            case Insert(first, last, source):
                now[first:first] = new[source : source + last - first + 1]
            case Move(start, to):
                assert to < start
                now.insert(to, now.pop(start))
    return now
