"""How far a message got is said in words that only go forward; what cannot be decrypted stands out until it can."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core.receipts.states import BridgeState, Message, PersonState, State
from tandem_core.receipts.words import DeviceDelivery, PersonDelivery, Summary, portion, summarise
from tandem_core.types import UserId

NOW = 1_800_000_000_000
SENT = Message("sent", tracked=True)
HAS, WAITS, FAILED = "has", "waits", "failed"


def device(number: int, what: str) -> DeviceDelivery:
    return DeviceDelivery(
        f"D{number}",
        f"Device {number}",
        NOW if what == HAS else None,
        failed_at=NOW if what == FAILED else None,
        code="no_key" if what == FAILED else "",
    )


def person(
    name: str,
    *devices: str,
    delivered: bool = False,
    read: bool = False,
    counted: bool = True,
    tracked: bool = True,
) -> PersonDelivery:
    return PersonDelivery(
        user_id=UserId(f"@{name.lower()}:example.org"),
        name=name,
        devices=tuple(device(number, what) for number, what in enumerate(devices)),
        delivered_at=NOW if delivered or HAS in devices else None,
        read_at=NOW if read else None,
        tracked=tracked,
        counted=counted,
    )


def crowd(people: int, having: int) -> list[PersonDelivery]:
    return [person(f"P{number}", delivered=number < having) for number in range(people)]


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
        ([person("Bob", HAS, WAITS)], State.DELIVERED_ALL, "Delivered to Bob (1 of 2 devices)"),
        ([person("Bob", HAS, HAS)], State.DELIVERED_ALL, "Delivered to Bob (2 of 2 devices)"),
        ([person("Bob", WAITS, WAITS, delivered=True)], State.DELIVERED_ALL, "Delivered to Bob"),
        ([person("Bob", HAS)], State.DELIVERED_ALL, "Delivered to Bob"),
        ([person("Bob", read=True)], State.READ_ALL, "Read by Bob"),
        ([person("Bob", HAS), person("Carol")], State.DELIVERED_SOME, "Delivered to 1 of 2 people"),
        ([person("Bob", HAS), person("Carol", HAS)], State.DELIVERED_ALL, "Delivered to everyone"),
        ([person("Bob", HAS), person("Carol", read=True)], State.READ_SOME, "Read by 1 of 2 people"),
        ([person("Bob", read=True), person("Carol", read=True)], State.READ_ALL, "Read by everyone"),
        ([person("Bob"), person("Dan", HAS, counted=False)], State.SENT, "Sent to your server"),
        ([], State.SENT, "Sent to your server"),
    ],
)
def test_the_words_for_who_has_it(people: list[PersonDelivery], state: State, text: str) -> None:
    said = summarise(SENT, people)
    assert (said.state, said.text) == (state, text)


@pytest.mark.parametrize(
    ("people", "state", "text"),
    [
        (
            [person("Bob", HAS, FAILED)],
            State.TROUBLE,
            'Delivered, but Bob\'s "Device 1" cannot decrypt it',
        ),
        ([person("Bob", WAITS, FAILED)], State.TROUBLE, 'Bob\'s "Device 1" cannot decrypt it'),
        ([person("Bob", FAILED, FAILED, WAITS)], State.TROUBLE, "2 devices of Bob cannot decrypt it"),
        ([person("Bob", FAILED)], State.NOBODY, "No device of Bob could decrypt it. Send the key again"),
        (
            [person("Bob", FAILED, read=True)],
            State.NOBODY,
            "No device of Bob could decrypt it. Send the key again",
        ),
        (
            [person("Bob", FAILED), person("Carol", FAILED, FAILED)],
            State.NOBODY,
            "Nobody could decrypt it. Send the key again",
        ),
        (
            [person("Bob", FAILED), person("Carol", HAS), person("Dan")],
            State.TROUBLE,
            'Delivered to 1 of 3 people, but Bob\'s "Device 0" cannot decrypt it',
        ),
        (
            [person("Bob", HAS, FAILED), person("Carol", HAS, FAILED)],
            State.TROUBLE,
            "Delivered to everyone, but 2 people have devices that cannot decrypt it",
        ),
        ([person("Bob", HAS, FAILED, read=True)], State.READ_ALL, "Read by Bob"),
    ],
)
def test_what_cannot_be_decrypted_is_said_with_the_device(
    people: list[PersonDelivery], state: State, text: str
) -> None:
    said = summarise(SENT, people)
    assert (said.state, said.text) == (state, text)


def test_a_marker_that_passed_what_nothing_could_open_is_no_reading() -> None:
    said = summarise(SENT, [person("Bob", FAILED, read=True), person("Carol", read=True)])
    assert (said.state, said.people_read, said.people_troubled) == (State.TROUBLE, 1, 1)


@pytest.mark.parametrize(
    ("bridge", "people", "state", "text"),
    [
        (
            BridgeState.PENDING,
            [person("Bob")],
            State.SENT,
            "Sent to your server. The bridge is passing it on",
        ),
        (BridgeState.SUCCESS, [person("Bob")], State.SENT, "Sent. The bridge has passed it on"),
        (BridgeState.SUCCESS, [person("Bob", delivered=True)], State.DELIVERED_ALL, "Delivered to Bob"),
        (
            BridgeState.FAIL_RETRIABLE,
            [person("Bob")],
            State.TROUBLE,
            "The bridge could not pass it on yet (no signal)",
        ),
        (
            BridgeState.FAIL_PERMANENT,
            [person("Bob")],
            State.FAILED,
            "Not sent: the bridge could not pass it on (no signal)",
        ),
        (
            BridgeState.FAIL_PERMANENT,
            [person("Bob", HAS), person("Carol")],
            State.TROUBLE,
            "Delivered to 1 of 2 people, but the bridge could not pass it on to everybody (no signal)",
        ),
    ],
)
def test_a_bridge_has_a_say(
    bridge: BridgeState, people: list[PersonDelivery], state: State, text: str
) -> None:
    said = summarise(Message("sent", True, bridge=bridge, bridge_words="no signal"), people)
    assert (said.state, said.text) == (state, text)


def test_read_outranks_delivered_but_fills_in_no_delivery() -> None:
    said = summarise(SENT, [person("Bob", read=True), person("Carol", HAS), person("Dan", HAS)])
    assert said.state is State.READ_SOME
    assert said.people_delivered == 2
    assert said.accessible == "Read by 1 of 3 people, delivered to 2 of 3 people"


def test_what_is_not_tracked_says_so_and_why_until_somebody_confirms_after_all() -> None:
    untracked = Message("sent", tracked=False, why_untracked="public room")
    assert summarise(untracked, [person("Bob")]).text == "Sent. Delivery is not tracked here (public room)"
    assert summarise(untracked, [person("Bob", read=True)]).state is State.READ_ALL


@pytest.mark.parametrize(
    ("people", "having", "text", "number"),
    [
        (2, 1, "Delivered to 1 of 2 people", "1/2"),
        (8, 3, "Delivered to 3 of 8 people", "3/8"),
        (20, 11, "Delivered to 11 of 20 people", "11/20"),
        (21, 1, "Delivered to a few people", ""),
        (40, 12, "Delivered to some people", ""),
        (40, 20, "Delivered to about half of the people", ""),
        (40, 30, "Delivered to most people", ""),
        (40, 38, "Delivered to nearly everyone", ""),
        (40, 40, "Delivered to everyone", ""),
    ],
)
def test_many_people_are_told_of_in_rounded_words(people: int, having: int, text: str, number: str) -> None:
    said = summarise(SENT, crowd(people, having))
    assert (said.text, said.number) == (text, number)


def test_up_to_eight_people_are_named() -> None:
    assert summarise(SENT, crowd(8, 3)).names == "P0, P1 and P2"
    assert summarise(SENT, crowd(9, 3)).names == ""
    assert summarise(SENT, crowd(2, 2)).names == "", "everyone needs no names"
    read = summarise(SENT, [person("Bob", read=True), person("Carol", HAS)])
    assert read.names == "Bob"


def test_of_two_messages_the_one_that_fewer_have_is_in_the_worse_state() -> None:
    one, two, everyone = (summarise(SENT, crowd(3, having)) for having in (1, 2, 3))
    trouble = summarise(SENT, [person("Bob", HAS, FAILED)])
    assert trouble.progress < one.progress < two.progress < everyone.progress
    failed = summarise(Message("failed", True), crowd(3, 0))
    assert failed.progress < trouble.progress


@pytest.mark.parametrize(
    ("who", "state"),
    [
        (person("Bob", tracked=False), PersonState.UNTRACKED),
        (person("Bob", WAITS), PersonState.PENDING),
        (person("Bob", HAS), PersonState.DELIVERED),
        (person("Bob", HAS, tracked=False), PersonState.DELIVERED),
        (person("Bob", FAILED), PersonState.TROUBLE),
        (person("Bob", FAILED, read=True), PersonState.TROUBLE),
        (person("Bob", HAS, FAILED), PersonState.TROUBLE),
        (person("Bob", HAS, FAILED, read=True), PersonState.READ),
        (person("Bob", read=True), PersonState.READ),
    ],
)
def test_each_person_has_a_state(who: PersonDelivery, state: PersonState) -> None:
    assert who.state is state


a_device = st.sampled_from([HAS, WAITS, FAILED])
a_person = st.builds(
    person,
    st.sampled_from(["Bob", "Carol", "Dan", "Eve"]),
    a_device,
    a_device,
    delivered=st.booleans(),
    read=st.booleans(),
    counted=st.booleans(),
)
several = st.lists(a_person, max_size=5)
a_message = st.builds(Message, st.just("sent"), st.booleans())
_FORWARD = (State.SENT, State.DELIVERED_SOME, State.DELIVERED_ALL, State.READ_SOME, State.READ_ALL)


def place(said: Summary) -> int:
    """Not tracked stands where sent does: no more is known."""
    return 0 if said.state is State.UNTRACKED else _FORWARD.index(said.state)


def is_troubled(said: Summary) -> bool:
    return said.state in (State.TROUBLE, State.NOBODY)


@given(a_message, several, st.data())
def test_one_more_receipt_never_moves_the_state_backwards(
    message: Message, people: list[PersonDelivery], data: st.DataObject
) -> None:
    before = summarise(message, people)
    if not people:
        return
    at = data.draw(st.integers(0, len(people) - 1))
    one = people[at]
    resolved = tuple(replace(d, delivered_at=NOW, failed_at=None) for d in one.devices)
    after_one = data.draw(
        st.sampled_from(
            [
                replace(one, read_at=NOW),
                replace(one, delivered_at=NOW),
                replace(one, delivered_at=NOW, devices=resolved),
                replace(one, delivered_at=NOW, devices=(resolved[0], *one.devices[1:])),
            ]
        )
    )
    after = summarise(message, [*people[:at], after_one, *people[at + 1 :]])
    assert after.people_delivered >= before.people_delivered
    assert after.people_read >= before.people_read
    assert after.devices_delivered >= before.devices_delivered
    assert after.people_troubled <= before.people_troubled
    if is_troubled(before):
        assert after.state is not State.NOBODY or before.state is State.NOBODY
    else:
        assert place(after) >= place(before)


@given(a_message, several, st.data())
def test_what_a_device_cannot_decrypt_is_seen_and_takes_no_delivery_back(
    message: Message, people: list[PersonDelivery], data: st.DataObject
) -> None:
    before = summarise(message, people)
    if not people:
        return
    at = data.draw(st.integers(0, len(people) - 1))
    one = people[at]
    failing = (replace(one.devices[0], failed_at=NOW), *one.devices[1:])
    after_one = replace(one, devices=failing)
    after = summarise(message, [*people[:at], after_one, *people[at + 1 :]])
    assert (after.people_delivered, after.devices_delivered) == (
        before.people_delivered,
        before.devices_delivered,
    )
    if one.counted and after_one.state is PersonState.TROUBLE:
        assert is_troubled(after)


@given(several, st.booleans(), st.sampled_from(["queued", "sending", "sent", "failed"]))
def test_the_counts_are_within_their_totals_and_absence_is_never_called_a_failure(
    people: list[PersonDelivery], tracked: bool, send_state: str
) -> None:
    said = summarise(Message(send_state, tracked), people)
    assert 0 <= said.people_delivered <= said.people_total == sum(p.counted for p in people)
    assert 0 <= said.people_read <= said.people_total
    assert 0 <= said.devices_delivered <= said.devices_total
    assert (said.state is State.FAILED) == (send_state == "failed")
    if not any(d.failed_at for p in people for d in p.devices):
        assert not is_troubled(said)
    assert said.text
    assert said.text in said.accessible
    assert "offline" not in said.text.lower()


@given(st.integers(2, 150))
def test_rounded_words_go_forward_as_more_people_confirm(total: int) -> None:
    words = [portion(some, total) for some in range(1, total + 1)]
    assert words[-1] == "everyone"
    changes = [word for at, word in enumerate(words) if at == 0 or word != words[at - 1]]
    assert len(changes) == len(set(changes)), "a word that was left does not come back"
