"""What the author sees says only what is known, and more receipts never take anything back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core import capabilities
from tandem_core.errors import BadInput
from tandem_core.receipts import inbound
from tandem_core.receipts.summary import details, summaries, summary
from tandem_core.receipts.words import DeviceDelivery, Message, PersonDelivery, State, Summary, summarise
from tandem_core.types import Role, UserId
from tests.core.receipts.conftest import BOB, CAROL, ME, MINUTE, NOW, ROOM, Account

SENT = Message("sent", tracked=True)
ORDER = [
    {State.SENT, State.UNTRACKED},
    {State.DELIVERED_SOME},
    {State.DELIVERED_ALL},
    {State.READ_SOME},
    {State.READ_ALL},
]


def person(
    name: str, *devices: bool, delivered: bool = False, read: bool = False, counted: bool = True
) -> PersonDelivery:
    return PersonDelivery(
        user_id=UserId(f"@{name.lower()}:example.org"),
        name=name,
        devices=tuple(
            DeviceDelivery(f"D{i}", f"D{i}", NOW if heard else None) for i, heard in enumerate(devices)
        ),
        delivered_at=NOW if delivered or any(devices) else None,
        read_at=NOW if read else None,
        tracked=True,
        counted=counted,
    )


@pytest.mark.parametrize(
    ("send_state", "text"),
    [
        ("failed", "Not sent. Try again or delete"),
        ("queued", "Waiting for connection"),
        ("sending", "Sending"),
        ("sent", "Sent to your server"),
    ],
)
def test_until_somebody_confirms_the_text_says_how_far_it_got(send_state: str, text: str) -> None:
    assert summarise(Message(send_state, tracked=True), [person("Bob")]).text == text


@pytest.mark.parametrize(
    ("people", "state", "text"),
    [
        ([person("Bob", True, False)], State.DELIVERED_ALL, "Delivered to Bob (1 of 2 devices)"),
        ([person("Bob", True, True)], State.DELIVERED_ALL, "Delivered to Bob (2 of 2 devices)"),
        ([person("Bob", False, False, delivered=True)], State.DELIVERED_ALL, "Delivered to Bob"),
        ([person("Bob", True)], State.DELIVERED_ALL, "Delivered to Bob"),
        ([person("Bob", read=True)], State.READ_ALL, "Read by Bob"),
        ([person("Bob", True), person("Carol")], State.DELIVERED_SOME, "Delivered to 1 of 2 people"),
        ([person("Bob", True), person("Carol", True)], State.DELIVERED_ALL, "Delivered to everyone"),
        ([person("Bob", True), person("Carol", read=True)], State.READ_SOME, "Read by 1 of 2 people"),
        ([person("Bob", read=True), person("Carol", read=True)], State.READ_ALL, "Read by everyone"),
        ([person("Bob"), person("Dan", True, counted=False)], State.SENT, "Sent to your server"),
        ([], State.SENT, "Sent to your server"),
    ],
)
def test_the_words_for_who_has_it(people: list[PersonDelivery], state: State, text: str) -> None:
    said = summarise(SENT, people)
    assert (said.state, said.text) == (state, text)


def test_read_outranks_delivered_but_fills_in_no_delivery() -> None:
    said = summarise(SENT, [person("Bob", read=True), person("Carol", True), person("Dan", True)])
    assert said.state is State.READ_SOME
    assert said.people_delivered == 2
    assert said.accessible == "Read by 1 of 3 people, delivered to 2 of 3 people"


def test_what_is_not_tracked_says_so_and_why_until_somebody_confirms_after_all() -> None:
    untracked = Message("sent", tracked=False, why_untracked="public room")
    assert summarise(untracked, [person("Bob")]).text == "Sent. Delivery is not tracked here (public room)"
    assert summarise(untracked, [person("Bob", read=True)]).state is State.READ_ALL


people_strategy = st.lists(
    st.builds(
        person,
        st.sampled_from(["Bob", "Carol", "Dan", "Eve"]),
        st.booleans(),
        st.booleans(),
        delivered=st.booleans(),
        read=st.booleans(),
        counted=st.booleans(),
    ),
    max_size=5,
)


def rank(said: Summary) -> int:
    return next(place for place, states in enumerate(ORDER) if said.state in states)


@given(people_strategy, st.booleans(), st.data())
def test_one_more_receipt_never_moves_the_state_backwards(
    people: list[PersonDelivery], tracked: bool, data: st.DataObject
) -> None:
    message = Message("sent", tracked)
    before = summarise(message, people)
    if not people:
        return
    place = data.draw(st.integers(0, len(people) - 1))
    one = people[place]
    change: dict[str, Any] = data.draw(
        st.sampled_from(
            [
                {"read_at": NOW},
                {"delivered_at": NOW},
                {"delivered_at": NOW, "devices": tuple(replace(d, delivered_at=NOW) for d in one.devices)},
            ]
        )
    )
    after = summarise(message, [*people[:place], replace(one, **change), *people[place + 1 :]])
    assert rank(after) >= rank(before)
    assert after.people_delivered >= before.people_delivered
    assert after.people_read >= before.people_read
    assert after.devices_delivered >= before.devices_delivered


@given(people_strategy, st.booleans(), st.sampled_from(["queued", "sending", "sent", "failed"]))
def test_the_counts_are_within_their_totals_and_absence_is_never_called_a_failure(
    people: list[PersonDelivery], tracked: bool, send_state: str
) -> None:
    said = summarise(Message(send_state, tracked), people)
    assert 0 <= said.people_delivered <= said.people_total == sum(p.counted for p in people)
    assert 0 <= said.people_read <= said.people_total
    assert 0 <= said.devices_delivered <= said.devices_total
    assert (said.state is State.FAILED) == (send_state == "failed")
    assert said.text
    assert said.text in said.accessible
    assert "offline" not in said.text.lower()


@pytest.fixture
def sent(account: Account) -> Account:
    account.room(people=(BOB, CAROL))
    account.sent(audience={BOB: {"PHONE": "Phone", "LAPTOP": "Laptop"}, CAROL: {"TABLET": None}})
    account.now += MINUTE
    return account


def hear(account: Account, user: str, *devices: str, event_id: str = "$mine") -> None:
    word = {"ts": account.now, "im.tandem.devices": {device: {"ts": account.now} for device in devices}}
    content = {event_id: {"org.matrix.msc4089.delivery": {user: word}}}
    account.write(inbound.accept, ME, ROOM, content, account.now)


def ask(account: Account, key: str = "$mine") -> Summary:
    return account.read(summary, Role.APP, key)  # type: ignore[no-any-return]


def people(account: Account) -> dict[str, PersonDelivery]:
    return {p.name: p for p in account.read(details, Role.APP, "$mine")}


def test_a_message_is_known_by_its_event_id_and_its_transaction_id(sent: Account) -> None:
    hear(sent, BOB, "PHONE")
    found = sent.read(summaries, Role.APP, ["$mine", "t1", "$nobodys"])
    assert set(found) == {"$mine", "t1"}
    assert found["$mine"] == found["t1"]
    assert found["t1"].text == "Delivered to 1 of 2 people"
    assert (found["t1"].devices_delivered, found["t1"].devices_total) == (1, 3)


def test_details_name_each_person_and_device(sent: Account) -> None:
    hear(sent, BOB, "PHONE", "STRANGE")
    bob = people(sent)["Bob"]
    assert [(d.device_id, d.name, d.delivered_at is not None, d.counted) for d in bob.devices] == [
        ("LAPTOP", "Laptop", False, True),
        ("PHONE", "Phone", True, True),
        ("STRANGE", "STRANGE", True, False),
    ]
    assert people(sent)["Car"].delivered_at is None


def test_somebody_elses_message_has_no_summary(sent: Account) -> None:
    event = sent.message(BOB)
    with pytest.raises(BadInput):
        ask(sent, event.event_id)
    with pytest.raises(BadInput):
        sent.read(details, Role.APP, "$unknown")


def test_a_message_in_the_queue_is_waiting(account: Account) -> None:
    account.room()
    account.sent(event_id=None, state="queued")
    assert ask(account, "t1").state is State.QUEUED


def test_a_read_marker_at_or_after_the_message_counts_and_one_before_it_does_not(sent: Account) -> None:
    before = sent.message(BOB)
    mine = sent.message(ME.user_id)
    after = sent.message(BOB)
    insert = "INSERT OR REPLACE INTO read_marker (room_id, user_id, event_id, read_at) VALUES (?, ?, ?, ?)"
    # The marker's place counts, not its time.
    sent.run(insert, ROOM, BOB, before.event_id, sent.now + MINUTE)
    assert ask(sent, mine.event_id).people_read == 0
    for marked in (mine, after):
        sent.run(insert, ROOM, BOB, marked.event_id, 1)
        assert ask(sent, mine.event_id).people_read == 1
    # My own marker says nothing about others.
    sent.run(insert, ROOM, ME.user_id, after.event_id, 1)
    assert ask(sent, mine.event_id).people_read == 1


def test_a_read_marker_at_an_unknown_place_counts_by_its_time(sent: Account) -> None:
    insert = "INSERT OR REPLACE INTO read_marker (room_id, user_id, event_id, read_at) VALUES (?, ?, ?, ?)"
    sent.run(insert, ROOM, BOB, "$elsewhere", NOW - 1)
    assert ask(sent).people_read == 0
    sent.run(insert, ROOM, BOB, "$elsewhere", NOW + 1)
    assert ask(sent).people_read == 1


def test_a_message_from_my_other_device_is_for_those_who_are_there_now(account: Account) -> None:
    account.room(people=(BOB, CAROL))
    event = account.message(ME.user_id)
    assert ask(account, event.event_id).people_total == 2


def test_people_who_joined_later_or_left_do_not_change_who_is_counted(sent: Account) -> None:
    sent.run("UPDATE member SET membership = 'leave' WHERE user_id = ?", CAROL)
    sent.room(people=(BOB, "@dan:example.org"))
    hear(sent, "@dan:example.org")
    assert ask(sent).people_total == 2
    assert people(sent)["Dan"].counted is False


def test_without_the_servers_support_and_in_a_public_room_nothing_is_tracked(sent: Account) -> None:
    assert ask(sent).state is State.SENT
    sent.run("UPDATE room SET join_rule = 'public'")
    assert ask(sent).text == "Sent. Delivery is not tracked here (public room)"
    sent.run("UPDATE room SET join_rule = 'invite'")
    sent.write(capabilities.keep, capabilities.Capabilities(True, False, False, None), sent.now)
    assert ask(sent).text == "Sent. Delivery is not tracked here (your server does not offer it)"
    assert people(sent)["Bob"].tracked is False


def test_more_than_a_hundred_people_are_not_tracked(account: Account) -> None:
    account.room()
    account.sent(audience={f"@p{i}:example.org": {} for i in range(101)})
    assert ask(account).text == "Sent. Delivery is not tracked here (more than 100 people)"


def test_hundreds_of_keys_are_asked_at_once(account: Account) -> None:
    account.room()
    for number in range(450):
        account.write(
            lambda txn, n: txn.execute(
                "INSERT INTO send_queue (txn_id, room_id, type, content, state, event_id, made_at)"
                " VALUES (?, ?, 'm.room.message', '{}', 'sent', ?, ?)",
                (f"t{n}", ROOM, f"$e{n}", NOW),
            ),
            number,
        )
    keys = [f"t{n}" for n in range(450)] + [f"$e{n}" for n in range(450)]
    assert len(account.read(summaries, Role.APP, keys)) == 900
