"""Exceptions about rooms and people reach all of a user's devices, encrypted; whatever dies on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core import settings
from tandem_core.receipts.shared_settings import MOST_TEXT, REMEMBER_REMOVED_MS, read_exceptions
from tandem_core.store import shared_settings as shared
from tandem_core.store.shared_settings import DELIVERY_EXCEPTIONS, DELIVERY_SETTINGS
from tandem_core.types import RoomId, UserId
from tests.core.receipts.sharing import BOB, ROOM, Cut, Device, Make, Server


def never(device: Device, **target: Any) -> None:
    device.choose("receipts.room" if "room_id" in target else "receipts.person", "never", **target)


# ── Exceptions ─────────────────────────────────────────────────────────────────────────────────


def test_an_exception_reaches_the_other_device_and_the_server_cannot_read_it(
    make: Make, server: Server
) -> None:
    laptop, phone = make("laptop"), make("phone")
    never(laptop, user_id=BOB)
    laptop.choose("receipts.room", "on", room_id=ROOM)
    laptop.step()
    phone.settle()
    assert phone.get("receipts.person", None, BOB) == "never"
    assert phone.get("receipts.room", ROOM) == "on"
    listed = phone.db.read_now(settings.all_values)
    assert [(c.setting.key, c.target, c.effective) for c in listed if c.target] == [
        ("receipts.person", BOB, settings.Effective("never", "person")),
        ("receipts.room", ROOM, settings.Effective("on", "room")),
    ]
    assert set(server.data) == {DELIVERY_EXCEPTIONS}


def test_an_exception_is_removed_for_all_devices_where_it_was_made(make: Make) -> None:
    laptop, phone = make("laptop"), make("phone")
    never(laptop, user_id=BOB)
    laptop.step()
    phone.settle()
    laptop.choose("receipts.person", "default", user_id=BOB)
    assert laptop.get("receipts.person", None, BOB) == "default"
    laptop.step()
    phone.settle()
    assert phone.get("receipts.person", None, BOB) == "default"
    assert [c for c in phone.db.read_now(settings.all_values) if c.target] == []
    assert laptop.rows("SELECT * FROM setting") == []


def test_a_never_that_was_chosen_here_is_not_undone_elsewhere(make: Make, server: Server) -> None:
    laptop, phone = make("laptop"), make("phone")
    never(laptop, room_id=ROOM)
    laptop.step()
    phone.settle()
    phone.choose("receipts.room", "on", room_id=ROOM)
    phone.settle()
    before = server.data[DELIVERY_EXCEPTIONS]
    laptop.settle()
    assert (laptop.get("receipts.room", ROOM), phone.get("receipts.room", ROOM)) == ("never", "on")
    assert laptop.db.read_now(settings.beaten, "receipts.room", ROOM) == "on"
    assert server.data[DELIVERY_EXCEPTIONS] == before


def test_exceptions_of_two_devices_are_merged(make: Make) -> None:
    laptop, phone = make("laptop"), make("phone")
    never(laptop, user_id=BOB)
    never(phone, room_id=ROOM)
    for device in (laptop, phone, laptop):
        device.settle()
    for device in (laptop, phone):
        assert device.get("receipts.person", None, BOB) == device.get("receipts.room", ROOM) == "never"


def test_without_a_key_exceptions_stay_here_and_hold_here(make: Make, server: Server) -> None:
    laptop = make(word=None)
    never(laptop, user_id=BOB)
    assert laptop.step() is None
    assert laptop.get("receipts.person", None, BOB) == "never"
    assert server.seen == []
    laptop.lock.word = "secret"
    laptop.step()
    assert DELIVERY_EXCEPTIONS in server.data


def test_a_device_that_cannot_read_the_exceptions_confirms_nothing_until_it_can(make: Make) -> None:
    laptop, new = make("laptop"), make("new", word=None)
    for device in (laptop, new):
        device.choose("receipts.answered", True)
    never(laptop, user_id=BOB)
    laptop.step()
    assert new.confirms() is True
    new.sync()
    assert new.confirms() is None
    new.step()
    assert new.confirms() is None
    new.lock.word = "secret"
    new.step()
    assert new.confirms() is True
    assert new.get("receipts.person", None, BOB) == "never"


def test_a_hosted_account_goes_by_its_persons_settings_and_writes_none(make: Make, server: Server) -> None:
    laptop, hosted = make("laptop"), make("hosted")
    laptop.choose("receipts.enabled", True)
    never(laptop, user_id=BOB)
    laptop.settle()
    before = dict(server.data)
    hosted.choose("receipts.timing", "quick")
    never(hosted, room_id=ROOM)
    hosted.sync()
    server.seen.clear()
    assert hosted.step(writes=False) is None
    assert (server.seen, server.data) == ([], before)
    assert hosted.get("receipts.person", None, BOB) == "never"
    assert (hosted.confirms(), hosted.get("receipts.timing")) == (True, "quick")


@pytest.mark.parametrize(
    "content",
    [
        {"word": "another", "text": "{}"},
        {"word": "secret", "text": "no json"},
        {"word": "secret", "text": "[]"},
        {"word": "secret", "text": '{"rooms":[]}'},
        {"word": "secret", "text": '{"rooms":{"!r":"never"}}'},
        {"word": "secret", "text": '{"rooms":{"!r":{"value":"later","at":1}}}'},
        {"word": "secret", "text": '{"people":{"@b:x":{"value":"on","at":1}}}'},
        {"word": "secret", "text": '{"people":{"@b:x":{"value":"never","at":true}}}'},
        {"word": "secret", "text": '{"people":{"":{"value":"never","at":1}}}'},
        {"unknown": True},
    ],
)
def test_exceptions_that_cannot_be_understood_confirm_nothing_and_are_not_overwritten(
    make: Make, server: Server, content: dict[str, Any]
) -> None:
    laptop = make()
    laptop.choose("receipts.answered", True)
    never(laptop, user_id=BOB)
    laptop.settle()
    assert laptop.confirms() is True
    server.data[DELIVERY_EXCEPTIONS] = content
    laptop.settle()
    assert laptop.confirms() is None
    never(laptop, room_id=ROOM)
    laptop.settle()
    assert server.data[DELIVERY_EXCEPTIONS] == content
    assert laptop.get("receipts.room", ROOM) == "never"


def test_beginning_anew_replaces_what_nobody_can_read_by_what_is_known_here(
    make: Make, server: Server
) -> None:
    laptop, phone = make("laptop"), make("phone")
    laptop.choose("receipts.answered", True)
    never(laptop, user_id=BOB)
    laptop.settle()
    server.data[DELIVERY_EXCEPTIONS] = {"word": "lost", "text": "{}"}
    laptop.settle()
    laptop.db.write_now(shared.begin_exceptions_anew)
    laptop.settle()
    phone.settle()
    assert laptop.confirms() is True
    assert phone.get("receipts.person", None, BOB) == "never"


def test_an_older_content_that_the_server_brings_back_undoes_nothing(make: Make, server: Server) -> None:
    laptop, phone = make("laptop"), make("phone")
    laptop.choose("receipts.room", "on", room_id=ROOM)
    laptop.settle()
    old = server.data[DELIVERY_EXCEPTIONS]
    phone.settle()
    laptop.choose("receipts.room", "default", room_id=ROOM)
    never(laptop, user_id=BOB)
    laptop.settle()
    phone.settle()
    for content in (old, {}):
        server.data[DELIVERY_EXCEPTIONS] = content
        phone.settle()
        assert phone.get("receipts.room", ROOM) == "default"
        assert phone.get("receipts.person", None, BOB) == "never"
        assert server.data[DELIVERY_EXCEPTIONS] not in (old, {}), "and it is put right"


def test_what_a_newer_version_keeps_among_the_exceptions_stays(make: Make, server: Server) -> None:
    text = json.dumps({"v": 2, "spaces": {"!s": 1}, "rooms": {}, "people": {}})
    server.data[DELIVERY_EXCEPTIONS] = {"word": "secret", "text": text}
    laptop = make()
    laptop.settle()
    never(laptop, user_id=BOB)
    laptop.settle()
    written = json.loads(server.data[DELIVERY_EXCEPTIONS]["text"])
    assert (written["v"], written["spaces"], list(written["people"])) == (2, {"!s": 1}, [BOB])


def test_removed_exceptions_are_forgotten_in_time_and_too_many_stay_here(make: Make, server: Server) -> None:
    laptop = make()
    laptop.choose("receipts.room", "on", room_id=ROOM)
    laptop.settle()
    laptop.choose("receipts.room", "default", room_id=ROOM)
    laptop.settle()
    assert ROOM in server.data[DELIVERY_EXCEPTIONS]["text"]
    laptop.clock.now += REMEMBER_REMOVED_MS + 1000
    never(laptop, user_id=BOB)
    laptop.settle()
    assert ROOM not in server.data[DELIVERY_EXCEPTIONS]["text"]
    before = server.data[DELIVERY_EXCEPTIONS]
    for number in range(MOST_TEXT // 200):
        never(laptop, room_id=RoomId(f"!{'r' * 190}{number}:example.org"))
    laptop.settle()
    assert server.data[DELIVERY_EXCEPTIONS] == before
    assert laptop.get("receipts.room", RoomId(f"!{'r' * 190}0:example.org")) == "never"


@given(
    st.text(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(st.sampled_from(["rooms", "people", "v", "!r", "value", "at"]), inner),
    ).map(json.dumps)
)
def test_whatever_the_exceptions_hold_they_are_read_or_refused(text: str) -> None:
    read = read_exceptions(text)
    if read is not None:
        found, others = read
        assert all(told.value in ("default", "on", "never") for told in found.values())
        assert not {"rooms", "people"} & set(others)


# ── Whatever dies ──────────────────────────────────────────────────────────────────────────────


def last(calls: int) -> Callable[..., None]:
    """Lets so many calls pass; the next one dies."""
    left = [calls]

    def one(*_: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Cut

    return one


def is_cut(device: Device) -> bool:
    """A step of the device; whether it died on the way."""
    try:
        device.step()
    except Cut:
        return True
    return False


def test_whatever_dies_at_whatever_step_the_choices_reach_the_account_data(
    make: Make, server: Server
) -> None:
    """Each round the program dies at a later request, before the server has it or before the answer is there."""
    rounds = 0
    for moment in ("before", "after"):
        step = 0
        while True:
            laptop = make(f"{moment}{step}")
            server.data.clear()
            laptop.choose("receipts.answered", True)
            laptop.choose("receipts.timing", "slower")
            never(laptop, user_id=BOB)
            setattr(server, moment, last(step))
            has_died = is_cut(laptop)
            setattr(server, moment, lambda what: None)
            laptop.step()
            assert laptop.step() is None
            assert server.data[DELIVERY_SETTINGS]["rules"] == {"timing": "slower"}
            assert server.data[DELIVERY_SETTINGS]["enabled"] is True
            assert BOB in server.data[DELIVERY_EXCEPTIONS]["text"]
            assert laptop.rows("SELECT key FROM setting") == [("receipts.person",)]
            step += 1
            rounds += 1
            if not has_died:
                break
    assert rounds > 8


def test_whatever_dies_at_whatever_commit_the_choices_reach_the_account_data(
    make: Make, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(30):
        laptop = make(f"commit{step}")
        server.data.clear()
        laptop.choose("receipts.timing", "slower")
        never(laptop, user_id=BOB)
        write, pass_on = laptop.db.write_now, last(step)

        def dying(*args: Any, write: Any = write, pass_on: Any = pass_on, **kwargs: Any) -> Any:
            pass_on()
            return write(*args, **kwargs)

        monkeypatch.setattr(laptop.db, "write_now", dying)
        has_died = is_cut(laptop)
        monkeypatch.setattr(laptop.db, "write_now", write)
        laptop.step()
        assert laptop.step() is None
        assert server.data[DELIVERY_SETTINGS]["rules"] == {"timing": "slower"}
        assert BOB in server.data[DELIVERY_EXCEPTIONS]["text"]
        if not has_died:
            assert step > 3
            return
    raise AssertionError("it never came to an end")


def test_another_persons_id_is_no_exception_of_mine() -> None:
    assert read_exceptions("{}") == ({}, {})
    told = read_exceptions('{"people":{"@b:x":{"value":"never","at":3}}}')
    assert told == ({("person", UserId("@b:x")): shared.Shared("never", 3)}, {})
