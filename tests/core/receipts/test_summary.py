"""What the author sees is what the store holds, and nothing that is only guessed."""

from __future__ import annotations

import pytest

from tandem_core import capabilities
from tandem_core.errors import BadInput
from tandem_core.receipts import failed_heard, inbound, marker
from tandem_core.receipts.summary import details, own_devices, summaries, summary
from tandem_core.receipts.words import PersonDelivery, PersonState, State, Summary
from tandem_core.store import bridges, devices, rooms
from tandem_core.store.bridges import StatusRow
from tandem_core.store.codec import dumps
from tandem_core.store.devices import Device
from tandem_core.types import DeviceId, EventId, Role, UserId
from tests.core.receipts.conftest import BOB, CAROL, HOUR, ME, MINUTE, NOW, ROOM, Account

BOT, GHOST = "@telegrambot:example.org", "@telegram_7:example.org"


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
    return account.read(summary, Role.APP, key, account.now)  # type: ignore[no-any-return]


def people(account: Account) -> dict[str, PersonDelivery]:
    return {p.name: p for p in account.read(details, Role.APP, "$mine", account.now)}


def test_a_message_is_known_by_its_event_id_and_its_transaction_id(sent: Account) -> None:
    hear(sent, BOB, "PHONE")
    found = sent.read(summaries, Role.APP, ["$mine", "t1", "$nobodys"], sent.now)
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
        sent.read(details, Role.APP, "$unknown", sent.now)


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
    assert len(account.read(summaries, Role.APP, keys, account.now)) == 900


def test_of_more_than_twenty_people_confirmations_are_expected_only_where_they_were_asked_for(
    account: Account,
) -> None:
    account.room()
    account.sent(audience={f"@p{i}:example.org": {} for i in range(40)})
    why = "more than 20 people, and you did not ask for it"
    assert ask(account).text == f"Sent. Delivery is not tracked here ({why})"
    account.run("UPDATE send_queue SET wire_type = 'm.room.encrypted', content = ?", dumps({marker.KEY: {}}))
    assert ask(account).state is State.SENT
    hear(account, "@p1:example.org")
    said = ask(account)
    assert (said.text, said.number) == ("Delivered to a few people", "")


def test_bots_are_shown_and_not_counted(sent: Account) -> None:
    sent.write(rooms.set_room, Role.APP, ROOM, {"service_members": f'["{CAROL}"]'})
    hear(sent, BOB, "PHONE")
    assert ask(sent).text == "Delivered to Bob (1 of 2 devices)"
    assert (people(sent)["Car"].counted, people(sent)["Car"].why_not) == (False, "bot")
    # Nobody can make all that are there disappear.
    sent.write(rooms.set_room, Role.APP, ROOM, {"service_members": f'["{CAROL}", "{BOB}"]'})
    assert ask(sent).people_total == 2


def test_who_left_stays_among_those_it_was_for(sent: Account) -> None:
    sent.run("UPDATE member SET membership = 'leave' WHERE user_id = ?", CAROL)
    assert (people(sent)["Car"].counted, people(sent)["Car"].has_left) == (True, True)
    assert people(sent)["Bob"].has_left is False


def test_who_was_asked_for_a_month_and_confirmed_nothing_is_not_expected_to(sent: Account) -> None:
    month = 31 * 24 * HOUR
    sent.now += month
    assert (
        ask(sent).text
        == "Sent. Delivery is not tracked here (no confirmations from anybody here for a month)"
    )
    assert people(sent)["Bob"].state is PersonState.UNTRACKED
    hear(sent, BOB)
    assert ask(sent).state is State.DELIVERED_SOME
    sent.sent("t2", event_id="$second", audience={BOB: {}, CAROL: {}})
    assert ask(sent, "$second").state is State.SENT, "one of them does confirm"
    sent.sent("t3", event_id="$third", audience={CAROL: {}})
    assert (
        ask(sent, "$third").text
        == "Sent. Delivery is not tracked here (no confirmations from Car for a month)"
    )


def test_who_came_lately_has_a_month_to_confirm(sent: Account) -> None:
    sent.now += 31 * 24 * HOUR
    sent.run("UPDATE member SET changed_at = ? WHERE user_id = ?", sent.now, CAROL)
    assert people(sent)["Car"].state is PersonState.PENDING
    assert people(sent)["Bob"].state is PersonState.UNTRACKED


def test_the_servers_word_on_an_encrypted_message_is_marked_as_such(sent: Account) -> None:
    hear(sent, BOB, "PHONE")
    assert people(sent)["Bob"].reported == "", "in clear there is nothing else"
    sent.run("UPDATE send_queue SET wire_type = 'm.room.encrypted'")
    assert people(sent)["Bob"].reported == "server"
    sent.run("UPDATE delivery SET via = 'olm' WHERE device_id = ''")
    assert people(sent)["Bob"].reported == ""


def test_our_own_devices_are_no_people(sent: Account) -> None:
    other = Device(ME.user_id, DeviceId("OTHER"), "c1", "e1", "Desk")
    silent = Device(ME.user_id, DeviceId("SILENT"), "c2", "e2", None)
    sent.write(devices.track, [ME.user_id])
    sent.write(devices.put_list, ME.user_id, [(other, []), (silent, [])], 1, NOW)
    sent.run(
        "INSERT INTO delivery VALUES ('$mine', ?, 'OTHER', 'delivered', ?, ?, 'olm')", ME.user_id, NOW, NOW
    )
    found = sent.read(own_devices, "$mine")
    assert [(d.name, d.delivered_at is not None) for d in found] == [("Desk", True), ("SILENT", False)]
    assert "alice" not in " ".join(people(sent)).lower()
    assert ask(sent).people_delivered == 0


def come_back(account: Account) -> None:
    """The server has given the encrypted message back to us."""
    account.run(
        "INSERT OR IGNORE INTO event (event_id, room_id, sender, type, sent_at, received_at, content, seal, session_id,"
        " kind) VALUES ('$mine', ?, ?, 'm.room.encrypted', ?, ?, '{}', 'opened', 'S', 'text')",
        ROOM,
        ME.user_id,
        NOW,
        NOW,
    )


def fail(account: Account, device: str, *, user: str = BOB, at: int | None = None) -> None:
    """A device says that it has no key for the message."""
    come_back(account)
    account.run("INSERT OR IGNORE INTO megolm_replay VALUES ('S', 0, '$mine', ?)", NOW)
    account.run(
        "INSERT INTO receipt_failed (session_id, user_id, device_id, room_id, first_event, first_index, n, code,"
        " heard_at) VALUES ('S', ?, ?, ?, '$mine', 0, 1, 'no_key', ?)",
        user,
        device,
        ROOM,
        account.now if at is None else at,
    )


def test_what_a_device_cannot_decrypt_is_told_once_it_lasts(sent: Account) -> None:
    fail(sent, "LAPTOP")
    assert ask(sent).state is State.SENT
    sent.now += failed_heard.PROVISIONAL_MS
    assert ask(sent).text == 'Bob\'s "Laptop" cannot decrypt it'
    hear(sent, BOB, "PHONE")
    assert ask(sent).text == 'Delivered to 1 of 2 people, but Bob\'s "Laptop" cannot decrypt it'
    (laptop,) = people(sent)["Bob"].failing
    assert (laptop.code, laptop.counted, people(sent)["Bob"].state) == ("no_key", True, PersonState.TROUBLE)


def test_the_server_cannot_say_that_a_device_can_decrypt_after_all_but_the_device_can(sent: Account) -> None:
    fail(sent, "LAPTOP")
    sent.now += failed_heard.PROVISIONAL_MS
    hear(sent, BOB, "LAPTOP")
    assert ask(sent).state is State.TROUBLE
    sent.run("UPDATE delivery SET via = 'olm'")
    assert ask(sent).state is State.DELIVERED_SOME


def bridged(
    account: Account, *, status: str = "SUCCESS", reached: str | None = None, words: str | None = None
) -> None:
    """The room has a bridge with the bot @telegrambot, which says this of the message."""
    come_back(account)
    account.run(
        "INSERT INTO bridge (conn, room_id, type, state_key, bot, network)"
        " VALUES ('app', ?, 'm.bridge', 'x', ?, 'Telegram')",
        ROOM,
        BOT,
    )
    row = StatusRow(
        EventId("$mine"),
        ROOM,
        status,
        None,
        words,
        None if reached is None else tuple(UserId(user) for user in reached.split()),
        "Telegram",
        account.now,
    )
    account.write(bridges.put_status, row, BOT, account.now)


@pytest.fixture
def portal(account: Account) -> Account:
    account.room(people=(BOT, GHOST, BOB))
    account.sent(audience={BOT: {}, GHOST: {}, BOB: {}})
    account.now += MINUTE
    return account


def test_a_bridges_people_count_only_where_the_bridge_reports_delivery(portal: Account) -> None:
    bridged(portal)
    assert (ask(portal).people_total, ask(portal).text) == (1, "Sent. The bridge has passed it on")
    found = portal.read(details, Role.APP, "$mine", portal.now)
    aside = {person.user_id: person.why_not for person in found}
    assert aside == {BOT: "bot", GHOST: "bridged", BOB: ""}


def test_whom_a_bridge_has_reached_has_it(portal: Account) -> None:
    bridged(portal, reached=GHOST)
    assert ask(portal).text == "Delivered to 1 of 2 people"
    ghost = next(p for p in portal.read(details, Role.APP, "$mine", portal.now) if p.user_id == GHOST)
    assert (ghost.counted, ghost.reported, ghost.state) == (True, "bridge", PersonState.DELIVERED)


@pytest.mark.parametrize(
    ("status", "state", "text"),
    [
        ("PENDING", State.SENT, "Sent to your server. The bridge is passing it on"),
        ("FAIL_RETRIABLE", State.TROUBLE, "The bridge could not pass it on yet (Telegram is away)"),
        ("FAIL_PERMANENT", State.FAILED, "Not sent: the bridge could not pass it on (Telegram is away)"),
    ],
)
def test_what_a_bridge_could_not_pass_on_is_told(
    portal: Account, status: str, state: State, text: str
) -> None:
    bridged(portal, status=status, words="Telegram is away")
    said = ask(portal)
    assert (said.state, said.text) == (state, text)


def test_a_server_without_support_leaves_the_encrypted_way(sent: Account) -> None:
    sent.write(capabilities.keep, capabilities.Capabilities(True, False, False, None), sent.now)
    sent.run("UPDATE send_queue SET wire_type = 'm.room.encrypted'")
    assert ask(sent).text == (
        "Sent. Delivery is not tracked here (you do not ask for it here, and your server does not offer it)"
    )
    sent.run("UPDATE send_queue SET content = ?", '{"im.tandem.confirm": {"v": 1}}')
    assert ask(sent).state is State.SENT
    sent.run("UPDATE room SET join_rule = 'public'")
    assert ask(sent).text == "Sent. Delivery is not tracked here (public room)"
