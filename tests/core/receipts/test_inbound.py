"""Receipts for our own messages count once, from those who can have the message, and never backwards."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tandem_core.receipts import inbound
from tests.core.receipts.conftest import BOB, CAROL, ME, MINUTE, NOW, ROOM, Account

STABLE, UNSTABLE = "m.delivery", "org.matrix.msc4089.delivery"


def receipt(event_id: str = "$mine", user: str = BOB, ts: object = NOW, **more: Any) -> dict[str, Any]:
    return {event_id: {UNSTABLE: {user: {"ts": ts, **more}}}}


def devices(*names: str, ts: object = NOW) -> dict[str, Any]:
    return {"im.tandem.devices": {name: {"ts": ts} for name in names}}


def hear(account: Account, content: object, room: str = ROOM) -> int:
    return int(account.write(inbound.accept, ME, room, content, account.now))


def heard(account: Account) -> list[tuple[Any, ...]]:
    return account.rows("SELECT event_id, user_id, device_id, ts FROM delivery ORDER BY 1, 2, 3")


@pytest.fixture
def sent(account: Account) -> Account:
    account.room(people=(BOB, CAROL))
    account.sent(audience={BOB: {"PHONE": "Phone", "LAPTOP": None}, CAROL: {}})
    account.now += MINUTE
    return account


@pytest.mark.parametrize("kind", [STABLE, UNSTABLE])
def test_a_receipt_for_my_message_is_kept_per_person_and_device(sent: Account, kind: str) -> None:
    content = {"$mine": {kind: {BOB: {"ts": NOW + 5, **devices("PHONE", ts=NOW + 6)}}}}
    assert hear(sent, content) == 2
    assert heard(sent) == [("$mine", BOB, "", NOW + 5), ("$mine", BOB, "PHONE", NOW + 6)]


def test_a_repeated_receipt_changes_nothing(sent: Account) -> None:
    hear(sent, receipt(ts=NOW + 1))
    assert hear(sent, receipt(ts=NOW + 50)) == 0
    assert heard(sent) == [("$mine", BOB, "", NOW + 1)]


def test_a_second_device_is_added_to_the_first(sent: Account) -> None:
    hear(sent, receipt(**devices("PHONE")))
    assert hear(sent, receipt(**devices("PHONE", "LAPTOP"))) == 1
    assert [row[2] for row in heard(sent)] == ["", "LAPTOP", "PHONE"]


@pytest.mark.parametrize(
    ("said", "kept"), [(0, NOW), (NOW + 30_000, NOW + 30_000), (NOW + 9 * MINUTE, NOW + MINUTE)]
)
def test_a_time_is_kept_between_the_sending_and_now(sent: Account, said: int, kept: int) -> None:
    hear(sent, receipt(ts=said))
    assert heard(sent)[0][3] == kept


def test_my_own_receipt_and_those_of_strangers_and_of_people_who_left_do_not_count(sent: Account) -> None:
    assert hear(sent, receipt(user=ME.user_id)) == 0
    sent.run("UPDATE room SET members_complete = 1")
    assert hear(sent, receipt(user="@mallory:example.org")) == 0
    sent.run("DELETE FROM audience")
    sent.run("UPDATE member SET membership = 'leave' WHERE user_id = ?", BOB)
    assert hear(sent, receipt()) == 0
    assert heard(sent) == []


def test_a_receipt_for_a_message_of_somebody_else_does_not_count(sent: Account) -> None:
    event = sent.message(CAROL)
    assert hear(sent, receipt(event.event_id)) == 0
    assert sent.rows("SELECT * FROM delivery_early") == []


def test_a_receipt_in_another_room_does_not_count(sent: Account) -> None:
    assert hear(sent, receipt(), "!other:example.org") == 0
    assert heard(sent) == []


def test_a_receipt_that_comes_before_its_message_waits_for_it(account: Account) -> None:
    account.room()
    assert hear(account, receipt(**devices("PHONE"))) == 0
    account.sent()
    assert account.write(inbound.claim_early, "$mine", NOW) == 2
    assert [row[2] for row in heard(account)] == ["", "PHONE"]
    assert account.write(inbound.claim_early, "$mine", NOW) == 0


def test_an_early_receipt_is_forgotten_after_a_quarter_of_an_hour(account: Account) -> None:
    account.room()
    hear(account, receipt())
    account.sent()
    assert account.write(inbound.claim_early, "$mine", NOW + 15 * MINUTE + 1) == 0
    hear(account, receipt("$other"))
    account.write(inbound.sweep, NOW + 15 * MINUTE + 1)
    assert account.rows("SELECT * FROM delivery_early") == []


def test_an_early_receipt_for_somebody_elses_message_is_not_kept_when_that_comes(account: Account) -> None:
    account.room()
    event_id = account.message(BOB).event_id
    account.run("DELETE FROM event")
    hear(account, receipt(event_id, user=CAROL))
    assert account.write(inbound.claim_early, event_id, NOW) == 0
    assert heard(account) == []


def test_early_receipts_of_one_person_are_bounded(account: Account) -> None:
    account.room()
    hear(account, {f"$e{i}": {UNSTABLE: {BOB: {"ts": NOW}, CAROL: {"ts": NOW}}} for i in range(300)})
    counts = account.rows("SELECT user_id, count(*) FROM delivery_early GROUP BY 1 ORDER BY 1")
    assert counts == [(BOB, 256), (CAROL, 256)]


def test_the_devices_of_one_person_are_bounded(sent: Account) -> None:
    hear(sent, receipt(**devices(*(f"D{i}" for i in range(30)))))
    hear(sent, receipt(**devices(*(f"E{i}" for i in range(30)))))
    assert len(heard(sent)) == 1 + 20


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"$mine": None},
        {"$mine": {UNSTABLE: []}},
        {"$mine": {UNSTABLE: {BOB: None}}},
        {"$mine": {UNSTABLE: {"bob": {"ts": NOW}}}},
        {"mine": {UNSTABLE: {BOB: {"ts": NOW}}}},
        receipt(ts="soon"),
        receipt(ts=True),
        receipt(ts=-1),
        receipt(ts=2**60),
        {"$mine": {"m.read": {BOB: {"ts": NOW}}}},
    ],
)
def test_garbage_is_dropped(sent: Account, content: object) -> None:
    assert hear(sent, content) == 0
    assert heard(sent) == []


def test_garbage_among_devices_does_not_spoil_the_rest(sent: Account) -> None:
    said = {"PHONE": {"ts": NOW}, "": {"ts": NOW}, "X" * 300: {"ts": NOW}, "A\nB": {"ts": NOW}, "LAPTOP": 7}
    hear(sent, receipt(**{"im.tandem.devices": said}))
    assert [row[2] for row in heard(sent)] == ["", "PHONE"]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["$mine", STABLE, UNSTABLE, BOB, "ts", "im.tandem.devices"]),
                st.text(max_size=5),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=20,
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(json_values)
def test_no_content_of_a_receipt_can_break_the_sync(sent: Account, content: object) -> None:
    hear(sent, content)
    assert all(user in (BOB, CAROL) and NOW <= ts <= NOW + MINUTE for _, user, _, ts in heard(sent))
