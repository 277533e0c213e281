"""All of a user's devices go by the same settings: newest first, a refusal stays, and in doubt nothing is confirmed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings as hypothesis_settings
from hypothesis import strategies as st

from tandem_core import settings
from tandem_core.errors import Offline
from tandem_core.receipts import first_question
from tandem_core.receipts.first_question import Answer
from tandem_core.receipts.shared_settings import MOST_TEXT, REMEMBER_REMOVED_MS, read_exceptions
from tandem_core.store import session as sessions
from tandem_core.store import shared_settings as shared
from tandem_core.store.shared_settings import DELIVERY_EXCEPTIONS, DELIVERY_SETTINGS, LATEST_MS
from tandem_core.types import Role, RoomId, UserId
from tests.core.receipts.sharing import BOB, NOW, ROOM, Clock, Cut, Device, Server, offline

Make = Callable[..., Device]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def make(server: Server, tmp_path: Path) -> Iterator[Make]:
    """Another device of the account; all clocks agree."""
    made: list[Device] = []
    clock = Clock()

    def one(name: str = "laptop", *, word: str | None = "secret") -> Device:
        made.append(Device(tmp_path / name, server, clock, word=word))
        return made[-1]

    yield one
    for device in made:
        device.close()


def never(device: Device, **target: Any) -> None:
    device.choose("receipts.room" if "room_id" in target else "receipts.person", "never", **target)


# ── Rules ──────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_confirmed_before_somebody_has_answered(make: Make) -> None:
    laptop = make()
    assert laptop.confirms() is False
    laptop.choose("receipts.answered", True)
    assert laptop.confirms() is True


def test_an_answer_on_one_device_is_the_answer_of_all(make: Make, server: Server) -> None:
    laptop, phone = make("laptop"), make("phone")
    laptop.choose("receipts.answered", True)
    laptop.step()
    phone.sync()
    assert server.data[DELIVERY_SETTINGS] == {"enabled": True, "durable": True}
    assert (phone.confirms(), phone.get("receipts.answered")) == (True, True)


def test_a_choice_is_written_with_its_time_and_holds_on_the_other_device(make: Make, server: Server) -> None:
    laptop, phone = make("laptop"), make("phone")
    laptop.choose("receipts.groups_max", 7)
    assert laptop.get("receipts.groups_max") == 7
    laptop.step()
    content = server.data[DELIVERY_SETTINGS]
    assert content["rules"] == {"groups_max": 7}
    assert content["changed"]["groups_max"] > NOW
    phone.sync()
    assert phone.effective("receipts.groups_max") == settings.Effective(7, "account")
    assert laptop.effective("receipts.groups_max") == settings.Effective(7, "account")
    assert laptop.rows("SELECT * FROM setting") == []


def test_what_others_keep_there_stays(make: Make, server: Server) -> None:
    server.data[DELIVERY_SETTINGS] = {
        "enabled": True,
        "durable": False,
        "org.example.mine": [1],
        "rules": {"direct": "on", "threads": "later"},
        "changed": {"direct": 5, "threads": 6},
    }
    laptop = make()
    laptop.sync()
    laptop.choose("receipts.direct", "off")
    laptop.step()
    content = server.data[DELIVERY_SETTINGS]
    assert (content["durable"], content["org.example.mine"]) == (False, [1])
    assert content["rules"] == {"direct": "off", "threads": "later"}
    assert content["changed"]["threads"] == 6


def test_settings_of_this_machine_alone_are_not_written(make: Make, server: Server) -> None:
    laptop = make()
    laptop.choose("receipts.notifier", False)
    laptop.choose("receipts.paused_until", NOW)
    laptop.choose("typing.send", False)
    assert laptop.step() is None
    assert server.seen == []


def test_the_newest_choice_of_any_device_wins_whatever_the_clocks_say(make: Make) -> None:
    laptop, phone = make("laptop"), make("phone")
    laptop.choose("receipts.timing", "slower")
    laptop.settle()
    phone.sync()
    phone.clock.now = NOW - 9_000_000
    phone.choose("receipts.timing", "quick")
    phone.settle()
    laptop.settle()
    assert laptop.get("receipts.timing") == phone.get("receipts.timing") == "quick"


def test_what_was_chosen_earlier_does_not_overwrite_what_was_chosen_later_elsewhere(
    make: Make, server: Server
) -> None:
    laptop, phone = make("laptop"), make("phone")
    laptop.choose("receipts.timing", "slower")
    phone.choose("receipts.timing", "quick")
    phone.settle()
    before = server.data[DELIVERY_SETTINGS]
    assert laptop.step() is None
    assert server.data[DELIVERY_SETTINGS] == before
    assert laptop.get("receipts.timing") == "quick"
    assert laptop.rows("SELECT * FROM setting") == []


@pytest.mark.parametrize(
    ("key", "refusal", "allowed"),
    [
        ("receipts.enabled", False, True),
        ("receipts.direct", "off", "on"),
        ("receipts.groups", "off", "on"),
        ("receipts.plain", "off", "on"),
        ("receipts.device_detail", "nobody", "accepted"),
        ("receipts.failed", False, True),
    ],
)
def test_a_refusal_of_this_device_beats_the_server_and_only_this_device_takes_it_back(
    make: Make, server: Server, key: str, refusal: settings.Value, allowed: settings.Value
) -> None:
    laptop, phone = make("laptop"), make("phone")
    laptop.choose(key, refusal)
    laptop.settle()
    phone.settle()
    assert phone.get(key) == refusal
    phone.choose(key, allowed)
    phone.settle()
    before = server.data[DELIVERY_SETTINGS]
    laptop.settle()
    assert server.data[DELIVERY_SETTINGS] == before, "nor does it undo what the phone allows for itself"
    assert (laptop.get(key), phone.get(key)) == (refusal, allowed)
    assert laptop.db.read_now(settings.beaten, key) == allowed
    laptop.choose(key, allowed)
    laptop.settle()
    assert laptop.get(key) == allowed
    assert laptop.db.read_now(settings.beaten, key) is None


def test_switched_off_by_any_client_without_a_time_holds_until_it_is_switched_on_here(
    make: Make, server: Server
) -> None:
    laptop = make()
    laptop.choose("receipts.answered", True)
    laptop.choose("receipts.enabled", True)
    laptop.settle()
    server.data[DELIVERY_SETTINGS] = {"enabled": False}
    laptop.settle()
    assert laptop.confirms() is False
    assert server.data[DELIVERY_SETTINGS] == {"enabled": False}
    laptop.choose("receipts.enabled", True)
    laptop.settle()
    assert laptop.confirms() is True
    assert server.data[DELIVERY_SETTINGS]["enabled"] is True


@pytest.mark.parametrize(
    "content",
    [
        {"enabled": "yes"},
        {"enabled": 1},
        {"enabled": None},
        {"enabled": True, "rules": []},
        {"enabled": True, "rules": "all"},
        {"enabled": True, "rules": {"direct": "maybe"}},
        {"enabled": True, "rules": {"direct": True}},
        {"enabled": True, "rules": {"groups_max": 101}},
        {"enabled": True, "rules": {"groups_max": True}},
        {"enabled": True, "rules": {"device_detail": "everybody"}},
        {"enabled": True, "rules": {"plain": None}},
    ],
)
def test_what_makes_no_sense_confirms_nothing_until_it_is_chosen_anew(
    make: Make, server: Server, content: dict[str, Any]
) -> None:
    from tandem_core.receipts import facts

    server.data[DELIVERY_SETTINGS] = content
    laptop = make()
    laptop.sync()

    def is_sound() -> bool:
        return laptop.db.read_now(facts.receipt_settings, ROOM, BOB).is_sound

    assert not is_sound()
    for key in ("answered", "enabled", "direct", "groups", "groups_max", "plain", "device_detail"):
        laptop.choose(f"receipts.{key}", True if key == "answered" else settings.SETTINGS[f"receipts.{key}"].default)
    laptop.settle()
    assert is_sound()
    assert laptop.confirms() is True
    other = make("other")
    other.sync()
    assert other.db.read_now(facts.receipt_settings, ROOM, BOB).is_sound


@pytest.mark.parametrize("at", [LATEST_MS + 1, -1, True, "now", 1.5, None])
def test_a_time_that_makes_no_sense_is_older_than_every_choice(make: Make, server: Server, at: object) -> None:
    server.data[DELIVERY_SETTINGS] = {"enabled": True, "rules": {"timing": "quick"}, "changed": {"timing": at}}
    laptop = make()
    laptop.sync()
    assert laptop.get("receipts.timing") == "quick"
    laptop.choose("receipts.timing", "slower")
    laptop.settle()
    assert server.data[DELIVERY_SETTINGS]["rules"] == {"timing": "slower"}
    assert laptop.get("receipts.timing") == "slower"


def test_what_another_device_overwrote_at_the_same_moment_is_written_again(make: Make, server: Server) -> None:
    laptop, phone = make("laptop"), make("phone")
    laptop.choose("receipts.timing", "slower")

    def overwrite(what: str) -> None:
        if what == f"PUT {DELIVERY_SETTINGS}":
            server.after = lambda what: None
            server.data[DELIVERY_SETTINGS] = {"rules": {"groups_max": 9}, "changed": {"groups_max": NOW}}

    server.after = overwrite
    assert laptop.step() is not None, "it looks again"
    assert laptop.get("receipts.timing") == "slower"
    assert laptop.step() is None
    phone.sync()
    assert (phone.get("receipts.timing"), phone.get("receipts.groups_max")) == ("slower", 9)


def test_offline_it_holds_here_and_is_written_later(make: Make, server: Server) -> None:
    laptop = make()
    laptop.choose("receipts.timing", "quick")
    server.before = offline
    with pytest.raises(Offline):
        laptop.step()
    assert laptop.get("receipts.timing") == "quick"
    server.before = lambda what: None
    laptop.step()
    assert server.data[DELIVERY_SETTINGS]["rules"] == {"timing": "quick"}


_KEYS = {
    "receipts.timing": ["protected", "slower", "quick"],
    "receipts.groups_max": [1, 20, 100],
    "receipts.ask_direct": [True, False],
}
_DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["laptop", "phone"]),
        st.sampled_from(["sync", "step", *[(key, v) for key, values in _KEYS.items() for v in values]]),
    ),
    max_size=14,
)


@given(deeds=_DEEDS)
@example(deeds=[("laptop", ("receipts.timing", "quick")), ("phone", ("receipts.timing", "slower"))])
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_two_devices_choose_and_hear_in_whatever_order_they_agree_on_the_newest(
    tmp_path_factory: pytest.TempPathFactory, deeds: list[tuple[str, Any]]
) -> None:
    server, clock = Server(), Clock()
    folder = tmp_path_factory.mktemp("two")
    devices = {name: Device(folder / name, server, clock) for name in ("laptop", "phone")}
    newest: dict[str, object] = {}
    try:
        for name, deed in deeds:
            if deed == "sync":
                devices[name].sync()
            elif deed == "step":
                devices[name].step()
            else:
                devices[name].choose(*deed)
                newest[deed[0]] = deed[1]
        for device in (*devices.values(), *devices.values()):
            device.settle()
        for key, value in newest.items():
            assert {device.get(key) for device in devices.values()} == {value}
    finally:
        for device in devices.values():
            device.close()


# ── Exceptions ─────────────────────────────────────────────────────────────────────────────────


def test_an_exception_reaches_the_other_device_and_the_server_cannot_read_it(make: Make, server: Server) -> None:
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


def test_beginning_anew_replaces_what_nobody_can_read_by_what_is_known_here(make: Make, server: Server) -> None:
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


@given(st.text(max_size=200) | st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
       lambda inner: st.dictionaries(st.sampled_from(["rooms", "people", "v", "!r", "value", "at"]), inner)).map(json.dumps))
def test_whatever_the_exceptions_hold_they_are_read_or_refused(text: str) -> None:
    read = read_exceptions(text)
    if read is not None:
        found, others = read
        assert all(told.value in ("default", "on", "never") for told in found.values())
        assert not {"rooms", "people"} & set(others)


# ── Whatever dies ──────────────────────────────────────────────────────────────────────────────


def test_whatever_dies_at_whatever_step_the_choices_reach_the_account_data(make: Make, server: Server) -> None:
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
            left = [step]

            def die(what: str, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise Cut

            setattr(server, moment, die)
            try:
                laptop.step()
            except Cut:
                is_cut = True
            else:
                is_cut = False
            setattr(server, moment, lambda what: None)
            laptop.step()
            assert laptop.step() is None
            assert server.data[DELIVERY_SETTINGS]["rules"] == {"timing": "slower"}
            assert server.data[DELIVERY_SETTINGS]["enabled"] is True
            assert BOB in server.data[DELIVERY_EXCEPTIONS]["text"]
            assert laptop.rows("SELECT key FROM setting") == [("receipts.person",)]
            step += 1
            rounds += 1
            if not is_cut:
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
        left = [step]
        write = laptop.db.write_now

        def dying(*args: Any, left: list[int] = left, write: Any = write, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Cut
            return write(*args, **kwargs)

        monkeypatch.setattr(laptop.db, "write_now", dying)
        try:
            laptop.step()
        except Cut:
            is_cut = True
        else:
            is_cut = False
        monkeypatch.setattr(laptop.db, "write_now", write)
        laptop.step()
        assert laptop.step() is None
        assert server.data[DELIVERY_SETTINGS]["rules"] == {"timing": "slower"}
        assert BOB in server.data[DELIVERY_EXCEPTIONS]["text"]
        if not is_cut:
            assert step > 3
            return
    raise AssertionError("it never came to an end")


# ── The question ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "confirms", "groups"),
    [(Answer.OFF, False, "on"), (Answer.DIRECT, True, "off"), (Answer.RECOMMENDED, True, "on")],
)
def test_the_question_is_asked_once_per_account_and_after_the_first_sync(
    make: Make, said: Answer, confirms: bool, groups: str
) -> None:
    laptop, phone = make("laptop"), make("phone")

    def asks(device: Device) -> bool:
        return device.db.read_now(first_question.is_open)

    assert not asks(laptop), "other devices may have answered: the server has not told yet"
    for device in (laptop, phone):
        device.db.write_now(sessions.set_pos, Role.APP, "p", NOW)
    assert asks(laptop)
    laptop.db.write_now(first_question.answer, said, NOW)
    assert not asks(laptop)
    laptop.settle()
    assert asks(phone)
    phone.settle()
    assert not asks(phone)
    for device in (laptop, phone):
        assert (device.confirms(), device.get("receipts.groups")) == (confirms, groups)


def test_another_persons_id_is_no_exception_of_mine() -> None:
    assert read_exceptions("{}") == ({}, {})
    told = read_exceptions('{"people":{"@b:x":{"value":"never","at":3}}}')
    assert told == ({("person", UserId("@b:x")): shared.Shared("never", 3)}, {})
