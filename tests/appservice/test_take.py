"""An account takes what waits as if sync had brought it: the same rows, each thing once, whatever dies or repeats."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from tandem_appservice.queue import Queue
from tandem_appservice.take import place, wanted
from tandem_core.receipts import facts
from tandem_core.store import devices, inbox, members, receipts, rooms, session
from tandem_core.store.crypto import to_try
from tandem_core.store.rooms import RoomKind
from tandem_core.types import Json, UserId
from tests.appservice.world import Service, for_device, of_room, sight
from tests.core.sync_world import (
    BOB,
    CAROL,
    ME,
    NOTIFIER,
    ROOM,
    edit,
    member,
    message,
    olm,
    sealed,
    to_device,
)

A = ME.user_id


def _rows(service: Service, sql: str) -> list[tuple[Any, ...]]:
    return service.alice.rows(sql)


def _events(service: Service) -> list[str]:
    return [
        row[0] for row in _rows(service, "SELECT event_id FROM timeline WHERE conn = 'notifier' ORDER BY ord")
    ]


def _kind(service: Service) -> RoomKind:
    return service.alice.read(rooms.kind, ROOM)  # type: ignore[no-any-return]


def test_a_room_that_is_joined_is_known_with_its_state_and_people(service: Service) -> None:
    service.join(direct=True)
    assert _kind(service) is RoomKind.DIRECT
    assert service.alice.read(members.agreed_members, ROOM) == {A, BOB}
    known = service.alice.read(facts.room_facts, ME, ROOM)
    assert (known.joined, known.accepted, known.encrypted, known.others) == (True, True, True, 1)
    row = service.alice.read(rooms.room, NOTIFIER, ROOM)
    assert (row.name, row.encrypted, row.joined_count) == ("Bob", True, 2)


def test_events_become_the_same_rows_as_with_sync_and_are_judged(service: Service) -> None:
    service.join(direct=True)
    service.send(of_room(message("hello")), of_room(sealed("s")), of_room(edit("$hello", "hello there")))
    assert service.take().events == 3
    assert service.alice.bodies(NOTIFIER)[-2:] == ["hello there", ""]
    assert service.alice.origins(NOTIFIER)["hello there"] == "live"
    assert service.alice.read(to_try, 9) == ["$s"]
    # In clear in an encrypted room: it notifies, and nobody is told that it came.
    assert _rows(service, "SELECT event_id FROM notification") == [("$hello",)]
    assert _rows(service, "SELECT state, reason FROM receipt_owed") == [
        ("refused", "plain_in_encrypted_room")
    ]


def test_a_message_in_a_private_room_owes_a_receipt_through_the_same_gate(service: Service) -> None:
    service.join(direct=True)
    service.alice.write(_open_plain)
    service.send(of_room(message("hello")))
    service.take()
    assert _rows(service, "SELECT event_id, state, opened_by FROM receipt_owed") == [
        ("$hello", "owed", "notifier")
    ]


def _open_plain(txn: Any) -> None:
    """Confirmations in rooms without encryption are on, and this is one."""
    from tandem_core import settings

    settings.set_value(txn, "receipts.answered", True, now_ms=1)
    settings.set_value(txn, "receipts.plain", "on", now_ms=1)
    txn.execute("UPDATE room SET encryption = NULL")
    txn.execute("UPDATE room_fact SET encryption = NULL")


def test_confirmations_that_are_switched_off_in_account_data_owe_nothing_from_then_on(
    service: Service,
) -> None:
    service.join(direct=True)
    service.alice.write(_open_plain)
    service.send(of_room(message("one")))
    off = {A: {"events": [{"type": "im.tandem.delivery_settings", "content": {"enabled": False}}]}}
    # One after the other in the same batch: each message by the settings of its time.
    service.send(of_room(message("two")), account_data=off)
    service.take()
    assert _rows(service, "SELECT event_id FROM receipt_owed WHERE state = 'owed'") == [("$one",)]


def test_pieces_taken_twice_change_nothing(service: Service) -> None:
    service.join()
    service.send(of_room(message("a")), to_device=[for_device(olm("k")), for_device(to_device("m.x", {}))])
    service.take(done=False)
    before = _snapshot(service)
    service.take(anew=True)
    assert _snapshot(service) == before
    assert service.queue.depth(A) == 0
    assert service.alice.read(inbox.depth) == 2


def _snapshot(service: Service) -> list[Any]:
    return [
        _rows(service, f"SELECT * FROM {table}") for table in ("inbox", "timeline", "event", "member", "fact")
    ]


def test_a_failure_in_the_middle_takes_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.join()
    service.send(of_room(message("a")), to_device=[for_device(olm("k"))])
    before = _snapshot(service)

    def fail(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("tandem_appservice.take.set_place", fail)
    with pytest.raises(sqlite3.OperationalError):
        service.take()
    assert _snapshot(service) == before
    monkeypatch.undo()
    assert service.take().to_device == 1
    assert _events(service)[-1] == "$a"


def test_a_retried_transaction_without_its_to_device_events_loses_and_doubles_nothing(
    service: Service,
) -> None:
    """Stock Synapse retries so; whichever of the two is taken, both are."""
    service.join()
    service.send(of_room(message("a")), txn_id="50", to_device=[for_device(olm("k"))])
    service.send(of_room(message("a")), txn_id="50", to_device=[])
    service.take()
    assert _events(service).count("$a") == 1
    assert service.alice.read(inbox.depth) == 1


def test_a_key_that_came_in_two_transactions_is_in_the_inbox_once(service: Service) -> None:
    for number in range(3):
        service.send(to_device=[for_device(olm("same")), for_device(olm(f"own {number}"))])
    service.take()
    waiting = service.alice.read(inbox.waiting, 99)
    bodies = [row.content["ciphertext"]["k"]["body"] for row in waiting]
    assert bodies == ["same", "own 0", "own 1", "own 2"]


def test_what_sync_has_brought_before_comes_again_by_transactions_without_effect(service: Service) -> None:
    """An account that was kept in sync is hosted from now on; the queue begins earlier than that."""
    service.alice.join(NOTIFIER, message("old"))
    news = {
        "rooms": {ROOM: {"timeline": [message("a"), message("b")]}},
        **_sync_keys("1", olm("k1"), olm("k2")),
    }
    service.alice.apply(news, NOTIFIER)
    service.queue.settle_homes(A, [ROOM])
    before = _rows(service, "SELECT event_id, ord, origin FROM timeline")
    place_before = service.alice.read(session.connection, NOTIFIER)
    service.send(of_room(message("b")), to_device=[for_device(olm("k2"))])
    service.take()
    assert _rows(service, "SELECT event_id, ord, origin FROM timeline") == before
    assert service.alice.read(inbox.depth) == 2
    place_now = service.alice.read(session.connection, NOTIFIER)
    assert (place_now.pos, place_now.since) == (place_before.pos, place_before.since)


def test_what_transactions_have_brought_comes_again_by_sync_without_effect(service: Service) -> None:
    """The account is kept in sync from now on; the server still has its keys, and begins its rooms anew."""
    service.join()
    service.send(of_room(message("a")), of_room(message("b")), to_device=[for_device(olm("k1"))])
    service.take()
    again = {
        "rooms": {
            ROOM: {
                "initial": True,
                "limited": True,
                "prev_batch": "t1",
                "timeline": [message("a"), message("b"), message("c")],
                "num_live": 1,
            }
        },
        **_sync_keys("9", olm("k1"), olm("k2")),
    }
    service.alice.apply(again, NOTIFIER)
    assert _events(service)[-3:] == ["$a", "$b", "$c"]
    assert service.alice.read(inbox.depth) == 2
    assert _rows(service, "SELECT * FROM gap") == []


def _sync_keys(next_batch: str, *events: Json) -> Json:
    return {"extensions": {"to_device": {"events": list(events), "next_batch": next_batch}}}


def test_back_and_forth_between_sync_and_transactions_has_everything_once_and_in_order(
    service: Service,
) -> None:
    service.join()
    for turn in range(4):
        first, second = f"t{turn}", f"s{turn}"
        service.send(of_room(message(first)), to_device=[for_device(olm(first))])
        service.take()
        news = {
            "rooms": {ROOM: {"timeline": [message(second)]}},
            **_sync_keys(str(turn), olm(first), olm(second)),
        }
        service.alice.apply(news, NOTIFIER)
        service.send(of_room(message(second)), to_device=[for_device(olm(second))])
        service.take()
    wanted_order = [f"${kind}{turn}" for turn in range(4) for kind in "ts"]
    assert _events(service)[-8:] == wanted_order
    assert service.alice.read(inbox.depth) == 8


def test_state_that_comes_late_does_not_stand_against_what_the_server_says_now(service: Service) -> None:
    service.join()
    service.send(of_room(member(BOB, membership="leave")), of_room(member(CAROL, "Carol")), txn_id="90")
    service.take()
    service.send(of_room(member(BOB, "Bob")), txn_id="40")
    pieces = service.queue.pieces(A, service.alice.read(place, service.queue.epoch))
    assert service.alice.read(wanted, A, pieces) == {ROOM}
    service.take(sight(member(BOB, membership="leave"), member(CAROL, "Carol")))
    assert service.alice.read(members.agreed_members, ROOM) == {A, CAROL}


def test_who_comes_and_goes_is_counted_before_the_next_message_is_judged(service: Service) -> None:
    service.join(direct=True)
    service.alice.write(_open_plain)
    service.send(
        of_room(message("to two")),
        of_room(member(CAROL, "Carol")),
        of_room(message("to three")),
        of_room(member(BOB, membership="leave")),
        of_room(message("from nobody here")),
    )
    service.take()
    assert service.alice.read(rooms.room, NOTIFIER, ROOM).joined_count == 2
    owed = {row[0] for row in _rows(service, "SELECT event_id FROM receipt_owed WHERE state = 'owed'")}
    assert owed == {"$to two", "$to three"}


def test_an_invitation_is_kept_with_what_it_says_of_the_room(service: Service) -> None:
    invite = member(A, "Alice", "invite", sender=BOB)
    invite["content"]["is_direct"] = True
    invite["unsigned"] = {
        "invite_room_state": [
            {"type": "m.room.name", "state_key": "", "content": {"name": "Plans"}, "sender": BOB},
            {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "x"}, "sender": BOB},
        ]
    }
    service.send(of_room(invite))
    service.take()
    row = service.alice.read(rooms.room, NOTIFIER, ROOM)
    assert (row.membership, row.name, row.inviter, row.is_dm) == ("invite", "Plans", BOB, True)
    assert _events(service) == []
    service.send(of_room(member(A, membership="leave", sender=BOB)))
    service.take()
    assert service.alice.read(rooms.room, NOTIFIER, ROOM).membership == "leave"


def test_the_events_of_a_room_that_we_left_are_not_ours(service: Service) -> None:
    service.join()
    service.send(of_room(member(A, membership="leave")))
    service.queue.settle_homes(A, [ROOM])  # whatever the queue believes
    service.send(of_room(message("behind our back")))
    service.take()
    assert "$behind our back" not in _events(service)


def test_who_was_away_sees_the_room_afresh(service: Service) -> None:
    service.join()
    service.send(of_room(member(A, membership="leave")), of_room(member(A, "Alice")))
    pieces = service.queue.pieces(A, service.alice.read(place, service.queue.epoch))
    assert service.alice.read(wanted, A, pieces) == {ROOM}
    service.take(sight(member(CAROL, "Carol")))
    assert service.alice.read(members.agreed_members, ROOM) == {A, BOB, CAROL}


def test_a_change_of_name_is_no_second_joining(service: Service) -> None:
    service.join()
    service.send(of_room(member(A, "Alice the Second")))
    pieces = service.queue.pieces(A, service.alice.read(place, service.queue.epoch))
    assert service.alice.read(wanted, A, pieces) == set()


def test_device_lists_and_key_counts_act_as_those_of_sync(service: Service) -> None:
    service.join()
    for user in (BOB, CAROL):
        service.alice.write(devices.track, [UserId(user)])
    service.alice.write(lambda txn: txn.execute("UPDATE device_list SET fetched = wanted"))
    service.send(
        device_lists={"changed": ["@dave:example.org"], "left": [BOB, CAROL]},
        **{"org.matrix.msc3202.device_one_time_key_counts": {A: {ME.device_id: {"signed_curve25519": 4}}}},
    )
    service.take()
    # Bob still shares a room with us, whatever room of the service he left.
    assert _rows(service, "SELECT user_id, wanted > fetched FROM device_list") == [(BOB, 1)]
    assert service.alice.read(devices.key_count) == devices.KeyCount(4, 1)


def test_the_private_receipts_of_other_accounts_are_none_of_ours(service: Service) -> None:
    service.join()
    service.send(of_room(message("a")))
    read = {A: {"ts": 5}, BOB: {"ts": 5}}
    content = {"$a": {"m.read.private": read, "m.read": {CAROL: {"ts": 6}}}}
    service.send(ephemeral=[{"type": "m.receipt", "room_id": ROOM, "content": content}])
    service.take()
    assert set(_rows(service, "SELECT user_id FROM read_marker")) == {(A,), (CAROL,)}


def test_delivery_receipts_reach_the_account_that_wrote(service: Service) -> None:
    service.join()
    service.send(of_room(message("mine", A)), of_room(message("not mine", BOB)))
    receipt = {BOB: {"ts": service.alice.now}}
    content = {name: {"org.matrix.msc4089.delivery": receipt} for name in ("$mine", "$not mine")}
    service.send(ephemeral=[{"type": "m.receipt", "room_id": ROOM, "content": content}])
    service.take()
    assert _rows(service, "SELECT event_id, user_id FROM delivery") == [("$mine", BOB)]


def test_a_queue_that_was_made_anew_is_taken_from_its_start(service: Service, tmp_path: Any) -> None:
    service.join()
    for number in range(5):
        service.send(of_room(message(f"a{number}")))
    service.take()
    other = Queue.open(tmp_path / "other.db")
    moved = Service(service.alice, other)
    moved.host()
    other.settle_homes(A, [ROOM])
    moved.send(of_room(message("a4")), of_room(message("b")))
    moved.take()
    assert _events(service)[-2:] == ["$a4", "$b"]
    other.close()


def test_a_receipt_that_is_owed_is_dropped_when_it_is_switched_off_before_it_is_due(service: Service) -> None:
    service.join(direct=True)
    service.alice.write(_open_plain)
    service.send(of_room(message("a")))
    service.take()
    assert service.alice.read(receipts.waiting, BOB, service.alice.now)
    service.account_data("im.tandem.delivery_settings", {"enabled": False})
    chosen = service.alice.read(facts.receipt_settings, ROOM, BOB)
    assert not chosen.enabled
