"""All of a user's devices go by the same settings: newest first, a refusal stays, and in doubt nothing is confirmed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tandem_core import setting_list, settings
from tandem_core.errors import Offline
from tandem_core.receipts import first_question
from tandem_core.receipts.first_question import Answer
from tandem_core.store import session as sessions
from tandem_core.store.shared_settings import DELIVERY_SETTINGS, LATEST_MS
from tandem_core.types import Role
from tests.core.receipts.sharing import BOB, NOW, ROOM, Clock, Device, Make, Server, offline


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
    make: Make, server: Server, key: str, refusal: setting_list.Value, allowed: setting_list.Value
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
        laptop.choose(
            f"receipts.{key}", True if key == "answered" else setting_list.SETTINGS[f"receipts.{key}"].default
        )
    laptop.settle()
    assert is_sound()
    assert laptop.confirms() is True
    other = make("other")
    other.sync()
    assert other.db.read_now(facts.receipt_settings, ROOM, BOB).is_sound


@pytest.mark.parametrize("at", [LATEST_MS + 1, -1, True, "now", 1.5, None])
def test_a_time_that_makes_no_sense_is_older_than_every_choice(
    make: Make, server: Server, at: object
) -> None:
    server.data[DELIVERY_SETTINGS] = {
        "enabled": True,
        "rules": {"timing": "quick"},
        "changed": {"timing": at},
    }
    laptop = make()
    laptop.sync()
    assert laptop.get("receipts.timing") == "quick"
    laptop.choose("receipts.timing", "slower")
    laptop.settle()
    assert server.data[DELIVERY_SETTINGS]["rules"] == {"timing": "slower"}
    assert laptop.get("receipts.timing") == "slower"


def test_what_another_device_overwrote_at_the_same_moment_is_written_again(
    make: Make, server: Server
) -> None:
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
@hypothesis_settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
